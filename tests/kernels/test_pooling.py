"""Pools against LiteRT, against loops over Python integers, against goldens, and by hand."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fbs
from qmath.errors import ModelError, UnsupportedError
from qmath.types import DType
from quantref.vectors.cells.build import Operand, Result, dtype_of, one_op
from quantref.vectors.cells.pooling import CELLS
from tests.kernels.forms import assert_forms_agree, prepare_op, run_forms, trace
from tests.kernels.goldens import assert_goldens_match
from tests.kernels.sweeps import compare_cell, examples
from tests.oracles import rational, windows


def pool_model(x, op="AVERAGE_POOL_2D", params=None, **options):
    """Build a pool with a 1x1 kernel and stride 1 by default."""
    params = {} if params is None else params
    options = {"filter_height": 1, "filter_width": 1, "stride_h": 1, "stride_w": 1, **options}
    x = np.asarray(x)
    return one_op("", op, [Operand(x, params=params)], [Result(dtype_of(x), params)], **options).model


@pytest.mark.litert
@pytest.mark.parametrize("cell", CELLS)
def test_litert_gives_the_same(cell, litert):
    assert compare_cell(cell, CELLS[cell], litert, least=1500) >= 1500


@pytest.mark.parametrize("cell", CELLS)
@examples(15)
@given(seed=st.integers(0, 2**32 - 1))
def test_compiled_form_equals_definition(cell, seed):
    assert assert_forms_agree(next(CELLS[cell](np.random.default_rng(seed)))) > 0


@pytest.mark.shared
@pytest.mark.parametrize("op", ["AVERAGE_POOL_2D", "MAX_POOL_2D"])
def test_goldens(op, shared):
    assert assert_goldens_match(shared, op) > 10_000


@examples(60)
@given(data=st.data())
def test_definition_equals_loops_over_integers(data):
    size = data.draw(st.tuples(st.integers(1, 9), st.integers(1, 9)))
    same = data.draw(st.booleans())
    kernel = tuple(data.draw(st.integers(1, 12 if same else n)) for n in size)
    stride = data.draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    image = np.random.default_rng(data.draw(st.integers(0, 99))).integers(-128, 128, size)
    options = {
        "padding": 0 if same else 1,
        "filter_height": kernel[0],
        "filter_width": kernel[1],
        "stride_h": stride[0],
        "stride_w": stride[1],
    }
    x = image.astype(np.int8).reshape(1, *size, 1)
    inside = list(windows.windows(image.tolist(), kernel, stride, same=same))
    for op, expected in (("AVERAGE_POOL_2D", windows.average), ("MAX_POOL_2D", max)):
        (defined,), (compiled,) = run_forms(pool_model(x, op, **options), {"x0": x})
        assert defined.ravel().tolist() == compiled.ravel().tolist() == [expected(codes) for codes in inside]


@pytest.mark.parametrize(
    ("codes", "average"),
    [((1, 2), 2), ((-1, -2), -2), ((0, 1), 1), ((0, -1), -1), ((127, 126), 127), ((-128, -127), -128), ((3, 4), 4)],
)
def test_ties_round_away_from_code_zero_whatever_the_zero_point(codes, average):
    params = {"scale": 0.5, "zero_point": 100}
    x = np.array(codes, np.int8).reshape(1, 1, 2, 1)
    (y,), stages = trace(pool_model(x, params=params, filter_width=2, padding=1), {"x0": x})
    assert y.ravel().tolist() == [average]
    assert np.ravel(stages["accumulator"]).tolist() == [sum(codes)]


def test_padding_is_not_counted():
    x = np.full((1, 3, 3, 1), 7, np.int8)
    (y,), _ = trace(pool_model(x, filter_height=3, filter_width=3), {"x0": x})
    assert (y == 7).all()


def test_activation_clamps_codes():
    x = np.arange(-2, 7, dtype=np.int8).reshape(1, 1, 9, 1)
    params = {"scale": 0.5, "zero_point": 1}
    model = pool_model(x, "MAX_POOL_2D", params, fused_activation_function=2)
    (y,), _ = run_forms(model, {"x0": x})
    assert y[0].ravel().tolist() == [-1, -1, 0, 1, 2, 3, 3, 3, 3]


def test_many_taps_overflow_no_accumulator():
    x = np.full((1, 300, 300, 1), 32767, np.int16)
    definition, compiled = run_forms(pool_model(x, filter_height=300, filter_width=300, padding=1), {"x0": x})
    # 90,000 codes of 32,767 exceed int32: the sum wraps, as the runtime's does.
    wrapped = (90_000 * 32767 + 2**31) % 2**32 - 2**31
    expected = rational.half_away(Fraction(wrapped, 90_000))
    assert definition[0].ravel().tolist() == compiled[0].ravel().tolist() == [expected]


def test_a_huge_kernel_costs_no_more_than_its_input():
    x = np.ones((1, 2, 2, 1), np.int8)
    definition, compiled = run_forms(pool_model(x, filter_height=2**20, filter_width=2**20), {"x0": x})
    assert definition[0].tolist() == compiled[0].tolist() == x.tolist()


def test_an_image_smaller_than_the_kernel_gives_nothing():
    x = np.ones((2, 2, 5, 3), np.float32)
    definition, _ = run_forms(pool_model(x, filter_height=3, filter_width=2, padding=1), {"x0": x})
    assert definition[0].shape == (2, 0, 4, 3)


@pytest.mark.litert
@pytest.mark.parametrize(
    ("height", "width", "rows", "columns"),
    [(2, 6, 1, 0), (2, 7, 0, 0), (4, 2, 0, 4), (9, 2, 0, 4), (9, 6, 0, 0), (0, 2, 0, 4), (2, 0, 0, 0)],
)
def test_the_runtime_looks_at_no_height_where_the_width_is_far_too_small(height, width, rows, columns, litert):
    x = np.ones((2, 2, 5, 3), np.int8)
    model = pool_model(x, params={"scale": 0.5}, filter_height=height, filter_width=width, padding=1)
    (theirs,) = litert.run(fbs.write(model), [[x]], all_tensors=False)
    definition, compiled = run_forms(model, {"x0": x})
    assert theirs.outputs[0].shape == definition[0].shape == compiled[0].shape == (2, rows, columns, 3)


def test_float_pools_of_special_numbers():
    x = np.array([np.nan, np.inf, -np.inf, 2], np.float32).reshape(1, 1, 4, 1)
    largest = np.finfo(np.float32).max
    (y,), _ = run_forms(pool_model(x, "MAX_POOL_2D", filter_width=2, padding=1), {"x0": x})
    assert y[0].ravel().tolist() == [largest, largest, 2]
    (y,), _ = run_forms(pool_model(x, filter_width=1), {"x0": x})
    assert np.isnan(y[0, 0, 0, 0])
    assert y.ravel()[1:].tolist() == [largest, -largest, 2]


@pytest.mark.parametrize(
    ("x", "op", "options", "error", "words"),
    [
        (np.ones((1, 2, 2), np.int8), "MAX_POOL_2D", {}, ModelError, "4 dimensions"),
        (np.ones((1, 2, 2, 1), np.int8), "MAX_POOL_2D", {"stride_h": 0}, ModelError, "stride"),
        (np.ones((1, 1, 2, 1), np.int32), "MAX_POOL_2D", {"filter_height": 9, "padding": 1}, UnsupportedError, "int8"),
        (np.ones((1, 2, 2, 1), np.int8), "MAX_POOL_2D", {"padding": 7}, ModelError, "padding"),
        (np.ones((1, 2, 2, 1), np.int8), "L2_POOL_2D", {}, UnsupportedError, "float32"),
        (np.ones((1, 2, 2, 1), np.int32), "AVERAGE_POOL_2D", {}, UnsupportedError, "int8"),
    ],
)
def test_refusals(x, op, options, error, words):
    with pytest.raises(error, match=words):
        prepare_op(pool_model(x, op, **options))


def test_types_are_covered_as_registered():
    for cell in CELLS:
        assert DType[cell.split()[1].upper()] in {DType.INT8, DType.UINT8, DType.INT16, DType.FLOAT32}
