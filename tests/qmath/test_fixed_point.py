"""gemmlowp's arithmetic against scalar oracles and against the real functions it approximates."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qmath import fixed_point as fp
from qmath.errors import InputError
from quantref.testing import int32s
from tests.oracles import fixed, rational

INT8 = np.arange(-128, 128)
INT16 = np.arange(-(2**15), 2**15)
INT32 = int32s()


def raws(a, integer_bits, bits, function, *more):
    return [function(fixed.Fixed(int(x), integer_bits, bits), *more).raw for x in a]


# --- Words, products, shifts ---


def test_high_multiply_on_all_int8_pairs():
    expected = [[rational.high_mul(int(a), int(b), 8) for b in INT8] for a in INT8]
    assert fp.saturating_rounding_doubling_high_mul(INT8[:, None], INT8, 8).tolist() == expected


@given(INT32, INT32)
def test_high_multiply_of_int32(a, b):
    assert int(fp.saturating_rounding_doubling_high_mul(a, b)) == rational.high_mul(a, b)


def test_high_multiply_saturates_in_one_case_only():
    assert fp.saturating_rounding_doubling_high_mul(-(2**31), -(2**31)) == 2**31 - 1
    assert fp.saturating_rounding_doubling_high_mul(-(2**31), 1 - 2**31) == 2**31 - 1
    assert fp.saturating_rounding_doubling_high_mul(-(2**15), -(2**15), 16) == 2**15 - 1


def test_high_multiply_breaks_ties_up_and_the_divide_away_from_zero():
    assert fp.saturating_rounding_doubling_high_mul([-1, 1, -3, 3], 2**30).tolist() == [0, 1, -1, 2]
    assert fp.rounding_divide_by_power_of_two([-1, 1, -3, 3], 1).tolist() == [-1, 1, -2, 2]


@given(INT32, st.integers(0, 31))
def test_divide_and_left_shift_of_int32(x, exponent):
    assert int(fp.rounding_divide_by_power_of_two(x, exponent)) == rational.half_away(Fraction(x, 2**exponent))
    assert int(fp.saturating_left_shift(x, exponent)) == rational.saturate(x << exponent)


@given(INT32, st.integers(0, 9), st.integers(0, 9))
def test_rescale_keeps_the_number(x, integer_bits, new_integer_bits):
    expected = fixed.Fixed(x, integer_bits, 32).rescale(new_integer_bits).raw
    assert int(fp.rescale(x, integer_bits, new_integer_bits)) == expected


@given(st.integers(-(2**63), 2**63 - 1), st.integers(2, 32))
def test_wrap_and_saturate(x, bits):
    assert int(fp.wrap(x, bits)) == rational.wrap(x, bits)
    assert int(fp.saturate(x, bits)) == rational.saturate(x, bits)
    assert int(fp.wrap_int32(x)) == int(np.array(x).astype(np.int32))


def test_half_sum_on_all_int8_pairs():
    expected = [[rational.half_away(Fraction(int(a + b), 2)) for b in INT8] for a in INT8]
    assert fp.rounding_half_sum(INT8[:, None], INT8).tolist() == expected


def test_leading_zeros():
    x = np.unique([v for e in range(32) for v in (2**e - 1, 2**e, min(2**e + 1, 2**32 - 1))])
    assert fp.count_leading_zeros(x).tolist() == [32 - int(v).bit_length() for v in x]


def test_constants_are_those_of_gemmlowp():
    named = {math.exp(-1 / 8): 1895147668, 1 / 3: 715827883, math.exp(-0.25): 1672461947, math.exp(-0.5): 1302514674}
    named |= {math.exp(-1): 790015084, math.exp(-2): 290630308, math.exp(-4): 39332535, math.exp(-8): 720401}
    named |= {math.exp(-16): 242, math.log(2): 1488522236, math.sqrt(0.5): 1518500250}
    assert {real: fp.constant(real) for real in named} == named
    assert (fp.constant(48 / 17, 2), fp.constant(-32 / 17, 2)) == (1515870810, -1010580540)
    assert (fp.constant(1.0), fp.constant(1.0, bits=16), fp.constant(1.0, 3, 16)) == (2**31 - 1, 2**15 - 1, 2**12)


# --- Functions of int16, all codes ---


@pytest.mark.parametrize("integer_bits", [3, 4])
@pytest.mark.parametrize(
    ("function", "oracle"), [(fp.logistic, fixed.logistic), (fp.tanh, fixed.tanh)], ids=["logistic", "tanh"]
)
def test_int16_functions_equal_the_oracle(function, oracle, integer_bits):
    codes = np.unique(np.r_[INT16[::37], INT16[:9], INT16[-9:], np.arange(-99, 99), -(2**12), 2**12])
    assert function(codes, integer_bits, 16).tolist() == raws(codes, integer_bits, 16, oracle)


@pytest.mark.parametrize("integer_bits", range(7))
def test_int16_functions_are_near_the_real_ones_on_all_codes(integer_bits):
    real = INT16 * 2.0 ** (integer_bits - 15)
    assert np.abs(fp.logistic(INT16, integer_bits, 16) / 2**15 - 1 / (1 + np.exp(-real))).max() < 2.0**-11
    assert np.abs(fp.tanh(INT16, integer_bits, 16) / 2**15 - np.tanh(real)).max() < 2.0**-10


def test_int16_functions_are_odd_around_their_middle():
    codes = INT16[1:]
    assert np.array_equal(fp.tanh(-codes, 3, 16), -fp.tanh(codes, 3, 16))
    both = fp.logistic(codes, 3, 16) + fp.logistic(-codes, 3, 16)
    assert set(both[codes != 0].tolist()) == {2**15 - 1}


# --- Functions of int32 ---


@settings(max_examples=200)
@given(INT32, st.integers(0, 8))
def test_int32_functions_equal_the_oracle(x, integer_bits):
    a = fixed.Fixed(x, integer_bits, 32)
    negative = fixed.Fixed(-abs(x), integer_bits, 32)
    assert int(fp.exp_on_negative_values(negative.raw, integer_bits)) == fixed.exp_on_negative_values(negative).raw
    assert int(fp.logistic(x, integer_bits)) == fixed.logistic(a).raw
    assert int(fp.tanh(x, integer_bits)) == fixed.tanh(a).raw


@settings(max_examples=200)
@given(st.integers(0, 2**31 - 1), st.integers(0, 31))
def test_quotients_equal_the_oracle(x, shift):
    q0 = fixed.Fixed(x >> shift, 0, 32)
    assert int(fp.one_over_one_plus_x_for_x_in_0_1(q0.raw)) == fixed.one_over_one_plus_x(q0).raw
    assert int(fp.one_minus_x_over_one_plus_x_for_x_in_0_1(q0.raw)) == fixed.one_minus_x_over_one_plus_x(q0).raw


@settings(max_examples=200)
@given(st.integers(1, 2**31 - 1), st.integers(0, 30))
def test_inverse_square_root_equals_the_oracle(n, shift):
    n >>= shift
    found = fp.inverse_square_root(n)
    assert (int(found.multiplier), -int(found.shift)) == fixed.inverse_square_root(n)


def test_inverse_square_root_at_the_edges_of_its_ranges():
    n = np.array([0, 1, 2, 3, 4, 2**27 - 1, 2**27, 2**29 - 1, 2**29, 2**31 - 1])
    found = fp.inverse_square_root(n)
    expected = [fixed.inverse_square_root(int(v)) for v in n]
    assert list(zip(found.multiplier.tolist(), (-found.shift).tolist(), strict=True)) == expected
    real = found.multiplier * 2.0 ** (found.shift - 31)
    np.testing.assert_allclose(real[1:], 1 / np.sqrt(n[1:]), rtol=2e-6)


@pytest.mark.parametrize("n", [-1, 2**31])
def test_inverse_square_root_refuses_what_is_no_int32(n):
    with pytest.raises(InputError, match="square root"):
        fp.inverse_square_root([1, n])


@settings(max_examples=200)
@given(st.integers(2**19, 2**31 - 1))
def test_logarithm_equals_the_oracle(x):
    expected = fixed.log(fixed.Fixed(x, 12, 32), 5).raw
    found = int(fp.log_x_for_x_greater_than_or_equal_to_1(x, 12, 5))
    assert found == expected
    assert abs(found / 2**26 - math.log(x / 2**19)) < 2.0**-24


def test_reciprocal_of_any_size():
    x = np.unique([v for e in range(1, 32) for v in (2 ** (e - 1), 2**e - 1, 3 * 2**e // 4)])
    fraction, bits_over_unit = fp.reciprocal(x, 12)
    np.testing.assert_allclose(fraction / 2.0**31 / 2.0**bits_over_unit, 2.0**19 / x, rtol=2.0**-27)
    assert np.all((fraction > 2**30 - 16) & (fraction < 2**31))


def test_real_values_on_a_grid():
    a = np.linspace(-(2**31) + 1, 0, 10_001).astype(np.int64)
    real = a / 2.0**26
    assert np.abs(fp.exp_on_negative_values(a, 5) / 2.0**31 - np.exp(real)).max() < 2.0**-21
    assert np.abs(fp.tanh(a, 5) / 2.0**31 - np.tanh(real)).max() < 2.0**-21
