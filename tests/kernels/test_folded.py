"""The multiplier folded into the sum: equal to the definition wherever its bound allows it, and refused elsewhere."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels.engine.exact import MatMul
from kernels.engine.folded import folded
from qmath.requantize import DOUBLE_ROUNDING, REDUCED_64, Requantize
from qmath.types import ActivationRange, DType
from quantref.testing import real_multipliers
from tests.kernels.sweeps import examples

FULL, RELU = ActivationRange(-32768, 32767), ActivationRange(0, 32767)


def requantize_to_int16(real, *, regime=REDUCED_64, activation=FULL):
    return Requantize(regime, np.asarray(real, np.float64), 0, activation, DType.INT16)


@examples(100)
@given(
    seed=st.integers(0, 2**32 - 1),
    real=real_multipliers(-33, 10),
    bias_bits=st.integers(1, 46),
    activation=st.sampled_from([FULL, RELU]),
)
def test_equals_the_definition(seed, real, bias_bits, activation):
    rng = np.random.default_rng(seed)
    depth, channels = rng.integers(1, 30, 2)
    sums = MatMul(rng.integers(-128, 128, (depth, channels)), DType.INT16)
    offset = rng.integers(-(1 << bias_bits), 1 << bias_bits, channels)
    requantize = requantize_to_int16(real * rng.choice([1, 0.5, 0.75, 1.0001], channels), activation=activation)
    form = folded(sums, offset, requantize)
    if form is None:
        return
    scaled, step = form
    x = rng.choice([-32768, 32767, 0, 1, -1, 12345], (6, depth)).astype(np.int16)
    accumulator = x.astype(np.int64) @ sums.weights + offset
    assert np.array_equal(step(scaled(x)), requantize(accumulator))


def test_ties_go_up():
    scaled, step = folded(
        MatMul(np.ones((1, 1), np.int64), DType.INT16), np.zeros(1, np.int64), requantize_to_int16([0.5])
    )
    assert step(scaled(np.array([[-3], [-1], [1], [3]], np.int16))).ravel().tolist() == [-1, 0, 1, 2]


@pytest.mark.parametrize(
    ("offset", "real"),
    [
        (1 << 50, 2.0**-30),  # product of bias and multiplier has more than 53 bits
        (1 << 46, 1.0),  # the result does not fit 32 bits, where the runtime wraps
        (1 << 30, 100.0),
    ],
)
def test_what_cannot_be_proven_is_refused(offset, real):
    sums = MatMul(np.ones((1, 1), np.int64), DType.INT16)
    assert folded(sums, np.array([offset]), requantize_to_int16([real])) is None


def test_two_roundings_cannot_be_folded():
    sums = MatMul(np.ones((1, 1), np.int64), DType.INT16)
    assert folded(sums, np.zeros(1, np.int64), requantize_to_int16([0.01], regime=DOUBLE_ROUNDING)) is None


def test_8_bit_outputs_have_forms_of_their_own():
    sums = MatMul(np.ones((1, 1), np.int64), DType.INT16)
    requantize = Requantize(REDUCED_64, np.array([0.5]), 0, ActivationRange(-128, 127), DType.INT8)
    assert folded(sums, np.zeros(1, np.int64), requantize) is None
