"""From floats that are integers to int32, as processors convert: they differ on what does not fit.

Source: ``tflite/kernels/internal/reference/quantize.h``, where the conversion is the compiler's.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np

from qmath.rounding import float_to_int32_saturating, float_to_int32_x86
from qmath.stages import Ruled, ruled
from qmath.types import Float32Array, Int64Array

#: From floats that are integers to int32.
Conversion: TypeAlias = Ruled[[Float32Array], Int64Array]


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
