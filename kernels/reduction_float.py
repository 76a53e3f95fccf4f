"""MEAN and SUM of codes with a float32 scale: optimized SUM, XNNPACK; and optimized MEAN over height and width.

Source: ``tflite/kernels/internal/optimized/reduce.h`` (QuantizedMeanOrSum), ``integer_ops/mean.h``; XNNPACK
``src/operators/reduce-nd.c``, ``src/xnnpack/reference-utils.h``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from kernels.engine.reducing import Reduction, folded
from kernels.engine.taps import Products
from kernels.engine.types import Inputs, Outputs, Prepared, given
from qmath.fixed_point import wrap_int32
from qmath.requantize import DOUBLE_ROUNDING, DOUBLE_ROUNDING_HALF_UP, Requantize
from qmath.requantize_vector import InBlocks
from qmath.rounding import float_to_int32_x86, round_half_away_from_zero
from qmath.stages import Note, Ruled, ruled, silent
from qmath.types import ActivationRange, Array, DType, Float32Array, Int64Array

#: From a sum, a scale and an offset to a number in units of the output's scale.
Scaled: TypeAlias = Ruled[[Float32Array, Float32Array, Float32Array], Float32Array]


@ruled("float32(float32(sum * scale) + offset)")
def product_then_sum(sum: Float32Array, scale: Float32Array, offset: Float32Array) -> Float32Array:
    """Multiply, then add, rounding to float32 both times."""
    return np.asarray(sum * scale + offset)


@ruled("float32(sum * scale + offset)")
def fused(sum: Float32Array, scale: Float32Array, offset: Float32Array) -> Float32Array:
    """Multiply and add with one rounding to float32."""
    return np.asarray(sum.astype(np.float64) * scale + offset).astype(np.float32)


@ruled("half_away(scaled) + zero_point")
def half_away_plus_zero_point(scaled: Float32Array, zero_point: int) -> Int64Array:
    """Round half away from zero, then add the zero point."""
    return np.asarray(float_to_int32_x86(round_half_away_from_zero(scaled)) + zero_point)


@ruled("half_even(scaled)")
def half_even(scaled: Float32Array, zero_point: int) -> Int64Array:
    """Round half to even what holds the zero point already."""
    del zero_point
    return np.asarray(np.rint(np.clip(scaled, -(2.0**30), 2.0**30))).astype(np.int64)


@dataclass(frozen=True, slots=True)
class FloatScale:
    """How a runtime scales sums in float32.

    Attributes
    ----------
    scaled
        Multiplies a sum and adds the offset.
    round
        Rounds to a code.
    offset_has_output
        Whether the offset holds the output's zero point, subtracts ``count * zero_point`` times the scale and, for
        MEAN, the scale is divided by the count; else the offset is ``-zero_point * scale * count``.

    """

    scaled: Scaled
    round: Ruled[[Float32Array, int], Int64Array]
    offset_has_output: bool


#: LiteRT's optimized SUM.
OPTIMIZED_SUM = FloatScale(product_then_sum, half_away_plus_zero_point, offset_has_output=False)
#: XNNPACK on x86-64, and on Arm, where offsets too are fused.
XNNPACK_SCALE = FloatScale(product_then_sum, half_even, offset_has_output=True)
XNNPACK_ARM_SCALE = FloatScale(fused, half_even, offset_has_output=True)


@dataclass(frozen=True, slots=True)
class FloatScaledReduction(Prepared):
    """A prepared MEAN or SUM of codes.

    Attributes
    ----------
    keep_dims
        Whether reduced axes stay, with size 1.
    average
        Whether to divide by the number of elements.
    form
        How sums are scaled.
    ratio
        Input scale over output scale, in float32.
    input_zero_point, output_zero_point
        Codes of the real value 0.
    dtype
        Of input and output.

    """

    keep_dims: bool
    average: bool
    form: FloatScale
    ratio: Float32Array
    input_zero_point: int
    output_zero_point: int
    dtype: DType

    def evaluate(self, inputs: Inputs, note: Note) -> Outputs:
        """Evaluate :func:`reduce_in_float`."""
        return (reduce_in_float(given(inputs, 0), given(inputs, 1), self, note),)

    def products(self, inputs: Inputs, index: tuple[int, ...]) -> Products:
        """Return the codes that are added."""
        return folded(given(inputs, 0), given(inputs, 1), index, keep_dims=self.keep_dims)


def reduce_in_float(x: Array, axes: Array, op: FloatScaledReduction, note: Note = silent) -> Array:
    """Add codes along axes, scale the sum in float32, round.

    Parameters
    ----------
    x
        int8, uint8 or int16: quantized.
    axes
        int32.
    op
        The prepared op.
    note
        Receives the stages.

    Notes
    -----
    1. sum: of the raw codes; int32.
    2. scaled: the sum in float32 times the scale, plus an offset for the zero points.
    3. Round; clamp to the range of the type.

    """
    reduction = Reduction.of(x.shape, axes, keep_dims=op.keep_dims)
    if x.size == 0:
        return np.zeros(reduction.output_shape, x.dtype)
    total = note("sum", wrap_int32(reduction.rows(x).sum(axis=0, dtype=np.int64)))
    scale, offset = _scale_and_offset(reduction.count, op, note)
    single = total.astype(np.float32)
    scaled = note(
        "scaled", op.form.scaled(single, scale, offset), op.form.scaled.rule, sum=single, scale=scale, offset=offset
    )
    codes = op.form.round(scaled, op.output_zero_point)
    note("code", codes, op.form.round.rule, scaled=scaled, zero_point=op.output_zero_point)
    low, high = op.dtype.min, op.dtype.max
    clamped = note("clamped", np.clip(codes, low, high), "clamp(codes, low, high)", codes=codes, low=low, high=high)
    return clamped.astype(op.dtype.storage).reshape(reduction.output_shape)


def _scale_and_offset(count: int, op: FloatScaledReduction, note: Note) -> tuple[Float32Array, Float32Array]:
    zero_point, single_count = np.float32(op.input_zero_point), np.float32(count)
    if not op.form.offset_has_output:
        offset = np.asarray(-zero_point * op.ratio * single_count)
        rule = "float32(float32(-zero_point * ratio) * count)"
        note("offset", offset, rule, zero_point=zero_point, ratio=op.ratio, count=count)
        return op.ratio, offset
    inverse = np.float32(1) / single_count if op.average else np.float32(1)
    scale = note("scale", np.asarray(op.ratio * inverse), "float32(ratio * inverse)", ratio=op.ratio, inverse=inverse)
    points = np.asarray(np.float32(count * op.input_zero_point))
    offset = op.form.scaled(-points, scale, np.asarray(np.float32(op.output_zero_point)))
    terms = {"sum": -points, "scale": scale, "offset": np.asarray(np.float32(op.output_zero_point))}
    note("offset", offset, op.form.scaled.rule, **terms)
    return scale, offset


# --- MEAN over height and width -----------------------------------------------------------------------------------

#: Whole blocks of 16 channels, and the channels left over.
CHANNEL_BLOCKS = InBlocks(16, DOUBLE_ROUNDING_HALF_UP, DOUBLE_ROUNDING)


@dataclass(frozen=True, slots=True)
class SpatialMean(Prepared):
    """A prepared MEAN of int8 or uint8 NHWC images over height and width, keeping dimensions; else ``otherwise``.

    Attributes
    ----------
    input_scale, output_scale
        float32.
    input_zero_point, output_zero_point
        Codes of the real value 0.
    dtype
        Of input and output.
    otherwise
        What runs for other axes.

    """

    input_scale: Float32Array
    output_scale: Float32Array
    input_zero_point: int
    output_zero_point: int
    dtype: DType
    otherwise: Prepared

    def evaluate(self, inputs: Inputs, note: Note) -> Outputs:
        """Evaluate :func:`spatial_mean` where the axes are height and width."""
        x = given(inputs, 0)
        if not self._fits(x, given(inputs, 1)):
            return self.otherwise.evaluate(inputs, note)
        return (spatial_mean(x, self, note),)

    def products(self, inputs: Inputs, index: tuple[int, ...]) -> Products:
        """Return the codes that are added."""
        return folded(given(inputs, 0), given(inputs, 1), index, keep_dims=True)

    def _fits(self, x: Array, axes: Array) -> bool:
        return x.ndim == 4 and x.size > 0 and {int(axis) % 4 for axis in axes.ravel()} == {1, 2}

    def requantize(self, count: int) -> Requantize:
        """Return the requantization of a sum of ``count`` codes."""
        with np.errstate(all="ignore"):
            real = np.asarray(self.input_scale / (np.float32(count) * self.output_scale)).astype(np.float64)
            moved = np.float32(self.input_zero_point) * self.input_scale / self.output_scale
        zero_point = self.output_zero_point - int(float_to_int32_x86(round_half_up_in_float32(moved)))
        full_range = ActivationRange.of(self.dtype)
        return Requantize(CHANNEL_BLOCKS, real, zero_point, full_range, self.dtype)


def round_half_up_in_float32(value: Float32Array) -> Float32Array:
    """Add one half of the number's sign in float32; what is left is to drop the fraction."""
    return np.asarray(value + np.float32(0.5) if value > 0 else value - np.float32(0.5))


def spatial_mean(x: Array, op: SpatialMean, note: Note = silent) -> Array:
    """Average images over height and width.

    Parameters
    ----------
    x
        int8 or uint8, shape (batch, in_h, in_w, channels): quantized.
    op
        The prepared op.
    note
        Receives the stages.

    Returns
    -------
    Codes of the same type, shape (batch, 1, 1, channels).

    Notes
    -----
    1. accumulator: sum of the raw codes; int32.
    2. Requantize with ``input_scale / (count * output_scale)`` in float32, in whole blocks of 16 channels with ties
       up, after them with ties away from zero; add the output's zero point less ``input_zero_point * input_scale /
       output_scale``, which is rounded by itself.

    Quirk: Optimized MEAN of int8 and uint8 over height and width rounds the zero points' part and the sum's part each
    by itself, so that nearly a third of its outputs are one code away from the reference's.

    """
    accumulator = note("accumulator", wrap_int32(x.sum(axis=(1, 2), keepdims=True, dtype=np.int64)))
    return op.requantize(x.shape[1] * x.shape[2])(accumulator, note)
