"""SLICE, STRIDED_SLICE, SPLIT, PACK and their kin against LiteRT, Python's own slices, goldens, and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qmath.errors import ModelError, UnsupportedError
from qmath.types import DType
from quantref.vectors.cells.build import Operand, Result, dtype_of, one_op, scalar, vector
from quantref.vectors.cells.cuts import CELLS
from tests.kernels.forms import prepare_op, run_forms
from tests.kernels.goldens import assert_goldens_match
from tests.kernels.sweeps import compare_cell, examples

HALVES, QUARTERS = {"scale": 0.5, "zero_point": 3}, {"scale": 0.25, "zero_point": 3}


def build(op, x, *others, first=(), outputs=1, params=None, out=None, **options):
    """Build an op of input ``x0`` (behind the operands in ``first``) and constant index tensors."""
    x, params = np.asarray(x), {} if params is None else params
    operands = [*first, Operand(x, params=params), *others]
    results = [Result(dtype_of(x), params if out is None else out)] * outputs
    return one_op("", op, operands, results, **options).model


def run(op, x, *others, first=(), **options):
    """Run an op and return its outputs as lists."""
    outputs, _ = run_forms(build(op, x, *others, first=first, **options), {f"x{len(first)}": np.asarray(x)})
    return [y.tolist() for y in outputs]


def strided(x, begin, end, strides, **masks):
    """Run a STRIDED_SLICE and return its output as a list; ``masks`` are its options."""
    return run("STRIDED_SLICE", x, vector(*begin), vector(*end), vector(*strides), **masks)[0]


@pytest.mark.litert
@pytest.mark.parametrize("cell", CELLS)
def test_litert_gives_the_same(cell, litert):
    assert compare_cell(cell, CELLS[cell], litert) >= 200


@pytest.mark.shared
def test_goldens(shared):
    assert assert_goldens_match(shared, "STRIDED_SLICE") > 2000


@examples(200)
@given(
    size=st.integers(1, 9),
    begin=st.integers(-11, 11) | st.none(),
    end=st.integers(-11, 11) | st.none(),
    stride=st.sampled_from([1, 2, 3, -1, -2, -3]),
)
def test_one_axis_is_sliced_as_python_slices(size, begin, end, stride):
    x = np.arange(size, dtype=np.int8)
    masks = {"begin_mask": int(begin is None), "end_mask": int(end is None)}
    assert strided(x, [begin or 0], [end or 0], [stride], **masks) == list(range(size))[begin:end:stride]


def test_masks_insert_shrink_and_skip_axes():
    x = np.arange(24, dtype=np.int8).reshape(2, 3, 4)
    assert strided(x, (1, 0), (2, 0), (1, 1), new_axis_mask=2) == x[1:2, None].tolist()
    assert strided(x, (-1, 1), (0, 3), (1, 1), shrink_axis_mask=1) == x[-1, 1:3].tolist()
    assert strided(x, (0, 1), (0, 3), (1, 1), ellipsis_mask=1) == x[..., 1:3].tolist()
    assert strided(x, (0, 0, 2), (1, 0, 4), (1, 1, 1), ellipsis_mask=2) == x[0:1, :, 2:4].tolist()


def test_an_ellipsis_takes_an_axis_even_if_none_is_left_and_entries_beyond_the_last_are_ignored():
    x = np.arange(6, dtype=np.int8).reshape(2, 3)
    assert strided(x, (0, 0, 1), (1, 1, 2), (1, 1, 1), ellipsis_mask=2) == [[0, 1, 2]]
    assert strided(x, (0, 0, 1), (1, 1, 2), (1, 1, 1)) == [[0]]


def test_offsets_count_from_the_begin():
    x = np.arange(5, dtype=np.int8)
    assert strided(x, (1,), (3,), (1,), offset=True) == [1, 2, 3]
    assert strided(x, (-3,), (2,), (1,), offset=True) == [2, 3]
    assert strided(x, (4,), (-3,), (-1,), offset=True) == [4, 3, 2]


def test_updates_are_moved_inside():
    x, update = np.zeros((2, 3), np.int8), np.array([[1, 2]], np.int8)
    operands = (Operand(update, constant=True), vector(9, -9))
    assert run("DYNAMIC_UPDATE_SLICE", x, *operands) == [[[0, 0, 0], [1, 2, 0]]]


def test_pieces_and_stacks():
    x = np.arange(6, dtype=np.int8)
    assert run("SPLIT", x, first=[scalar(0)], outputs=3, num_splits=3) == [[0, 1], [2, 3], [4, 5]]
    assert run("SPLIT_V", x, vector(1, -1, 2), scalar(-1), outputs=3, num_splits=3) == [[0], [1, 2, 3], [4, 5]]
    assert run("UNPACK", x.reshape(2, 3), outputs=3, num=3, axis=-1) == [[0, 3], [1, 4], [2, 5]]
    assert run("PACK", np.int8(1), Operand(np.int8(2), constant=True), values_count=2, axis=0) == [[1, 2]]


ROW = np.zeros(4, np.int8)


@pytest.mark.parametrize(
    ("op", "x", "others", "options", "error", "words"),
    [
        ("SLICE", np.zeros(1, np.complex128), [vector(0), vector(1)], {}, UnsupportedError, "int4"),
        ("SPLIT_V", np.zeros(4, bool), [vector(4), scalar(0)], {"num_splits": 1}, UnsupportedError, "int8"),
        ("SPLIT_V", ROW, [vector(2, 2), scalar(0)], {"num_splits": 1}, ModelError, "one size"),
        ("UNPACK", np.zeros((4, 0), np.int8), [], {"num": 4, "outputs": 4}, ModelError, "elements"),
        ("UNPACK", ROW, [], {"num": 3, "outputs": 3}, ModelError, "3 indices"),
        ("UNPACK", np.zeros(1, np.int64), [], {"num": 1}, UnsupportedError, "int8"),
        ("UNPACK", ROW, [], {"num": 4, "outputs": 4, "params": HALVES, "out": QUARTERS}, ModelError, "scale"),
        ("PACK", np.zeros(1, bool), [], {"values_count": 1}, UnsupportedError, "int8"),
        ("PACK", ROW, [], {"values_count": 2}, ModelError, "2 inputs"),
        ("PACK", ROW, [], {"values_count": 1, "axis": 2}, ModelError, "axis"),
        ("PACK", ROW, [], {"values_count": 1, "params": HALVES, "out": QUARTERS}, ModelError, "scale"),
    ],
)
def test_refusals(op, x, others, options, error, words):
    with pytest.raises(error, match=words):
        prepare_op(build(op, x, *others, **options))


@pytest.mark.parametrize(
    ("op", "others", "options", "words"),
    [
        ("SLICE", [vector(-1), vector(2)], {}, "inside"),
        ("SLICE", [vector(3), vector(2)], {}, "inside"),
        ("SLICE", [vector(3), vector(-2)], {}, "inside"),
        ("SLICE", [vector(3, 3), vector(1, 1)], {}, "1 begins"),
        ("SPLIT_V", [vector(1, 2), scalar(0)], {"num_splits": 2, "outputs": 2}, "sum to 4"),
        ("SPLIT_V", [vector(-1, -1), scalar(0)], {"num_splits": 2, "outputs": 2}, "at most one"),
        ("SPLIT_V", [vector(5, -1), scalar(0)], {"num_splits": 2, "outputs": 2}, "not negative"),
        ("SPLIT_V", [vector(1, 3), scalar(1)], {"num_splits": 2, "outputs": 2}, "axis"),
    ],
)
def test_boxes_that_do_not_fit(op, others, options, words):
    with pytest.raises(ModelError, match=words):
        run(op, ROW, *others, **options)


def test_an_uneven_split_is_refused():
    with pytest.raises(ModelError, match="divides into 3"):
        run("SPLIT", ROW, first=[scalar(0)], outputs=3, num_splits=3)


@pytest.mark.parametrize(
    ("begin", "end", "strides", "masks", "words"),
    [
        ((0,), (2,), (0,), {}, "strides other than 0"),
        ((5,), (6,), (1,), {"shrink_axis_mask": 1}, "index within 4"),
        ((1,), (2,), (-1,), {"shrink_axis_mask": 1}, "positive stride"),
        ((1,), (9,), (1,), {"offset": True}, "9 elements within the offset"),
        ((0, 0), (0, 0), (1, 1), {"ellipsis_mask": 3}, "one ellipsis"),
        ((), (), (), {"new_axis_mask": 1}, "beyond the 0 entries, found the mask 1"),
        ((), (), (), {"ellipsis_mask": 1}, "beyond the 0 entries, found the mask 1"),
        ((0, 1, 0), (3, 3, 0), (1, 1, 1), {"ellipsis_mask": 1, "new_axis_mask": 4}, "more entries"),
    ],
)
def test_slices_that_the_runtime_would_leave_unwritten(begin, end, strides, masks, words):
    with pytest.raises(ModelError, match=words):
        strided(ROW, begin, end, strides, **masks)


def test_four_bit_codes_move_like_others():
    x = Operand(np.arange(-8, 8, dtype=np.int8).reshape(4, 4), DType.INT4, constant=True)
    model = one_op("", "SLICE", [x, vector(1, 1), vector(2, 3)], [Result(DType.INT4)]).model
    (y,), _ = run_forms(model, {})
    assert y.tolist() == [[-3, -2, -1], [1, 2, 3]]
