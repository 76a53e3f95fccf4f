"""Parameters and codes of constants, as each tool chooses them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from qmath.affine import along_quantized_dimension
from qmath.constants import WeightRounding, quantize_constant, quantize_weights
from qmath.rounding import round_half_away_from_zero, round_half_to_even
from qmath.scheme import SMALLEST_WEIGHT, asymmetric_params, largest_magnitude, weight_params
from qmath.types import Array, DType, Float32Array, Float64Array
from quantref.quantizer.params import Params
from quantref.quantizer.ranges import aeq_range, trained_range
from quantref.quantizer.statistics import Range

#: AI Edge Quantizer takes magnitudes to be at least this.
AEQ_SMALLEST = 1e-9


def symmetric_weights(
    values: Float32Array, axis: int | None, dtype: DType = DType.INT8, *, smallest: float = SMALLEST_WEIGHT
) -> Params:
    """Give weights a symmetric float32 scale, or one an index along an axis; the codes are narrow."""
    return Params.of(weight_params(values, dtype, axis, smallest=smallest), axis=axis, narrow=True)


def symmetric_weights_float64(values: Float32Array, axis: int | None) -> Params:
    """Give int8 weights symmetric scales that stay float64: ``2 * max |w| / 254``."""
    magnitude = np.maximum(largest_magnitude(values, axis).astype(np.float64), SMALLEST_WEIGHT)
    scale = 2 * magnitude / (2 * DType.INT8.max)
    return Params(DType.INT8, tuple(map(float, scale)), (0,) * scale.size, axis, narrow=True)


def tflite_constant(values: Float32Array) -> Params:
    """Spread int8 codes over a constant that is neither weights nor a bias, as TFLiteConverter does."""
    low, high = _with_zero(values)
    return Params.of(asymmetric_params(low, high))


def trained_constant(values: Float32Array, dtype: DType, *, narrow: bool) -> Params:
    """Spread codes over a constant in float64, as quantization-aware training and uint8 models have it."""
    return trained_range(*_with_zero(values), dtype, narrow=narrow)


def aeq_weights(values: Float32Array, axis: int, dtype: DType) -> Params:
    """Give weights symmetric scales as AI Edge Quantizer does; codes of less than 8 bits are not narrow."""
    return replace(symmetric_weights(values, axis, dtype, smallest=AEQ_SMALLEST), narrow=dtype.bits >= 8)


def aeq_constant(values: Float32Array, dtype: DType) -> Params:
    """Give a constant that is not weights the parameters of an activation, as AI Edge Quantizer does."""
    params = aeq_range(Range(values.min(), values.max()), dtype)
    return replace(params, narrow=dtype is DType.INT16)


def tflite_codes(values: Float32Array, params: Params) -> Array:
    """Return the codes of a constant as TFLiteConverter's full integer quantization rounds them.

    Three roundings exist: per-axis weights multiply by the reciprocal of the scale, per-tensor weights by 127 over
    the largest magnitude (whatever their scale is), other constants divide by the scale.
    """
    if not params.narrow:
        return quantize_constant(values, params.stored())
    per_axis = params.axis is not None
    rounding = WeightRounding.RECIPROCAL_OF_SCALE if per_axis else WeightRounding.STEPS_OVER_MAX
    return quantize_weights(values, params.stored(), rounding)


def float64_codes(values: Float32Array, params: Params) -> Array:
    """Return codes in float64, half away from zero: dynamic range, quantization-aware training, uint8 models."""
    scale, zero_point = _spread(params, values.shape)
    steps = values / np.where(scale == 0, np.inf, scale)
    return _clamped(round_half_away_from_zero(steps + zero_point), params)


def aeq_codes(values: Float32Array, params: Params) -> Array:
    """Return codes as AI Edge Quantizer rounds them: divided in float32, plus the zero point, half to even."""
    scale, zero_point = _spread(params, values.shape)
    with np.errstate(over="ignore"):
        steps = values / scale.astype(np.float32) + zero_point.astype(np.float32)
    return _clamped(round_half_to_even(np.asarray(steps)), params)


def nearest_codes(values: Float32Array, params: Params) -> Array:
    """Return the codes whose real values, by the scale that is stored, are nearest; half away from zero."""
    scale, zero_point = _spread(params, values.shape)
    stored = scale.astype(np.float32).astype(np.float64)
    return _clamped(round_half_away_from_zero(values / stored) + zero_point, params)


def _with_zero(values: Float32Array) -> tuple[float, float]:
    """Return the range of a constant and 0, at least 1e-6 wide."""
    low, high = min(float(values.min()), 0.0), max(float(values.max()), 0.0)
    if high - low > 2 * SMALLEST_WEIGHT:
        return low, high
    return min(low, -SMALLEST_WEIGHT), max(high, SMALLEST_WEIGHT)


def _spread(params: Params, shape: tuple[int, ...]) -> tuple[Float64Array, Float64Array]:
    """Return scales and zero points so that they broadcast against a tensor."""
    zero_point = np.array(params.zero_point, np.float64)
    return (
        along_quantized_dimension(params.scales, params.axis or 0, shape),
        along_quantized_dimension(zero_point, params.axis or 0, shape),
    )


def _clamped(codes: Array, params: Params) -> Array:
    clamped: Array = np.clip(codes, *params.codes)
    return clamped.astype(params.dtype.storage)
