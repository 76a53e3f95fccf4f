"""Float32 functions of the C library, to the last bit as most of them compute it: by Sun's fdlibm, exp by Arm's way.

C does not say how a library rounds ``tanhf``, ``expm1f`` and ``erfcf``. glibc up to 2.40 and others that descend from
fdlibm give these bits; newer ones may give the correctly rounded number, one unit in the last place away from these now
and then.
"""

from __future__ import annotations

from functools import reduce

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


def expm1_of_negative(x: Float32Array) -> Float32Array:
    """Compute e**x - 1 of float32 numbers of at most 0: of themselves where next to nothing, of -20 for all below."""
    kept = np.isnan(x) | (np.abs(x) < np.float32(2.0**-25))
    return np.where(kept, x, _expm1(np.where(kept, np.float32(0), np.maximum(x, np.float32(-20)))))


def _expm1(x: Float32Array) -> Float32Array:
    """Compute e**x - 1 for x in [-20, 0] and [2, 20], each step in float32.

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


#: e**x is 2**(x * 32 / ln(2) / 32): a table for the fraction in 32nds, and a polynomial for what is left over.
_PARTS = 32
_POWERS_OF_TWO = np.exp2(np.arange(_PARTS) / _PARTS)
_CUBE, _SQUARE, _LINE = (
    float.fromhex(number) / _PARTS**power
    for number, power in (("0x1.c6af84b912394p-5", 3), ("0x1.ebfce50fac4f3p-3", 2), ("0x1.62e42ff0c52d6p-1", 1))
)
#: Beyond these ends e**x is infinite, or 0.
_LARGEST, _SMALLEST = np.float32(float.fromhex("0x1.62e42ep6")), np.float32(float.fromhex("-0x1.9fe368p6"))


def exp(x: Float32Array) -> Float32Array:
    """Compute e**x of float32 numbers, in float64, rounded once: within 0.502 units in the last place.

    1. Split ``x = (k + r) * ln(2) / 32`` with a whole number ``k`` nearest to it.
    2. ``2**(r / 32)`` from a polynomial of third degree, times ``2**(k / 32)``.
    """
    ends = np.clip(np.asarray(x, np.float32), _SMALLEST, _LARGEST)
    z = ends.astype(np.float64) * (float.fromhex("0x1.71547652b82fep+0") * _PARTS)
    k = np.rint(np.where(np.isnan(z), 0, z))
    r = z - k
    whole, part = np.divmod(k.astype(np.int64), _PARTS)
    power = (_CUBE * r + _SQUARE) * (r * r) + (_LINE * r + 1)
    found = (power * np.ldexp(_POWERS_OF_TWO[part], whole)).astype(np.float32)
    return np.where(x > _LARGEST, np.float32(np.inf), np.where(x < _SMALLEST, np.float32(0), found))


def _floats(*words: int) -> Float32Array:
    return np.array(words, np.uint32).view(np.float32)


#: Numerators and denominators of the rational functions that make up erfc, from the constant on.
_NEAR_ZERO = (
    _floats(0x3E0375D4, 0xBEA66BEB, 0xBCE9528F, 0xBBBD1489, 0xB7C756B1),
    _floats(0x3F800000, 0x3ECBBBCE, 0x3D852A63, 0x3BA68116, 0x390AEE49, 0xB684E21A),
)
_NEAR_ONE = (
    _floats(0xBB1ACDC6, 0x3ED46805, 0xBEBE9208, 0x3EA2FE54, 0xBDE31CC2, 0x3D1151B3, 0xBB0DF9C0),
    _floats(0x3F800000, 0x3DD9F331, 0x3F0A5785, 0x3D931AE7, 0x3E013307, 0x3C5F6E13, 0x3C445AA3),
)
_BEYOND = (
    _floats(0xBC21A093, 0xBF31A0B7, 0xC128F022, 0xC2798057, 0xC322658C, 0xC3389AE7, 0xC2A2932B, 0xC11D077E),
    _floats(0x3F800000, 0x419D35CE, 0x4309A863, 0x43D9486F, 0x442158C9, 0x43D6810B, 0x42D9451F, 0x40D23F7C, 0xBD777F97),
)
_FAR_BEYOND = (
    _floats(0xBC21A092, 0xBF4C9DD4, 0xC18E104B, 0xC320A2EA, 0xC41F6441, 0xC480230B, 0xC3F1C275),
    _floats(0x3F800000, 0x41F2B459, 0x43A2E571, 0x44C01759, 0x4547FDBB, 0x451F90CE, 0x43ED43A7, 0xC1B38712),
)
#: erf(1), about, with few bits; and 1 / 0.35, where one function ends and the next begins.
_ERF_OF_ONE, _BORDER = _floats(0x3F58560B, 0x4036DB6D)
_QUARTER, _NINE_16THS = np.float32(0.25), np.float32(0.5625)


def erfc(x: Float32Array) -> Float32Array:
    """Compute the complementary error function of float32 numbers: a rational function in each of four ranges.

    1. Up to 27/32 of ``|x|``: ``erf(x) = x + x * p(x**2) / q(x**2)``.
    2. Up to 5/4: ``erf(|x|)`` is a constant plus ``p(|x| - 1) / q(|x| - 1)``.
    3. Beyond: ``erfc(|x|) = e**(-x**2 - 9/16 + p(1 / x**2) / q(1 / x**2)) / |x|``; the square is split in two, of which
       the first is exact. ``erfc(x) = 2 - erfc(|x|)`` for negative x.
    """
    x = np.asarray(x, np.float32)
    magnitude = np.abs(x)
    with np.errstate(all="ignore"):
        near_zero = x * _ratio(_NEAR_ZERO, x * x)
        below_quarter, above = _ONE - (x + near_zero), _HALF - (near_zero + (x - _HALF))
        near_one = _ratio(_NEAR_ONE, magnitude - _ONE)
        upper = np.where(x < 0, _ONE + (_ERF_OF_ONE + near_one), (_ONE - _ERF_OF_ONE) - near_one)
        inverse = np.asarray(_ONE / (magnitude * magnitude), np.float32)
        ratio = np.where(magnitude < _BORDER, _ratio(_BEYOND, inverse), _ratio(_FAR_BEYOND, inverse))
        short = (magnitude.view(np.uint32) & np.uint32(0xFFFFE000)).view(np.float32)
        tail = exp(-short * short - _NINE_16THS) * exp((short - magnitude) * (short + magnitude) + ratio) / magnitude
        tail = np.where(magnitude < 28, tail, np.float32(0))
        beyond = np.where(x < 0, _TWO - tail, tail)
    choices = [np.isnan(x), magnitude < np.float32(2.0**-26), x < _QUARTER]
    inner = np.select(choices, [x, _ONE - x, below_quarter], above)
    outer = np.where(magnitude < np.float32(1.25), upper, beyond)
    return np.where(~(magnitude >= np.float32(27 / 32)), inner, outer)


def _ratio(polynomials: tuple[Float32Array, Float32Array], x: Float32Array) -> Float32Array:
    """Return one polynomial over another, each by Horner's rule."""
    above, below = (reduce(lambda sum_, c: sum_ * x + c, p[-2::-1], np.full_like(x, p[-1])) for p in polynomials)
    return np.asarray(above / below)
