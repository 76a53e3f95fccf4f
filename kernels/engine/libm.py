"""Float32 functions of the C library, to the last bit as most of them compute it: by Sun's fdlibm.

C does not say how a library rounds ``tanhf``. glibc up to 2.40 and others that descend from fdlibm give these bits;
newer ones may give the correctly rounded number, one unit in the last place away from these now and then.
"""

from __future__ import annotations

import numpy as np

from qmath.types import Array, Float32Array

#: ln(2) in two parts, the first with zeros at its end, so that small multiples of it are exact; and 1 / ln(2).
_LN2_HIGH, _LN2_LOW, _LOG2_E = np.array([0x3F317180, 0x3717F7D1, 0x3FB8AA3B], np.uint32).view(np.float32)
#: Coefficients of the polynomial in r**2 / 2, from the first power on.
_SERIES = np.array([0xBD088889, 0x3AD00D01, 0xB8A670CD, 0x36867E54, 0xB457EDBB], np.uint32).view(np.float32)
#: From here on one has no digits left beside ``2**k``.
_DIGITS = 23
_HALF, _ONE, _TWO = np.float32(0.5), np.float32(1), np.float32(2)


def tanh(x: Float32Array) -> Float32Array:
    """Compute tanh of float32 numbers of at most 8, by ``expm1``.

    1. From 1 on: ``1 - 2 / (expm1(2 * |x|) + 2)``; below: ``-t / (t + 2)`` with ``t = expm1(-2 * |x|)``.
    2. Give it the sign of ``x``.
    """
    magnitude = np.abs(x)
    large = magnitude >= _ONE
    power = _expm1(np.where(large, _TWO * magnitude, -_TWO * magnitude))
    return np.copysign(np.where(large, _ONE - _TWO / (power + _TWO), -power / (power + _TWO)), x)


def tanh_of_any(x: Float32Array) -> Float32Array:
    """Compute tanh of any float32 numbers: of itself where nothing is left to lose, of 10 for all beyond it."""
    kept = np.isnan(x) | (np.abs(x) < np.float32(2.0**-26))
    return np.where(kept, x, tanh(np.where(kept, np.float32(0), np.clip(x, np.float32(-10), np.float32(10)))))


def _expm1(x: Float32Array) -> Float32Array:
    """Compute e**x - 1 for x in (-2, 0] and [2, 16], each step in float32.

    1. Split ``x = k * ln(2) + r`` with a whole number ``k``; what ``r`` loses in rounding is kept apart.
    2. ``e**r - 1`` from a polynomial in ``r**2 / 2``.
    3. Scale by ``2**k`` and subtract 1, in an order that depends on ``k``.
    """
    k = np.where(np.abs(x) > _HALF * np.float32(np.log(2)), np.trunc(_LOG2_E * x + np.copysign(_HALF, x)), 0)
    k = np.where((k < 0) & (x > np.float32(-1.5 * np.log(2))), -1, k).astype(np.float32)
    high, low = x - k * _LN2_HIGH, k * _LN2_LOW
    r = high - low
    lost = (high - r) - low
    half = _HALF * r
    square = r * half
    series = np.zeros_like(x)
    for coefficient in _SERIES[::-1]:
        series = (series + coefficient) * square
    series += _ONE
    t = np.float32(3) - series * half
    e = square * ((series - t) / (np.float32(6) - r * t))
    plain = r - (r * e - square)
    e = (r * (e - lost) - lost) - square
    exponent = k.astype(np.int32)
    power, inverse = np.ldexp(_ONE, exponent), np.ldexp(_ONE, -exponent)
    return _chosen(
        exponent,
        plain,
        _HALF * (r - e) - _HALF,
        (_ONE - (e - r)) * power - _ONE,
        ((_ONE - inverse) - (e - r)) * power,
        ((r - (e + inverse)) + _ONE) * power,
    )


def _chosen(k: Array, zero: Array, minus_one: Array, below: Array, above: Array, far_above: Array) -> Float32Array:
    """Choose by ``k``: 0, -1, less than that, 1 to 22, 23 and more."""
    choices = [k == 0, k == -1, k < 0, k < _DIGITS]
    return np.asarray(np.select(choices, [zero, minus_one, below, above], far_above), np.float32)
