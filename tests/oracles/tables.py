"""Table functions one code at a time: steps rounded to float by exact fractions, lookups on Python's integers."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

from tests.oracles.rational import half_away, half_even, saturate, to_float, wrap


def code_entry(
    function: Callable[[float], float], code: int, source: tuple[float, int], target: tuple[float, int]
) -> int:
    """Give the entry of an 8-bit table for one code, before the clamp; scales are float32 numbers."""
    value = _value(function, code, source)
    steps = half_away(to_float(value * _inverse(target), 24))
    return int(to_float(Fraction(steps + target[1]), 24))


def code_entry_half_even(
    function: Callable[[float], float], code: int, source: tuple[float, int], target: tuple[float, int]
) -> int:
    """Give the entry that XNNPACK makes, before the clamp."""
    product = to_float(_value(function, code, source) * _inverse(target), 24)
    return half_even(to_float(product + target[1], 24))


def _value(function: Callable[[float], float], code: int, source: tuple[float, int]) -> Fraction:
    real = to_float(Fraction(source[0]) * (code - source[1]), 24)
    return to_float(Fraction(function(float(real))), 24)


def _inverse(target: tuple[float, int]) -> Fraction:
    return to_float(1 / Fraction(target[0]), 24)


def interpolation_entries(
    function: Callable[[float], float], source: tuple[float, int], target: tuple[float, int], precision: int
) -> list[int]:
    """Give the 513 entries, every step rounded to ``precision`` bits."""

    def f(x: Fraction) -> Fraction:
        return to_float(x, precision)

    def value(real: Fraction) -> Fraction:
        return f(f(Fraction(function(float(real)))) * inverse)

    def end(code: int, scale: float, zero_point: int) -> Fraction:
        return f(f(Fraction(scale)) * (code - zero_point))

    low, high = end(-(2**15), *source), end(2**15 - 1, *source)
    inverse = f(2**16 / f(end(2**15 - 1, *target) - end(-(2**15), *target)))
    step = f(f(high - low) / 512)
    entries = []
    for i in range(512):
        start, following = f(low + f(i * step)), f(low + f((i + 1) * step))
        sample = half_away(value(start))
        middle = half_away(f(f(value(following) + sample) / 2))
        error = middle - half_away(value(f(start + f(step / 2))))
        entries.append(saturate(sample - half_away(Fraction(error, 2)), 16))
    return [*entries, saturate(half_away(value(high)), 16)]


def interpolate(code: int, table: list[int]) -> int:
    """Look one int16 code up."""
    index, offset = divmod(code + 2**15, 128)
    slope = wrap(table[index + 1] - table[index], 16)
    return wrap(table[index] + (slope * offset + 64) // 128, 16)


def logistic_int16(code: int, multiplier: int, right_shift: int, table: list[int]) -> int:
    """Interpolate in the sigmoid table on the magnitude, then mirror."""
    x = code * multiplier + (2 ** (right_shift - 1) if right_shift else 0) >> right_shift
    index, fraction = divmod(abs(x), 2**9)
    result = table[index] * 2**9 + fraction * (table[index + 1] - table[index]) if index < 255 else 0x7FFF * 2**10
    return (result + 2**9 if x >= 0 else 2**25 - result + 2**9 - 1) >> 10


def tanh_int16(code: int, multiplier: int, right_shift: int, table: list[int]) -> int:
    """Interpolate at twice the argument, double and subtract 1."""
    x = code * multiplier + (2 ** (right_shift - 1) if right_shift else 0) >> right_shift
    index, fraction = divmod(abs(x), 2**8)
    result = table[index] * 2**8 + fraction * (table[index + 1] - table[index]) if index < 255 else 0xFFFF * 2**8
    return (result - 2**23 + 2**7 if x >= 0 else 2**23 - result + 2**7 - 1) >> 8
