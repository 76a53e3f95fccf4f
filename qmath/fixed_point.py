"""Fixed-point arithmetic of gemmlowp, and what TensorFlow Lite adds to it.

A *raw* integer of ``bits`` bits (32, or 16) with ``m`` *integer bits* is a number in Qm.(bits - 1 - m): it stands
for ``raw * 2**(m - (bits - 1))`` and covers [-2**m, 2**m). Multiplying two such numbers is the saturating rounding
doubling high multiply of their raws; the integer bits add up.

Functions take integers that fit ``bits`` bits, compute in int64 and return int64 holding values of ``bits`` bits.
Constants are rounded from their real value when asked for.

Follows ``fixedpoint/fixedpoint.h`` of google/gemmlowp and ``tflite/kernels/internal/common.h`` of LiteRT.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from qmath.arguments import as_int64
from qmath.errors import InputError
from qmath.rounding import divide_half_away, shift_right_half_away, shift_right_half_up
from qmath.types import FixedPointMultiplier, Int64Array

# --- Words: what happens at the end of a register ---------------------------------------------------------------


def saturate(x: npt.ArrayLike, bits: int = 32) -> Int64Array:
    """Replace what does not fit a signed word of ``bits`` bits by the nearest value that does."""
    return np.clip(as_int64(x), -(1 << (bits - 1)), (1 << (bits - 1)) - 1)


def wrap(x: npt.ArrayLike, bits: int) -> Int64Array:
    """Keep the lowest ``bits`` bits (at most 32) and read them as a signed number: two's complement."""
    sign = 1 << (bits - 1)
    return ((as_int64(x) & (2 * sign - 1)) ^ sign) - sign


def wrap_int32(x: npt.ArrayLike) -> Int64Array:
    """Give what an int32 register holds after overflow: ``x`` modulo 2**32, as a signed number."""
    return wrap(x, 32)


def count_leading_zeros(x: npt.ArrayLike, bits: int = 32) -> Int64Array:
    """Count the zero bits above the highest set bit of an unsigned word; ``bits`` for 0.

    Parameters
    ----------
    x
        Integers in [0, 2**bits), ``bits`` at most 53.

    """
    bit_length = np.frexp(as_int64(x).astype(np.float64))[1]
    return bits - bit_length.astype(np.int64)


# --- Products and shifts ----------------------------------------------------------------------------------------


def saturating_rounding_doubling_high_mul(a: npt.ArrayLike, b: npt.ArrayLike, bits: int = 32) -> Int64Array:
    """Multiply two fractions in [-1, 1): ``a * b / 2**(bits - 1)``, ties up.

    Only (-1) * (-1) does not fit; it saturates to the highest value. ("Doubling high" because the instruction,
    Arm's ``vqrdmulh``, keeps the high half of twice the product.)
    """
    return saturate(shift_right_half_up(as_int64(a) * as_int64(b), bits - 1), bits)


def rounding_divide_by_power_of_two(x: npt.ArrayLike, exponent: npt.ArrayLike) -> Int64Array:
    """Divide by ``2**exponent``, ties away from zero.

    Parameters
    ----------
    x
        Integers of int32 (any of int64 are exact).
    exponent
        0 to 31; more is undefined in the runtimes, here up to 62 are exact.

    """
    return shift_right_half_away(x, exponent)


def saturating_left_shift(x: npt.ArrayLike, exponent: npt.ArrayLike, bits: int = 32) -> Int64Array:
    """Multiply by ``2**exponent``, 0 to 31; what does not fit saturates."""
    return saturate(as_int64(x) << as_int64(exponent), bits)


def rescale(x: npt.ArrayLike, integer_bits: int, new_integer_bits: int, bits: int = 32) -> Int64Array:
    """Write a number of ``integer_bits`` integer bits with ``new_integer_bits``.

    Fewer integer bits shift left and saturate; more shift right, ties away from zero.
    """
    exponent = integer_bits - new_integer_bits
    if exponent > 0:
        return saturating_left_shift(x, exponent, bits)
    return rounding_divide_by_power_of_two(x, -exponent)


def rounding_half_sum(a: npt.ArrayLike, b: npt.ArrayLike) -> Int64Array:
    """Average two numbers, ties away from zero (Arm's vector instruction rounds them up; averages >= 0 agree)."""
    return divide_half_away(as_int64(a) + as_int64(b), 2)


def constant(real: float, integer_bits: int = 0, bits: int = 32) -> int:
    """Round a real number to a raw: always to 32 bits first, from there to 16 by a rounding divide; saturating."""
    raw = math.floor(abs(real) * 2.0 ** (31 - integer_bits) + 0.5)
    raw = raw if real >= 0 else -raw
    return int(saturate(rounding_divide_by_power_of_two(saturate(raw), 32 - bits), bits))


# --- Exponential and logistic functions -------------------------------------------------------------------------


def exp_on_negative_values(a: npt.ArrayLike, integer_bits: int, bits: int = 32) -> Int64Array:
    """Compute e**a for a <= 0.

    1. Split -a into a multiple of 1/4 and a rest: a = r - k/4 with r in [-1/4, 0).
    2. e**r by a Taylor polynomial of degree 4 around -1/8.
    3. For each bit of k that is set, worth 2**n with n from -2 to 4: multiply by e**(-2**n).

    Parameters
    ----------
    a
        Raws <= 0 with ``integer_bits`` integer bits.

    Returns
    -------
    Int64Array
        Raws with 0 integer bits. e**0 gives the highest value, just below 1.

    """
    a = as_int64(a)
    fractional_bits = bits - 1 - integer_bits
    quarter = 1 << (fractional_bits - 2)
    rest = (a & (quarter - 1)) - quarter
    result = _exp_on_last_quarter(rescale(rest, integer_bits, 0, bits), bits)
    quarters = rest - a
    for exponent in range(-2, min(integer_bits, 5)):
        factor = constant(math.exp(-(2.0**exponent)), 0, bits)
        is_set = (quarters >> (fractional_bits + exponent)) & 1
        result = np.where(is_set, saturating_rounding_doubling_high_mul(result, factor, bits), result)
    if integer_bits > 5:
        result = np.where(a < constant(-32.0, integer_bits, bits), 0, result)
    return np.where(a == 0, (1 << (bits - 1)) - 1, result)


def _exp_on_last_quarter(a: Int64Array, bits: int) -> Int64Array:
    """Compute e**a for a in [-1/4, 0), 0 integer bits: e**(-1/8) * (1 + x + x**2/2 + x**3/6 + x**4/24)."""

    def times(p: npt.ArrayLike, q: npt.ArrayLike) -> Int64Array:
        return saturating_rounding_doubling_high_mul(p, q, bits)

    x = a + (1 << (bits - 4))
    x2 = times(x, x)
    x3 = times(x2, x)
    x4 = times(x2, x2)
    x4_over_4 = rounding_divide_by_power_of_two(x4, 2)
    tail = rounding_divide_by_power_of_two(times(x4_over_4 + x3, constant(1 / 3, 0, bits)) + x2, 1)
    center = constant(math.exp(-1 / 8), 0, bits)
    return saturate(center + times(center, x + tail), bits)


def one_over_one_plus_x_for_x_in_0_1(x: npt.ArrayLike, bits: int = 32) -> Int64Array:
    """Compute 1 / (1 + x) for x in [0, 1), 0 integer bits in and out."""
    return rescale(_reciprocal_of_half(x, bits), 1, 0, bits)


def one_minus_x_over_one_plus_x_for_x_in_0_1(x: npt.ArrayLike, bits: int = 32) -> Int64Array:
    """Compute (1 - x) / (1 + x), that is 2 / (1 + x) - 1, for x in [0, 1), 0 integer bits in and out."""
    return rescale(_reciprocal_of_half(x, bits) - constant(1.0, 2, bits), 2, 0, bits)


def _reciprocal_of_half(x: npt.ArrayLike, bits: int) -> Int64Array:
    """Compute 2 / (1 + x) with 2 integer bits: Newton's y += y * (1 - y * d) on d = (1 + x) / 2, three times.

    The first guess, 48/17 - 32/17 * d, is the straight line with the least error for d in [1/2, 1].
    """

    def times(p: npt.ArrayLike, q: npt.ArrayLike) -> Int64Array:
        return saturating_rounding_doubling_high_mul(p, q, bits)

    half_denominator = rounding_half_sum(x, (1 << (bits - 1)) - 1)
    y = constant(48 / 17, 2, bits) + times(half_denominator, constant(-32 / 17, 2, bits))
    for _ in range(3):
        error = constant(1.0, 2, bits) - times(half_denominator, y)
        y = y + rescale(times(y, error), 4, 2, bits)
    return y


def logistic(a: npt.ArrayLike, integer_bits: int, bits: int = 32) -> Int64Array:
    """Compute 1 / (1 + e**-a), 0 integer bits out; the result for -a is the highest value minus that for a.

    ``bits=16`` is what LiteRT's LSTM (``ApplySigmoid`` in ``reference/portable_tensor_utils.cc``, 3 integer bits)
    and its optimized int16 LOGISTIC use.
    """
    a = as_int64(a)
    highest = (1 << (bits - 1)) - 1
    on_positive = one_over_one_plus_x_for_x_in_0_1(exp_on_negative_values(-np.abs(a), integer_bits, bits), bits)
    return np.where(a == 0, 1 << (bits - 2), np.where(a > 0, on_positive, highest - on_positive))


def tanh(a: npt.ArrayLike, integer_bits: int, bits: int = 32) -> Int64Array:
    """Compute tanh(a) = (1 - e**-2|a|) / (1 + e**-2|a|), with the sign of a; 0 integer bits out.

    Doubling a costs no bit: its raw is read with one more integer bit. ``bits=16`` is what LiteRT's LSTM
    (``ApplyTanh`` in ``reference/portable_tensor_utils.cc``) and its optimized int16 TANH use.
    """
    a = as_int64(a)
    exp = exp_on_negative_values(-np.abs(a), integer_bits + 1, bits)
    return np.sign(a) * one_minus_x_over_one_plus_x_for_x_in_0_1(exp, bits)


# --- Reciprocal, inverse square root and logarithm of a number of any size, 32 bits only ---------------------------


def reciprocal(x: npt.ArrayLike, integer_bits: int) -> tuple[Int64Array, Int64Array]:
    """Compute 1 / x for x > 0 as a fraction and a power of two.

    Follows ``GetReciprocal`` in ``tflite/kernels/internal/common.h``.

    Parameters
    ----------
    x
        Raws in [1, 2**31) with ``integer_bits`` integer bits.

    Returns
    -------
    fraction
        Raws with 0 integer bits: 1 / (x / 2**k).
    bits_over_unit
        k such that x / 2**k lies in [1, 2): 1 / x is ``fraction / 2**k``.

    """
    x = as_int64(x)
    leading_zeros = count_leading_zeros(x)
    one_up_to_two = x << leading_zeros
    return one_over_one_plus_x_for_x_in_0_1(one_up_to_two - (1 << 31)), integer_bits - leading_zeros


def inverse_square_root(n: npt.ArrayLike) -> FixedPointMultiplier:
    """Compute 1 / sqrt(n) of integers by five steps of Newton's x += x/2 * (1 - n * x**2), from x = 1.

    n is scaled by a power of four into [1/4, 1) first. 0 counts as 1. Follows
    ``GetInvSqrtQuantizedMultiplierExp`` in ``tflite/kernels/internal/common.h`` (its right shift is our negative
    shift).

    Parameters
    ----------
    n
        Integers in [0, 2**31).

    Returns
    -------
    FixedPointMultiplier
        1 / sqrt(n) as ``multiplier * 2**(shift - 31)``, shift <= 0; the multiplier need not be normalised.

    Raises
    ------
    InputError
        A value is negative or exceeds int32.

    """
    n = as_int64(n)
    if np.any((n < 0) | (n >= 1 << 31)):
        raise InputError("expected integers from 0 to 2**31 - 1 under the square root")
    too_large = n >= 1 << 29
    scaled = np.where(too_large, n >> 2, np.maximum(n, 2))
    shift_pairs = (count_leading_zeros(scaled) - 1) // 2 - 1
    right_shift = 11 + too_large - shift_pairs
    mantissa = _inverse_square_root_of_fraction((scaled << (2 * shift_pairs)) >> 1)
    mantissa = mantissa << np.maximum(-right_shift, 0)
    return FixedPointMultiplier(
        multiplier=np.where(n <= 1, (1 << 31) - 1, mantissa),
        shift=np.where(n <= 1, 0, -np.maximum(right_shift, 0)),
    )


def _inverse_square_root_of_fraction(n: Int64Array) -> Int64Array:
    """Compute sqrt(1/2) / sqrt(n) for n in [1/4, 1), 3 integer bits in and out."""
    times = saturating_rounding_doubling_high_mul
    half_n = rounding_divide_by_power_of_two(n, 1)
    three_halves = constant(1.5, 3)
    x = np.full_like(n, constant(1.0, 3))
    for _ in range(5):
        cube = rescale(times(times(x, x), x), 9, 3)
        x = rescale(times(three_halves, x) - times(half_n, cube), 6, 3)
    return times(x, constant(math.sqrt(2) / 2))


def log_x_for_x_greater_than_or_equal_to_1(x: npt.ArrayLike, integer_bits: int, output_integer_bits: int) -> Int64Array:
    """Compute ln(x) = e * ln(2) + ln(r / c), where c = 2**(-1/4), x = 2**e * r / c and r lies in [c**2, 1).

    Two ways to split x are tried, with e a quarter above or below an integer; the larger e, and with it the smaller
    r, wins. ln(r / c) is a rational function of r around c. Follows the function of the same name in
    ``tflite/kernels/internal/common.h``; it also works below 1, down to the inverse of the largest x.

    Parameters
    ----------
    x
        Raws > 0 with ``integer_bits`` integer bits.
    output_integer_bits
        Integer bits of the result.

    """
    times = saturating_rounding_doubling_high_mul
    x = as_int64(x)
    wide_bits = output_integer_bits + 1
    quarter = rescale(constant(0.25), 0, wide_bits)

    zeros_a = count_leading_zeros(x)
    r_a = saturating_left_shift(times(saturating_left_shift(x, zeros_a - 1), constant(math.sqrt(0.5))), 1)
    exponent_a = saturate(saturating_left_shift(integer_bits - zeros_a, 31 - wide_bits) + quarter)

    headroom_b = count_leading_zeros(times(x, constant(math.sqrt(0.5)))) - 1
    r_b = saturating_left_shift(x, headroom_b)
    exponent_b = saturate(saturating_left_shift(integer_bits - headroom_b, 31 - wide_bits) - quarter)

    numerator, denominator_minus_one = _log_near_sqrt_sqrt_half(np.minimum(r_a, r_b))
    log_of_r = times(rescale(numerator, 0, wide_bits), one_over_one_plus_x_for_x_in_0_1(denominator_minus_one))
    log_of_power = times(np.maximum(exponent_a, exponent_b), constant(math.log(2)))
    return rescale(log_of_power + log_of_r, wide_bits, output_integer_bits)


def _log_near_sqrt_sqrt_half(r: Int64Array) -> tuple[Int64Array, Int64Array]:
    """Give numerator and denominator - 1 of ln(r / c) for r near c = 2**(-1/4), 0 integer bits throughout."""
    times = saturating_rounding_doubling_high_mul
    root = math.sqrt(math.sqrt(2))
    center = constant(math.sqrt(math.sqrt(0.5)))
    p = rounding_half_sum(r, center)
    q = 2 * (r - center)
    q2 = times(q, q)
    numerator = times(q, r) + times(times(q, q2), constant(11 / 240 * root))
    inner = constant(2 / root - root) + q + times(constant(root / 20), q2)
    return numerator, times(p, inner) + times(constant(root / 4), q)
