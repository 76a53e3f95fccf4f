"""Elementwise ops and SOFTMAX on single codes, in Python integers and fractions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from tests.oracles import fixed
from tests.oracles.fixed import Fixed
from tests.oracles.rational import (
    double_rounding,
    encode,
    half_away,
    high_mul,
    power_of_two,
    saturate,
    to_float,
    toward_zero,
    wrap,
)

#: Scale and zero point.
Params = tuple[float, int]


def f32(x: float | Fraction) -> Fraction:
    """Round to float32."""
    return to_float(Fraction(x), 24)


def clamp(code: int, lowest: int, highest: int) -> int:
    """Keep a code within its type."""
    return min(max(code, lowest), highest)


def common_scale(first: Params, second: Params) -> Fraction:
    """Return twice the larger scale."""
    return f32(2 * max(f32(first[0]), f32(second[0])))


def scaled(code: int, params: Params, common: Fraction, left_shift: int) -> int:
    """Bring a code to the common scale."""
    real = to_float(f32(params[0]) / common, 53)
    return double_rounding(wrap((code - params[1]) << left_shift), *encode(float(real)))


def add(codes: tuple[int, int], params: tuple[Params, Params, Params], sign: int, bits: int) -> int:
    """Add or subtract two signed codes."""
    left_shift = 15 if bits == 16 else 20
    common = common_scale(params[0], params[1])
    first, second = (scaled(c, p, common, left_shift) for c, p in zip(codes, params, strict=False))
    real = to_float(common / f32(2**left_shift * f32(params[2][0])), 53)
    total = double_rounding(first + sign * second, *encode(float(real)))
    return clamp(total + params[2][1], -(2 ** (bits - 1)), 2 ** (bits - 1) - 1)


def squared_difference(codes: tuple[int, int], params: tuple[Params, Params, Params]) -> int:
    """Square the difference of two int8 codes."""
    common = common_scale(params[0], params[1])
    first, second = (scaled(c, p, common, 7) for c, p in zip(codes, params, strict=False))
    real = to_float(to_float(common * common, 53) / f32(2**14 * f32(params[2][0])), 53)
    return clamp(double_rounding((first - second) ** 2, *encode(float(real))) + params[2][1], -128, 127)


def mul(codes: tuple[int, int], params: tuple[Params, Params, Params], bits: int) -> int:
    """Multiply two signed codes."""
    (first, second), (p1, p2, p3) = codes, params
    real = f32(f32(f32(p1[0]) * f32(p2[0])) / f32(p3[0]))
    product = double_rounding(wrap((first - p1[1]) * (second - p2[1])), *encode(float(real)))
    return clamp(product + p3[1], -(2 ** (bits - 1)), 2 ** (bits - 1) - 1)


def div(codes: tuple[int, int], params: tuple[Params, Params, Params]) -> int | None:
    """Divide two int8 codes; None where the runtime would shift by more than 31 bits."""
    (first, second), (p1, p2, p3) = codes, params
    multiplier, shift = encode(float(f32(f32(p1[0]) / f32(f32(p2[0]) * f32(p3[0])))))
    dividend, divisor = first - p1[1], second - p2[1]
    if divisor < 0:
        dividend, divisor = -dividend, -divisor
    over_unit = divisor.bit_length() - 1
    fraction = fixed.one_over_one_plus_x(Fixed((divisor << (31 - over_unit)) - 2**31, 0, 32)).raw
    headroom = 31 - (dividend if dividend >= 0 else ~dividend).bit_length()
    product = high_mul(high_mul(wrap(dividend << headroom), fraction), multiplier)
    exponent = over_unit + headroom - shift
    if not 0 <= exponent <= 31:
        return None
    return clamp(half_away(product / power_of_two(exponent)) + p3[1], -128, 127)


def leaky_relu(code: int, source: Params, target: Params, alpha: float) -> int:
    """Scale an int8 code, by the slope too if it is negative."""
    centred = code - source[1]
    slope = f32(1) if centred >= 0 else f32(abs(alpha))
    real = f32(f32(f32(source[0]) * slope) / f32(target[0]))
    result = double_rounding(centred, *encode(float(real)))
    return clamp((-result if centred < 0 and alpha < 0 else result) + target[1], -128, 127)


def hard_swish(code: int, source: Params, target: Params) -> int:
    """Compute HARD_SWISH of an int8 code in 16 bits."""
    hires = wrap((code - source[1]) * 128, 16)
    hires_scale = f32(f32(source[0]) / 128)
    output, output_shift = _encode_16(f32(hires_scale / f32(target[0])))
    reluish, shift = _encode_16(f32(hires_scale / f32(f32(3) / 32768)))
    on_output_scale = high_mul(hires, output, 16)
    if shift > 0:
        almost = saturate(hires << (shift - 1), 16)
        gate = saturate(high_mul(almost, reluish, 16) << 1, 16)
    else:
        gate = half_away(high_mul(hires, reluish, 16) * power_of_two(shift))
    gate = (gate + 2**15) >> 1
    product = toward_zero(Fraction(gate * on_output_scale, 2**15))
    return clamp(half_away(product * power_of_two(output_shift)) + target[1], -128, 127)


def _encode_16(real: Fraction) -> tuple[int, int]:
    multiplier, shift = encode(float(real))
    return min((multiplier + 2**15) >> 16, 32767), shift


def softmax(row: Sequence[int], scale: float, beta: float, bits: int) -> list[int]:
    """Compute SOFTMAX of a row of int8 codes; output of 8 or 16 bits."""
    multiplier, shift = encode(min(beta * float(np.float32(scale)) * 2.0**26, 2.0**31 - 1))
    lowest = -math.floor(31 * 2**26 / 2**shift)
    differences = [code - max(row) for code in row]
    powers = [_power(d, multiplier, shift) if d >= lowest else None for d in differences]
    total = sum(half_away(Fraction(p, 2**12)) for p in powers if p is not None)
    over_unit = 12 - (32 - total.bit_length())
    fraction = fixed.one_over_one_plus_x(Fixed((total << (32 - total.bit_length())) - 2**31, 0, 32)).raw
    low, high = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    exponent = over_unit + 31 - bits
    shares = [0 if p is None else half_away(high_mul(fraction, p) / power_of_two(exponent)) for p in powers]
    return [clamp(low + share, low, high) for share in shares]


def _power(difference: int, multiplier: int, shift: int) -> int:
    return fixed.exp_on_negative_values(Fixed(high_mul(difference << shift, multiplier), 5, 32)).raw


def l2_normalization(row: Sequence[int], zero_point: int) -> list[int]:
    """Divide a row of int8 codes by its length."""
    centred = [code - zero_point for code in row]
    multiplier, right_shift = fixed.inverse_square_root(sum(c * c for c in centred))
    return [clamp(double_rounding(c, multiplier, 7 - right_shift), -128, 127) for c in centred]


def rsqrt(code: int, source: Params, target: Params) -> int:
    """Compute the inverse square root of an int8 code; scales are squares of powers of two, so roots are exact."""
    centred = code - source[1]
    if centred == 0:
        return 127
    multiplier, right_shift = fixed.inverse_square_root(centred)
    root = double_rounding(1, multiplier, 20 - right_shift)
    factor, shift = encode(1 / (math.sqrt(source[0]) * target[0]))
    return clamp(double_rounding(root, factor, shift - 20) + target[1], -128, 127)
