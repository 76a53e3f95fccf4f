"""SOFTMAX and LOG_SOFTMAX of 8-bit codes by a table of e**x: LiteRT's optimized kernels.

On x86-64 the table holds float32 and so do sums and shares; on 64-bit Arm SOFTMAX to 8 bits has a table of 16-bit
integers, an integer sum, and requantizes by the inverse of that sum.

Source: ``tflite/kernels/activations.cc``, ``tflite/kernels/internal/optimized/optimized_ops.h`` (Softmax,
SoftmaxInt8LUT, LogSoftmax, PopulateSoftmaxLookupTable).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np

from kernels.engine.contract import zero_point_of
from kernels.engine.elementwise import float32_scale
from kernels.engine.taps import Products, Reads, row
from kernels.engine.types import Inputs, Outputs, Prepared, Runner, TensorView, given
from kernels.engine.ufuncs import clip
from qmath.fixed_point import wrap_int32
from qmath.multiplier import quantize_multiplier
from qmath.requantize import DOUBLE_ROUNDING, DOUBLE_ROUNDING_HALF_UP
from qmath.rounding import float_to_int32_x86, round_half_away_from_zero, round_half_to_even
from qmath.stages import Note, Ruled, ruled, silent, under
from qmath.types import Array, DType, Float32Array, Int64Array

#: Differences that 8-bit codes can have.
DIFFERENCES = 256
#: Shares below this are in the reach of 32-bit integers.
FAR = 2.0**30
#: Codes that Arm's vector instructions take at once.
VECTOR = 16


def power_table(scale: Float32Array, beta: float) -> Float32Array:
    """Return e**(-scale * beta * d) for d from 0 to 255: the product in float32, the power rounded once."""
    factor = -scale * np.float32(beta)
    arguments = np.asarray(factor * np.arange(DIFFERENCES, dtype=np.float32), np.float32)
    with np.errstate(over="ignore"):
        return np.exp(arguments.astype(np.float64)).astype(np.float32)


def short_table(scale: Float32Array, beta: float) -> Int64Array:
    """Return e**(-scale * beta * d) in units of 1/65535, half up after a float32 product, for d from 0 to 255."""
    powers = power_table(scale, beta)
    wide = (powers * np.float32(65535)).astype(np.float64) + 0.5
    return np.minimum(np.trunc(wide), 65535).astype(np.int64)


def below_maximum(x: Array, note: Note) -> Int64Array:
    """Return how far each code lies below the largest of its row."""
    largest = note("largest of the row", x.max(axis=-1, keepdims=True, initial=np.iinfo(x.dtype).min).astype(np.int64))
    difference = np.asarray(largest - x)
    return note("difference", difference, "largest - x", x=x, largest=largest)


def sum_in_order(terms: Float32Array) -> Float32Array:
    """Add float32 terms along the last axis one after the other."""
    if terms.shape[-1] == 0:
        return np.zeros((*terms.shape[:-1], 1), np.float32)
    # NumPy adds in pairs where it can; accumulating keeps the runtime's order and so its rounding.
    return np.asarray(np.add.accumulate(terms, axis=-1, dtype=np.float32)[..., -1:])


# --- Float table --------------------------------------------------------------------------------------------------


@ruled("wrap(half_away(share) + zero_point)")
def half_away_plus_zero_point(share: Float32Array, zero_point: int) -> Array:
    """Round half away from zero, add the zero point in 32 bits.

    Quirk: LiteRT's optimized SOFTMAX to int8 gives the highest code for shares that are NaN or infinite, as powers may
    be if beta is negative: they become the lowest int32, and the zero point wraps it around.
    """
    return wrap_int32(float_to_int32_x86(round_half_away_from_zero(share)) + zero_point)


@ruled("toward_zero(float32(share + 0.5))")
def half_up_without_zero_point(share: Float32Array, zero_point: int) -> Array:
    """Add one half in float32 and drop the fraction; the zero point is taken for 0."""
    del zero_point
    return np.asarray(float_to_int32_x86(np.asarray(share + np.float32(0.5))))


@dataclass(frozen=True, slots=True)
class FloatTableSoftmax(Prepared):
    """A prepared SOFTMAX of int8 or uint8.

    Attributes
    ----------
    table
        float32, shape ``(256,)``: e**x by how far a code lies below the largest.
    output_scale, zero_point, dtype
        Of the output.
    round
        From shares in units of the output's scale to codes.

    """

    table: Float32Array
    output_scale: Float32Array
    zero_point: int
    dtype: DType
    round: Ruled[[Float32Array, int], Array]

    def evaluate(self, inputs: Inputs, note: Note) -> Outputs:
        """Evaluate :func:`float_table_softmax`."""
        return (float_table_softmax(given(inputs, 0), self, note),)

    def products(self, inputs: Inputs, index: tuple[int, ...]) -> Products:
        """Return the terms of the sum of powers."""
        return Products((Reads("power", row(index, given(inputs, 0).shape[-1])),), stage="sum of powers")

    def compile(self, constants: Inputs) -> Runner:
        """Take the same steps with the fewest calls, on rows whose shares are in the reach of codes."""
        del constants
        zero_point, low, high = float(self.zero_point), float(self.dtype.min), float(self.dtype.max)
        up, largest_power = self.round is half_up_without_zero_point, self.table.max()
        if not np.isfinite(largest_power):
            return partial(self.evaluate, note=silent)

        def run(inputs: Inputs) -> Outputs:
            x = given(inputs, 0)
            if x.size == 0:
                return self.evaluate(inputs, silent)
            power = self.table.take(np.subtract(np.maximum.reduce(x, axis=-1, keepdims=True), x, dtype=np.intp))
            inverse = np.float32(1) / (sum_in_order(power) * self.output_scale)
            if not inverse.max() * largest_power < FAR:
                return self.evaluate(inputs, silent)
            power *= inverse
            # In float64 one half is added without rounding; shares are not negative, so a floor drops the fraction.
            code = np.add(power, np.float32(0.5), dtype=np.float32 if up else np.float64)
            np.floor(code, code)
            if not up:
                code += zero_point
            return (clip(code, low, high, code).astype(self.dtype.storage),)

        return run


def float_table_softmax(x: Array, op: FloatTableSoftmax, note: Note = silent) -> Array:
    """Compute SOFTMAX in float32.

    Parameters
    ----------
    x
        int8 or uint8, any shape of at least one dimension: quantized.
    op
        The prepared op.
    note
        Receives the stages.

    Returns
    -------
    Codes of ``op.dtype``, the shape of ``x``.

    Notes
    -----
    1. power: e**(-scale * beta * difference), a table of float32.
    2. sum of powers: over the row, in its order, in float32.
    3. inverse: 1 over (the sum times the output's scale).
    4. share: power times inverse, rounded half away from zero (to uint8: half up), plus the zero point; clamp.

    """
    power = op.table.take(below_maximum(x, note))
    note("power", power)
    total = note("sum of powers", sum_in_order(power))
    with np.errstate(all="ignore"):
        inverse = np.float32(1) / np.asarray(total * op.output_scale)
        rule = "float32(1 / float32(total * output_scale))"
        note("inverse", np.asarray(inverse), rule, total=total, output_scale=op.output_scale)
        share = note("share", np.asarray(power * inverse), "float32(power * inverse)", power=power, inverse=inverse)
    codes = op.round(share, op.zero_point)
    note("code", codes, op.round.rule, share=share, zero_point=op.zero_point)
    low, high = op.dtype.min, op.dtype.max
    clamped = note("clamped", np.clip(codes, low, high), "clamp(codes, low, high)", codes=codes, low=low, high=high)
    return clamped.astype(op.dtype.storage)


def float_table(x: TensorView, y: TensorView, beta: float) -> FloatTableSoftmax:
    """Prepare :class:`FloatTableSoftmax`."""
    rounding = half_up_without_zero_point if y.dtype is DType.UINT8 else half_away_plus_zero_point
    return FloatTableSoftmax(power_table(float32_scale(x), beta), float32_scale(y), zero_point_of(y), y.dtype, rounding)


# --- Short table --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ShortTableSoftmax(Prepared):
    """A prepared SOFTMAX of int8 or uint8 to the same type, on 64-bit Arm.

    Attributes
    ----------
    table
        int64, shape ``(256,)``: e**x in units of 1/65535, by how far a code lies below the largest.
    output_scale, zero_point, dtype
        Of the output.

    """

    table: Int64Array
    output_scale: Float32Array
    zero_point: int
    dtype: DType

    def evaluate(self, inputs: Inputs, note: Note) -> Outputs:
        """Evaluate :func:`short_table_softmax`."""
        return (short_table_softmax(given(inputs, 0), self, note),)

    def products(self, inputs: Inputs, index: tuple[int, ...]) -> Products:
        """Return the terms of the sum of powers."""
        return Products((Reads("power", row(index, given(inputs, 0).shape[-1])),), stage="sum of powers")


def short_table_softmax(x: Array, op: ShortTableSoftmax, note: Note = silent) -> Array:
    """Compute SOFTMAX with a table of 16-bit integers.

    Notes
    -----
    1. power: e**(-scale * beta * difference) in units of 1/65535.
    2. sum of powers: over the row; int32.
    3. inverse: 1 over (the sum times the output's scale), in float32; encoded as multiplier and shift.
    4. Multiply powers: in whole blocks of 16 along the row both roundings have ties up, after them the second one has
       ties away from zero.
    5. Add the zero point; clamp.

    """
    if x.size == 0:
        return x.astype(op.dtype.storage)
    power = note("power", op.table.take(below_maximum(x, note)))
    total = note("sum of powers", wrap_int32(power.sum(axis=-1, keepdims=True)))
    inverse = np.asarray(np.float32(1) / (total.astype(np.float32) * op.output_scale))
    rule = "float32(1 / float32(float32(total) * output_scale))"
    note("inverse", inverse, rule, total=total, output_scale=op.output_scale)
    factor = quantize_multiplier(inverse.astype(np.float64))
    note("shift", factor.shift, "floor_log2(inverse / (1 - 2**-32)) + 1", inverse=inverse)
    note("multiplier", factor.multiplier, "half_away(inverse * 2**(31 - shift))", inverse=inverse, shift=factor.shift)
    whole = DOUBLE_ROUNDING_HALF_UP.apply(power, factor, under(note, "in blocks"))
    single = DOUBLE_ROUNDING.apply(power, factor, under(note, "left over"))
    in_block = np.arange(x.shape[-1]) < x.shape[-1] // VECTOR * VECTOR
    scaled = np.where(in_block, whole, single)
    rule = "in_blocks if is_in_block else left_over"
    note("scaled", scaled, rule, in_blocks=whole, left_over=single, is_in_block=in_block)
    codes = scaled + op.zero_point
    note("zero point added", codes, "scaled + zero_point", scaled=scaled, zero_point=op.zero_point)
    low, high = op.dtype.min, op.dtype.max
    clamped = note("clamped", np.clip(codes, low, high), "clamp(codes, low, high)", codes=codes, low=low, high=high)
    return clamped.astype(op.dtype.storage)


def short_table_to_8_bits(x: TensorView, y: TensorView, beta: float) -> Prepared:
    """Prepare :class:`ShortTableSoftmax`; :class:`FloatTableSoftmax` where the output has another type."""
    if y.dtype is not x.dtype:
        return float_table(x, y, beta)
    return ShortTableSoftmax(short_table(float32_scale(x), beta), float32_scale(y), zero_point_of(y), y.dtype)


# --- LOG_SOFTMAX --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class FloatTableLogSoftmax(Prepared):
    """A prepared LOG_SOFTMAX of int8 or uint8.

    Attributes
    ----------
    table
        float32, shape ``(256,)``: e**x by how far a code lies below the largest.
    input_scale, output_scale
        float32.
    zero_point, dtype
        Of the output.

    """

    table: Float32Array
    input_scale: Float32Array
    output_scale: Float32Array
    zero_point: int
    dtype: DType

    def evaluate(self, inputs: Inputs, note: Note) -> Outputs:
        """Evaluate :func:`float_table_log_softmax`."""
        return (float_table_log_softmax(given(inputs, 0), self, note),)

    def products(self, inputs: Inputs, index: tuple[int, ...]) -> Products:
        """Return the terms of the sum of powers."""
        return Products((Reads("power", row(index, given(inputs, 0).shape[-1])),), stage="sum of powers")


def float_table_log_softmax(x: Array, op: FloatTableLogSoftmax, note: Note = silent) -> Array:
    """Compute LOG_SOFTMAX in float32.

    Notes
    -----
    1. power: e**(-scale * difference), a table of float32.
    2. sum of powers: over the row, in its order, in float32.
    3. offset: (the largest code times the input's scale, plus the logarithm of the sum) over the output's scale.
    4. logarithm: each code times the quotient of the scales, less the offset; rounded half to even, plus the zero
       point; clamp.

    """
    power = note("power", op.table.take(below_maximum(x, note)))
    total = note("sum of powers", sum_in_order(power))
    largest = x.max(axis=-1, keepdims=True, initial=np.iinfo(x.dtype).min).astype(np.float32)
    with np.errstate(all="ignore"):
        logarithm_of_sum = np.log(total.astype(np.float64)).astype(np.float32)
        note("logarithm of the sum", logarithm_of_sum, "float32(log(total))", total=total)
        offset = np.asarray((op.input_scale * largest + logarithm_of_sum) / op.output_scale)
        terms = {"input_scale": op.input_scale, "largest": largest, "logarithm": logarithm_of_sum}
        rule = "float32(float32(float32(input_scale * largest) + logarithm) / output_scale)"
        note("offset", offset, rule, output_scale=op.output_scale, **terms)
        scale = np.asarray(op.input_scale / op.output_scale)
        ratio = {"input_scale": op.input_scale, "output_scale": op.output_scale}
        note("ratio of the scales", scale, "float32(input_scale / output_scale)", **ratio)
        logarithm = np.asarray(scale * x.astype(np.float32) - offset)
        rule = "float32(float32(scale * x) - offset)"
        note("logarithm", logarithm, rule, scale=scale, x=x, offset=offset)
    codes = float_to_int32_x86(round_half_to_even(logarithm)) + op.zero_point
    rule = "half_even(logarithm) + zero_point"
    note("code", codes, rule, logarithm=logarithm, zero_point=op.zero_point)
    low, high = op.dtype.min, op.dtype.max
    clamped = note("clamped", np.clip(codes, low, high), "clamp(codes, low, high)", codes=codes, low=low, high=high)
    return clamped.astype(op.dtype.storage)


def log_of_float_table(x: TensorView, y: TensorView) -> FloatTableLogSoftmax:
    """Prepare :class:`FloatTableLogSoftmax`."""
    scale = float32_scale(x)
    return FloatTableLogSoftmax(power_table(scale, 1.0), scale, float32_scale(y), zero_point_of(y), y.dtype)
