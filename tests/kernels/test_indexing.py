"""Ops that choose by index or find indices, against LiteRT, against plain loops, and by hand."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qmath.errors import ModelError, UnsupportedError
from qmath.types import DType
from quantref.runtimes import LiteRT
from quantref.vectors.cells.build import Operand, Result, dtype_of, one_op, scalar, vector
from quantref.vectors.cells.indexing import CELLS
from tests.kernels.forms import prepare_op, run_forms
from tests.kernels.sweeps import compare_cell, examples
from tests.one_op import compare


def build(op, *arrays, dtypes=None, **options):
    """Build an op of inputs ``x0``, ``x1`` ...; outputs of the type of the first, or of the types given."""
    arrays = [np.asarray(array) for array in arrays]
    results = [Result(dtype) for dtype in dtypes or [dtype_of(arrays[0])]]
    return one_op("", op, [Operand(array) for array in arrays], results, **options)


def run(op, *arrays, **options):
    """Run an op and return its outputs as lists."""
    case = build(op, *arrays, **options)
    outputs, _ = run_forms(case.model, case.samples[0])
    return [y.tolist() for y in outputs]


def ints(*numbers, dtype=np.int32):
    return np.array(numbers, dtype)


@pytest.mark.litert
@pytest.mark.parametrize("cell", [cell for cell in CELLS if not cell.startswith("SEGMENT_SUM")])
def test_litert_gives_the_same(cell, litert):
    assert compare_cell(cell, CELLS[cell], litert) >= 200


@examples(60)
@given(data=st.data())
def test_gather_equals_loops(data):
    shape = data.draw(st.lists(st.integers(1, 4), min_size=1, max_size=4))
    axis = data.draw(st.integers(0, len(shape) - 1))
    batch = data.draw(st.integers(0, axis))
    inner = data.draw(st.lists(st.integers(1, 3), max_size=2))
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    x, indices = rng.integers(0, 99, shape).astype(np.int8), rng.integers(0, shape[axis], [*shape[:batch], *inner])
    case = build("GATHER", x, indices.astype(np.int16), axis=axis, batch_dims=batch)
    (y,), _ = run_forms(case.model, case.samples[0])
    assert y.shape == (*shape[:axis], *inner, *shape[axis + 1 :])
    for place in itertools.product(*map(range, y.shape)):
        chosen = indices[(*place[:batch], *place[axis : axis + len(inner)])]
        assert y[place] == x[(*place[:axis], chosen, *place[axis + len(inner) :])]


def test_gather_nd_takes_vectors_of_indices():
    x = np.arange(6, dtype=np.int8).reshape(2, 3)
    assert run("GATHER_ND", x, ints([1, 0], [0, 2])) == [[3, 2]]
    assert run("GATHER_ND", x, ints(1)) == [[3, 4, 5]]


def test_scattered_slices_add_up_and_wrap():
    shape = vector(3)
    case = one_op(
        "", "SCATTER_ND", [Operand(ints([1], [1])), Operand(np.array([100, 100], np.int8)), shape], [Result(DType.INT8)]
    )
    assert run_forms(case.model, case.samples[0])[0][0].tolist() == [0, -56, 0]


def test_the_last_of_several_values_stays():
    dense = run("SPARSE_TO_DENSE", ints(1, 1), ints(3), ints(7, 8), np.int32(-1))
    assert dense == [[-1, 8, -1]]


def test_segments():
    x = ints([1, 2], [3, 4], [5, 6])
    for kind, expected in (("SUM", [[6, 8], [0, 0]]), ("PROD", [[5, 12], [1, 1]]), ("MAX", [[5, 6], [-(2**31)] * 2])):
        op = f"UNSORTED_SEGMENT_{kind}"
        assert run(op, x, ints(0, -1, 0), np.int32(2)) == [expected]
    assert run("SEGMENT_SUM", x, ints(0, 1, 1)) == [[[1, 2], [8, 10]]]


@pytest.mark.litert
@pytest.mark.parametrize("dtype", [np.int32, np.float32])
def test_segment_sum_equals_the_default_resolver(dtype, litert):
    del litert  # skips without LiteRT
    rng = np.random.default_rng(5)
    with LiteRT("litert-optimized") as runtime:
        for rows in range(1, 12):
            ids = np.cumsum(rng.integers(0, 2, rows)).astype(np.int32)
            case = build("SEGMENT_SUM", rng.integers(-99, 99, (rows, 3)).astype(dtype), ids - ids[0])
            assert compare(case.model, case.ordered(), runtime, profile="litert-reference") > 0


def test_one_hot_knows_only_its_depth():
    hot = run("ONE_HOT", ints(1, 3, -1), np.int32(3), np.int8(9), np.int8(1), dtypes=[DType.INT8], axis=-1)
    assert hot == [[[1, 9, 1], [1, 1, 1], [1, 1, 1]]]
    wide = ints(2**32 + 1, dtype=np.int64)
    assert run("ONE_HOT", wide, np.int32(3), np.int8(9), np.int8(1), dtypes=[DType.INT8], axis=0) == [[[1], [9], [1]]]


def test_the_first_of_equals_wins_and_nan_loses():
    x = np.array([[2, 5, 5], [np.nan, -1, np.nan], [np.nan, np.nan, -np.inf], [np.nan] * 3], np.float32)
    assert run("ARG_MAX", x, np.int32(1), dtypes=[DType.INT32], output_type=2) == [[1, 1, 2, 0]]
    assert run("ARG_MIN", x, np.int64(-1), dtypes=[DType.INT64], output_type=4) == [[0, 1, 2, 0]]


@pytest.mark.litert
def test_top_elements_of_rows_with_nan(litert):
    rng = np.random.default_rng(6)
    x = rng.normal(0, 1, (60, 11)).astype(np.float32)
    x[rng.random(x.shape) < 0.3] = np.nan
    case = one_op("", "TOPK_V2", [Operand(x), scalar(8)], [Result(DType.FLOAT32), Result(DType.INT32)])
    assert compare(case.model, case.ordered(), litert) == 60 * 8 * 2


def test_places_and_values_without_repeats():
    dtypes = [DType.INT8, DType.INT64]
    values, places = run("UNIQUE", np.array([4, 2, 4, 9, 2], np.int8), dtypes=dtypes, idx_out_type=4)
    assert values == [4, 2, 9]
    assert places == [0, 1, 0, 2, 1]
    assert run("WHERE", np.array([[0, 3], [-1, 0]], np.int8), dtypes=[DType.INT64]) == [[[0, 1], [1, 0]]]


ROW = np.zeros(3, np.float32)


@pytest.mark.parametrize(
    ("op", "arrays", "options", "words"),
    [
        ("GATHER", [ROW, ints(3)], {}, "indices from 0 to 2"),
        ("GATHER", [ROW, ints(-1)], {}, "indices from 0 to 2"),
        ("GATHER", [ROW, ints(1)], {"axis": 1}, "axis"),
        ("GATHER", [np.zeros((3, 2)).astype(np.float32), ints([0], [0])], {"axis": 1, "batch_dims": 1}, "batch dims"),
        ("GATHER_ND", [ROW, ints([3])], {}, "indices within"),
        ("GATHER_ND", [ROW, ints([0, 0])], {}, "at most 1 indices"),
        ("SPARSE_TO_DENSE", [ints(3), ints(3), ROW[:1], ROW[0]], {"dtypes": [DType.FLOAT32]}, "indices within"),
        ("SEGMENT_SUM", [ROW, ints(1, 1, 1)], {}, "sorted"),
        ("SEGMENT_SUM", [ROW, ints(0, 2, 2)], {}, "sorted"),
        ("UNSORTED_SEGMENT_SUM", [ROW, ints(0, 1, 2), np.int32(2)], {}, "below 2"),
        ("ARG_MAX", [ROW, np.int32(1)], {"dtypes": [DType.INT32], "output_type": 2}, "axis"),
        ("ARG_MAX", [ROW[:0], np.int32(0)], {"dtypes": [DType.INT32], "output_type": 2}, "elements along"),
        ("TOPK_V2", [ROW, np.int32(4)], {"dtypes": [DType.FLOAT32, DType.INT32]}, "at most 3"),
        ("ONE_HOT", [ints(0), np.int32(-1), ROW[0], ROW[0]], {"dtypes": [DType.FLOAT32], "axis": 0}, "not negative"),
    ],
)
def test_values_that_do_not_fit(op, arrays, options, words):
    with pytest.raises(ModelError, match=words):
        run(op, *arrays, **options)


@pytest.mark.parametrize(
    ("op", "arrays", "options", "error", "words"),
    [
        ("SCATTER_ND", [ints([1], dtype=np.int64), ROW[:1], ints(3)], {"dtypes": [DType.FLOAT32]}, ModelError, "INT32"),
        (
            "UNIQUE",
            [ROW.reshape(1, 3)],
            {"dtypes": [DType.FLOAT32, DType.INT32], "idx_out_type": 2},
            ModelError,
            "vector",
        ),
        ("WHERE", [np.bool_(1)], {"dtypes": [DType.INT64]}, ModelError, "scalar"),
        ("ARG_MAX", [ROW.astype(np.int64), np.int32(0)], {"dtypes": [DType.INT32]}, UnsupportedError, "int8"),
        ("GATHER", [ROW.astype(np.uint32), ints(0)], {}, UnsupportedError, "int4"),
        ("TOPK_V2", [ROW, np.int32(1)], {"dtypes": [DType.FLOAT32, DType.INT64]}, ModelError, "INT16"),
        ("ONE_HOT", [ints(0), np.int32(1), *[np.int16(0)] * 2], {"dtypes": [DType.INT16]}, UnsupportedError, "int8"),
    ],
)
def test_refusals(op, arrays, options, error, words):
    with pytest.raises(error, match=words):
        prepare_op(build(op, *arrays, **options).model)


def test_nan_has_no_place_among_unique_values():
    with pytest.raises(UnsupportedError, match="NaN"):
        run("UNIQUE", np.array([np.nan], np.float32), dtypes=[DType.FLOAT32, DType.INT32], idx_out_type=2)


def test_four_bit_slices_of_odd_size_are_refused():
    x = Operand(np.zeros((2, 3), np.int8), DType.INT4, constant=True)
    model = one_op("", "GATHER", [x, Operand(ints(0))], [Result(DType.INT4)], axis=0).model
    with pytest.raises(UnsupportedError, match="even number"):
        prepare_op(model)
