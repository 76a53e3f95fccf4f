"""Constants of a model to codes: weights, biases and other constants, given their parameters.

The scale of a weight tensor comes out the same in every tool; the codes do not, because each tool divides in its own
way. :class:`WeightRounding` names the ways.

Follows ``tensorflow/compiler/mlir/quantization/common/ir`` and
``tensorflow/lite/tools/optimize/quantization_utils.cc``; the formulas were confirmed on the converter's output.
"""

from __future__ import annotations

import enum

import numpy as np
import numpy.typing as npt

from qmath.affine import along_quantized_dimension, quantized_range
from qmath.arguments import finite_float32
from qmath.errors import SpecError
from qmath.rounding import round_half_away_from_zero, round_half_to_even
from qmath.scheme import largest_magnitude
from qmath.types import Array, Float32Array, QuantParams

#: Bias codes stay within this, be they int32 or int64.
LARGEST_BIAS = (1 << 31) - 1


class WeightRounding(enum.Enum):
    """How symmetric weights become codes; ``m`` is the magnitude that the highest code stands for."""

    #: ``w * (1 / scale)`` in float32, half away from zero: per-axis weights of the MLIR quantizer.
    RECIPROCAL_OF_SCALE = "reciprocal of scale"
    #: ``w * (highest / m)`` in float32, half away from zero: its per-tensor weights, and the older quantizer.
    STEPS_OVER_MAX = "steps over maximum"
    #: ``w / (m / highest)`` in float64, half away from zero: dynamic range, quantization-aware training.
    FLOAT64_SCALE = "float64 scale"
    #: ``w / scale`` in float32, half to even: AI Edge Quantizer.
    DIVIDE_HALF_EVEN = "divide, half to even"


def quantize_weights(
    weights: npt.ArrayLike,
    params: QuantParams,
    rounding: WeightRounding = WeightRounding.RECIPROCAL_OF_SCALE,
    max_abs: Float32Array | None = None,
) -> Array:
    """Turn weights into codes of a symmetric scheme, from ``-highest`` to ``highest``.

    Parameters
    ----------
    weights
        float32, any shape.
    params
        Zero point 0; per-tensor, or per-axis for this shape.
    rounding
        Which computation.
    max_abs
        What the highest code stands for, one entry a scale, for the roundings that use it; by default the largest
        magnitude of the weights.

    Returns
    -------
    ndarray
        Codes in ``params.dtype.storage``; 0 where the scale (or the magnitude) is 0.

    Raises
    ------
    InputError
        A weight is NaN or infinite, or the shape does not fit the parameters.
    SpecError
        A zero point is not 0, or a scale too small to divide by in float32.

    """
    weights = finite_float32(weights, "weights")
    if params.zero_point.any():
        raise SpecError(f"expected zero points 0 of symmetric weights, found {params.zero_point}")
    if max_abs is None:
        max_abs = largest_magnitude(weights, params.quantized_dimension if params.per_axis else None)
    highest = params.dtype.max

    def spread(values: Float32Array) -> Float32Array:
        return along_quantized_dimension(values, params.quantized_dimension, weights.shape)

    codes: Array
    if rounding is WeightRounding.RECIPROCAL_OF_SCALE:
        codes = round_half_away_from_zero(weights * spread(_quotient(1, params.scale)))
    elif rounding is WeightRounding.STEPS_OVER_MAX:
        codes = round_half_away_from_zero(weights * spread(_quotient(highest, max_abs)))
    elif rounding is WeightRounding.FLOAT64_SCALE:
        scale = np.where(max_abs == 0, np.inf, np.asarray(max_abs, np.float64) / highest)
        codes = round_half_away_from_zero(
            weights / along_quantized_dimension(scale, params.quantized_dimension, weights.shape)
        )
    else:
        divisor = np.where(params.scale == 0, np.float32(np.inf), params.scale)
        with np.errstate(over="ignore"):
            codes = round_half_to_even(weights / spread(divisor))
    return np.clip(codes, -highest, highest).astype(params.dtype.storage)


def quantize_constant(values: npt.ArrayLike, params: QuantParams) -> Array:
    """Turn constants that are neither weights nor biases into codes, as the MLIR quantizer does.

    Like :func:`qmath.affine.quantize`, except that the zero point is added in float32 before rounding.

    Raises
    ------
    InputError
        A value is NaN or infinite.
    SpecError
        A scale is not positive.

    """
    values = finite_float32(values, "constants")
    if not (params.scale > 0).all():
        raise SpecError(f"expected positive scales, found {params.scale.min()}")
    scale = along_quantized_dimension(params.scale, params.quantized_dimension, values.shape)
    zero_point = along_quantized_dimension(params.zero_point, params.quantized_dimension, values.shape)
    with np.errstate(over="ignore"):
        codes = round_half_away_from_zero(np.asarray(values / scale + zero_point.astype(np.float32)))
    clamped: Array = np.clip(codes, *quantized_range(params.dtype))
    return clamped.astype(params.dtype.storage)


def quantize_bias(bias: npt.ArrayLike, params: QuantParams) -> Array:
    """Turn a bias into codes: ``bias * (1 / scale)`` in float32, half away from zero, within +-(2**31 - 1).

    Parameters
    ----------
    bias
        float32, shape ``(channels,)``.
    params
        From :func:`bias_params`; one scale, or one a channel.

    Returns
    -------
    ndarray
        int32 or int64, 0 where the scale is 0.

    Raises
    ------
    InputError
        A value is NaN or infinite, or the shape does not fit the parameters.
    SpecError
        A scale is too small to divide by in float32.

    """
    bias = finite_float32(bias, "biases")
    reciprocal = along_quantized_dimension(_quotient(1, params.scale), params.quantized_dimension, bias.shape)
    with np.errstate(over="ignore"):
        codes = round_half_away_from_zero(np.asarray(bias * reciprocal)).astype(np.float64)
    return np.clip(codes, -LARGEST_BIAS, LARGEST_BIAS).astype(params.dtype.storage)


def _quotient(numerator: int, divisor: Float32Array) -> Float32Array:
    """Divide in float32; by 0 gives 0."""
    with np.errstate(divide="ignore", over="ignore"):
        quotient = np.where(divisor == 0, np.float32(0), np.float32(numerator) / divisor)
    if not np.isfinite(quotient).all():
        raise SpecError(f"expected divisors of {numerator} that keep it within float32, found {np.min(divisor)}")
    return quotient
