"""qmath alone against outputs of real runtimes, for ops that are little more than one of its functions."""

from __future__ import annotations

import math

import numpy as np
import pytest
import tflite

from qmath import fixed_point as fp
from qmath import lookup
from qmath.affine import dequantize, quantize
from qmath.multiplier import quantize_multiplier
from qmath.requantize import DOUBLE_ROUNDING
from qmath.types import DType, FixedPointMultiplier, QuantParams

pytestmark = pytest.mark.shared


def golden_cases(shared, pattern):
    """Yield (name, input, outputs by runtime, input parameters, output parameters) of one-op models."""
    paths = sorted((shared / "goldens").glob(f"{pattern}.npz"))
    assert paths, f"no golden matches {pattern}"
    for path in paths:
        if "beyond_int32" not in path.stem:
            subgraph = tflite.Model.GetRootAs(path.with_suffix(".tflite").read_bytes(), 0).Subgraphs(0)
            op = subgraph.Operators(0)
            with np.load(path) as arrays:
                outputs = {key.removesuffix("__output_0"): arrays[key] for key in arrays if key.endswith("__output_0")}
                source, target = (params_of(subgraph.Tensors(i)) for i in (op.Inputs(0), op.Outputs(0)))
                yield path.stem, arrays["input_0"], outputs, source, target


def params_of(tensor):
    quantization = tensor.Quantization()
    if quantization is None or quantization.ScaleLength() == 0:
        return None
    return QuantParams(quantization.ScaleAsNumpy(), quantization.ZeroPointAsNumpy(), DType(tensor.Type()))


def multiply(x, real_multiplier):
    return DOUBLE_ROUNDING.apply(x, quantize_multiplier(real_multiplier))


def logistic(x):
    return 1 / (1 + np.exp(-x))


def elu(x):
    return np.where(x < 0, np.expm1(np.minimum(x, 0)), x)


@pytest.mark.parametrize(("op", "function"), [("LOGISTIC", logistic), ("TANH", np.tanh), ("ELU", elu)])
def test_int8_tables(shared, op, function):
    for name, x, outputs, source, target in golden_cases(shared, f"{op}__i8_*"):
        builtin = outputs.get("litert_reference", outputs["litert_optimized"])
        assert np.array_equal(lookup.code_table(function, source, target)[x], builtin), name
        assert np.array_equal(lookup.code_table_half_even(function, source, target)[x], outputs["xnnpack"]), name


@pytest.mark.parametrize(("op", "function", "zero_point"), [("LOGISTIC", fp.logistic, -128), ("TANH", fp.tanh, 0)])
def test_int8_fixed_point_of_tflm(shared, op, function, zero_point):
    for name, x, outputs, source, target in golden_cases(shared, f"{op}__i8_*"):
        factor = quantize_multiplier(float(source.scale[0]) * 2.0**27)
        radius = math.floor(15 * 2**27 / 2 ** int(factor.shift))
        difference = x.astype(np.int64) - source.zero_point[0]
        q4 = DOUBLE_ROUNDING.apply(np.clip(difference, -radius, radius), factor)
        steps = round(-math.log2(target.scale[0]))
        codes = fp.rounding_divide_by_power_of_two(function(q4, 4), 31 - steps) + zero_point
        codes = np.where(difference <= -radius, -128, np.where(difference >= radius, 127, np.clip(codes, -128, 127)))
        assert np.array_equal(codes, outputs["tflm"]), name


@pytest.mark.parametrize(
    ("op", "table", "fixed", "shifts"),
    [("LOGISTIC", lookup.logistic_int16, fp.logistic, (0,)), ("TANH", lookup.tanh_int16, fp.tanh, (0, 1))],
)
def test_int16_tables_and_fixed_point(shared, op, table, fixed, shifts):
    fixed_point_cases = 0
    for name, x, outputs, source, _ in golden_cases(shared, f"{op}__i16_*"):
        scale = float(source.scale[0])
        left_shift = 12 + math.log2(scale)
        multiplier, right_shift = scale * 4096 * 3, 0
        while multiplier <= 32767 / 2:
            multiplier, right_shift = multiplier * 2, right_shift + 1
        assert np.array_equal(table(x, int(multiplier), right_shift), outputs["litert_reference"]), name
        if left_shift in shifts:
            shifted = fp.saturating_left_shift(x, int(left_shift), 16)
            assert np.array_equal(fixed(shifted, 3, 16), outputs["litert_optimized"]), name
            fixed_point_cases += 1
    assert fixed_point_cases


def test_quantize_and_dequantize(shared):
    for name, x, outputs, _, target in golden_cases(shared, "QUANTIZE__f32_*"):
        assert np.array_equal(quantize(x, target), outputs["litert_reference"]), name
    for name, x, outputs, source, _ in golden_cases(shared, "DEQUANTIZE__*"):
        assert dequantize(x, source).tobytes() == outputs["litert_reference"].tobytes(), name


def test_inverse_square_root_of_l2_normalization(shared):
    for name, x, outputs, source, _ in golden_cases(shared, "L2_NORMALIZATION__i8_*"):
        difference = x.astype(np.int64) - source.zero_point[0]
        norm = fp.inverse_square_root(np.sum(difference**2, axis=-1, keepdims=True))
        scaled = DOUBLE_ROUNDING.apply(difference, FixedPointMultiplier(norm.multiplier, norm.shift + 7))
        assert np.array_equal(np.clip(scaled, -128, 127), outputs["litert_reference"]), name


def test_logarithm_of_log_softmax(shared):
    for name, x, outputs, source, _ in golden_cases(shared, "LOG_SOFTMAX__i8_*"):
        factor = quantize_multiplier(min(float(source.scale[0]) * 2.0**26, 2.0**31 - 1))
        lowest = -math.floor(31 * 2**26 / 2 ** int(factor.shift))
        difference = x.astype(np.int64) - x.max(axis=-1, keepdims=True)
        q5 = DOUBLE_ROUNDING.apply(np.maximum(difference, lowest), factor)
        exp = np.where(difference >= lowest, fp.rescale(fp.exp_on_negative_values(q5, 5), 0, 12), 0)
        log = fp.log_x_for_x_greater_than_or_equal_to_1(exp.sum(axis=-1, keepdims=True), 12, 5)
        cut = np.maximum(lowest - 1, multiply(log - 2**31, 2.0 ** (31 - int(factor.shift)) / int(factor.multiplier)))
        codes = fp.rounding_divide_by_power_of_two(q5 - log, 22) + 127
        assert np.array_equal(
            np.where(difference > cut, np.clip(codes, -128, 127), -128), outputs["litert_reference"]
        ), name


def test_reciprocal_of_softmax(shared):
    # In these cases beta is 1, and no input lies so far below its row's maximum that it is cut off.
    for name, x, outputs, source, target in golden_cases(shared, "SOFTMAX__i8_i*_[0136]"):
        factor = quantize_multiplier(min(float(source.scale[0]) * 2.0**26, 2.0**31 - 1))
        difference = x.astype(np.int64) - x.max(axis=-1, keepdims=True)
        exp = fp.exp_on_negative_values(DOUBLE_ROUNDING.apply(difference, factor), 5)
        fraction, bits_over_unit = fp.reciprocal(fp.rescale(exp, 0, 12).sum(axis=-1, keepdims=True), 12)
        product = fp.saturating_rounding_doubling_high_mul(fraction, exp)
        codes = fp.rounding_divide_by_power_of_two(product, bits_over_unit + 31 - target.dtype.bits) + target.dtype.min
        assert np.array_equal(np.clip(codes, target.dtype.min, target.dtype.max), outputs["litert_reference"]), name
