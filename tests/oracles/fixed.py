"""A scalar fixed-point number with operators, and gemmlowp's functions written with them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

from tests.oracles.rational import half_away, high_mul, power_of_two, saturate


@dataclass(frozen=True)
class Fixed:
    """``raw * 2**(integer_bits + 1 - bits)``."""

    raw: int
    integer_bits: int
    bits: int

    @classmethod
    def of(cls, real: float, integer_bits: int, bits: int) -> Fixed:
        """Round a real number: to 32 bits first, then to fewer."""
        wide = saturate(half_away(Fraction(real) * power_of_two(31 - integer_bits)))
        return cls(saturate(half_away(Fraction(wide, 2 ** (32 - bits))), bits), integer_bits, bits)

    def one(self) -> Fixed:
        """Return 1 in this format, or the highest value below it."""
        return Fixed.of(1.0, self.integer_bits, self.bits)

    def __add__(self, other: Fixed) -> Fixed:
        assert (self.integer_bits, self.bits) == (other.integer_bits, other.bits)
        return Fixed(self.raw + other.raw, self.integer_bits, self.bits)

    def __neg__(self) -> Fixed:
        return Fixed(-self.raw, self.integer_bits, self.bits)

    def __sub__(self, other: Fixed) -> Fixed:
        return self + -other

    def __mul__(self, other: Fixed) -> Fixed:
        return Fixed(high_mul(self.raw, other.raw, self.bits), self.integer_bits + other.integer_bits, self.bits)

    def times_power(self, exponent: int) -> Fixed:
        """Multiply by 2**exponent: saturating to the left, rounding to the right."""
        return Fixed(saturate(half_away(self.raw * power_of_two(exponent)), self.bits), self.integer_bits, self.bits)

    def rescale(self, integer_bits: int) -> Fixed:
        """Change the number of integer bits."""
        moved = self.times_power(self.integer_bits - integer_bits)
        return Fixed(moved.raw, integer_bits, self.bits)

    def read_with(self, integer_bits: int) -> Fixed:
        """Keep the raw value and move the point: an exact product with a power of two."""
        return Fixed(self.raw, integer_bits, self.bits)


def exp_on_negative_values(a: Fixed) -> Fixed:
    """Compute e**a, a <= 0."""
    if a.raw == 0:
        return Fixed.of(1.0, 0, a.bits)
    unit = power_of_two(a.bits - 1 - a.integer_bits)
    quarters, rest = divmod(-a.raw, int(unit / 4))
    if rest == 0:
        quarters, rest = quarters - 1, int(unit / 4)
    x = Fixed(-rest, a.integer_bits, a.bits).rescale(0) + Fixed.of(1 / 8, 0, a.bits)
    x2 = x * x
    x3, x4 = x2 * x, x2 * x2
    tail = ((x4.times_power(-2) + x3) * Fixed.of(1 / 3, 0, a.bits) + x2).times_power(-1)
    center = Fixed.of(math.exp(-1 / 8), 0, a.bits)
    result = center + center * (x + tail)
    result = Fixed(saturate(result.raw, a.bits), 0, a.bits)
    for bit, power in enumerate([-2, -1, 0, 1, 2, 3, 4]):
        if quarters >> bit & 1 and power < a.integer_bits:
            result = result * Fixed.of(math.exp(-(2.0**power)), 0, a.bits)
    if a.integer_bits > 5 and a.raw < -32 * unit:
        result = Fixed(0, 0, a.bits)
    return result


def _newton(x: Fixed) -> Fixed:
    """Compute 2 / (1 + x), x in [0, 1)."""
    half_denominator = Fixed(half_away(Fraction(x.raw + x.one().raw, 2)), 0, x.bits)
    y = Fixed.of(48 / 17, 2, x.bits) + half_denominator * Fixed.of(-32 / 17, 2, x.bits)
    for _ in range(3):
        y = y + (y * (y.one() - half_denominator * y)).rescale(2)
    return y


def one_over_one_plus_x(x: Fixed) -> Fixed:
    """Compute 1 / (1 + x), x in [0, 1)."""
    return _newton(x).read_with(1).rescale(0)


def one_minus_x_over_one_plus_x(x: Fixed) -> Fixed:
    """Compute (1 - x) / (1 + x), x in [0, 1)."""
    y = _newton(x)
    return (y - y.one()).rescale(0)


def logistic(a: Fixed) -> Fixed:
    """Compute 1 / (1 + e**-a)."""
    if a.raw == 0:
        return Fixed.of(0.5, 0, a.bits)
    result = one_over_one_plus_x(exp_on_negative_values(a if a.raw < 0 else -a))
    return result if a.raw > 0 else result.one() - result


def tanh(a: Fixed) -> Fixed:
    """Compute tanh(a)."""
    if a.raw == 0:
        return Fixed(0, 0, a.bits)
    twice = (a if a.raw < 0 else -a).read_with(a.integer_bits + 1)
    result = one_minus_x_over_one_plus_x(exp_on_negative_values(twice))
    return result if a.raw > 0 else -result


def inverse_square_root(n: int) -> tuple[int, int]:
    """Compute 1 / sqrt(n) as a Q0.31 significand and a right shift."""
    if n <= 1:
        return 2**31 - 1, 0
    shift = 11
    while n >= 2**29:
        n, shift = n // 4, shift + 1
    while n < 2**27:
        n, shift = n * 4, shift - 1
    full = Fixed(n >> 1, 3, 32)
    half = full.times_power(-1)
    x = full.one()
    for _ in range(5):
        x = (Fixed.of(1.5, 3, 32) * x - half * (x * x * x).rescale(3)).rescale(3)
    x = x * Fixed.of(math.sqrt(2) / 2, 0, 32)
    return (x.raw << -shift, 0) if shift < 0 else (x.raw, shift)


def log(x: Fixed, output_integer_bits: int) -> Fixed:
    """Compute ln(x), x >= 1."""
    wide = output_integer_bits + 1
    quarter = Fixed.of(0.25, 0, 32).rescale(wide)
    z = x.read_with(0)

    def exponent(value: int) -> Fixed:
        return Fixed(saturate(value << (31 - wide)), wide, 32)

    zeros = 32 - z.raw.bit_length()
    r_a = (z.times_power(zeros - 1) * Fixed.of(math.sqrt(0.5), 0, 32)).times_power(1)
    exponent_a = exponent(x.integer_bits - zeros) + quarter
    headroom = 31 - (z * Fixed.of(math.sqrt(0.5), 0, 32)).raw.bit_length()
    r_b = z.times_power(headroom)
    exponent_b = exponent(x.integer_bits - headroom) - quarter
    r = min(r_a, r_b, key=lambda fixed: fixed.raw)
    e = max(exponent_a, exponent_b, key=lambda fixed: fixed.raw)

    root = 2**0.25
    center = Fixed.of(0.5**0.25, 0, 32)
    p = Fixed(half_away(Fraction(r.raw + center.raw, 2)), 0, 32)
    q = r - center + (r - center)
    numerator = q * r + q * (q * q) * Fixed.of(11 / 240 * root, 0, 32)
    denominator = p * (Fixed.of(2 / root - root, 0, 32) + q + Fixed.of(root / 20, 0, 32) * (q * q))
    denominator = denominator + Fixed.of(root / 4, 0, 32) * q
    log_of_r = numerator.rescale(wide) * one_over_one_plus_x(denominator)
    return (e * Fixed.of(math.log(2), 0, 32) + log_of_r).rescale(output_integer_bits)
