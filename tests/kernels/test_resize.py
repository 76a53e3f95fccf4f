"""Resizing against LiteRT, against loops over Python integers, against goldens, and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels.resize_grid import BLOCK
from qmath.errors import ModelError, UnsupportedError
from quantref.vectors.cells.build import Operand, Result, dtype_of, one_op, vector
from quantref.vectors.cells.resize import CELLS
from tests.kernels.forms import assert_forms_agree, prepare_op, run_forms, trace
from tests.kernels.goldens import assert_goldens_match
from tests.kernels.sweeps import compare_cell, examples
from tests.one_op import compare
from tests.oracles import windows


def resize_model(x, size, op="RESIZE_BILINEAR", *, align=False, half=False, constant=True):
    """Build a resize of an image."""
    operands = [Operand(np.asarray(x)), vector(*size, constant=constant)]
    options = {"align_corners": align, "half_pixel_centers": half}
    return one_op("", op, operands, [Result(dtype_of(np.asarray(x)))], **options).model


@pytest.mark.litert
@pytest.mark.parametrize("cell", CELLS)
def test_litert_gives_the_same(cell, litert):
    assert compare_cell(cell, CELLS[cell], litert, least=5000) >= 5000


@pytest.mark.parametrize("cell", ["RESIZE_BILINEAR int8", "RESIZE_BILINEAR int16"])
@examples(20)
@given(seed=st.integers(0, 2**32 - 1))
def test_compiled_form_equals_definition(cell, seed):
    assert assert_forms_agree(next(CELLS[cell](np.random.default_rng(seed)))) > 0


@pytest.mark.shared
@pytest.mark.parametrize("op", ["RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR"])
def test_goldens(op, shared):
    assert assert_goldens_match(shared, op) > 15_000


@examples(60)
@given(
    size=st.tuples(st.integers(1, 7), st.integers(1, 7)),
    wanted=st.tuples(st.integers(1, 15), st.integers(1, 15)),
    placement=st.sampled_from([(False, False), (True, False), (False, True)]),
    seed=st.integers(0, 99),
)
def test_integers_equal_loops(size, wanted, placement, seed):
    align, half = placement
    x = np.random.default_rng(seed).integers(-128, 128, (1, *size, 1)).astype(np.int8)
    image = x[0, ..., 0].tolist()
    places = [
        [windows.neighbours(n, out, i, align=align, half=half) for i in range(out)]
        for n, out in zip(size, wanted, strict=True)
    ]
    expected = [[windows.bilinear(image, row, column) for column in places[1]] for row in places[0]]
    (defined,), (compiled,) = run_forms(resize_model(x, wanted, align=align, half=half), {"x0": x})
    assert defined[0, ..., 0].tolist() == compiled[0, ..., 0].tolist() == expected


def test_two_codes_become_four_step_by_step():
    # Columns 0, 1/2, 1, 3/2 of the input; beyond the last column there is nothing to interpolate with.
    x = np.array([-3, 2], np.int8).reshape(1, 1, 2, 1)
    (y,), stages = trace(resize_model(x, (1, 4)), {"x0": x})
    assert np.ravel(stages["interpolated"]).tolist() == [-3 << 20, -1 << 19, 2 << 20, 2 << 20]
    assert y.ravel().tolist() == [-3, -1, 2, 2]


def test_uint8_adds_a_half_and_drops_the_fraction():
    x = np.array([1, 2], np.uint8).reshape(1, 1, 2, 1)
    (y,), _ = run_forms(resize_model(x, (1, 4)), {"x0": x})
    assert y.ravel().tolist() == [1, 2, 2, 2]


@pytest.mark.parametrize(
    ("align", "half", "columns"),
    [
        (False, False, [0, 0, 0, 1, 1]),
        (True, False, [0, 1, 1, 2, 2]),
        (False, True, [0, 0, 1, 2, 2]),
    ],
)
def test_nearest_columns(align, half, columns):
    x = np.arange(3, dtype=np.int16).reshape(1, 1, 3, 1)
    if not (align or half):
        x = x[:, :, :2]
    (y,), _ = run_forms(resize_model(x, (1, 5), "RESIZE_NEAREST_NEIGHBOR", align=align, half=half), {"x0": x})
    assert y.ravel().tolist() == columns


@pytest.mark.litert
def test_both_placements_at_once_are_refused_only_where_litert_checks(litert):
    x = np.arange(9, dtype=np.float32).reshape(1, 3, 3, 1)
    with pytest.raises(ModelError, match="found both"):
        prepare_op(resize_model(x, (5, 5), align=True, half=True))
    model = resize_model(x, (5, 5), align=True, half=True, constant=False)
    assert compare(model, [[x, np.array([5, 5], np.int32)]], litert) == 25


@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.uint8, np.float32])
def test_an_output_of_several_blocks(dtype):
    x = np.random.default_rng(0).integers(0, 128, (2, 7, 5, 3)).astype(dtype)
    size = (301, 77)
    assert 2 * BLOCK < 2 * 301 * 77 * 3
    (defined,), (compiled,) = run_forms(resize_model(x, size, half=True), {"x0": x})
    assert defined.shape == (2, 301, 77, 3)
    assert np.array_equal(defined, compiled)


def test_both_placements_of_a_smaller_output_are_refused():
    x = np.zeros((1, 9, 9, 1), np.float32)
    model = resize_model(x, (2, 9), align=True, half=True, constant=False)
    with pytest.raises(UnsupportedError, match="reads beyond"):
        run_forms(model, {"x0": x, "x1": np.array([2, 9], np.int32)})


@pytest.mark.parametrize(
    ("x", "size", "op", "error", "words"),
    [
        (np.zeros((1, 2, 2, 1), np.int8), (0, 2), "RESIZE_BILINEAR", ModelError, "at least 1"),
        (np.zeros((1, 2, 2, 1), np.int8), (-1, 2), "RESIZE_NEAREST_NEIGHBOR", ModelError, "at least 0"),
        (np.zeros((1, 10, 1, 1), np.int8), (280, 1), "RESIZE_BILINEAR", UnsupportedError, "reads beyond"),
        (np.zeros((1, 2, 2, 1), np.int8), (1 << 20, 1 << 20), "RESIZE_BILINEAR", UnsupportedError, "elements"),
        (np.zeros((1, 2, 2, 1), np.int32), (2, 2), "RESIZE_BILINEAR", UnsupportedError, "int16"),
        (np.zeros((1, 2, 2, 1), np.int64), (2, 2), "RESIZE_NEAREST_NEIGHBOR", UnsupportedError, "int32"),
        (np.zeros((1, 0, 2, 1), np.int8), (2, 2), "RESIZE_BILINEAR", ModelError, "pixels"),
        (np.zeros((2, 2, 1), np.int8), (2, 2), "RESIZE_BILINEAR", ModelError, "4 dimensions"),
    ],
)
def test_refusals(x, size, op, error, words):
    with pytest.raises(error, match=words):
        run_forms(resize_model(x, size, op), {"x0": x})
