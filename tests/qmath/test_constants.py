"""Weights, constants and biases to codes: the roundings against exact fractions, on values placed near ties."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from qmath.constants import WeightRounding, quantize_bias, quantize_constant, quantize_weights
from qmath.errors import InputError, SpecError
from qmath.scheme import weight_params
from qmath.types import DType, QuantParams
from tests.oracles import rational


def f32(x):
    return rational.to_float(Fraction(x), 24)


def expected_code(rounding, weight, scale, magnitude, highest):
    if rounding is WeightRounding.RECIPROCAL_OF_SCALE:
        return rational.half_away(f32(weight * f32(1 / scale)))
    if rounding is WeightRounding.STEPS_OVER_MAX:
        return rational.half_away(f32(weight * f32(highest / magnitude)))
    if rounding is WeightRounding.FLOAT64_SCALE:
        return rational.half_away(rational.to_float(weight / rational.to_float(magnitude / highest, 53), 53))
    return rational.half_even(f32(weight / scale))


def weights_near_ties(magnitude, highest, seed):
    """Half-way between two codes, moved by up to two units in the last place; the first is the largest."""
    rng = np.random.default_rng(seed)
    ties = ((rng.integers(-highest, highest, 200) + 0.5) * (magnitude / highest)).astype(np.float32)
    ties = ties.view(np.int32) + rng.integers(-2, 3, ties.size).astype(np.int32)
    return np.append(np.float32(magnitude), ties.view(np.float32))


@pytest.mark.parametrize("rounding", WeightRounding)
@pytest.mark.parametrize(("dtype", "highest"), [(DType.INT8, 127), (DType.INT4, 7)], ids=["int8", "int4"])
def test_weight_roundings_equal_the_oracle(rounding, dtype, highest):
    magnitudes = np.array([0.731, 1.0, 2.9], np.float32)
    weights = np.stack([weights_near_ties(m, highest, seed) for seed, m in enumerate(magnitudes)], axis=1)
    params = weight_params(weights, dtype, quantized_dimension=1)
    codes = quantize_weights(weights, params, rounding)
    assert codes.dtype == np.int8
    for channel in range(3):
        scale, magnitude = Fraction(float(params.scale[channel])), Fraction(float(magnitudes[channel]))
        exact = [expected_code(rounding, Fraction(float(w)), scale, magnitude, highest) for w in weights[:, channel]]
        assert codes[:, channel].tolist() == exact


def test_weight_roundings_differ_near_ties():
    weights = weights_near_ties(np.float32(1.9), 127, 0)
    params = weight_params(weights)
    codes = {quantize_weights(weights, params, rounding).tobytes() for rounding in WeightRounding}
    assert len(codes) == len(WeightRounding)


@pytest.mark.parametrize("rounding", WeightRounding)
def test_a_channel_of_zeros_gives_zeros(rounding):
    weights = np.array([[0.0, 0.0], [1.0, -0.5]], np.float32)
    for smallest in (0.0, 0.5e-6):
        params = weight_params(weights, quantized_dimension=0, smallest=smallest)
        assert quantize_weights(weights, params, rounding).tolist() == [[0, 0], [127, -64]]


@pytest.mark.parametrize("rounding", WeightRounding)
def test_weights_beyond_the_scale_clamp_to_the_narrow_range(rounding):
    params = QuantParams(np.array([0.5 / 127]), np.zeros(1), DType.INT8)
    codes = quantize_weights([-1.0, 0.25, 1.0], params, rounding, np.array([0.5], np.float32))
    assert codes.tolist() == [-127, 64, 127]


def test_weights_with_a_zero_point_are_refused():
    with pytest.raises(SpecError, match="zero points 0"):
        quantize_weights([1.0], QuantParams(np.ones(1), np.ones(1), DType.INT8))
    with pytest.raises(InputError, match="finite weights"):
        quantize_weights([np.inf], QuantParams(np.ones(1), np.zeros(1), DType.INT8))


def test_constants_add_the_zero_point_before_rounding():
    params = QuantParams(np.array([0.1]), np.array([-128]), DType.INT8)
    values = np.array([0.0, 0.04, 0.05, 0.25, 25.5, 99.0, -1.0], np.float32)
    quotients = [f32(Fraction(float(v)) / Fraction(float(params.scale[0]))) for v in values]
    expected = [max(-128, min(127, rational.half_away(f32(q - 128)))) for q in quotients]
    assert quantize_constant(values, params).tolist() == expected
    # With the zero point inside, a tie below it moves down; outside, it would move up.
    halves = QuantParams(np.array([1.0]), np.array([-10]), DType.INT8)
    assert quantize_constant([0.5, 2.5], halves).tolist() == [-10, -8]
    with pytest.raises(SpecError, match="positive"):
        quantize_constant([1.0], QuantParams(np.zeros(1), np.zeros(1), DType.INT8))


@pytest.mark.parametrize("dtype", [DType.INT32, DType.INT64], ids=["int32", "int64"])
def test_bias_equals_the_oracle_and_stays_within_32_bits(dtype):
    scale = np.array([0.001, 0.03, 1e-9, 0.0], np.float32)
    bias = np.array([-1.2345, 0.015, 3000.0, 5.0], np.float32)
    codes = quantize_bias(bias, QuantParams(scale, np.zeros(4), dtype))
    exact = [
        rational.half_away(f32(Fraction(float(b)) * f32(1 / Fraction(float(s)))))
        for b, s in zip(bias[:2], scale[:2], strict=True)
    ]
    assert codes.tolist() == [*exact, 2**31 - 1, 0]
    assert codes.dtype == dtype.storage
    assert quantize_bias(-bias, QuantParams(scale, np.zeros(4), dtype))[2] == -(2**31) + 1


def test_bias_errors():
    params = QuantParams(np.array([1e-40]), np.zeros(1), DType.INT32)
    with pytest.raises(SpecError, match="float32"):
        quantize_bias([1.0], params)
    with pytest.raises(InputError, match="finite biases"):
        quantize_bias([np.nan], QuantParams(np.ones(1), np.zeros(1), DType.INT32))
