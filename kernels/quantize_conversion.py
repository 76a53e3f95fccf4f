"""From real values to whole steps of a scale, and from those to int32, as processors convert what does not fit.

Source: ``tflite/kernels/internal/reference/quantize.h``, ``tflite/kernels/internal/optimized/optimized_ops.h``
(AffineQuantize), where the conversion is the compiler's.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np

from qmath.rounding import float_to_int32_saturating, float_to_int32_x86, round_half_away_from_zero
from qmath.stages import Ruled, ruled
from qmath.types import Float32Array, Float64Array, Int64Array

#: From floats that are integers to int32.
Conversion: TypeAlias = Ruled[[Float32Array], Int64Array]
#: From real values and a scale to a whole number of steps, as floats.
Steps: TypeAlias = Ruled[[Float32Array, Float32Array], Float32Array | Float64Array]


@ruled("half_away(float32(x / scale))")
def divided_half_away(x: Float32Array, scale: Float32Array) -> Float32Array:
    """Divide by the scale in float32 and round half away from zero."""
    return np.asarray(round_half_away_from_zero(np.asarray(x / scale)), np.float32)


@ruled("half_away(x / scale)")
def divided_in_float64(x: Float32Array, scale: Float32Array) -> Float64Array:
    """Divide by the scale in float64 and round half away from zero."""
    return round_half_away_from_zero(x / scale.astype(np.float64))


@ruled("half_even(float32(x * float32(1 / scale)))")
def times_inverse_half_even(x: Float32Array, scale: Float32Array) -> Float32Array:
    """Multiply by the inverse of the scale, both in float32, and round half to even."""
    return np.asarray(np.rint(np.asarray(x * np.asarray(np.float32(1) / scale))), np.float32)


@ruled("steps")
def to_int32_x86(steps: Float32Array) -> Int64Array:
    """Convert as x86 does: what does not fit becomes the lowest int32."""
    return float_to_int32_x86(steps)


@ruled("clamp(steps, -2**31, 2**31 - 1)")
def to_int32_arm(steps: Float32Array) -> Int64Array:
    """Convert as Arm does: what does not fit saturates, NaN becomes 0."""
    return float_to_int32_saturating(steps)


@ruled("clamp(steps, -2**30, 2**30)")
def to_far_codes(steps: Float32Array) -> Int64Array:
    """Keep what lies beyond every code there; NaN is beyond the highest."""
    return np.nan_to_num(np.clip(steps, -(2.0**30), 2.0**30), nan=2.0**30).astype(np.int64)


@ruled("clamp(steps, -2**30, 2**30)")
def to_far_codes_arm(steps: Float32Array) -> Int64Array:
    """Keep what lies beyond every code there; NaN becomes 0."""
    return np.nan_to_num(np.clip(steps, -(2.0**30), 2.0**30), nan=0.0).astype(np.int64)
