"""Scales and zero points, against exact fractions rounded where the rules say so."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qmath import scheme
from qmath.affine import quantize
from qmath.errors import InputError, SpecError
from qmath.types import DType, QuantParams
from tests.oracles import rational

FLOATS = st.floats(-(2.0**10), 2.0**10, width=32).filter(lambda x: x == 0 or abs(x) > 1e-5)
RANGES = st.tuples(FLOATS, FLOATS).map(sorted)
DTYPES = st.sampled_from([DType.INT8, DType.UINT8, DType.INT16, DType.INT4])


def scale_of(params):
    assert params.scale.shape == (1,)
    return Fraction(float(params.scale[0]))


def f32(x):
    return rational.to_float(Fraction(x), 24)


def f64(x):
    return rational.to_float(Fraction(x), 53)


def with_zero(bounds):
    return Fraction(min(bounds[0], 0.0)), Fraction(max(bounds[1], 0.0))


@given(RANGES.filter(lambda r: r != [0, 0]), DTYPES, st.booleans())
def test_asymmetric_equals_the_oracle(bounds, dtype, narrow):
    low, high = with_zero(bounds)
    lowest = dtype.min + narrow
    scale = f32(f32(high - low) / (dtype.max - lowest))
    zero_point = rational.half_away(f32(f64(lowest - f64(low / scale))))
    found = scheme.asymmetric_params(*bounds, dtype, narrow_range=narrow)
    assert scale_of(found) == scale
    assert int(found.zero_point[0]) == max(lowest, min(dtype.max, zero_point))
    assert (found.dtype, found.quantized_dimension) == (dtype, 0)


@given(RANGES.filter(lambda r: r != [0, 0]), DTYPES)
def test_asymmetric_in_float32_equals_the_oracle(bounds, dtype):
    low, high = with_zero(bounds)
    scale = f32(f32(high - low) / (dtype.max - dtype.min))
    zero_point = rational.half_away(f32(dtype.min - f32(low / scale)))
    found = scheme.asymmetric_params_float32(*bounds, dtype)
    assert scale_of(found) == scale
    assert int(found.zero_point[0]) == max(dtype.min, min(dtype.max, zero_point))


@given(RANGES.filter(lambda r: r != [0, 0]), DTYPES, st.booleans())
def test_nudged_equals_the_oracle(bounds, dtype, narrow):
    low, high = with_zero(bounds)
    lowest, highest = dtype.min + narrow, dtype.max
    scale = f64(f64(high - low) / (highest - lowest))
    a, b = f64(low / scale), f64(high / scale)
    use_min = f64(abs(lowest) + abs(a)) < f64(abs(highest) + abs(b))
    zero_point = rational.half_away(f64(lowest - a) if use_min else f64(highest - b))
    found = scheme.nudged_params(*bounds, dtype, narrow_range=narrow)
    assert scale_of(found) == f32(scale)
    assert int(found.zero_point[0]) == max(lowest, min(highest, zero_point))


@given(RANGES, st.sampled_from([DType.INT8, DType.INT16, DType.INT4]), st.sampled_from([0.0, 0.5e-6]))
def test_symmetric_equals_the_oracle(bounds, dtype, smallest):
    low, high = with_zero(bounds)
    found = scheme.symmetric_params(*bounds, dtype, smallest=smallest)
    assert scale_of(found) == f32(f32(max(-low, high, Fraction(smallest))) / dtype.max)
    assert found.zero_point.tolist() == [0]


@given(RANGES.filter(lambda r: r != [0, 0]), DTYPES)
def test_zero_and_both_ends_have_codes(bounds, dtype):
    params = scheme.asymmetric_params(*bounds, dtype)
    zero_point = int(params.zero_point[0])
    assert quantize(0.0, params) == zero_point
    low, high = min(bounds[0], 0.0), max(bounds[1], 0.0)
    codes = quantize(np.array([low, high]), params).tolist()
    assert abs(codes[0] - dtype.min) <= 1 or zero_point == dtype.min
    assert abs(codes[1] - dtype.max) <= 1 or low == high == 0


def test_a_range_of_zero_alone():
    found = scheme.asymmetric_params(0.0, 0.0)
    assert found.scale.tolist() == [np.float32(2e-6) / np.float32(255)]
    assert found.zero_point.tolist() == [0]
    assert scheme.asymmetric_params_float32(0, 0) == QuantParams(np.zeros(1), np.array([-128]), DType.INT8)
    assert scheme.nudged_params(0, 0) == QuantParams(np.zeros(1), np.array([0]), DType.UINT8)
    assert scheme.symmetric_params(0, 0) == QuantParams(np.zeros(1), np.array([0]), DType.INT16)


def test_per_axis_ranges():
    low, high = np.array([-1.0, 0.0, -3.0]), np.array([1.0, 2.0, -1.0])
    together = scheme.asymmetric_params(low, high, quantized_dimension=2)
    assert together.quantized_dimension == 2
    for i in range(3):
        alone = scheme.asymmetric_params(low[i], high[i])
        assert (together.scale[i], together.zero_point[i]) == (alone.scale[0], alone.zero_point[0])


@pytest.mark.parametrize("bounds", [(np.nan, 1.0), (0.0, np.nan), (-np.inf, 0.0), (1.0, 0.5), ([0, 0], [1, 2, 3])])
@pytest.mark.parametrize(
    "rule",
    [scheme.asymmetric_params, scheme.asymmetric_params_float32, scheme.nudged_params, scheme.symmetric_params],
)
def test_ranges_must_be_finite_and_in_order(rule, bounds):
    with pytest.raises(SpecError, match="finite ranges"):
        rule(*bounds)


def test_a_scale_beyond_float32_is_refused():
    with pytest.raises(SpecError, match="float32"):
        scheme.asymmetric_params(-3e38, 3e38)
    with pytest.raises(SpecError, match="float32"):
        scheme.symmetric_params(-1e300, 0)


def test_symmetric_needs_a_signed_type():
    with pytest.raises(SpecError, match="UINT8"):
        scheme.symmetric_params(-1, 1, DType.UINT8)


@pytest.mark.parametrize("dtype", [DType.INT8, DType.UINT8, DType.INT16], ids=lambda dtype: dtype.name)
def test_fixed_outputs_use_the_codes_for_the_range_of_the_function(dtype):
    middle = (dtype.min + dtype.max + 1) // 2
    from_minus_one = (2.0 ** (1 - dtype.bits), middle)
    from_zero = (2.0**-15, 0) if dtype is DType.INT16 else (2.0**-8, dtype.min)
    expected = {"SOFTMAX": from_zero, "LOGISTIC": from_zero, "TANH": from_minus_one, "ADD": None}
    if dtype.bits == 8:
        expected |= {"L2_NORMALIZATION": from_minus_one, "LOG_SOFTMAX": (16 / 256, dtype.max)}
    else:
        expected |= {"L2_NORMALIZATION": None, "LOG_SOFTMAX": None}
    for op, values in expected.items():
        params = values and QuantParams(np.array(values[:1]), np.array(values[1:]), dtype)
        assert scheme.fixed_output_params(op, dtype) == params


def test_weight_scales():
    weights = np.array([[0.5, -2.0], [0.0, 0.0], [1e-9, 1e-8]], np.float32)
    per_axis = scheme.weight_params(weights, quantized_dimension=0)
    guard = np.float32(0.5e-6) / np.float32(127)
    assert per_axis.scale.tolist() == [np.float32(2) / np.float32(127), guard, guard]
    assert scheme.weight_params(weights).scale.tolist() == [np.float32(2) / np.float32(127)]
    assert scheme.weight_params(weights, DType.INT4).scale.tolist() == [np.float32(2) / np.float32(7)]
    assert scheme.weight_params(weights, quantized_dimension=0, smallest=0).scale[1] == 0
    assert scheme.weight_params(weights, quantized_dimension=1).scale.shape == (2,)
    assert [scheme.weight_params(weights, quantized_dimension=d).quantized_dimension for d in (None, 0, 1)] == [0, 0, 1]


def test_weights_must_be_there_and_finite():
    with pytest.raises(InputError, match="finite weights"):
        scheme.weight_params([1.0, np.nan])
    with pytest.raises(InputError, match="expected weights"):
        scheme.weight_params(np.zeros((0, 3)))
    with pytest.raises(InputError, match="axis 2"):
        scheme.weight_params(np.zeros((2, 3)), quantized_dimension=2)


def test_bias_scale_is_the_float32_product():
    source = QuantParams(np.array([0.1]), np.array([3]), DType.INT8)
    weights = QuantParams(np.array([0.3, 0.7]), np.zeros(2), DType.INT8)
    found = scheme.bias_params(source, weights, DType.INT64)
    assert found == QuantParams(np.float32(0.1) * np.array([0.3, 0.7], np.float32), np.zeros(2), DType.INT64)
    with pytest.raises(SpecError, match="per-tensor"):
        scheme.bias_params(weights, weights)


@pytest.mark.parametrize(
    ("low", "high", "zero_point"),
    [(-13.604961395263672, 32.3455696105957, -53), (-1.282443642616272, 0.25648877024650574, 85)],
)
def test_a_zero_point_is_rounded_to_float32_before_it_is_rounded(low, high, zero_point):
    # In float64 it lies a hair on the near side of a tie, in float32 on the tie.
    assert scheme.asymmetric_params(low, high).zero_point.tolist() == [zero_point]


def test_a_range_is_widened_if_it_is_shorter_than_a_millionth():
    assert scheme.asymmetric_params(0.0, 1e-6).scale[0] == np.float32(1e-6) / np.float32(255)
    shorter = np.nextafter(1e-6, 0)
    assert scheme.asymmetric_params(0.0, shorter).scale[0] == np.float32(np.float32(2e-6) + np.float32(1e-6)) / 255
