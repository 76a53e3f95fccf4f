"""QUANTIZE, DEQUANTIZE, CAST and FAKE_QUANT against LiteRT, against goldens, and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fbs
from kernels.profiles import XNNPACK, XNNPACK_ARM64
from qmath import affine
from qmath.errors import ModelError, UnsupportedError
from qmath.types import DType, QuantParams
from quantref.vectors.cells import cast, quantize
from quantref.vectors.cells.models import one_input
from quantref.vectors.cells.unary import CELLS as UNARY
from tests.kernels.forms import assert_forms_agree, prepare_op, run_forms
from tests.kernels.goldens import assert_goldens_match
from tests.kernels.sweeps import compare_cell
from tests.oracles.rational import double_rounding, encode

CELLS = {**quantize.CELLS, "FAKE_QUANT float32": UNARY["FAKE_QUANT float32"]}


def evaluate(op, x, source, target, source_params=None, target_params=None, **options):
    """Return the output of the definition and of the compiled form, which must be the same."""
    x = np.asarray(x, source.storage)
    model = one_input(op, x, source, target, source_params or {}, target_params or {}, **options)
    (expected,), (found,) = run_forms(model, {"x": x})
    assert np.array_equal(expected, found, equal_nan=expected.dtype.kind == "f")
    return expected.tolist()


def params(scale, zero_point=0, **fields):
    return {"scale": scale, "zero_point": zero_point, **fields}


@pytest.mark.litert
@pytest.mark.parametrize("cell", CELLS)
def test_litert_gives_the_same(cell, litert):
    assert compare_cell(cell, CELLS[cell], litert, least=2000) > 1000


@pytest.mark.litert
@pytest.mark.parametrize("cell", cast.CELLS)
def test_litert_casts_the_same(cell, litert):
    assert compare_cell(cell, cast.CELLS[cell], litert, least=50, most_cases=20) >= 50


@pytest.mark.parametrize("cell", CELLS)
@settings(max_examples=10, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**32 - 1))
def test_compiled_form_equals_definition(cell, seed):
    assert assert_forms_agree(next(CELLS[cell](np.random.default_rng(seed)))) > 0


@pytest.mark.shared
@pytest.mark.parametrize("op", ["QUANTIZE", "DEQUANTIZE"])
def test_goldens(op, shared):
    assert assert_goldens_match(shared, op) > 80_000


@settings(max_examples=100, deadline=None, derandomize=True)
@given(
    code=st.integers(-128, 127),
    scales=st.tuples(*[st.sampled_from([0.5, 0.25, 1.0, 0.1, 0.003])] * 2),
    zero_points=st.tuples(st.integers(-128, 127), st.integers(-128, 127)),
)
def test_requantize_equals_python_integers(code, scales, zero_points):
    source, target = (params(*pair) for pair in zip(scales, zero_points, strict=True))
    real = float(np.float32(scales[0])) / float(np.float32(scales[1]))
    expected = double_rounding(code - zero_points[0], *encode(real)) + zero_points[1]
    found = evaluate("QUANTIZE", [code], DType.INT8, DType.INT8, source, target)
    assert found == [min(max(expected, -128), 127)]


@settings(max_examples=50, deadline=None, derandomize=True)
@given(data=st.data())
def test_floats_go_to_the_nearest_code_and_back(data):
    dtype = data.draw(st.sampled_from([DType.INT8, DType.UINT8, DType.INT16, DType.INT4]))
    zero_point = 0 if dtype is DType.INT16 else data.draw(st.integers(dtype.min, dtype.max))
    scale = data.draw(st.sampled_from([0.5, 0.1, 3.0]))
    real = data.draw(st.lists(st.floats(-1e6, 1e6, width=32), min_size=1))
    quant = QuantParams(scale=[scale], zero_point=[zero_point], dtype=dtype)
    codes = evaluate("QUANTIZE", real, DType.FLOAT32, dtype, None, params(scale, zero_point))
    assert codes == affine.quantize(real, quant).tolist()
    back = evaluate("DEQUANTIZE", codes, dtype, DType.FLOAT32, params(scale, zero_point))
    assert back == affine.dequantize(codes, quant).tolist()


def test_ties_go_away_from_zero():
    quantized = evaluate("QUANTIZE", [0.25, -0.25, 0.75, -0.75], DType.FLOAT32, DType.INT8, None, params(0.5, 10))
    assert quantized == [11, 9, 12, 8]


@pytest.mark.parametrize("shape", [(), (0,), (1, 0, 3)])
def test_scalars_and_empty_tensors_keep_their_shape(shape):
    for source, target in ((DType.FLOAT32, DType.INT8), (DType.INT8, DType.INT16), (DType.INT8, DType.UINT8)):
        scaled = None if source is DType.FLOAT32 else params(0.5)
        codes = evaluate("QUANTIZE", np.full(shape, 3), source, target, scaled, params(0.25))
        assert codes == np.full(shape, 12 if source is DType.FLOAT32 else 6).tolist()
    assert (
        evaluate("DEQUANTIZE", np.full(shape, 3), DType.INT8, DType.FLOAT32, params(0.5))
        == np.full(shape, 1.5).tolist()
    )


def test_one_scale_for_each_channel():
    target = params([1.0, 0.5], [0, 10], quantized_dimension=1)
    assert evaluate("QUANTIZE", [[3, 3], [-1, -1]], DType.FLOAT32, DType.INT8, None, target) == [[3, 16], [-1, 8]]
    assert evaluate("DEQUANTIZE", [[3, 16]], DType.INT8, DType.FLOAT32, target) == [[3.0, 3.0]]


@pytest.mark.parametrize(("zero_point", "expected"), [(-3, 127), (0, -128), (3, -128)])
def test_beyond_int32_the_zero_point_decides(zero_point, expected):
    x = [1e10, -1e10, np.inf, -np.inf, np.nan]
    assert evaluate("QUANTIZE", x, DType.FLOAT32, DType.INT8, None, params(1.0, zero_point)) == [expected] * 5


def test_nan_is_zero_in_xnnpack_on_arm_alone():
    x = np.array([np.nan, np.inf, 2.0], np.float32)
    model = one_input("QUANTIZE", x, DType.FLOAT32, DType.INT8, {}, params(1.0, 5))
    found = {profile: run_forms(model, {"x": x}, profile)[0][0].tolist() for profile in (XNNPACK, XNNPACK_ARM64)}
    assert found == {XNNPACK: [127, 127, 7], XNNPACK_ARM64: [5, 127, 7]}


def test_xnnpack_takes_its_multiplier_of_eight_bits_from_a_float32_quotient():
    # 256 * 0.0625 / float32(32 / 3) is 1.49999995, in float32 1.5, which becomes 2.
    scales = params(0.0625, -128), params(32 / 3, -2)
    model = one_input("QUANTIZE", np.array([-64], np.int8), DType.INT8, DType.INT8, *scales)
    assert run_forms(model, {"x": np.array([-64], np.int8)}, XNNPACK)[0][0].tolist() == [-1]


def test_float16_widens():
    assert evaluate("DEQUANTIZE", [0.1, 65504], DType.FLOAT16, DType.FLOAT32) == [0.0999755859375, 65504.0]


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (DType.INT8, [1, -1, 127, -128, 127, 127, -128]),
        (DType.UINT8, [1, 0, 200, 0, 255, 255, 0]),
        (DType.INT64, [1, -1, 200, -200, 2**63 - 1, 2**63 - 1, -(2**63)]),
        (DType.BOOL, [True] * 7),
    ],
)
def test_cast_of_floats_saturates(target, expected):
    assert evaluate("CAST", [1.9, -1.9, 200, -200, np.nan, 1e30, -1e30], DType.FLOAT32, target) == expected


def test_cast_of_integers_keeps_the_lower_bits():
    assert evaluate("CAST", [300, -1], DType.INT32, DType.UINT8) == [44, 255]


def test_cast_to_bfloat16_rounds_to_even():
    builder = fbs.Builder()
    x = builder.input("x", DType.FLOAT32, (4,))
    y = builder.tensor("y", DType.BFLOAT16, (4,))
    builder.op("CAST", [x], [y])
    values = np.array([1.0, 1 + 2**-8, 1 + 3 * 2**-8, np.nan], np.float32)
    (found,), _ = run_forms(builder.finish([y]), {"x": values})
    assert [hex(bits) for bits in found] == ["0x3f80", "0x3f80", "0x3f82", "0x7fc0"]


def test_fake_quant_moves_the_range_to_hold_zero():
    options = {"min": -0.4, "max": 1.1, "num_bits": 2, "narrow_range": False}
    # Scale 0.5, zero point 0.8, which becomes 1: from -0.5 to 1.
    found = evaluate("FAKE_QUANT", [-9, 0, 0.2, 0.3, 9], DType.FLOAT32, DType.FLOAT32, **options)
    assert np.allclose(found, [-0.5, 0, 0, 0.5, 1], atol=1e-6)


@pytest.mark.parametrize(
    ("op", "source", "target", "quantization", "error"),
    [
        ("QUANTIZE", DType.FLOAT32, DType.INT8, ({}, {}), ModelError),
        ("QUANTIZE", DType.FLOAT32, DType.INT32, ({}, params(1)), UnsupportedError),
        ("QUANTIZE", DType.INT16, DType.UINT8, (params(1), params(1)), UnsupportedError),
        ("QUANTIZE", DType.INT16, DType.INT16, (params(1, 1), params(1)), ModelError),
        ("QUANTIZE", DType.FLOAT32, DType.INT8, ({}, params(0)), ModelError),
        ("QUANTIZE", DType.FLOAT32, DType.INT8, ({}, params([1, 2, 3])), ModelError),
        ("QUANTIZE", DType.FLOAT32, DType.INT8, ({}, params([1, 2], quantized_dimension=5)), ModelError),
        ("DEQUANTIZE", DType.INT32, DType.FLOAT32, (params(1), {}), UnsupportedError),
        ("DEQUANTIZE", DType.INT16, DType.FLOAT32, (params(1, 3), {}), ModelError),
        ("DEQUANTIZE", DType.INT16, DType.FLOAT32, (params([1, 2]), {}), UnsupportedError),
        ("DEQUANTIZE", DType.INT8, DType.FLOAT16, (params(1), {}), ModelError),
        ("CAST", DType.INT8, DType.INT4, ({}, {}), UnsupportedError),
        ("CAST", DType.UINT64, DType.INT8, ({}, {}), UnsupportedError),
    ],
)
def test_refusals(op, source, target, quantization, error):
    model = one_input(op, np.zeros((2, 3), source.storage), source, target, *quantization)
    with pytest.raises(error):
        prepare_op(model)


@pytest.mark.parametrize("options", [{"narrow_range": True}, {"num_bits": 17}, {"min": 1.0, "max": 1.0}])
def test_fake_quant_refusals(options):
    options = {"min": -1.0, "max": 1.0, "num_bits": 8, **options}
    model = one_input("FAKE_QUANT", np.zeros(3, np.float32), DType.FLOAT32, DType.FLOAT32, **options)
    with pytest.raises(ModelError):
        prepare_op(model)
