"""Every tie rule against exact fractions: all pairs of int8, and the edges of int64, float32 and float64."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qmath import rounding
from qmath.errors import InputError
from qmath.rounding import TieRule
from tests.oracles import rational

INT8 = np.arange(-128, 128)
INT64 = st.integers(-(2**63), 2**63 - 1) | st.sampled_from([-(2**63), 2**63 - 1, -1, 0, 1])


def near_half(mantissa_bits: int) -> st.SearchStrategy[float]:
    """Numbers at, just below and just above n + 1/2, and large ones that have no fraction."""
    unit = 2.0**-mantissa_bits
    small = st.tuples(st.integers(-300, 300), st.sampled_from([-1, 0, 1])).map(
        lambda pair: (pair[0] + 0.5) * (1 + pair[1] * unit)
    )
    large = st.integers(2 ** (mantissa_bits - 2), 2 ** (mantissa_bits + 2)).map(lambda n: n / 2)
    return small | large | large.map(lambda x: -x)


@pytest.mark.parametrize(("dtype", "mantissa_bits"), [(np.float32, 23), (np.float64, 52)])
def test_floats_round_by_the_rule(dtype, mantissa_bits):
    @given(near_half(mantissa_bits))
    def check(x):
        value = np.array([x], dtype)
        exact = Fraction(float(value[0]))
        away, even = rounding.round_half_away_from_zero(value), rounding.round_half_to_even(value)
        assert away.dtype == even.dtype == dtype
        assert int(away[0]) == rational.half_away(exact)
        assert int(even[0]) == rational.half_even(exact)
        assert rounding.round_to_integer(value, TieRule.HALF_AWAY_FROM_ZERO) == away
        assert rounding.round_to_integer(value, TieRule.HALF_TO_EVEN) == even

    check()


def test_largest_float32_below_one_half_rounds_to_zero():
    assert rounding.round_half_away_from_zero(np.array([0.49999997, -0.49999997], np.float32)).tolist() == [0, 0]


def test_special_floats_are_kept():
    x = np.array([np.inf, -np.inf, np.nan, -0.0, -0.25], np.float32)
    rounded = rounding.round_half_away_from_zero(x)
    np.testing.assert_array_equal(rounded, [np.inf, -np.inf, np.nan, 0, 0])
    assert np.signbit(rounded).tolist()[3:] == [True, True]


def test_conversion_to_int32_differs_where_nothing_fits():
    x = np.array([1.9, -1.9, 2.0**31, -(2.0**31), -3e9, np.inf, -np.inf, np.nan])
    low, high = -(2**31), 2**31 - 1
    assert rounding.float_to_int32_x86(x).tolist() == [1, -1, low, low, low, low, low, low]
    assert rounding.float_to_int32_saturating(x).tolist() == [1, -1, high, low, low, high, low, 0]
    largest = np.array([2147483520.0], np.float32)
    assert rounding.float_to_int32_x86(largest) == rounding.float_to_int32_saturating(largest) == 2147483520


@pytest.mark.parametrize(
    ("divide", "rule"),
    [(rounding.divide_half_away, rational.half_away), (rounding.divide_toward_zero, rational.toward_zero)],
)
def test_division_on_all_int8_pairs(divide, rule):
    divisors = INT8[INT8 != 0]
    expected = [[rule(Fraction(int(a), int(b))) for b in divisors] for a in INT8]
    assert divide(INT8.astype(np.int8)[:, None], divisors.astype(np.int8)).tolist() == expected


@given(st.integers(-(2**63) + 1, 2**63 - 1), st.integers(-(2**63) + 1, 2**63 - 1).filter(bool))
def test_division_does_not_overflow(numerator, denominator):
    quotient = Fraction(numerator, denominator)
    assert int(rounding.divide_half_away(numerator, denominator)) == rational.half_away(quotient)
    assert int(rounding.divide_toward_zero(numerator, denominator)) == rational.toward_zero(quotient)


@pytest.mark.parametrize("divide", [rounding.divide_half_away, rounding.divide_toward_zero])
def test_division_by_zero_is_an_error(divide):
    with pytest.raises(InputError, match="other than 0"):
        divide([1, 2], [1, 0])


def test_shifts_on_all_int8_codes():
    exponents = np.arange(10)
    quotients = [[Fraction(int(x), 2 ** int(e)) for e in exponents] for x in INT8]
    up = rounding.shift_right_half_up(INT8.astype(np.int8)[:, None], exponents)
    away = rounding.shift_right_half_away(INT8.astype(np.int8)[:, None], exponents)
    assert up.tolist() == [[rational.half_up(q) for q in row] for row in quotients]
    assert away.tolist() == [[rational.half_away(q) for q in row] for row in quotients]


@given(INT64, st.integers(0, 63))
def test_shift_half_up_is_exact_on_all_of_int64(x, exponent):
    assert int(rounding.shift_right_half_up(x, exponent)) == rational.half_up(Fraction(x, 2**exponent))


@given(INT64, st.integers(0, 62))
def test_shift_half_away_is_exact_on_all_of_int64(x, exponent):
    assert int(rounding.shift_right_half_away(x, exponent)) == rational.half_away(Fraction(x, 2**exponent))


@pytest.mark.parametrize("values", [[0.5], np.array([1], np.uint64), [2**63], ["1"]])
def test_only_integers_pass_for_integers(values):
    with pytest.raises(InputError, match="expected integers"):
        rounding.as_int64(values)


@pytest.mark.parametrize("sign_of_product", [-1, 1])
@pytest.mark.parametrize("sign_of_addend", [-1, 1])
def test_a_fused_sum_next_to_a_tie_is_rounded_once(sign_of_product, sign_of_addend):
    # The product is 2**-70 short of half a step of the sum: float64 sees the tie alone, whose even side is wrong.
    step = 2.0**-23
    a, b = np.float32(sign_of_product * 2.0**-24 * (1 - step)), np.float32(1 + step)
    addend = np.float32(sign_of_addend * (1 + step))
    assert np.float32(np.float64(a) * np.float64(b) + np.float64(addend)) != addend
    assert rounding.fused_multiply_add(a, b, addend) == addend


@given(*[st.builds(math.ldexp, st.integers(-(1 << 24), 1 << 24), st.integers(-40, 40))] * 3)
def test_a_fused_sum_is_the_exact_one_rounded(a, b, c):
    found = rounding.fused_multiply_add(*(np.float32(term) for term in (a, b, c)))
    assert Fraction(float(found)) == rational.to_float(Fraction(a) * Fraction(b) + Fraction(c), 24)
