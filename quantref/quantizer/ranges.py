"""From the range of an activation to its parameters: the rule of each tool, under one name each."""

from __future__ import annotations

import numpy as np

from qmath.affine import quantized_range
from qmath.errors import SpecError
from qmath.rounding import round_half_away_from_zero
from qmath.scheme import asymmetric_params, asymmetric_params_float32, symmetric_params
from qmath.types import DType
from quantref.quantizer.params import Params
from quantref.quantizer.statistics import Range

#: Ranges of AI Edge Quantizer are at least this wide.
_AEQ_SMALLEST = np.float32(1e-9)


def tflite_range(bounds: Range) -> Params:
    """Spread int8 codes over a range as TFLiteConverter does, with a float32 scale."""
    return Params.of(asymmetric_params(bounds.min, bounds.max))


def old_range(bounds: Range, dtype: DType) -> Params:
    """Spread int8 codes, or symmetric int16 codes, as the converter's older quantizer does: in float32, scale 0 too."""
    if dtype is DType.INT8:
        return Params.of(asymmetric_params_float32(bounds.min, bounds.max))
    return Params.of(symmetric_params(bounds.min, bounds.max, dtype))


def aeq_range(bounds: Range, dtype: DType) -> Params:
    """Spread int8 codes, or symmetric int16 codes, as AI Edge Quantizer does: in float32, zero points half to even."""
    zero = np.float32(0)
    low, high = min(bounds.min, zero), max(bounds.max, zero)
    lowest, highest = np.float32(dtype.min), np.float32(dtype.max)
    if dtype is DType.INT16:
        return Params.single(dtype, float(max(-low, high, _AEQ_SMALLEST) / highest), 0)
    scale = max(high - low, _AEQ_SMALLEST) / (highest - lowest)
    return Params.single(dtype, float(scale), int(np.rint(lowest - low / scale)))


def trained_range(minimum: float, maximum: float, dtype: DType, *, narrow: bool = False) -> Params:
    """Spread codes over a range in float64, as quantization-aware training and uint8 models have it.

    A range without 0 is not extended: its zero point is clamped to the nearest code. The scale stays unrounded,
    because the bias's scale is the product of unrounded ones. The zero point comes from the end of the range whose
    terms are smaller. Follows ``ChooseQuantizationParams`` in
    ``tflite/kernels/internal/quantization_util.h``.

    Raises
    ------
    SpecError
        The bounds are not finite and in order.

    """
    if not (np.isfinite(minimum) and np.isfinite(maximum) and minimum <= maximum):
        raise SpecError(f"expected a finite range, minimum to maximum, found {minimum} to {maximum}")
    low, high = float(minimum), float(maximum)
    lowest, highest = quantized_range(dtype, narrow_range=narrow)
    scale = (high - low) / (highest - lowest)
    if scale == 0:
        return Params(dtype, (0.0,), (0,), narrow=narrow)
    from_min, from_max = lowest - low / scale, highest - high / scale
    min_is_better = abs(lowest) + abs(low / scale) < abs(highest) + abs(high / scale)
    clamped = min(max(from_min if min_is_better else from_max, lowest), highest)
    return Params(dtype, (scale,), (int(round_half_away_from_zero(np.asarray(clamped))),), narrow=narrow)


def input_stats_range(mean: float, std: float, dtype: DType) -> tuple[float, float]:
    """Return the real range of an input whose codes are ``real * std + mean``, as a uint8 model's maker says it.

    Raises
    ------
    SpecError
        The standard deviation is not positive, or a number not finite.

    """
    if not (np.isfinite(mean) and np.isfinite(std) and std > 0):
        raise SpecError(f"expected a mean and a positive standard deviation, found {mean} and {std}")
    return (dtype.min - mean) / std, (dtype.max - mean) / std
