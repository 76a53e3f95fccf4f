"""Rounding: a number to an integer, a quotient to an integer, each rule under its own name.

Runtimes differ mostly in what they do with a tie, a number half-way between two integers:

=====================  =====  =====  =====  =====  =========================================================
rule                   -1.5   -0.5    0.5    1.5   where it is met
=====================  =====  =====  =====  =====  =========================================================
half away from zero    -2     -1      1      2     C's ``round``; gemmlowp's divide by a power of two
half to even           -2      0      0      2     XNNPACK; the default mode of floating-point units
half up                -1      0      1      2     gemmlowp's high multiply; Arm's rounding shifts
toward zero            -1      0      0      1     C's integer division and float-to-int casts (ties or not)
=====================  =====  =====  =====  =====  =========================================================

Functions on integers take any integer array, compute in int64, are exact over the range they document and
return int64.
"""

from __future__ import annotations

import enum
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from qmath.arguments import as_int64
from qmath.errors import InputError
from qmath.types import Array, Float32Array, Float64Array, Int64Array

Float = TypeVar("Float", bound=np.floating[Any])

_INT32_MIN = -(1 << 31)


class TieRule(enum.Enum):
    """Which integer a floating-point number half-way between two integers becomes."""

    HALF_AWAY_FROM_ZERO = "half away from zero"
    HALF_TO_EVEN = "half to even"

    @property
    def rule(self) -> str:
        """Name of the rounding in rules; see :mod:`qmath.stages`."""
        return "half_even" if self is TieRule.HALF_TO_EVEN else "half_away"


def round_half_away_from_zero(x: npt.NDArray[Float]) -> npt.NDArray[Float]:
    """Round to the nearest integer, ties away from zero, as C's ``round`` does.

    Adding one half and dropping the fraction would be wrong twice: the largest number below one half, plus one
    half, rounds to 1 before its fraction is dropped; and odd numbers of 2**23 and more (in float32) have no
    neighbour one half away and move to an even one. Adding the largest number *below* one half is right
    everywhere: a tie then falls short of the next integer by so little that the sum rounds to that integer.

    Parameters
    ----------
    x
        Floating point, any shape.

    Returns
    -------
    ndarray
        Integers in the dtype of ``x``; infinities, NaN and the sign of zero are kept.

    """
    x = np.asarray(x)
    almost_half = np.nextafter(x.dtype.type(0.5), x.dtype.type(0))
    rounded: npt.NDArray[Float] = np.trunc(x + np.copysign(almost_half, x))
    return rounded


def round_half_to_even(x: npt.NDArray[Float]) -> npt.NDArray[Float]:
    """Round to the nearest integer, ties to the even one, as C's ``rint`` does; the dtype stays that of ``x``."""
    rounded: npt.NDArray[Float] = np.rint(x)
    return rounded


def round_to_integer(x: npt.NDArray[Float], rule: TieRule) -> npt.NDArray[Float]:
    """Round to the nearest integer, ties as ``rule`` says; the dtype stays that of ``x``."""
    return round_half_to_even(x) if rule is TieRule.HALF_TO_EVEN else round_half_away_from_zero(x)


def float_to_int32_x86(x: npt.NDArray[Float]) -> Int64Array:
    """Convert as x86's ``cvttss2si`` does: toward zero; whatever does not fit, NaN too, becomes -2**31.

    Parameters
    ----------
    x
        float32 or float64, any shape.

    Returns
    -------
    Int64Array
        int32 values.

    """
    x = np.asarray(x)
    fits = np.abs(x) < 2.0**31
    return np.where(fits, np.trunc(np.where(fits, x, 0)), _INT32_MIN).astype(np.int64)


def float_to_int32_saturating(x: npt.NDArray[Float]) -> Int64Array:
    """Convert toward zero, saturating; NaN becomes 0: what Arm's ``fcvtzs`` does.

    Parameters
    ----------
    x
        float32 or float64, any shape.

    Returns
    -------
    Int64Array
        int32 values.

    """
    wide = np.asarray(x, np.float64)
    saturated = np.clip(np.trunc(wide), _INT32_MIN, -_INT32_MIN - 1)
    return np.where(np.isnan(wide), 0, saturated).astype(np.int64)


#: Elements of a float64 block that stay in the inner caches while several steps go over them.
_BLOCK = 1 << 14
#: Bits of a float64 that a float32 has no room for, and what they are halfway between two float32 numbers.
_DROPPED, _HALFWAY = (1 << 29) - 1, 1 << 28


def fused_multiply_add(a: Array, b: Array, c: Array) -> Float32Array:
    """Return ``a * b + c`` of float32 numbers, rounded once to float32, as a fused instruction does.

    The product is exact in float64; the sum is rounded there, and then again to float32. Only where the rounded sum
    lies halfway between two float32 numbers, or is too small for a normal one, does the second rounding depend on what
    the first one took away. There the sum is rounded to odd instead: if it is not exact, and its last bit is even, it
    moves to its neighbour on the side of the exact sum; rounding that gives the exact sum, rounded once.

    Parameters
    ----------
    a, b, c
        float32, shapes that broadcast.

    """
    a, b, c = (np.asarray(term, np.float32) for term in (a, b, c))
    shape = np.broadcast_shapes(a.shape, b.shape, c.shape)
    out = np.empty(shape, np.float32)
    last = shape[-1] if shape else 1
    if out.size <= _BLOCK or a.shape != shape or max(b.size, c.size) > last or not a.flags.c_contiguous:
        out[...] = _fused_multiply_add(a, b, c)
        return out
    rows, results, step = a.reshape(-1, last), out.reshape(-1, last), max(1, _BLOCK // last)
    factor, addend = b.reshape(-1), c.reshape(-1)
    for start in range(0, len(rows), step):
        results[start : start + step] = _fused_multiply_add(rows[start : start + step], factor, addend)
    return out


def _fused_multiply_add(a: Array, b: Array, c: Array) -> Float32Array:
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        product = np.asarray(np.multiply(a, b, dtype=np.float64))
        total = np.asarray(product + c.astype(np.float64))
        rounded = total.astype(np.float32)
        doubtful = (total.view(np.int64) & _DROPPED) == _HALFWAY
        doubtful |= np.abs(rounded) <= np.finfo(np.float32).smallest_normal
        if doubtful.any():
            addend = np.broadcast_to(c, total.shape)[doubtful].astype(np.float64)
            product = np.broadcast_to(product, total.shape)[doubtful]
            rounded[doubtful] = _rounded_to_odd(product, addend, total[doubtful]).astype(np.float32)
    return rounded


def _rounded_to_odd(product: Float64Array, addend: Float64Array, total: Float64Array) -> Float64Array:
    """Return ``product + addend``, whose nearest float64 is ``total``, rounded to odd."""
    virtual = total - product
    error = (product - (total - virtual)) + (addend - virtual)  # what the sum lost (Knuth's two-sum)
    inexact = (error != 0) & np.isfinite(error) & (total.view(np.int64) & 1 == 0)
    return np.where(inexact, np.nextafter(total, np.copysign(np.inf, error)), total)


def divide_toward_zero(numerator: npt.ArrayLike, denominator: npt.ArrayLike) -> Int64Array:
    """Divide integers and drop the fraction, as C's ``/`` does.

    Parameters
    ----------
    numerator, denominator
        Integers in (-2**63, 2**63), any broadcastable shapes.

    Raises
    ------
    InputError
        A denominator is 0.

    """
    numerator, denominator = as_int64(numerator), _nonzero(denominator)
    sign: Int64Array = np.sign(numerator) * np.sign(denominator)
    magnitude: Int64Array = np.abs(numerator) // np.abs(denominator)
    return sign * magnitude


def divide_half_away(numerator: npt.ArrayLike, denominator: npt.ArrayLike) -> Int64Array:
    """Divide integers and round to the nearest integer, ties away from zero.

    Parameters
    ----------
    numerator, denominator
        Integers in (-2**63, 2**63), any broadcastable shapes.

    Raises
    ------
    InputError
        A denominator is 0.

    """
    numerator, denominator = as_int64(numerator), _nonzero(denominator)
    sign: Int64Array = np.sign(numerator) * np.sign(denominator)
    divisor = np.abs(denominator)
    quotient, remainder = np.divmod(np.abs(numerator), divisor)
    magnitude: Int64Array = quotient + (remainder >= divisor - remainder)
    return sign * magnitude


def shift_right_half_up(x: npt.ArrayLike, exponent: npt.ArrayLike) -> Int64Array:
    """Divide by ``2**exponent`` and round to the nearest integer, ties up (toward plus infinity).

    The last bit shifted out is worth one half, so it is what has to be added.

    Parameters
    ----------
    x
        Integers of int64.
    exponent
        0 to 63, a shape that broadcasts with ``x``.

    """
    x, exponent = as_int64(x), as_int64(exponent)
    last_bit_out = (x >> np.maximum(exponent - 1, 0)) & (exponent > 0)
    return (x >> exponent) + last_bit_out


def shift_right_half_away(x: npt.ArrayLike, exponent: npt.ArrayLike) -> Int64Array:
    """Divide by ``2**exponent`` and round to the nearest integer, ties away from zero.

    Parameters
    ----------
    x
        Integers of int64.
    exponent
        0 to 62, a shape that broadcasts with ``x``.

    """
    x, exponent = as_int64(x), as_int64(exponent)
    mask = (np.int64(1) << exponent) - 1
    threshold = (mask >> 1) + (x < 0)
    return (x >> exponent) + ((x & mask) > threshold)


def _nonzero(denominator: npt.ArrayLike) -> Int64Array:
    denominator = as_int64(denominator)
    if not np.all(denominator):
        raise InputError("expected denominators other than 0, found 0")
    return denominator
