"""From a real multiplier to the integers that stand for it.

Requantization multiplies an integer accumulator by ``input_scale * filter_scale / output_scale``. Integer
kernels hold that real number as a Q0.31 significand and a power of two.

Source: ``tflite/kernels/internal/quantization_util.cc`` (QuantizeMultiplier), ``tflite/kernels/internal/common.cc``.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from qmath.arguments import as_real
from qmath.errors import SpecError
from qmath.types import FixedPointMultiplier, Float64Array, Int64Array

#: Exponents below this make the multiplier 0: the product would vanish whatever the accumulator.
MIN_SHIFT = -31


def quantize_multiplier(real_multiplier: npt.ArrayLike) -> FixedPointMultiplier:
    """Encode real multipliers as a Q0.31 significand and a signed exponent.

    1. Split ``real = significand * 2**shift`` with the significand in [0.5, 1).
    2. ``multiplier = round(significand * 2**31)``, ties away from zero.
    3. A significand that rounds up to 2**31 is halved, and its shift raised by one; -2**31 fits and stays.
    4. A shift below -31 flushes the whole multiplier to zero.

    Parameters
    ----------
    real_multiplier
        float64, any shape; finite, as a rule positive. Negative values keep their sign in the significand.

    Returns
    -------
    FixedPointMultiplier
        Arrays of the same shape.

    Raises
    ------
    SpecError
        A value is NaN or infinite.
    InputError
        A value is no real number.

    """
    real = as_real(real_multiplier, np.float64)
    if not np.isfinite(real).all():
        raise SpecError(f"expected finite real multipliers, found {real[~np.isfinite(real)].ravel()[0]}")
    significand, exponent = np.frexp(real)
    # |significand| * 2**31 has at most 22 bits after the point, so adding one half in float64 is exact.
    magnitude = np.floor(np.abs(significand) * 2.0**31 + 0.5).astype(np.int64)
    multiplier = np.where(significand < 0, -magnitude, magnitude)
    shift = exponent.astype(np.int64)
    overflowed = multiplier == 1 << 31
    multiplier = np.where(overflowed, multiplier // 2, multiplier)
    shift = np.where(overflowed, shift + 1, shift)
    vanished = (shift < MIN_SHIFT) | (real == 0)
    return FixedPointMultiplier(np.where(vanished, 0, multiplier), np.where(vanished, 0, shift))


def reduced_multiplier(multiplier: Int64Array) -> Int64Array:
    """Round a Q0.31 significand to Q0.15, half up, for kernels with a 64-bit accumulator; at most 0x7FFF."""
    return np.where(multiplier < 0x7FFF0000, (multiplier + (1 << 15)) >> 16, 0x7FFF)


def real_value(factor: FixedPointMultiplier) -> Float64Array:
    """Return the real number that a fixed-point multiplier stands for; exact in float64."""
    return np.ldexp(factor.multiplier.astype(np.float64), (factor.shift - 31).astype(np.int32))


def scale_ratio(
    input_scale: npt.ArrayLike,
    filter_scale: npt.ArrayLike,
    output_scale: npt.ArrayLike,
    *,
    float32_product: bool = False,
) -> Float64Array:
    """Return ``input_scale * filter_scale / output_scale`` in float64.

    Parameters
    ----------
    input_scale, filter_scale, output_scale
        float32 scales that broadcast against each other; real units per step.
    float32_product
        Whether the product of the first two is rounded to float32 before the division, as the
        per-tensor kernels do. The last bits of the multiplier depend on it.

    Returns
    -------
    Float64Array
        Infinite or NaN where the output scale is 0, or the product beyond float32: no multiplier encodes that.

    """
    with np.errstate(all="ignore"):
        if float32_product:
            product = as_real(as_real(input_scale, np.float32) * as_real(filter_scale, np.float32), np.float64)
        else:
            product = as_real(input_scale, np.float64) * as_real(filter_scale, np.float64)
        return np.asarray(product / as_real(output_scale, np.float64), np.float64)


def float32_scale_ratio(
    input_scale: npt.ArrayLike, filter_scale: npt.ArrayLike, output_scale: npt.ArrayLike
) -> Float64Array:
    """Return ``input_scale * filter_scale / output_scale``, every step rounded to float32, as float64."""
    with np.errstate(all="ignore"):
        product = as_real(input_scale, np.float32) * as_real(filter_scale, np.float32)
        return np.asarray(product / as_real(output_scale, np.float32), np.float64)
