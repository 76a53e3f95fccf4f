"""Codes and real values: exact fractions for the float steps, all codes of 8 and 16 bits there and back."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qmath.affine import along_quantized_dimension, dequantize, quantize, quantized_range
from qmath.errors import InputError, SpecError
from qmath.rounding import TieRule
from qmath.types import DType, QuantParams
from quantref.testing import scales
from tests.oracles import rational

DTYPES = [DType.INT4, DType.INT8, DType.UINT8, DType.INT16, DType.INT32]
SCALES = scales(-20, 10).map(float)


def params_of(scale, zero_point=0, dtype=DType.INT8, axis=0):
    return QuantParams(np.atleast_1d(np.float32(scale)), np.atleast_1d(np.int64(zero_point)), dtype, axis)


def test_ranges():
    assert quantized_range(DType.INT8) == (-128, 127)
    assert quantized_range(DType.INT8, narrow_range=True) == (-127, 127)
    assert quantized_range(DType.UINT8, narrow_range=True) == (1, 255)
    assert quantized_range(DType.INT4, narrow_range=True) == (-7, 7)
    with pytest.raises(SpecError, match="FLOAT32"):
        quantized_range(DType.FLOAT32)


@given(SCALES, st.sampled_from(DTYPES), st.integers(-300, 300), st.sampled_from([-0.5, 0.0, 0.25, 0.5, 0.75]))
def test_quantize_divides_in_float32_and_rounds_by_the_rule(scale, dtype, steps, part):
    zero_point = (dtype.min + dtype.max + 1) // 2 + 3
    real = np.float32((steps + part) * scale)
    quotient = rational.to_float(Fraction(float(real)) / Fraction(scale), 24)
    for tie_rule, rule in (
        (TieRule.HALF_AWAY_FROM_ZERO, rational.half_away),
        (TieRule.HALF_TO_EVEN, rational.half_even),
    ):
        code = quantize(real, params_of(scale, zero_point, dtype), tie_rule)
        assert int(code) == max(dtype.min, min(dtype.max, rule(quotient) + zero_point))
        assert code.dtype == dtype.storage


@pytest.mark.parametrize("dtype", [DType.INT4, DType.INT8, DType.UINT8, DType.INT16], ids=lambda dtype: dtype.name)
def test_every_code_survives_the_way_there_and_back(dtype):
    codes = np.arange(dtype.min, dtype.max + 1)
    for scale, zero_point in ((0.1, dtype.min), (2.0**-7, 0 if dtype.min else 128), (3.7e-5, dtype.max)):
        params = params_of(scale, zero_point, dtype)
        assert np.array_equal(quantize(dequantize(codes, params), params), codes)


@given(SCALES, st.integers(-(2**31), 2**31 - 1), st.integers(-128, 127))
def test_dequantize_multiplies_in_float64(scale, code, zero_point):
    product = rational.to_float(Fraction(scale) * (code - zero_point), 53)
    real = dequantize(np.array([code]), params_of(scale, zero_point, DType.INT32))
    assert real.dtype == np.float32
    assert Fraction(float(real[0])) == rational.to_float(product, 24)


def test_dequantize_of_small_codes_is_the_float32_product():
    codes = np.arange(-(2**15), 2**15)
    scale = np.float32(0.0123)
    assert np.array_equal(dequantize(codes, params_of(scale, 7, DType.INT16)), scale * (codes - 7).astype(np.float32))


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_per_axis_equals_each_slice_alone(axis):
    real = np.random.default_rng(axis).normal(size=(3, 3, 3)).astype(np.float32)
    scales, zero_points = [0.01, 0.1, 0.02], [0, -128, 127]
    codes = quantize(real, params_of(scales, zero_points, axis=axis))
    back = dequantize(codes, params_of(scales, zero_points, axis=axis))
    for i in range(3):
        alone = params_of(scales[i], zero_points[i])
        assert np.array_equal(codes.take(i, axis), quantize(real.take(i, axis), alone))
        assert np.array_equal(back.take(i, axis), dequantize(codes.take(i, axis), alone))


def test_scalars_and_empty_tensors_keep_their_shape():
    assert quantize(1.0, params_of(0.5)).shape == ()
    assert quantize(np.zeros((0, 4)), params_of(0.5)).shape == (0, 4)
    assert dequantize(np.zeros((2, 0), np.int8), params_of([0.5, 1], [0, 0])).shape == (2, 0)


def test_values_beyond_the_range_clamp():
    real = np.array([1e9, -1e9, 3e38, -3e38])
    assert quantize(real, params_of(1e-3)).tolist() == [127, -128, 127, -128]
    assert quantize(real, params_of(1e-3, dtype=DType.INT32)).tolist() == [2**31 - 1, -(2**31)] * 2


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_only_finite_values_have_codes(value):
    with pytest.raises(InputError, match="finite"):
        quantize([0.0, value], params_of(0.5))


@pytest.mark.parametrize("scale", [0.0, -0.5, np.nan, np.inf])
def test_scales_must_be_positive(scale):
    with pytest.raises(SpecError, match="positive scales"):
        quantize([0.0], params_of(scale))


@pytest.mark.parametrize(("axis", "shape"), [(0, (2, 3)), (2, (3, 3)), (-1, (3, 3)), (0, ())])
def test_the_axis_must_fit(axis, shape):
    with pytest.raises(InputError, match="quantized dimension"):
        along_quantized_dimension(np.zeros(3), axis, shape)
