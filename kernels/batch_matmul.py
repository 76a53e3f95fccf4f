"""BATCH_MATMUL: products of matrices, the leading dimensions broadcast against each other.

The left side is (..., rows, depth), the right side (..., depth, columns); ``adj_x`` and ``adj_y`` say that the last two
dimensions of a side are swapped.

Here are the forms on integers, and float32; ``batch_matmul_hybrid.py`` has float activations with an integer right
side.

Source: ``tflite/kernels/batch_matmul.cc``, ``tflite/kernels/internal/reference/batch_matmul.h``.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np

from kernels.batch_matmul_hybrid import prepare_hybrid
from kernels.engine import exact, micro
from kernels.engine.contract import (
    checked_shape,
    expect,
    expect_count,
    input_tensor,
    option,
    output_tensor,
    quant_of,
    scale_of,
    unsupported,
    zero_point_of,
)
from kernels.engine.float_sums import matmul_in_order
from kernels.engine.pairs import Lanes, Pairs, find_pairs, wrapped
from kernels.engine.registry import Kernel
from kernels.engine.sides import Sides
from kernels.engine.steps import quick_form
from kernels.engine.taps import Products, Reads
from kernels.engine.types import Inputs, OpView, Outputs, Prepared, Runner, TensorView, given
from kernels.profiles import CMSIS_NN, LITERT_REFERENCE, TFLM, XNNPACK, XNNPACK_ARM64, Profile, Rules
from qmath.errors import UnsupportedError
from qmath.fixed_point import wrap_int32
from qmath.multiplier import float32_scale_ratio, scale_ratio
from qmath.requantize import DOUBLE_ROUNDING, FLOAT32_HALF_EVEN, REDUCED_64, Regime, Requantize
from qmath.requantize_vector import FLOAT32_HALF_EVEN_SATURATING, REDUCED_64_CUT_EARLY
from qmath.stages import Note, silent
from qmath.types import ActivationRange, Array, DType, Int64Array


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """How a runtime requantizes: the regime of 32-bit and of 64-bit accumulators, and how the multiplier is made.

    Attributes
    ----------
    narrow, wide
        The regimes.
    float32_scale
        Whether the multiplier is made in float32 throughout, or only the product of the input scales.

    """

    narrow: Regime
    wide: Regime
    float32_scale: bool = False
    lanes: Lanes | None = None


ARITHMETIC: Rules[Arithmetic] = Rules(
    "BATCH_MATMUL",
    {
        LITERT_REFERENCE: Arithmetic(DOUBLE_ROUNDING, REDUCED_64),
        CMSIS_NN: Arithmetic(DOUBLE_ROUNDING, REDUCED_64_CUT_EARLY),
        XNNPACK: Arithmetic(FLOAT32_HALF_EVEN, REDUCED_64, float32_scale=True),
        XNNPACK_ARM64: Arithmetic(FLOAT32_HALF_EVEN_SATURATING, REDUCED_64, float32_scale=True, lanes=Lanes.OPEN),
    },
)


@dataclass(frozen=True, slots=True)
class BatchMatMul(Prepared):
    """A prepared BATCH_MATMUL on integers.

    Attributes
    ----------
    sides
        Which sides are swapped.
    zero_points
        Of the left and of the right side.
    codes
        Types of the left and of the right side.
    accumulator
        INT32 or INT64.
    requantize
        From accumulator to output code.

    """

    sides: Sides
    zero_points: tuple[int, int]
    codes: tuple[DType, DType]
    accumulator: DType
    requantize: Requantize

    def evaluate(self, inputs: Inputs, note: Note) -> Outputs:
        """Evaluate :func:`batch_matmul`."""
        return (batch_matmul(given(inputs, 0), given(inputs, 1), self, note),)

    def products(self, inputs: Inputs, index: tuple[int, ...]) -> Products:
        """Return a row of the left side times a column of the right."""
        left, right = self.sides.products(given(inputs, 0).shape, given(inputs, 1).shape, index)
        return Products((Reads(0, left, self.zero_points[0]), Reads(1, right, self.zero_points[1])))

    def compile(self, constants: Inputs) -> Runner:
        """Sum by BLAS and requantize by the form that costs nothing to derive; lay a constant right side out once."""
        laid_out: Array | None = None
        if constants[1] is not None:
            depth = self.sides.right(constants[1]).shape[-2]
            laid_out = self._real(self.sides.right(constants[1]), 1, self._reach(depth))
        return partial(self._run, laid_out=laid_out)

    def _run(self, inputs: Inputs, laid_out: Array | None) -> Outputs:
        left, right = self.sides.of(given(inputs, 0), given(inputs, 1))
        reach = self._reach(left.shape[-1])
        no_offset = np.zeros(1, np.int64)
        step = quick_form(self.requantize, no_offset, reach)
        if step is None or reach.highest[0] > self.accumulator.max or self.requantize.dtype.bits > 8:
            return self.evaluate(inputs, silent)
        second = laid_out if laid_out is not None else self._real(right, 1, reach)
        return (step(np.matmul(self._real(left, 0, reach), second)),)

    def _reach(self, depth: int) -> exact.Reach:
        """Bound the sums by the depth alone."""
        largest = depth * int(np.prod([_span(*pair) for pair in zip(self.codes, self.zero_points, strict=True)]))
        return exact.Reach(np.array([-largest]), np.array([largest]), largest)

    def _real(self, side: Array, place: int, reach: exact.Reach) -> Array:
        real = side.astype(reach.dtype)
        real -= self.zero_points[place]
        return real


@dataclass(frozen=True, slots=True)
class PairedBatchMatMul(BatchMatMul):
    """A BATCH_MATMUL whose products may join 16-bit lanes that wrap around."""

    pairs: Pairs

    def evaluate(self, inputs: Inputs, note: Note) -> Outputs:
        """Evaluate :func:`batch_matmul`, with sums that lose pairs of lowest codes."""
        left, right = self.sides.of(given(inputs, 0), given(inputs, 1))
        columns = self.pairs.of_weights(right.swapaxes(-1, -2)).swapaxes(-1, -2)
        total = accumulate(left, right, self, note)
        return (self.requantize(wrapped(total, self.pairs.of_inputs(left) @ columns, note), note),)

    def compile(self, constants: Inputs) -> Runner:
        """Take the quick form where no element of the right side is the lowest code."""
        quick = BatchMatMul.compile(self, constants)

        def run(inputs: Inputs) -> Outputs:
            is_safe = not (given(inputs, 1) == self.pairs.lowest).any()
            return quick(inputs) if is_safe else self.evaluate(inputs, silent)

        return run


def _span(codes: DType, zero_point: int) -> int:
    return max(codes.max - zero_point, zero_point - codes.min)


def batch_matmul(left: Array, right: Array, op: BatchMatMul, note: Note = silent) -> Array:
    """Multiply matrices of codes.

    Parameters
    ----------
    left
        int8 or int16, shape (..., rows, depth): quantized.
    right
        int8 or int16, shape (..., depth, columns): quantized.
    op
        The prepared op.
    note
        Receives the stages.

    Returns
    -------
    int8 or int16, shape (..., rows, columns): quantized.

    Notes
    -----
    1. Swap the last two dimensions of the sides that ask for it.
    2. accumulator: sum over the depth of ``(left - left_zero_point) * (right - right_zero_point)``; 32 bits, wrapping,
       or 64.
    3. Requantize by the regime.

    """
    return op.requantize(accumulate(*op.sides.of(left, right), op, note), note)


def accumulate(left: Array, right: Array, op: BatchMatMul, note: Note = silent) -> Int64Array:
    """Multiply matrices of what codes stand for, in steps; as the accumulator holds it."""
    real = [side.astype(np.int64) - zero for side, zero in zip((left, right), op.zero_points, strict=True)]
    sums = note("sum", exact.matmul(*real))
    accumulator = wrap_int32(sums) if op.accumulator is DType.INT32 else sums
    return note("accumulator", accumulator, "wrap(sum)" if op.accumulator is DType.INT32 else "sum", sum=sums)


@dataclass(frozen=True, slots=True)
class RawBatchMatMul(Prepared):
    """BATCH_MATMUL from int8 to int32.

    Quirk: BATCH_MATMUL from INT8 to INT32 multiplies codes as they are: zero points and scales are ignored.
    """

    sides: Sides

    def evaluate(self, inputs: Inputs, note: Note) -> Outputs:
        """Sum products of codes; int32, wrapping."""
        sums = note("sum", exact.matmul(*self.sides.of(given(inputs, 0), given(inputs, 1))))
        return (note("accumulator", wrap_int32(sums), "wrap(sum)", sum=sums).astype(np.int32),)

    def products(self, inputs: Inputs, index: tuple[int, ...]) -> Products:
        """Return a row of the left side times a column of the right."""
        left, right = self.sides.products(given(inputs, 0).shape, given(inputs, 1).shape, index)
        return Products((Reads(0, left), Reads(1, right)))


@dataclass(frozen=True, slots=True)
class FloatBatchMatMul(Prepared):
    """A prepared float32 BATCH_MATMUL."""

    sides: Sides

    def evaluate(self, inputs: Inputs, note: Note) -> Outputs:
        """Add products in order, in float32."""
        left, right = self.sides.of(given(inputs, 0), given(inputs, 1))
        batch = np.broadcast_shapes(left.shape[:-2], right.shape[:-2])
        out = np.zeros(checked_shape((*batch, left.shape[-2], right.shape[-1])), np.float32)
        left = np.broadcast_to(left, (*batch, *left.shape[-2:]))
        right = np.broadcast_to(right, (*batch, *right.shape[-2:]))
        for index in np.ndindex(*batch):
            out[index] = matmul_in_order(left[index], right[index])
        return (note("sum", out),)

    def products(self, inputs: Inputs, index: tuple[int, ...]) -> Products:
        """Return a row of the left side times a column of the right."""
        left, right = self.sides.products(given(inputs, 0).shape, given(inputs, 1).shape, index)
        return Products((Reads(0, left), Reads(1, right)))


def prepare(op: OpView, profile: Profile) -> Prepared:
    """Check the contract of BATCH_MATMUL and derive its multiplier.

    Raises
    ------
    ModelError
        The op breaks its contract.
    UnsupportedError
        The combination of types is not covered.

    """
    expect_count(op, {2})
    left, right, y = input_tensor(op, 0), input_tensor(op, 1), output_tensor(op)
    for tensor in (left, right):
        rank = len(tensor.shape)
        expect(2 <= rank <= MAX_RANK, f"2 to {MAX_RANK} dimensions of {tensor.name!r}, found shape {tensor.shape}")
    sides = Sides(bool(option(op, "adj_x")), bool(option(op, "adj_y")))
    sides.expect_fit(left.shape, right.shape)
    types = (left.dtype, right.dtype, y.dtype)
    if types == (DType.FLOAT32, DType.FLOAT32, DType.FLOAT32):
        return FloatBatchMatMul(sides)
    if types == (DType.FLOAT32, DType.INT8, DType.FLOAT32):
        return prepare_hybrid(op, sides, profile)
    if types == (DType.INT8, DType.INT8, DType.INT32):
        return RawBatchMatMul(sides)
    if types in INTEGER_TYPES:
        return _prepare_integer(sides, left, right, y, ARITHMETIC[profile])
    raise unsupported(op, "; ".join(KERNELS[0].covers))


#: No input has more dimensions.
MAX_RANK = 5
#: Types of left side, right side and output.
INTEGER_TYPES = (
    (DType.INT8, DType.INT8, DType.INT8),
    (DType.INT16, DType.INT16, DType.INT16),
    (DType.INT16, DType.INT8, DType.INT16),
)


def _prepare_integer(
    sides: Sides, left: TensorView, right: TensorView, y: TensorView, arithmetic: Arithmetic
) -> BatchMatMul:
    if quant_of(right).per_axis or quant_of(left).per_axis:
        raise UnsupportedError("BATCH_MATMUL of integers quantized per axis: the runtime takes their scale for 0")
    wide = left.dtype is DType.INT16
    zero_points = zero_point_of(left), zero_point_of(right)
    if wide:
        expect((*zero_points, zero_point_of(y)) == (0, 0, 0), "zero points 0 beside an INT16 left side, found others")
    scales = scale_of(left), scale_of(right), scale_of(y)
    narrow_scale = arithmetic.float32_scale
    real_multiplier = float32_scale_ratio(*scales) if narrow_scale else scale_ratio(*scales, float32_product=True)
    regime = arithmetic.wide if wide else arithmetic.narrow
    activation = ActivationRange(y.dtype.min, y.dtype.max)
    requantize = Requantize(regime, real_multiplier, zero_point_of(y), activation, y.dtype)
    product = sides, zero_points, (left.dtype, right.dtype), DType.INT64 if wide else DType.INT32, requantize
    pairs = find_pairs(arithmetic.lanes, left, right, lambda right: sides.right(right).swapaxes(-1, -2))
    return BatchMatMul(*product) if pairs is None else PairedBatchMatMul(*product, pairs)


def _left_by_delegate(op: OpView) -> str | None:
    """Return why XNNPACK leaves a BATCH_MATMUL to other kernels.

    Source: ``tflite/delegates/xnnpack/xnnpack_delegate.cc`` (VisitBatchMatMulNode).
    """
    left, right, y = input_tensor(op, 0), input_tensor(op, 1), output_tensor(op)
    types = (left.dtype, right.dtype, y.dtype)
    hybrid = types == (DType.FLOAT32, DType.INT8, DType.FLOAT32)
    integers = types == INTEGER_TYPES[0]
    if not (hybrid or integers or set(types) == {DType.FLOAT32}):
        return f"XNNPACK does not take BATCH_MATMUL from {left.dtype.name} and {right.dtype.name} to {y.dtype.name}"
    if integers and (quant_of(right).per_axis or zero_point_of(right)):
        return "XNNPACK takes a BATCH_MATMUL of int8 whose right side has one scale and the zero point 0 alone"
    if right.dtype is DType.INT8 and quant_of(right).per_axis:
        axis, expected = quant_of(right).quantized_dimension, len(right.shape) - (2 if option(op, "adj_y") else 1)
        if axis != expected:
            return f"XNNPACK expects the quantized dimension of {right.name!r} to be {expected}, not {axis}"
    return None


KERNELS = (
    Kernel(
        "BATCH_MATMUL",
        prepare,
        covers=(
            "int8 x int8 to int8 or int32",
            "int16 x int16",
            "int16 x int8",
            "float32 x int8 (hybrid), per-tensor and per-axis",
            "float32",
        ),
        refusal={TFLM: micro.sums, XNNPACK: _left_by_delegate},
    ),
)
