"""Fake quantization: stored outputs of TensorFlow's ops, bit for bit; exact arithmetic; what a gradient means."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qmath import fake_quant as fq
from qmath.eigen_sum import eigen_sum
from qmath.errors import InputError
from tests.oracles import rational
from tests.oracles.elementwise import f32
from tests.qmath.fake_quant_cases import RANGES, long_terms

NORMAL = st.floats(2.0**-40, 2.0**40, width=32)
CODES = st.sampled_from([(0, 255), (1, 255), (0, 3), (1, 15), (0, 65535)])


@pytest.fixture(scope="module")
def goldens():
    with np.load(Path(__file__).with_name("fake_quant.npz")) as stored:
        return dict(stored)


def same_bits(found, expected):
    return np.array_equal(np.asarray(found).view(np.uint32), expected.view(np.uint32))


def golden_cases(goldens):
    names = ("low", "high", "bits", "narrow", "x", "g")
    yield from enumerate(zip(*(goldens[f"case_{name}"] for name in names), strict=True))


def test_args_equals_tensorflow(goldens):
    compared = 0
    for i, (low, high, bits, narrow, x, g) in golden_cases(goldens):
        if goldens["args_refused"][i]:
            with pytest.raises(InputError, match="minimum below the maximum"):
                fq.fake_quant_args(x, low, high, int(bits))
            continue
        assert same_bits(fq.fake_quant_args(x, low, high, bits, narrow_range=narrow), goldens["args"][i])
        gradient = fq.fake_quant_args_gradient(g, x, low, high, bits, narrow_range=narrow)
        assert same_bits(gradient, goldens["args_inputs"][i])
        compared += x.size
    assert compared > 3000


def test_vars_equals_tensorflow(goldens):
    for i, (low, high, bits, narrow, x, g) in golden_cases(goldens):
        assert same_bits(fq.fake_quant_vars(x, low, high, bits, narrow_range=narrow), goldens["vars"][i])
        found = fq.fake_quant_vars_gradient(g, x, low, high, bits, narrow_range=narrow)
        for part in ("inputs", "minimum", "maximum"):
            assert same_bits(getattr(found, part), goldens[f"vars_{part}"][i]), (part, low, high)


def test_per_channel_equals_tensorflow(goldens):
    kinds = len(goldens["channels"])
    low, high = (goldens[f"case_{name}"].reshape(kinds, len(RANGES)) for name in ("low", "high"))
    x, g = (goldens[f"case_{name}"].reshape(kinds, len(RANGES), -1) for name in ("x", "g"))
    for i, start in enumerate(range(0, len(goldens["case_bits"]), len(RANGES))):
        bits, narrow = goldens["case_bits"][start], goldens["case_narrow"][start]
        forward = fq.fake_quant_per_channel(x[i].T, low[i], high[i], bits, narrow_range=narrow)
        assert same_bits(forward, goldens["channels"][i])
        found = fq.fake_quant_per_channel_gradient(g[i].T, x[i].T, low[i], high[i], bits, narrow_range=narrow)
        for part in ("inputs", "minimum", "maximum"):
            assert same_bits(getattr(found, part), goldens[f"channels_{part}"][i]), part


def test_long_sums_have_tensorflows_order(goldens):
    for seed, (length, expected) in enumerate(zip(goldens["long_sums_lengths"], goldens["long_sums"], strict=True)):
        x, g = long_terms(length, seed), long_terms(length, seed + 1)
        found = fq.fake_quant_vars_gradient(g, x, -1, 1, 8, narrow_range=True)
        assert same_bits(np.array([found.minimum, found.maximum]), expected), length
        assert abs(found.minimum - g[x < -1].sum(dtype=np.float64)) < 1e-5 * np.abs(g).sum()


@given(NORMAL, NORMAL, CODES)
def test_nudge_equals_the_oracle(below, above, codes):
    lowest, highest = codes
    low, high = Fraction(-below), Fraction(above)
    scale = f32(f32(high - low) / (highest - lowest))
    zero_point = max(lowest, min(highest, rational.half_away(f32(lowest - f32(low / scale)))))
    found = fq.nudge(np.float32(-below), np.float32(above), lowest, highest)
    assert found.zero_point == zero_point
    assert Fraction(float(found.scale)) == scale
    assert Fraction(float(found.minimum)) == f32((lowest - zero_point) * scale)
    assert Fraction(float(found.maximum)) == f32((highest - zero_point) * scale)


def test_the_result_is_a_code_of_the_nudged_range_and_0_stays_0():
    x = np.linspace(-2, 2, 1001, dtype=np.float32)
    found = fq.fake_quant_vars(x, -0.9, 1.3, 4)
    assert len(np.unique(found)) == 16
    assert fq.fake_quant_vars(0.0, -0.9, 1.3, 4) == 0
    nudged = fq.nudge(np.float32(-0.9), np.float32(1.3), 0, 15)
    assert (found.min(), found.max()) == (nudged.minimum, nudged.maximum)
    assert np.abs(found - np.clip(x, found.min(), found.max())).max() <= nudged.scale * 0.5001


def test_nan_stays_nan_and_infinities_are_clamped():
    x = np.array([np.nan, np.inf, -np.inf], np.float32)
    assert np.array_equal(fq.fake_quant_vars(x, -1, 1, narrow_range=True), [np.nan, 1, -1], equal_nan=True)
    assert np.array_equal(fq.fake_quant_vars(x, 0, 0), [0, 0, 0])


def test_gradients_go_where_the_values_lie():
    x, gradient = np.array([-3, -1, 0, 1, 3, 4], np.float32), np.array([1, 2, 4, 8, 16, 32], np.float32)
    found = fq.fake_quant_vars_gradient(gradient, x, -1, 1, narrow_range=True)
    assert np.array_equal(found.inputs, [0, 2, 4, 8, 0, 0])
    assert (found.minimum, found.maximum) == (1, 48)
    empty = fq.fake_quant_vars_gradient(gradient, x, 0, 0)
    assert np.array_equal(empty.inputs, gradient)
    assert (empty.minimum, empty.maximum) == (0, 0)


def test_sums_of_several_rows_and_of_nothing():
    terms = np.stack([long_terms(77, seed) for seed in range(3)])
    assert same_bits(eigen_sum(terms), np.array([eigen_sum(row) for row in terms]))
    assert eigen_sum(np.zeros((2, 0), np.float32)).tolist() == [0, 0]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (([1.0], 0, 1, 1), "num_bits from 2 to 16, found 1"),
        (([1.0], 0, 1, 17), "found 17"),
        (([1.0], [0.0], 1, 8), "scalars"),
    ],
)
def test_wrong_arguments_of_vars(arguments, told):
    with pytest.raises(InputError, match=told):
        fq.fake_quant_vars(*arguments)


def test_wrong_shapes():
    with pytest.raises(InputError, match=r"last axis of shape \(2, 3\), found shapes \(2,\) and \(3,\)"):
        fq.fake_quant_per_channel(np.zeros((2, 3)), np.zeros(2), np.zeros(3))
    with pytest.raises(InputError, match=r"shape of x, \(3,\), found \(2,\)"):
        fq.fake_quant_args_gradient(np.zeros(2), np.zeros(3))
