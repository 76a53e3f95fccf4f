"""FULLY_CONNECTED on integer activations; see ``fully_connected.py``.

Source: ``tflite/kernels/fully_connected.cc``, ``tflite/kernels/internal/reference/integer_ops/fully_connected.h``,
``tflite/kernels/internal/reference/fully_connected.h``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from functools import partial
from typing import Any

import numpy as np

from kernels.engine import compile as fast
from kernels.engine import exact
from kernels.engine.activation import Activation, quantized_range
from kernels.engine.contract import (
    choice,
    expect,
    expect_dtype,
    input_tensor,
    optional_input,
    output_tensor,
    quant_of,
    scale_of,
    zero_point_of,
)
from kernels.engine.convolution import fits, with_bias
from kernels.engine.pairs import Lanes, Pairs, find_pairs, wrapped
from kernels.engine.requantized import Reshaped
from kernels.engine.rows import Rows
from kernels.engine.taps import Products, Reads
from kernels.engine.types import Inputs, OpView, Outputs, Prepared, Runner, TensorView, given
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
from qmath.errors import UnsupportedError
from qmath.fixed_point import wrap
from qmath.multiplier import float32_scale_ratio, scale_ratio
from qmath.requantize import (
    DOUBLE_ROUNDING,
    DOUBLE_ROUNDING_HALF_UP,
    FLOAT32_HALF_EVEN,
    FLOAT64_HALF_AWAY,
    REDUCED_64,
    SINGLE_ROUNDING,
    Float64HalfAway,
    Regime,
    Requantize,
)
from qmath.requantize_vector import (
    FLOAT32_HALF_EVEN_SATURATING,
    FLOAT64_HALF_AWAY_SATURATING,
    FLOOR_THEN_HALF_UP,
    FLOOR_THEN_HALF_UP_SATURATING,
    REDUCED_64_CUT_EARLY,
)
from qmath.stages import Note, silent
from qmath.types import Array, DType, Float64Array, Int64Array

#: The input slot of the bias, which may be missing.
BIAS = 2
#: Types of input, weights and output.
INTEGER_TYPES = (
    *((DType.INT8, weights, DType.INT8) for weights in (DType.INT8, DType.INT4, DType.INT2)),
    *((DType.INT16, weights, DType.INT16) for weights in (DType.INT16, DType.INT8, DType.INT4, DType.INT2)),
    (DType.UINT8, DType.UINT8, DType.UINT8),
    (DType.UINT8, DType.UINT8, DType.INT16),
)


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """How a runtime requantizes.

    Attributes
    ----------
    narrow, wide
        The regime of 32-bit and of 64-bit accumulators.
    float32_product
        Whether per-tensor scales of input and weights are multiplied in float32 rather than float64.
    bias_decides
        Whether the type of the bias, if there is one, and not ``quantized_bias_type`` says how wide int16 activations
        accumulate.
    unset_is_int32
        Whether int16 activations accumulate in 32 bits if ``quantized_bias_type`` is unset and the bias is not int64;
        not with a zero point of the weights, which the optimized kernels leave to the reference kernel.
    float32_scale
        Whether the multiplier is made in float32 throughout.
    of_uint8, of_int16, of_one_row
        The regime of 32-bit accumulators for uint8 and for int16 activations, and for a single row of at least 8
        elements with at least 4 units; None where it is no other.
    lanes
        How products join 16-bit lanes; None if they do not. Not with ``of_one_row``.
    bits_of_int4
        Bits of the accumulator, which wraps around, for int4 weights: a kernel that reads them from the upper half of
        a byte sums 16 times as much.

    """

    narrow: Regime
    wide: Regime
    float32_product: bool
    bias_decides: bool = False
    unset_is_int32: bool = False
    float32_scale: bool = False
    of_uint8: Regime | None = None
    of_one_row: Regime | None = None
    of_int16: Regime | None = None
    lanes: Lanes | None = None
    bits_of_int4: int = 32

    def regime(self, x: TensorView, rows: Rows, accumulator: DType, weights_zero_point: int) -> Regime:
        """Return the regime for an op."""
        # LiteRT's optimized kernels leave int16 activations to the reference kernel if the weights have a zero point.
        left_to_reference = x.dtype is DType.INT16 and weights_zero_point and isinstance(self.wide, Float64HalfAway)
        if accumulator is not DType.INT32 or left_to_reference:
            return self.wide
        if self.of_int16 and x.dtype is DType.INT16:
            return self.of_int16
        one_row = math.prod(x.shape) // rows.depth == 1 and rows.units >= 4 and rows.depth >= 8
        if self.of_one_row and one_row and x.dtype is not DType.INT16:
            return self.of_one_row
        return self.of_uint8 if self.of_uint8 and x.dtype is DType.UINT8 else self.narrow


ARITHMETIC: Rules[Arithmetic] = Rules(
    "FULLY_CONNECTED",
    {
        LITERT_REFERENCE: Arithmetic(FLOAT64_HALF_AWAY, FLOAT64_HALF_AWAY, float32_product=False),
        LITERT_OPTIMIZED: Arithmetic(
            DOUBLE_ROUNDING_HALF_UP, FLOAT64_HALF_AWAY, float32_product=True, unset_is_int32=True
        ),
        LITERT_OPTIMIZED_ARM64: Arithmetic(
            FLOOR_THEN_HALF_UP,
            FLOAT64_HALF_AWAY_SATURATING,
            float32_product=True,
            unset_is_int32=True,
            of_one_row=DOUBLE_ROUNDING_HALF_UP,
            of_int16=SINGLE_ROUNDING,
            lanes=Lanes.FILLED,
        ),
        XNNPACK: Arithmetic(
            FLOAT32_HALF_EVEN, FLOAT64_HALF_AWAY, float32_product=False, float32_scale=True, bits_of_int4=28
        ),
        XNNPACK_ARM64: Arithmetic(
            FLOAT32_HALF_EVEN_SATURATING,
            FLOAT64_HALF_AWAY,
            float32_product=False,
            float32_scale=True,
            of_uint8=FLOOR_THEN_HALF_UP_SATURATING,
            lanes=Lanes.OPEN,
            bits_of_int4=28,
        ),
        TFLM: Arithmetic(DOUBLE_ROUNDING, REDUCED_64, float32_product=True, bias_decides=True),
        CMSIS_NN: Arithmetic(DOUBLE_ROUNDING, REDUCED_64_CUT_EARLY, float32_product=True, bias_decides=True),
    },
)
#: Of weights that are stored sparsely or in blocks; and of int16 ones.
ARITHMETIC_OF_STORED_WEIGHTS: Rules[Arithmetic] = Rules(
    "FULLY_CONNECTED with sparse or shuffled weights",
    {LITERT_REFERENCE: Arithmetic(DOUBLE_ROUNDING, DOUBLE_ROUNDING, float32_product=True)},
)
ARITHMETIC_OF_INT16_WEIGHTS: Rules[Arithmetic] = Rules(
    "FULLY_CONNECTED with int16 weights",
    {LITERT_REFERENCE: Arithmetic(REDUCED_64, REDUCED_64, float32_product=True)},
)


@dataclass(frozen=True, slots=True)
class FullyConnected(Prepared):
    """A prepared integer FULLY_CONNECTED.

    Attributes
    ----------
    rows
        How the input is cut.
    codes
        Type of the input's codes.
    input_zero_point, weights_zero_point
        Subtracted from the codes.
    accumulator
        INT32 or INT64: the type of the accumulator.
    bias
        INT32 or INT64: the type that the bias is read as; None if there is none.
    requantize
        From accumulator to output code; one multiplier, or one a unit.
    bits
        How many bits of a 32-bit accumulator there are; it wraps around.

    """

    rows: Rows
    codes: DType
    input_zero_point: int
    weights_zero_point: int
    accumulator: DType
    bias: DType | None
    requantize: Requantize
    bits: int = 32

    def evaluate(self, inputs: Inputs, note: Note) -> Outputs:
        """Evaluate :func:`fully_connected`."""
        bias = None if self.bias is None else given(inputs, BIAS)
        return (fully_connected(given(inputs, 0), given(inputs, 1), bias, self, note),)

    def products(self, inputs: Inputs, index: tuple[int, ...]) -> Products:
        """Return one row of the weights times one row of the input."""
        _, elements, weights = self.rows.products(given(inputs, 0).shape, index)
        return Products((Reads(0, elements, self.input_zero_point), Reads(1, weights, self.weights_zero_point)))

    def compile(self, constants: Inputs) -> Runner:
        """Sum by BLAS and requantize by a proven step function, if weights and bias are constants."""
        definition = partial(self.evaluate, note=silent)
        weights, bias = constants[1], constants[BIAS] if self.bias else None
        if weights is None or (self.bias and bias is None):
            return definition
        sums = exact.MatMul(weights.astype(np.int64).T - self.weights_zero_point, self.codes)
        offset = bias_of(bias, self) - self.input_zero_point * sums.weights.sum(axis=0)
        if not fits(sums.reach, offset, self.accumulator) or not self._fits_bits(sums.reach, offset):
            return definition
        run_rows = fast.requantized_sum(sums, offset, self.requantize, definition)

        def run(inputs: Inputs) -> Outputs:
            x = given(inputs, 0)
            if x.ndim == 2 and x.shape[1] == self.rows.depth:
                return run_rows(inputs)
            (codes,) = run_rows((self.rows.of(x), *inputs[1:]))
            return (codes.reshape(self.rows.output_shape(x.shape)),)

        return Reshaped(run_rows, run, self.rows.shape_of)

    def _fits_bits(self, reach: exact.Reach, offset: Int64Array) -> bool:
        """Whether no input can make ``raw sum + offset`` wrap around early."""
        end = 1 << (self.bits - 1)
        return self.bits == 32 or bool((reach.lowest + offset >= -end).all() and (reach.highest + offset < end).all())


@dataclass(frozen=True, slots=True)
class PairedFullyConnected(FullyConnected):
    """A FULLY_CONNECTED whose products may join 16-bit lanes that wrap around."""

    pairs: Pairs = field(kw_only=True)

    def evaluate(self, inputs: Inputs, note: Note) -> Outputs:
        """Evaluate :func:`fully_connected`, with sums that lose pairs of lowest codes."""
        x, weights = given(inputs, 0), given(inputs, 1)
        rows = self.rows.of(x)
        accumulator = accumulate(rows, weights, None if self.bias is None else given(inputs, BIAS), self, note)
        pairs = self.pairs.of_inputs(rows) @ self.pairs.of_weights(weights).T
        return (self.requantize(wrapped(accumulator, pairs, note), note).reshape(self.rows.output_shape(x.shape)),)

    def compile(self, constants: Inputs) -> Runner:
        """Keep to the definition."""
        return Prepared.compile(self, constants)


def fully_connected(x: Array, weights: Array, bias: Array | None, fc: FullyConnected, note: Note = silent) -> Array:
    """Multiply rows of codes with a matrix of codes.

    Quirk: FULLY_CONNECTED requantizes in float64, one product rounded half away from zero, where LiteRT's other
    reference kernels multiply by a fixed-point number and round twice.

    Quirk: FULLY_CONNECTED without ``keep_num_dims`` ignores what is left of an input whose size is not a multiple of
    the depth.

    Quirk: FULLY_CONNECTED subtracts the zero point of per-tensor weights, and ignores those of per-axis weights.

    Parameters
    ----------
    x
        int8, uint8 or int16, any shape: quantized.
    weights
        int8, uint8 or int16, shape (units, depth): quantized.
    bias
        int32 or int64, shape (units,), or None: in units of input scale times weights scale.
    fc
        The prepared op.
    note
        Receives the stages.

    Returns
    -------
    int8, uint8 or int16, shape (rows, units), or that of ``x`` with ``units`` last: quantized.

    Notes
    -----
    1. Cut ``x`` into rows of ``depth`` elements.
    2. sum: over the depth, of ``(weights - weights_zero_point) * (x - input_zero_point)``.
    3. accumulator: the sum plus bias; 32 bits, wrapping, or 64.
    4. Requantize by the regime, per tensor or per unit.

    """
    accumulator = accumulate(fc.rows.of(x), weights, bias, fc, note)
    return fc.requantize(accumulator, note).reshape(fc.rows.output_shape(x.shape))


def accumulate(rows: Array, weights: Array, bias: Array | None, fc: FullyConnected, note: Note = silent) -> Int64Array:
    """Sum ``(weights - weights_zero_point) * (rows - input_zero_point)``, plus bias, in wrapping arithmetic."""
    real = rows.astype(np.int64) - fc.input_zero_point
    sums = exact.matmul(real, weights.astype(np.int64).T - fc.weights_zero_point)
    total = with_bias(sums, bias_of(bias, fc), fc.accumulator, note)
    if fc.bits == 32:
        return total
    return note("bits kept", wrap(total, fc.bits), "wrap(accumulator, bits)", accumulator=total, bits=fc.bits)


def bias_of(bias: Array | None, fc: FullyConnected) -> Int64Array:
    """Return one bias a unit, as the kernel reads it; zeros if there is none.

    Quirk: FULLY_CONNECTED reads an int64 bias as int32 words, two for each element, where it expects int32: always
    with int8 and uint8 activations, and with int16 weights if ``quantized_bias_type`` is unset.
    """
    if bias is None or fc.bias is None:
        return np.zeros(fc.rows.units, np.int64)
    words = np.ascontiguousarray(bias).reshape(-1).view(fc.bias.storage)
    return words[: fc.rows.units].astype(np.int64)


def _fields(fc: FullyConnected) -> dict[str, Any]:
    return {entry.name: getattr(fc, entry.name) for entry in fields(fc)}


def prepare_integer(
    op: OpView, rows: Rows, activation: Activation, profile: Profile, *, stored: bool = False
) -> FullyConnected:
    """Derive multipliers and range; ``stored`` says that weights are sparse or shuffled.

    Raises
    ------
    ModelError
        The op breaks its contract.
    UnsupportedError
        The runtime has no defined result.

    """
    x, weights, y, bias = input_tensor(op, 0), input_tensor(op, 1), output_tensor(op), optional_input(op, BIAS)
    wide_weights = weights.dtype is DType.INT16
    dense = ARITHMETIC_OF_INT16_WEIGHTS if wide_weights else ARITHMETIC
    arithmetic = (ARITHMETIC_OF_STORED_WEIGHTS if stored else dense)[profile]
    scaling = quant_of(weights)
    weights_zero_point = 0 if scaling.per_axis else zero_point_of(weights)
    accumulator, bias_type = _widths(op, weights_zero_point, arithmetic)
    regime = arithmetic.regime(x, rows, accumulator, weights_zero_point)
    in_float64 = isinstance(regime, Float64HalfAway)
    real_multiplier = _real_multiplier(
        x, weights, bias, y, float32_product=arithmetic.float32_product and not in_float64
    )
    if arithmetic.float32_scale:
        real_multiplier = float32_scale_ratio(scale_of(x), quant_of(weights).scale, scale_of(y))
        real_multiplier = real_multiplier if scaling.per_axis else real_multiplier[0]
    bounds = quantized_range(activation, y, XNNPACK if arithmetic.float32_scale else None)
    if x.dtype is DType.INT16:
        expect(zero_point_of(x) == zero_point_of(y) == 0, "zero points 0 of int16 tensors, found others")
    fc = FullyConnected(
        rows,
        x.dtype,
        zero_point_of(x),
        weights_zero_point,
        accumulator,
        bias_type,
        Requantize(regime, real_multiplier, zero_point_of(y), bounds, y.dtype),
        arithmetic.bits_of_int4 if weights.dtype is DType.INT4 and accumulator is DType.INT32 else 32,
    )
    lanes = arithmetic.lanes if regime is arithmetic.narrow else None
    pairs = find_pairs(lanes, x, weights, np.asarray, weights_zero_point)
    return fc if pairs is None else PairedFullyConnected(**_fields(fc), pairs=pairs)


def _widths(op: OpView, weights_zero_point: int, arithmetic: Arithmetic) -> tuple[DType, DType | None]:
    """Return the types of accumulator and bias, from the option ``quantized_bias_type`` where activations are int16."""
    x, weights, bias = input_tensor(op, 0), input_tensor(op, 1), optional_input(op, BIAS)
    accumulator = expected = DType.INT32
    if x.dtype is DType.INT16 and arithmetic.bias_decides and bias is not None:
        expect_dtype(bias, DType.INT32, DType.INT64)
        accumulator = expected = bias.dtype
    elif x.dtype is DType.INT16:
        chosen = choice(op, "quantized_bias_type", DType)
        expect(chosen in _BIAS_TYPES, f"quantized_bias_type to be INT32, INT64 or unset, found {chosen.name}")
        unset = chosen is DType.FLOAT32
        expect(unset or bias is None or bias.dtype is chosen, f"a bias of quantized_bias_type {chosen.name}")
        wide_weights = weights.dtype is DType.INT16
        optimized = arithmetic.unset_is_int32 and not weights_zero_point
        narrow = wide_weights or (optimized and (bias is None or bias.dtype is DType.INT32))
        expected = (DType.INT32 if narrow else DType.INT64) if unset else chosen
        accumulator = DType.INT64 if wide_weights else expected
    if bias is None:
        expect((x.dtype, output_tensor(op).dtype) != (DType.UINT8, DType.INT16), "a bias from UINT8 to INT16")
        return accumulator, None
    expect_dtype(bias, DType.INT32, DType.INT64)
    if bias.dtype.bits < expected.bits:
        msg = f"{op.name} from INT16 with an INT32 bias and quantized_bias_type unset: the runtime reads past its end"
        raise UnsupportedError(msg)
    return accumulator, expected


_BIAS_TYPES = (DType.FLOAT32, DType.INT32, DType.INT64)


def _real_multiplier(
    x: TensorView, weights: TensorView, bias: TensorView | None, y: TensorView, *, float32_product: bool
) -> Float64Array:
    """Return input scale times weights scale over output scale, one, or one a unit."""
    scaling = quant_of(weights)
    if scaling.per_axis:
        units = weights.shape[0]
        expect(x.dtype is not DType.UINT8, "per-tensor weights of UINT8")
        expect(scaling.quantized_dimension == 0, f"weights quantized along axis 0, not {scaling.quantized_dimension}")
        expect(scaling.scale.size == units, f"one scale a unit ({units}), found {scaling.scale.size}")
        return scale_ratio(scale_of(x), scaling.scale, scale_of(y))
    product = scale_of(x) * float(scaling.scale[0])
    if bias is not None:
        bias_scale = scale_of(bias) if bias.quant is not None and not bias.quant.per_axis else 0.0
        near = abs(product - bias_scale) <= MAX_BIAS_SCALE_ERROR * scale_of(y)
        expect(near, f"the bias's scale to be {product:g}, found {bias_scale:g}")
    expect(product >= 0, f"scales of one sign, found a product of {product:g}")
    return scale_ratio(scale_of(x), scaling.scale[0], scale_of(y), float32_product=float32_product)


#: How far the scale of a per-tensor bias may be off, in units of the output's scale.
MAX_BIAS_SCALE_ERROR = 0.02
