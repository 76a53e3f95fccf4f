"""Quantization on the fly: scales, zero points, codes, and what the vector code does at the edges."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from kernels.engine.hybrid import (
    SCALE_BACK_BY_PRODUCT,
    SCALE_BACK_IN_TURN,
    misread_weights,
    quantize_asymmetric,
    quantize_symmetric,
    round_in_groups,
)
from tests.kernels.sweeps import examples

SIXTYFOURTHS = st.integers(-(2**20), 2**20).map(lambda n: n / 64)
ROWS = hnp.arrays(np.float32, st.tuples(st.integers(1, 4), st.integers(1, 20)), elements=SIXTYFOURTHS)


def test_symmetric_codes_by_hand():
    rows = quantize_symmetric(np.array([[127.0, -63.5, 0.5, 0.25]], np.float32))
    assert rows.codes.tolist() == [[127, -64, 1, 0]]
    assert (rows.scale.tolist(), rows.zero_point.tolist()) == ([1.0], [0])


def test_asymmetric_codes_by_hand():
    # 255 steps from -55 to 200: the scale is 1, and 0 is 55 steps above the lowest code.
    rows = quantize_asymmetric(np.array([[-55.0, 200.0, 0.0, 0.5, -0.5]], np.float32))
    assert rows.codes.tolist() == [[-128, 127, -73, -72, -74]]
    assert (rows.scale.tolist(), rows.zero_point.tolist()) == ([1.0], [-73])


@pytest.mark.parametrize("quantize", [quantize_symmetric, quantize_asymmetric])
def test_zeros_have_scale_1_and_codes_0(quantize):
    rows = quantize(np.zeros((2, 3), np.float32))
    assert not rows.codes.any()
    assert not rows.zero_point.any()
    assert rows.scale.tolist() == [1.0, 1.0]


def test_zero_is_a_code_of_rows_of_one_sign():
    rows = quantize_asymmetric(np.array([[255.0, 300.0], [-255.0, -300.0]], np.float32))
    assert rows.zero_point.tolist() == [-128, 127]
    assert rows.scale.tolist() == [np.float32(300 / 255)] * 2


@examples(50)
@given(real=ROWS)
@pytest.mark.parametrize("quantize", [quantize_symmetric, quantize_asymmetric])
def test_codes_stand_for_the_values(quantize, real):
    rows = quantize(real)
    back = rows.steps(np.float64) * rows.per_row(rows.scale).astype(np.float64)
    assert (np.abs(back - real) <= rows.per_row(rows.scale) * 1.001).all()
    assert rows.codes.dtype == np.int8
    for number in range(len(real)):
        alone = quantize(real[number : number + 1])
        assert np.array_equal(alone.codes[0], rows.codes[number])
        assert alone.scale[0] == rows.scale[number]


def test_images_are_rows():
    real = np.arange(24, dtype=np.float32).reshape(2, 2, 3, 2)
    rows = quantize_asymmetric(real)
    assert rows.codes.shape == real.shape
    assert rows.per_row(rows.scale).shape == (2, 1, 1, 1)
    assert np.array_equal(rows.codes[1].ravel(), quantize_asymmetric(real[1].reshape(1, -1)).codes[0])


def test_the_largest_number_below_one_half_rounds_up_in_groups_of_eight_only():
    below_half = np.nextafter(np.float32(0.5), np.float32(0))
    steps = np.full((2, 11), below_half, np.float32) * np.array([[1], [-1]], np.float32)
    assert round_in_groups(steps).tolist() == [[1] * 8 + [0] * 3, [-1] * 8 + [0] * 3]


@pytest.mark.parametrize("quantize", [quantize_symmetric, quantize_asymmetric])
def test_tiny_and_infinite_values_do_not_warn(quantize):
    for value in (1e-45, 1e-38, 3e38, np.inf):
        assert quantize(np.full((1, 9), value, np.float32)).codes.shape == (1, 9)
    assert quantize(np.array([[3e38, -3e38]], np.float32)).codes.shape == (1, 2)


def test_misread_weights_are_those_of_minus_128_in_whole_groups_of_16():
    weights = np.full((2, 20), -128, np.int8)
    weights[1, :16] = 1
    found = misread_weights(weights)
    assert found is not None
    assert found.tolist() == [[256] * 16 + [0] * 4, [0] * 20]
    assert misread_weights(np.full((2, 15), -128, np.int8)) is None


def test_the_order_of_scaling_shows_in_the_last_bit():
    accumulator, weights, rows = (np.array([value], np.float32) for value in (3.0, 0.1, 0.9))
    product = np.float32(3) * (np.float32(0.1) * np.float32(0.9))
    in_turn = (np.float32(3) * np.float32(0.1)) * np.float32(0.9)
    assert SCALE_BACK_BY_PRODUCT.multiply(accumulator, weights, rows).tolist() == [product]
    assert SCALE_BACK_IN_TURN.multiply(accumulator, weights, rows).tolist() == [in_turn]
    assert product != in_turn
