"""TRANSPOSE_CONV: every input adds the filter, times itself, to a window of the output.

Its inputs are the shape of the output, the filter (out_c, kernel_h, kernel_w, in_c), the activation and, perhaps, a
bias. Here are the forms whose activations are integers, and float32; ``transpose_conv_hybrid.py`` has float32
activations with an int8 filter.

Source: ``tflite/kernels/transpose_conv.cc``, ``tflite/kernels/internal/reference/integer_ops/transpose_conv.h``,
``tflite/kernels/internal/reference/transpose_conv.h``.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np

from kernels.engine import compile as fast
from kernels.engine import exact, micro
from kernels.engine.activation import Activation
from kernels.engine.contract import (
    choice,
    expect_count,
    expect_dtype,
    expect_rank,
    input_tensor,
    option,
    optional_input,
    output_tensor,
    unsupported,
    zero_point_of,
)
from kernels.engine.convolution import (
    Arithmetic,
    Operands,
    accumulator_of,
    bias_or_zeros,
    delegate_demand,
    delegate_refusal,
    expect_bias,
    expect_bias_scale,
    expect_no_bias_zero_point,
    expect_symmetric_activations,
    finished,
    fits,
    optional_array,
    requantize_of,
    with_bias,
)
from kernels.engine.delegate import fused_activation
from kernels.engine.geometry import Padding
from kernels.engine.linear import transpose_convolve, transpose_convolve_in_order
from kernels.engine.pairs import Lanes, Pairs, find_pairs, wrapped
from kernels.engine.registry import Kernel
from kernels.engine.spreading import Spreading, spreading_of
from kernels.engine.taps import Products, Reads, grid, under_spreading
from kernels.engine.types import Inputs, OpView, Outputs, Prepared, Runner, given
from kernels.profiles import (
    CMSIS_NN,
    LITERT_OPTIMIZED,
    LITERT_OPTIMIZED_ARM64,
    LITERT_REFERENCE,
    TFLM,
    XNNPACK,
    XNNPACK_ARM64,
    Profile,
    Rules,
)
from kernels.transpose_conv_hybrid import prepare_hybrid
from qmath.requantize import DOUBLE_ROUNDING, DOUBLE_ROUNDING_HALF_UP, FLOAT32_HALF_EVEN, REDUCED_64, Requantize
from qmath.requantize_vector import FLOAT32_HALF_EVEN_SATURATING, FLOOR_THEN_HALF_UP_SATURATING, HALF_UP_IN_BLOCKS_OF_8
from qmath.stages import Note, silent
from qmath.types import Array, DType, Int64Array

ARITHMETIC: Rules[Arithmetic] = Rules(
    "TRANSPOSE_CONV",
    {
        LITERT_REFERENCE: Arithmetic({DType.INT32: DOUBLE_ROUNDING, DType.INT64: REDUCED_64}),
        LITERT_OPTIMIZED: Arithmetic(
            {DType.INT32: HALF_UP_IN_BLOCKS_OF_8, DType.INT64: REDUCED_64}, of_uint8=DOUBLE_ROUNDING_HALF_UP
        ),
        LITERT_OPTIMIZED_ARM64: Arithmetic(
            {DType.INT32: HALF_UP_IN_BLOCKS_OF_8, DType.INT64: REDUCED_64},
            of_uint8=DOUBLE_ROUNDING_HALF_UP,
            lanes=Lanes.FILLED,
        ),
        XNNPACK: Arithmetic({DType.INT32: FLOAT32_HALF_EVEN}, float32_scale=True),
        XNNPACK_ARM64: Arithmetic(
            {DType.INT32: FLOAT32_HALF_EVEN_SATURATING},
            float32_scale=True,
            of_uint8=FLOOR_THEN_HALF_UP_SATURATING,
            lanes=Lanes.OPEN,
        ),
        CMSIS_NN: Arithmetic({DType.INT32: DOUBLE_ROUNDING, DType.INT64: REDUCED_64}, ignores_activation=True),
    },
)
#: Types of input and filter, and what the bias may be.
BIAS_TYPES = {
    (DType.INT8, DType.INT8): (DType.INT32,),
    (DType.INT16, DType.INT8): (DType.INT32, DType.INT64),
    (DType.UINT8, DType.UINT8): (DType.INT32,),
}
#: Input slots; the bias may be missing.
SHAPE, FILTER, DATA, BIAS = range(4)


@dataclass(frozen=True, slots=True)
class TransposeConv(Prepared):
    """A prepared TRANSPOSE_CONV on integer activations.

    Attributes
    ----------
    spreading
        Where windows lie.
    codes
        Type of the input's codes.
    input_zero_point, filter_zero_point
        Subtracted from the codes.
    has_bias
        Whether there is a bias.
    accumulator
        INT32, which wraps around, or INT64.
    requantize
        From accumulator to output code, per output channel.

    """

    spreading: Spreading
    codes: DType
    input_zero_point: int
    filter_zero_point: int
    has_bias: bool
    accumulator: DType
    requantize: Requantize

    def evaluate(self, inputs: Inputs, note: Note) -> Outputs:
        """Evaluate :func:`transpose_conv`."""
        shape, filter_, x = (given(inputs, slot) for slot in (SHAPE, FILTER, DATA))
        return (transpose_conv(shape, filter_, x, optional_array(inputs, BIAS), self, note),)

    def products(self, inputs: Inputs, index: tuple[int, ...]) -> Products:
        """Return the filter times every input that spreads to one output."""
        window, depth = self.spreading.window(given(inputs, SHAPE)), given(inputs, FILTER).shape[3]
        image, row, column, channel = index
        tap_rows, rows = under_spreading(window.height, row)
        tap_columns, columns = under_spreading(window.width, column)
        pixels = grid(image, rows, columns, range(depth))
        taps = grid(channel, tap_rows, tap_columns, range(depth))
        return Products((Reads(DATA, pixels, self.input_zero_point), Reads(FILTER, taps, self.filter_zero_point)))

    def compile(self, constants: Inputs) -> Runner:
        """Sum by BLAS and requantize by a proven form, if all but the activation is constant."""
        definition = partial(self.evaluate, note=silent)
        shape, filter_, bias = constants[SHAPE], constants[FILTER], optional_array(constants, BIAS)
        if shape is None or filter_ is None or (bias is None and self.has_bias):
            return definition
        weights = filter_.astype(np.int64) - self.filter_zero_point
        window = self.spreading.window(shape)
        sums = exact.TransposeConvolution(weights, window, self.input_zero_point, self.codes)
        offset = bias_or_zeros(bias, len(weights))
        if not fits(sums.reach, offset, self.accumulator):
            return definition
        run = fast.requantized_sum(
            sums, offset, self.requantize, lambda data: definition((shape, filter_, data[0], bias))
        )
        return lambda inputs: run((given(inputs, DATA),))


def transpose_conv(
    output_shape: Array, filter_: Array, x: Array, bias: Array | None, conv: TransposeConv, note: Note = silent
) -> Array:
    """Spread integer codes over windows of the output.

    Quirk: TRANSPOSE_CONV ignores zero points of an int8 filter.

    Quirk: CMSIS-NN's TRANSPOSE_CONV ignores the fused activation.

    Quirk: TRANSPOSE_CONV with int16 activations has an int32 accumulator, which wraps around, if
    ``quantized_bias_type`` is INT32, with or without a bias, and an int64 one otherwise; it then reads even an int32
    bias as int64, past its end, which is refused here.

    Parameters
    ----------
    output_shape
        int32, 4 elements: (batch, out_h, out_w, out_c).
    filter_
        int8 or uint8, shape (out_c, kernel_h, kernel_w, in_c): quantized.
    x
        int8, uint8 or int16, shape (batch, in_h, in_w, in_c): quantized.
    bias
        int32 or int64, out_c elements, or None: in units of input scale times filter scale.
    conv
        The prepared op.
    note
        Receives the stages.

    Returns
    -------
    Of the type of ``x``, shape ``output_shape``: quantized.

    Notes
    -----
    1. sum: for each input pixel and tap, add ``(filter - filter_zero_point) * (x - input_zero_point)``, summed over
       the input channels, to the output at ``pixel * stride + tap - padding``, if it lies inside.
    2. accumulator: the sum plus bias; 32 bits, wrapping around, or 64.
    3. Requantize by the regime, per output channel.

    """
    return conv.requantize(accumulate(output_shape, filter_, x, bias, conv, note), note)


def accumulate(
    output_shape: Array, filter_: Array, x: Array, bias: Array | None, conv: TransposeConv, note: Note = silent
) -> Int64Array:
    """Add up what every input spreads, in steps, plus bias; as the accumulator holds it."""
    weights = filter_.astype(np.int64) - conv.filter_zero_point
    steps = x.astype(np.int64) - conv.input_zero_point
    sums = transpose_convolve(steps, weights, conv.spreading.window(output_shape))
    return with_bias(sums, bias_or_zeros(bias, len(weights)), conv.accumulator, note)


@dataclass(frozen=True, slots=True)
class PairedTransposeConv(TransposeConv):
    """A TRANSPOSE_CONV whose products may join 16-bit lanes that wrap around: those of a pixel and a tap are a row."""

    pairs: Pairs

    def evaluate(self, inputs: Inputs, note: Note) -> Outputs:
        """Evaluate :func:`transpose_conv`, with sums that lose pairs of lowest codes."""
        shape, filter_, x = (given(inputs, slot) for slot in (SHAPE, FILTER, DATA))
        accumulator = accumulate(shape, filter_, x, optional_array(inputs, BIAS), self, note)
        rows = self.pairs.of_inputs(x), self.pairs.of_weights(filter_)
        pairs = transpose_convolve(*rows, self.spreading.window(shape))
        return (self.requantize(wrapped(accumulator, pairs, note), note),)

    def compile(self, constants: Inputs) -> Runner:
        """Keep to the definition."""
        return Prepared.compile(self, constants)


@dataclass(frozen=True, slots=True)
class FloatTransposeConv(Prepared):
    """A prepared float32 TRANSPOSE_CONV."""

    spreading: Spreading
    activation: Activation

    def evaluate(self, inputs: Inputs, note: Note) -> Outputs:
        """Spread product after product, add the bias, clamp: the same bits as LiteRT's reference kernel."""
        window = self.spreading.window(given(inputs, SHAPE))
        sums = note("sum", transpose_convolve_in_order(given(inputs, DATA), given(inputs, FILTER), window))
        return (finished(sums, optional_array(inputs, BIAS), self.activation, note),)


def prepare(op: OpView, profile: Profile) -> Prepared:
    """Check the contract of TRANSPOSE_CONV and derive window, multipliers and range.

    Raises
    ------
    ModelError
        The op breaks its contract.
    UnsupportedError
        The combination of types is not covered.

    """
    expect_count(op, {3, 4})
    shape = input_tensor(op, SHAPE)
    operands = _operands(op)
    expect_dtype(shape, DType.INT32)
    expect_rank(shape, 1)
    expect_rank(operands.x, 4)
    expect_rank(operands.filter, 4)
    spreading = spreading_of(op, operands.x, operands.filter)
    activation = choice(op, "fused_activation_function", Activation)
    expect_dtype(operands.y, operands.x.dtype)
    if shape.data is not None:
        spreading.window(shape.data)
    if operands.types == (DType.FLOAT32, DType.FLOAT32):
        expect_bias(operands, DType.FLOAT32)
        return FloatTransposeConv(spreading, activation)
    if operands.types == (DType.FLOAT32, DType.INT8):
        return prepare_hybrid(operands, spreading, activation, profile)
    if operands.types in BIAS_TYPES:
        return _prepare_integer(op, operands, spreading, activation, ARITHMETIC[profile])
    raise unsupported(op, "; ".join(KERNELS[0].covers))


def _prepare_integer(
    op: OpView, operands: Operands, spreading: Spreading, activation: Activation, arithmetic: Arithmetic
) -> TransposeConv:
    x, is_uint8, has_bias = operands.x, operands.x.dtype is DType.UINT8, operands.bias is not None
    expect_bias(operands, *BIAS_TYPES[operands.types])
    if is_uint8:
        expect_bias_scale(operands)
    else:
        expect_no_bias_zero_point(operands)
    if x.dtype is DType.INT16:
        expect_symmetric_activations(operands)
    accumulator = accumulator_of(op, operands)
    requantize = requantize_of(operands, accumulator, activation, arithmetic)
    filter_zero_point = zero_point_of(operands.filter) if is_uint8 else 0
    conv = spreading, x.dtype, zero_point_of(x), filter_zero_point, has_bias, accumulator, requantize
    pairs = find_pairs(arithmetic.lanes, x, operands.filter, np.asarray, filter_zero_point)
    return TransposeConv(*conv) if pairs is None else PairedTransposeConv(*conv, pairs)


def _operands(op: OpView) -> Operands:
    return Operands(input_tensor(op, DATA), input_tensor(op, FILTER), optional_input(op, BIAS), output_tensor(op), 0)


def _left_by_delegate(op: OpView) -> str | None:
    operands, shape = _operands(op), input_tensor(op, SHAPE).data
    if shape is None:
        return "XNNPACK takes a constant output shape alone"
    reason = fused_activation(op) or delegate_refusal(operands, hybrid=True)
    if reason is not None or shape.size != 4:
        return reason or "XNNPACK expects an output shape of 4 dimensions"
    sizes = zip(operands.filter.shape[1:3], shape.reshape(-1)[1:3], _SIDES, strict=True)
    same = choice(op, "padding", Padding) is Padding.SAME
    for kernel, output, side in sizes:
        if same and kernel < option(op, f"stride_{side}"):
            return "XNNPACK takes TRANSPOSE_CONV with SAME padding only where strides are no longer than the filter"
        if not same and kernel > output:
            return "XNNPACK takes TRANSPOSE_CONV with VALID padding only where the filter fits the output"
    return None


_SIDES = ("h", "w")


KERNELS = (
    Kernel(
        "TRANSPOSE_CONV",
        prepare,
        covers=(
            "int8 x int8, per-tensor and per-axis",
            "int16 x int8, per-tensor and per-axis, int32 or int64 bias",
            "uint8 x uint8, per-tensor",
            "float32 x int8 (hybrid)",
            "float32",
        ),
        refusal={TFLM: micro.sums, XNNPACK: _left_by_delegate},
        demands={XNNPACK: lambda op: delegate_demand(_operands(op))},
    ),
)
