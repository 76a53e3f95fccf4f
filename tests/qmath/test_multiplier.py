"""Encoding of multipliers against exact fractions."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qmath.errors import SpecError
from qmath.multiplier import quantize_multiplier, real_value, reduced_multiplier, scale_ratio
from quantref.testing import real_multipliers
from tests.oracles import rational

REALS = (
    real_multipliers(-33, 30)
    | st.tuples(st.integers(0, 2**32), st.integers(-80, 10)).map(lambda pair: (2**31 + pair[0] / 2) * 2.0 ** pair[1])
    | st.sampled_from([0.0, 0.5, 1.0, 2.0**-31, 2.0**-32, 2.0**-33, 1 - 2.0**-33, 1 - 2.0**-32, 5e-324])
)


@given(REALS)
def test_encoding_equals_the_oracle(real):
    found = quantize_multiplier(real)
    assert (int(found.multiplier), int(found.shift)) == rational.encode(real)
    assert found.multiplier.dtype == found.shift.dtype == np.int64


@given(st.floats(2.0**-32, 2.0**30))
def test_significand_is_normalised_and_near(real):
    found = quantize_multiplier(real)
    assert 2**30 <= found.multiplier < 2**31
    assert abs(float(real_value(found)) / real - 1) <= 2.0**-31


def test_arrays_keep_their_shape():
    found = quantize_multiplier(np.array([[0.25, 0.0], [3.0, 1e-12]]))
    assert found.multiplier.tolist() == [[2**30, 0], [3 * 2**29, 0]]
    assert found.shift.tolist() == [[-1, 0], [2, 0]]


@pytest.mark.parametrize("real", [np.nan, np.inf, -np.inf])
def test_multiplier_must_be_finite(real):
    with pytest.raises(SpecError, match="finite"):
        quantize_multiplier([0.5, real])


def test_reduced_multiplier_rounds_half_up_and_stays_below_2_to_15():
    edges = [2**30, 2**30 + 2**15 - 1, 2**30 + 2**15, 0x7FFEFFFF, 0x7FFF0000 - 1, 0x7FFF0000, 2**31 - 1, 0]
    expected = [rational.half_up(Fraction(m, 2**16)) if m < 0x7FFF0000 else 0x7FFF for m in edges]
    assert reduced_multiplier(np.array(edges)).tolist() == expected
    assert max(expected) == 0x7FFF


@given(*[st.floats(2.0**-20, 2.0**20, width=32)] * 3)
def test_scale_ratio_rounds_where_it_says(source, weights, target):
    wide = Fraction(rational.to_float(Fraction(source) * Fraction(weights), 53))
    narrow = Fraction(rational.to_float(Fraction(source) * Fraction(weights), 24))
    exact = rational.to_float(wide / Fraction(target), 53)
    rounded = rational.to_float(narrow / Fraction(target), 53)
    assert Fraction(float(scale_ratio(source, weights, target))) == exact
    assert Fraction(float(scale_ratio(source, weights, target, float32_product=True))) == rounded


def test_a_negative_significand_of_all_ones_is_not_halved():
    # -2**31 fits 32 bits, 2**31 does not.
    almost = np.array([1 - 2.0**-33, -(1 - 2.0**-33)])
    found = quantize_multiplier(almost)
    assert found.multiplier.tolist() == [1 << 30, -(1 << 31)]
    assert found.shift.tolist() == [1, 0]
    assert real_value(found).tolist() == [1.0, -1.0]
