"""Rounding and requantization from their definitions, on Python's integers and fractions: slow, and exact."""

from __future__ import annotations

import math
from fractions import Fraction


def half_away(x: Fraction) -> int:
    """Round to the nearest integer, ties away from zero."""
    magnitude = math.floor(abs(x) + Fraction(1, 2))
    return magnitude if x >= 0 else -magnitude


def half_up(x: Fraction) -> int:
    """Round to the nearest integer, ties toward plus infinity."""
    return math.floor(x + Fraction(1, 2))


def half_even(x: Fraction) -> int:
    """Round to the nearest integer, ties to the even one."""
    below = math.floor(x)
    distance = x - below
    if distance == Fraction(1, 2):
        return below + below % 2
    return below + (distance > Fraction(1, 2))


def toward_zero(x: Fraction) -> int:
    """Drop the fraction."""
    return math.trunc(x)


def saturate(x: int, bits: int = 32) -> int:
    """Move into the range of a signed word."""
    return max(-(2 ** (bits - 1)), min(2 ** (bits - 1) - 1, x))


def wrap(x: int, bits: int = 32) -> int:
    """Reduce modulo 2**bits into the range of a signed word."""
    return (x + 2 ** (bits - 1)) % 2**bits - 2 ** (bits - 1)


def power_of_two(exponent: int) -> Fraction:
    """Return 2**exponent."""
    return Fraction(2) ** exponent


def to_float(x: Fraction, precision: int) -> Fraction:
    """Round to a float of ``precision`` significant bits, half to even; exponents have no bound."""
    if x == 0:
        return x
    exponent = math.floor(math.log2(abs(x)))
    while power_of_two(exponent) > abs(x):
        exponent -= 1
    while power_of_two(exponent + 1) <= abs(x):
        exponent += 1
    unit = power_of_two(exponent + 1 - precision)
    return half_even(x / unit) * unit


def encode(real: float) -> tuple[int, int]:
    """Return a significand of 31 bits and an exponent: real = multiplier * 2**(shift - 31), nearly."""
    if real == 0:
        return 0, 0
    shift = 0
    while abs(Fraction(real)) >= power_of_two(shift):
        shift += 1
    while abs(Fraction(real)) < power_of_two(shift - 1):
        shift -= 1
    multiplier = half_away(Fraction(real) * power_of_two(31 - shift))
    if abs(multiplier) == 2**31:
        multiplier, shift = multiplier // 2, shift + 1
    return (0, 0) if shift < -31 else (multiplier, shift)


def high_mul(a: int, b: int, bits: int = 32) -> int:
    """Multiply as gemmlowp's C does: nudge by the sign, then divide toward zero."""
    if a == b == -(2 ** (bits - 1)):
        return 2 ** (bits - 1) - 1
    nudge = 2 ** (bits - 2) if a * b >= 0 else 1 - 2 ** (bits - 2)
    return toward_zero(Fraction(a * b + nudge, 2 ** (bits - 1)))


def double_rounding(accumulator: int, multiplier: int, shift: int) -> int:
    """Round up on ties, then away from zero."""
    product = high_mul(wrap(accumulator << max(shift, 0)), multiplier)
    return half_away(product * power_of_two(min(shift, 0)))


def double_rounding_half_up(accumulator: int, multiplier: int, shift: int) -> int:
    """Round up on ties, twice."""
    product = high_mul(wrap(accumulator << max(shift, 0)), multiplier)
    return half_up(product * power_of_two(min(shift, 0)))


def single_rounding(accumulator: int, multiplier: int, shift: int) -> int:
    """Round once, up on ties."""
    return wrap(half_up(accumulator * multiplier * power_of_two(shift - 31)))


def reduced_64(accumulator: int, multiplier: int, shift: int) -> int:
    """Round once, up on ties, with a significand of 15 bits."""
    reduced = half_up(Fraction(multiplier, 2**16)) if multiplier < 0x7FFF0000 else 0x7FFF
    return wrap(half_up(accumulator * reduced * power_of_two(shift - 15)))


def float64_half_away(accumulator: int, real: float) -> int:
    """Round the product to float64, then away from zero on ties; beyond 32 bits it is the lowest integer."""
    return converted(half_away(to_float(accumulator * Fraction(real), 53)))


def float32_half_even(accumulator: int, real: float) -> int:
    """Round accumulator, multiplier and product to float32, bound it above, then round to even on ties."""
    product = to_float(Fraction(accumulator), 24) * to_float(Fraction(real), 24)
    return converted(half_even(min(to_float(product, 24), Fraction(2**30))))


def converted(value: int) -> int:
    """Convert to int32 as x86-64 does."""
    return value if abs(value) < 2**31 else -(2**31)
