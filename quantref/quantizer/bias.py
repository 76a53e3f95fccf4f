"""Parameters and codes of biases, and what tools do about biases too large for their codes."""

from __future__ import annotations

import dataclasses

import numpy as np

from qmath.constants import LARGEST_BIAS, quantize_bias
from qmath.rounding import round_half_away_from_zero, round_half_to_even
from qmath.types import Array, DType, Float32Array
from quantref.quantizer.params import Params

#: Biases are kept below this many steps, to leave room in an int32 accumulator.
HALF_RANGE = LARGEST_BIAS // 2
#: The same for an int64 accumulator, of which a runtime can rescale 48 bits.
LARGEST_WIDE = (1 << 46) - 1


def bias_scale(source: Params, weights: Params, dtype: DType, *, float32: bool = True) -> Params:
    """Give a bias the scale of the accumulator, ``input_scale * weight_scale``; rounded to float32, or not."""
    scale = source.scales * weights.scales
    if float32:
        with np.errstate(under="ignore"):
            scale = scale.astype(np.float32).astype(np.float64)
    return Params(dtype, tuple(map(float, scale)), (0,) * scale.size, 0 if scale.size > 1 else None)


def tflite_bias(bias: Float32Array, params: Params) -> Array:
    """Return codes of a bias as TFLiteConverter's quantizers round them: times the reciprocal, in float32."""
    return quantize_bias(bias, params.stored())


def float64_bias(bias: Array, params: Params, limit: int | None = None) -> Array:
    """Return codes of a bias from unrounded scales, half away from zero, within +-``limit`` (by default int32's)."""
    steps = bias / np.where(params.scales == 0, np.inf, params.scales)
    largest = LARGEST_BIAS if limit is None else limit
    codes: Array = np.clip(round_half_away_from_zero(steps), -largest, largest)
    return codes.astype(params.dtype.storage)


def aeq_bias(bias: Float32Array, params: Params, *, float64: bool) -> Array:
    """Return codes of a bias as AI Edge Quantizer rounds them: divided, half to even, in float32 or float64.

    It clamps to a float32 bound that lies one above int32, so that a positive bias too large wraps to the lowest
    code: the sign flips. 16x8 models store the same code as int64.
    """
    scale = params.scales if float64 else params.scales.astype(np.float32)
    with np.errstate(over="ignore"):
        codes = round_half_to_even(np.asarray(bias / scale)).astype(np.float64)
    lowest, highest = float(-LARGEST_BIAS), float(LARGEST_BIAS)
    if not float64:
        lowest, highest = float(np.float32(lowest)), float(np.float32(highest))
    wrapped = np.clip(codes, lowest, highest).astype(np.int64).astype(np.int32)
    return wrapped.astype(params.dtype.storage)


def widen_for_bias(
    bias: Float32Array, weights: Params, bias_params: Params, source: Params, limit: int | None = None
) -> tuple[Params, Params]:
    """Widen weight scales where a bias would have more steps than fit, as TFLiteConverter does.

    Parameters
    ----------
    bias
        float32, shape ``(channels,)``.
    weights, bias_params, source
        Parameters of the weights, the bias and the op's input.
    limit
        Most steps; by default half of int32.

    Returns
    -------
    Parameters of the weights and of the bias, as they were where the bias fits.

    """
    limit = HALF_RANGE if limit is None else limit
    magnitude = np.abs(bias.astype(np.float64)).reshape(-1)
    if bias_params.axis is None and weights.axis is None:
        magnitude = magnitude.max(keepdims=True)
        too_large = ~(magnitude / bias_params.scales < limit)
    else:
        too_large = magnitude / bias_params.scales > limit
    if not too_large.any():
        return weights, bias_params
    bias_scales = np.where(too_large, magnitude / limit, bias_params.scales)
    weight_scales = np.where(too_large, bias_scales / source.scale[0], weights.scales)
    return _rescaled(weights, weight_scales), _rescaled(bias_params, bias_scales)


def old_magnitude_for_bias(bias: Float32Array, magnitude: Float32Array, input_scale: float) -> Float32Array:
    """Widen the magnitudes that weights are taken to reach, as the older quantizer does: also for int64 biases.

    Parameters
    ----------
    bias
        float32, shape ``(channels,)``.
    magnitude
        Largest magnitude of the weights, float32, one entry or one a channel.
    input_scale
        float32 scale of the op's input.

    """
    source, steps = np.float32(input_scale), np.float32(DType.INT8.max)
    if magnitude.size > 1:
        reached = np.abs(bias).astype(np.float64)
        limit = 0.5 * np.float64(source) * (magnitude / steps).astype(np.float64) * LARGEST_BIAS
        too_large = reached >= limit
    else:
        reached = np.abs(bias).max(keepdims=True).astype(np.float64)
        limit = 0.5 * np.float64(source) * (magnitude / steps).astype(np.float64)
        too_large = (reached.astype(np.float32) / np.float32(LARGEST_BIAS)).astype(np.float64) >= limit
    with np.errstate(divide="ignore", over="ignore"):
        widened = (2.0 * reached / LARGEST_BIAS * np.float64(steps / source)).astype(np.float32)
    return np.where(too_large, widened, magnitude)


def _rescaled(params: Params, scales: Array) -> Params:
    return dataclasses.replace(params, scale=tuple(map(float, scales)))
