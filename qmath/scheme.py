"""Quantization schemes: from the range of real values to scale and zero point.

Scales and codes depend on the precision of every step, and TensorFlow's converter uses different precisions in
different places. The functions here take the steps literally: what is said to be float32 is rounded to float32.
The defaults are those of TFLiteConverter's full integer quantization (the MLIR quantizer); what its older quantizer
(16x8 models), its dynamic-range quantizer and the AI Edge Quantizer do otherwise has its own name.

Follows ``tensorflow/compiler/mlir/quantization/common/ir``, ``tensorflow/lite/tools/optimize/quantization_utils.cc``
and ``tflite/kernels/internal/quantization_util.{h,cc}``; the formulas were confirmed on the converter's output.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from qmath.affine import quantized_range
from qmath.arguments import as_real, finite_float32
from qmath.errors import InputError, SpecError
from qmath.rounding import round_half_away_from_zero
from qmath.types import Array, DType, Float32Array, Float64Array, Int64Array, QuantParams

#: Narrower ranges are widened to this on each side, so that no scale is 0.
SMALLEST_EXTENT = 1e-6
#: Weights of a channel are taken to reach at least this far.
SMALLEST_WEIGHT = 0.5e-6

# --- Activations: scale and zero point from a range -----------------------------------------------------------------


def asymmetric_params(
    minimum: npt.ArrayLike,
    maximum: npt.ArrayLike,
    dtype: DType = DType.INT8,
    *,
    narrow_range: bool = False,
    quantized_dimension: int = 0,
) -> QuantParams:
    """Spread the codes over a range, by the rule of the MLIR quantizer.

    1. Extend the range to include 0; if it is shorter than 1e-6, lengthen it by 1e-6 on each side.
    2. ``scale = (float32(max) - float32(min)) / (highest - lowest)``, in float32.
    3. ``zero_point = lowest - min / scale``, in float64, to float32, rounded half away from zero, clamped.

    Parameters
    ----------
    minimum, maximum
        Real values, one pair (per-tensor) or one an index along ``quantized_dimension``.
    dtype
        Of the codes.
    narrow_range
        Whether the lowest code stays unused.
    quantized_dimension
        Axis of per-axis parameters.

    Raises
    ------
    SpecError
        A bound is NaN or infinite, a minimum exceeds its maximum, or the scale exceeds float32.

    """
    low, high = _range_with_zero(minimum, maximum)
    too_short = high - low < SMALLEST_EXTENT
    low, high = low - too_short * SMALLEST_EXTENT, high + too_short * SMALLEST_EXTENT
    lowest, highest = quantized_range(dtype, narrow_range=narrow_range)
    scale = _scale(as_real(low, np.float32), as_real(high, np.float32), highest - lowest)
    zero_point = as_real(lowest - low / scale.astype(np.float64), np.float32)
    return QuantParams(scale, _nudge(zero_point, lowest, highest), dtype, quantized_dimension)


def asymmetric_params_float32(
    minimum: npt.ArrayLike, maximum: npt.ArrayLike, dtype: DType = DType.INT8, *, quantized_dimension: int = 0
) -> QuantParams:
    """Spread the codes over a range in float32 throughout, by the rule of the converter's older quantizer.

    No range is widened: an all-zero tensor gets scale 0 and the lowest code as zero point. Parameters and errors
    are those of :func:`asymmetric_params`.
    """
    low, high = (as_real(bound, np.float32) for bound in _range_with_zero(minimum, maximum))
    lowest, highest = quantized_range(dtype)
    scale = _scale(low, high, highest - lowest)
    zero_point = np.float32(lowest) - low / np.where(scale == 0, np.float32(1), scale)
    return QuantParams(scale, _nudge(zero_point, lowest, highest), dtype, quantized_dimension)


def nudged_params(
    minimum: npt.ArrayLike, maximum: npt.ArrayLike, dtype: DType = DType.UINT8, *, narrow_range: bool = False
) -> QuantParams:
    """Spread the codes over a range in float64, by the rule of quantization-aware training and of uint8 models.

    1. Extend the range to include 0. ``scale = (max - min) / (highest - lowest)``; a range of 0 alone gives scale
       0, zero point 0.
    2. The zero point follows from either end, ``lowest - min / scale`` or ``highest - max / scale``; the one whose
       terms are smaller, hence its rounding error too, is rounded half away from zero and clamped.

    Follows ``ChooseQuantizationParams`` in ``quantization_util.h``.

    Raises
    ------
    SpecError
        A bound is NaN or infinite, or the minimum exceeds the maximum.

    """
    low, high = _range_with_zero(minimum, maximum)
    lowest, highest = quantized_range(dtype, narrow_range=narrow_range)
    scale = (high - low) / (highest - lowest)
    divisor = np.where(scale == 0, 1.0, scale)
    from_min, from_max = lowest - low / divisor, highest - high / divisor
    min_is_better = abs(lowest) + np.abs(low / divisor) < abs(highest) + np.abs(high / divisor)
    zero_point = _nudge(np.where(min_is_better, from_min, from_max), lowest, highest)
    return QuantParams(_checked(as_real(scale, np.float32)), np.where(scale == 0, 0, zero_point), dtype)


def symmetric_params(
    minimum: npt.ArrayLike,
    maximum: npt.ArrayLike,
    dtype: DType = DType.INT16,
    *,
    smallest: float = 0.0,
    quantized_dimension: int = 0,
) -> QuantParams:
    """Make the highest code stand for the larger magnitude of a range; zero point 0.

    ``scale = float32(max(|min|, |max|)) / highest``, in float32: activations of 16x8 models, and weights.

    Parameters
    ----------
    minimum, maximum
        Real values, one pair (per-tensor) or one an index along ``quantized_dimension``.
    dtype
        A signed type.
    smallest
        Magnitude that the range is taken to reach at least; with 0 an all-zero tensor gets scale 0.
    quantized_dimension
        Axis of per-axis parameters.

    Raises
    ------
    SpecError
        A bound is NaN or infinite, a minimum exceeds its maximum, or the type is unsigned.

    """
    lowest, highest = quantized_range(dtype)
    if lowest >= 0:
        raise SpecError(f"expected a signed type for symmetric quantization, found {dtype.name}")
    low, high = _range_with_zero(minimum, maximum)
    scale = _checked(as_real(np.maximum(np.maximum(-low, high), smallest), np.float32) / np.float32(highest))
    return QuantParams(scale, np.zeros(scale.shape, np.int64), dtype, quantized_dimension)


def fixed_output_params(op: str, dtype: DType) -> QuantParams | None:
    """Return the output parameters that an op prescribes whatever its input, or None if it leaves them free.

    Parameters
    ----------
    op
        Builtin operator in the schema's spelling.
    dtype
        Of the output.

    """
    found = _FIXED_OUTPUTS.get((op, dtype))
    return None if found is None else QuantParams(np.array(found[:1], np.float32), np.array(found[1:]), dtype)


_FIXED_OUTPUTS: dict[tuple[str, DType], tuple[float, int]] = {
    ("SOFTMAX", DType.INT8): (1 / 256, -128),
    ("SOFTMAX", DType.UINT8): (1 / 256, 0),
    ("SOFTMAX", DType.INT16): (1 / 32768, 0),
    ("LOGISTIC", DType.INT8): (1 / 256, -128),
    ("LOGISTIC", DType.UINT8): (1 / 256, 0),
    ("LOGISTIC", DType.INT16): (1 / 32768, 0),
    ("TANH", DType.INT8): (1 / 128, 0),
    ("TANH", DType.UINT8): (1 / 128, 128),
    ("TANH", DType.INT16): (1 / 32768, 0),
    ("L2_NORMALIZATION", DType.INT8): (1 / 128, 0),
    ("L2_NORMALIZATION", DType.UINT8): (1 / 128, 128),
    ("LOG_SOFTMAX", DType.INT8): (16 / 256, 127),
    ("LOG_SOFTMAX", DType.UINT8): (16 / 256, 255),
}

# --- Weights and biases -----------------------------------------------------------------------------------------------


def largest_magnitude(weights: npt.ArrayLike, quantized_dimension: int | None = None) -> Float32Array:
    """Return ``max |w|`` of a tensor, shape ``(1,)``, or of each index along an axis, shape ``(n,)``.

    Raises
    ------
    InputError
        There are no weights, one is NaN or infinite, or there is no such axis.

    """
    weights = finite_float32(weights, "weights")
    if weights.size == 0:
        raise InputError(f"expected weights to quantize, found shape {weights.shape}")
    if quantized_dimension is None:
        quantized_dimension, weights = 0, weights.reshape(1, -1)
    if not 0 <= quantized_dimension < weights.ndim:
        raise InputError(f"expected weights with an axis {quantized_dimension}, found shape {weights.shape}")
    others = tuple(axis for axis in range(weights.ndim) if axis != quantized_dimension)
    largest: Float32Array = np.abs(weights).max(axis=others)
    return largest


def weight_params(
    weights: npt.ArrayLike,
    dtype: DType = DType.INT8,
    quantized_dimension: int | None = None,
    *,
    smallest: float = SMALLEST_WEIGHT,
) -> QuantParams:
    """Give weights a symmetric scale: ``max |w| / highest``, in float32; zero point 0.

    Parameters
    ----------
    weights
        float32, any shape.
    dtype
        INT8 (127 steps up), INT4 (7) or INT16.
    quantized_dimension
        Axis with a scale an index, or None for one scale.
    smallest
        Least ``max |w|``: 0.5e-6 for the MLIR quantizer, 0 for the older one, 1e-9 for the AI Edge Quantizer.

    Raises
    ------
    InputError
        As :func:`largest_magnitude`.

    """
    magnitude = largest_magnitude(weights, quantized_dimension)
    axis = 0 if quantized_dimension is None else quantized_dimension
    return symmetric_params(-magnitude, magnitude, dtype, smallest=smallest, quantized_dimension=axis)


def bias_params(source: QuantParams, weights: QuantParams, dtype: DType = DType.INT32) -> QuantParams:
    """Give a bias the scale of the accumulator, ``input_scale * weight_scale`` in float32; zero point 0.

    Parameters
    ----------
    source
        Parameters of the op's input; per-tensor.
    weights
        Parameters of its weights.
    dtype
        INT32, or INT64 for 16x8 models.

    Raises
    ------
    SpecError
        The input is quantized per axis, or the product exceeds float32.

    """
    if source.per_axis:
        raise SpecError(f"expected a per-tensor input, found {source.scale.size} scales")
    with np.errstate(over="ignore", under="ignore"):
        scale = _checked(source.scale * weights.scale)
    return QuantParams(scale, np.zeros(scale.shape, np.int64), dtype)


def _range_with_zero(minimum: npt.ArrayLike, maximum: npt.ArrayLike) -> tuple[Float64Array, Float64Array]:
    """Check a range and extend it to include 0; float64, shape ``(n,)``."""
    low, high = (np.atleast_1d(as_real(bound, np.float64)) for bound in (minimum, maximum))
    if low.shape != high.shape or low.ndim != 1 or low.size == 0:
        raise SpecError(f"expected finite ranges, as many minima as maxima, found {low} to {high}")
    if not (np.isfinite(low) & np.isfinite(high) & (low <= high)).all():
        raise SpecError(f"expected finite ranges, minimum to maximum, found {low} to {high}")
    return np.minimum(low, 0.0), np.maximum(high, 0.0)


def _nudge(zero_point: Array, lowest: int, highest: int) -> Int64Array:
    """Round a real zero point to a code, half away from zero."""
    return np.asarray(round_half_away_from_zero(np.clip(zero_point, lowest, highest)).astype(np.int64))


def _scale(low: Float32Array, high: Float32Array, steps: int) -> Float32Array:
    """Divide a range into steps, in float32."""
    with np.errstate(over="ignore"):
        return _checked((high - low) / np.float32(steps))


def _checked(scale: Array) -> Float32Array:
    if not np.isfinite(scale).all():
        raise SpecError("expected ranges whose scale is a float32, found a wider one")
    return scale
