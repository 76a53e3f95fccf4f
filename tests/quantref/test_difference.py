"""Comparing arrays element for element."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from quantref.difference import Difference, Mismatch, difference


def test_equal_integers_count_and_match() -> None:
    codes = np.arange(-128, 128, dtype=np.int8).reshape(16, 16)
    assert difference(codes, codes.copy()) == Difference(elements=256)


def test_integers_off_by_one_are_found_with_both_values() -> None:
    expected = np.zeros((2, 3), np.int8)
    found = expected.copy()
    found[1, 2] = -1
    found[0, 1] = 127
    got = difference(expected, found, sample=4)
    assert (got.elements, got.mismatches, got.largest) == (6, 2, 127.0)
    assert got.first == Mismatch(4, (0, 1), 0, 127)
    assert str(got.first) == "sample 4 at [0, 1]: expected 0, found 127"


def test_the_extremes_of_int64_do_not_pass_for_equal() -> None:
    expected = np.array([2**63 - 1])
    assert difference(expected, expected - 1).mismatches == 1


@pytest.mark.parametrize(("factor", "mismatches"), [(1 + 5e-6, 0), (1 + 5e-5, 4)])
def test_floats_match_within_the_tolerance(factor: float, mismatches: int) -> None:
    expected = np.array([1.0, -2.0, 3.0, 4.0], np.float32)
    got = difference(expected, (expected * factor).astype(np.float32))
    assert got.mismatches == mismatches
    assert got.relative is not None
    assert 0 < got.relative < 1e-4


def test_small_floats_are_judged_by_the_largest_of_their_tensor() -> None:
    expected = np.array([1000.0, 1e-4], np.float32)
    assert difference(expected, np.array([1000.0, 2e-4], np.float32)).mismatches == 0
    assert difference(expected[1:], np.array([2e-4], np.float32)).mismatches == 1


def test_nan_and_infinity_match_only_themselves() -> None:
    special = np.array([np.nan, np.inf, -np.inf, 0.0], np.float32)
    assert difference(special, special.copy()).mismatches == 0
    got = difference(special, special[::-1].copy())
    assert got.mismatches == 4
    assert math.isinf(got.largest)
    assert json.loads(json.dumps(got.to_json(), allow_nan=False))["largest"] == "inf"


@pytest.mark.parametrize("other", [np.zeros((2, 2), np.int16), np.zeros((4,), np.int8)])
def test_another_type_or_shape_is_a_mismatch_of_all(other: np.ndarray) -> None:
    got = difference(np.zeros((2, 2), np.int8), other)
    assert (got.elements, got.mismatches) == (4, 4)
    assert str(got.first).startswith("sample 0 at []: expected int8[2, 2], found ")


def test_booleans_and_empty_arrays() -> None:
    assert difference(np.array([True, False]), np.array([True, True])).mismatches == 1
    assert difference(np.zeros((0, 3), np.int8), np.zeros((0, 3), np.int8)) == Difference()


def test_differences_add_up() -> None:
    zero, one = np.zeros(3, np.int8), np.ones(3, np.int8)
    total = difference(zero, zero, 0) + difference(zero, one, 1) + difference(zero, one * 3, 2)
    assert (total.elements, total.mismatches, total.largest) == (9, 6, 3.0)
    assert total.first is not None
    assert total.first.sample == 1
