"""Reductions against LiteRT, against loops over Python integers, against goldens, and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fbs
import quantref
from kernels.profiles import LITERT_REFERENCE
from kernels.reduction import SOUND_SUM, quantized_sum
from qmath.errors import ModelError, UnsupportedError
from qmath.stages import silent
from quantref.vectors.cells.build import Operand, Result, dtype_of, one_op, vector
from quantref.vectors.cells.reduction import CELLS
from tests.kernels.forms import assert_forms_agree, prepare_op, run_forms, trace
from tests.kernels.goldens import assert_goldens_match
from tests.kernels.sweeps import compare_cell, examples
from tests.oracles import rational, windows

INT8 = range(-128, 128)


def reduce_model(x, op="MEAN", axes=(1,), params=None, out=None, *, keep_dims=False):
    """Build a reduction along constant axes; quantization as the builder's keywords."""
    x, params = np.asarray(x), {} if params is None else params
    operands = [Operand(x, params=params), vector(*axes)]
    result = Result(dtype_of(x), params if out is None else out)
    return one_op("", op, operands, [result], keep_dims=keep_dims).model


@pytest.mark.litert
@pytest.mark.parametrize("cell", CELLS)
def test_litert_gives_the_same(cell, litert):
    assert compare_cell(cell, CELLS[cell], litert, least=300) >= 300


@pytest.mark.parametrize("cell", [cell for cell in CELLS if cell.startswith(("MEAN", "SUM"))])
@examples(15)
@given(seed=st.integers(0, 2**32 - 1))
def test_compiled_form_equals_definition(cell, seed):
    assert assert_forms_agree(next(CELLS[cell](np.random.default_rng(seed)))) > 0


@pytest.mark.shared
@pytest.mark.parametrize(("op", "least"), [("MEAN", 10_000), ("REDUCE_MAX", 1000), ("REDUCE_MIN", 1000)])
def test_goldens(op, least, shared):
    assert assert_goldens_match(shared, op) > least


@examples(60)
@given(
    data=st.data(),
    count=st.integers(1, 200),
    ratio=st.sampled_from([1.0, 0.5, 0.25, 3.0, 2.0**-8, 300.0, 0.3]) | st.floats(2.0**-20, 2.0**10),
    zero_points=st.tuples(st.integers(-128, 127), st.integers(-128, 127)),
)
def test_mean_equals_loops_over_integers(data, count, ratio, zero_points):
    codes = np.random.default_rng(data.draw(st.integers(0, 99))).integers(-128, 128, (3, count)).astype(np.int8)
    scale = np.float32(ratio)
    params = [{"scale": s, "zero_point": z} for s, z in zip((scale, 1.0), zero_points, strict=True)]
    (defined,), (compiled,) = run_forms(reduce_model(codes, "MEAN", (1,), *params), {"x0": codes})
    expected = [windows.mean(row, float(scale), zero_points, INT8) for row in codes.tolist()]
    assert defined.tolist() == compiled.tolist() == expected


def test_mean_of_four_codes_step_by_step():
    # Codes 1, 2, 3, 5 with zero point -1 stand for 2, 3, 4, 6 quarters; their mean 3.75 quarters is 7.5 eighths.
    x = np.array([[1, 2, 3, 5]], np.int8)
    params = {"scale": 0.25, "zero_point": -1}
    (y,), stages = trace(reduce_model(x, "MEAN", (1,), params, {"scale": 0.125, "zero_point": 10}), {"x0": x})
    assert stages["sum"] == [11]
    assert stages["accumulator"] == [15]
    assert y.tolist() == [18]


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16])
def test_nothing_sums_to_code_zero(dtype):
    params = {"scale": 1.0, "zero_point": 0 if dtype == np.int16 else 5}
    (y,), _ = run_forms(reduce_model(np.zeros((2, 0), dtype), "MEAN", (1,), params), {"x0": np.zeros((2, 0), dtype)})
    assert y[0].tolist() == 0


def test_mean_of_no_floats_is_nan():
    x = np.zeros((2, 0), np.float32)
    (y,), _ = run_forms(reduce_model(x), {"x0": x})
    assert np.isnan(y).all()
    assert y.shape == (2,)


def test_sum_of_int16_under_the_reference_profile_says_why_not():
    x = np.zeros((1, 2), np.int16)
    model = reduce_model(x, "SUM", (1,), {"scale": 1.0})
    with pytest.raises(UnsupportedError, match=r"SUM of INT16.* litert-reference.*half.*litert-reference-sound"):
        prepare_op(model)
    assert quantref.run(model, {"x0": x + 3}, profile="litert-reference-sound")["y0"].tolist() == [6]


def test_sum_of_int8_adds_bytes_where_the_reference_kernel_does():
    # 5 and -1 are the bytes 5 and 255: 260, clamped to 255, is the int8 code -1. What is meant is 4.
    x = np.array([[5, -1]], np.int8)
    model = reduce_model(x, "SUM", (1,), {"scale": 1.0})
    (y,), stages = trace(model, {"x0": x})
    assert stages["code taken for uint8"] == [[5, 255]]
    assert y.tolist() == [-1]
    assert quantref.run(model, {"x0": x}, profile="litert-reference-sound")["y0"].tolist() == [4]


@pytest.mark.shared
@pytest.mark.parametrize("dtype", ["i8", "i16"])
def test_sound_sum_equals_tflite_micro(dtype, shared):
    elements = 0
    for path in sorted((shared / "goldens").glob(f"SUM__{dtype}*.npz")):
        with np.load(path) as golden:
            op = fbs.view(fbs.read(path.with_suffix(".tflite")).subgraphs[0], 0)
            keep_dims = bool(op.options["keep_dims"])
            prepared = quantized_sum(op.inputs[0], op.outputs[0], SOUND_SUM, LITERT_REFERENCE, keep_dims=keep_dims)
            inputs = [golden["input_0"], op.inputs[1].data]
            expected = golden["tflm__output_0"]
            for (found,) in (prepared.evaluate(inputs, silent), prepared.compile([None, inputs[1]])(inputs)):
                assert np.array_equal(found, expected), path.stem
            elements += expected.size
    assert elements > 3000


@examples(40)
@given(
    data=st.data(),
    count=st.integers(1, 12),
    scale=st.floats(0.01, 2.0),
    zero_points=st.tuples(*[st.integers(-9, 9)] * 2),
)
def test_product_equals_loops_over_integers(data, count, scale, zero_points):
    codes = np.random.default_rng(data.draw(st.integers(0, 99))).integers(-20, 21, (2, count)).astype(np.int8)
    scale = np.float32(scale)
    params = [{"scale": s, "zero_point": z} for s, z in zip((scale, 0.5), zero_points, strict=True)]
    (defined,), _ = run_forms(reduce_model(codes, "REDUCE_PROD", (1,), *params), {"x0": codes})
    multiplier, shift = rational.encode(float(scale) / 0.5 ** (1 / count))
    for row, found in zip(codes.tolist(), defined.tolist(), strict=True):
        product = row[0] - zero_points[0]
        for code in row[1:]:
            product = rational.reduced_64(product * (code - zero_points[0]), multiplier, shift)
        expected = rational.reduced_64(product, multiplier, shift) + zero_points[1]
        assert found == min(max(expected, -128), 127)


def test_axes_count_once_and_from_either_end():
    x = np.arange(6, dtype=np.int32).reshape(2, 3)
    for axes, expected in (((1, -1, 1), [3, 12]), ((-2,), [3, 5, 7]), ((0, 1), 15), ((), [[0, 1, 2], [3, 4, 5]])):
        (y,), _ = run_forms(reduce_model(x, "SUM", axes), {"x0": x})
        assert y.tolist() == expected


def test_integer_mean_drops_the_fraction():
    x = np.array([[7, 0], [-7, 0]], np.int32)
    (y,), _ = run_forms(reduce_model(x), {"x0": x})
    assert y.tolist() == [3, -3]


def test_maximum_never_takes_nan_but_one_output_keeps_a_first_nan():
    x = np.array([[np.nan, 1], [2, np.nan], [np.nan, np.nan]], np.float32)
    (y,), _ = run_forms(reduce_model(x, "REDUCE_MAX"), {"x0": x})
    assert y.tolist() == [1, 2, np.finfo(np.float32).min]
    (y,), _ = run_forms(reduce_model(x, "REDUCE_MAX", (0, 1)), {"x0": x})
    assert np.isnan(y)


@pytest.mark.parametrize(
    ("op", "x", "params", "out", "axes", "error", "words"),
    [
        ("MEAN", np.zeros((1, 2), np.int16), {"scale": 1.0, "zero_point": 1}, None, (1,), ModelError, "zero point 0"),
        ("MEAN", np.zeros((1, 2), np.int8), {}, None, (1,), ModelError, "quantization"),
        ("MEAN", np.zeros((1, 2), bool), {}, None, (1,), UnsupportedError, "int8"),
        ("REDUCE_MAX", np.zeros((1, 2), np.int8), {"scale": 1.0}, {"scale": 2.0}, (1,), ModelError, "equal scale"),
        ("REDUCE_PROD", np.zeros((1, 2), np.uint8), {"scale": 1.0}, None, (1,), UnsupportedError, "int16"),
        ("REDUCE_ANY", np.zeros((1, 2), np.int8), {}, None, (1,), UnsupportedError, "bool"),
    ],
)
def test_refusals(op, x, params, out, axes, error, words):
    with pytest.raises(error, match=words):
        prepare_op(reduce_model(x, op, axes, params, out))


def test_an_axis_that_does_not_exist_is_refused():
    x = np.zeros((1, 2), np.float32)
    with pytest.raises(ModelError, match="axis from -2 to 1, found 2"):
        run_forms(reduce_model(x, "SUM", (2,)), {"x0": x})
