"""Ops that repeat, fill, choose or rearrange, against LiteRT and by hand; and empty tensors through all of them."""

from __future__ import annotations

import numpy as np
import pytest

import fbs
import quantref
from qmath.errors import ModelError, UnsupportedError
from qmath.types import DType
from quantref.vectors.cells.build import Operand, Result, dtype_of, one_op, scalar, vector
from quantref.vectors.cells.fills import CELLS
from tests.kernels.forms import prepare_op, run_forms
from tests.kernels.sweeps import compare_cell
from tests.one_op import compare


def build(op, x, *others, dtype=None, params=None, out=None, shape=(), **options):
    """Build an op of input ``x0`` and constants."""
    x, params = np.asarray(x), {} if params is None else params
    operands = [Operand(x, params=params), *others]
    result = Result(dtype_of(x) if dtype is None else dtype, params if out is None else out, shape)
    return one_op("", op, operands, [result], **options)


def run(op, x, *others, **options):
    """Run an op and return its output as a list."""
    case = build(op, x, *others, **options)
    (y,), _ = run_forms(case.model, case.samples[0])
    return y.tolist()


def constant(value, dtype=np.float32, **params):
    return Operand(np.array(value, dtype), constant=True, params=params)


@pytest.mark.litert
@pytest.mark.parametrize("cell", CELLS)
def test_litert_gives_the_same(cell, litert):
    least = 30 if cell.startswith("BROADCAST_ARGS") else 200
    assert compare_cell(cell, CELLS[cell], litert, least=least) >= least


def test_repeats():
    x = np.array([[1, 2]], np.int8)
    assert run("TILE", x, vector(2, 2)) == [[1, 2, 1, 2]] * 2
    assert run("BROADCAST_TO", x, vector(2, 2, 2), version=2) == [[[1, 2]] * 2] * 2
    assert run("BROADCAST_ARGS", np.array([3, 1], np.int32), vector(2, 1, 4)) == [2, 3, 4]


def test_floats_are_added_up_one_after_the_other():
    start = np.float32(1e7)
    numbers = run("RANGE", start, constant(1e7 + 5), constant(1.3))
    expected, value = [], start
    for _ in range(4):
        expected.append(float(value))
        value = np.float32(value + np.float32(1.3))
    assert numbers == expected


def test_running_sums():
    x = np.array([1, 2, 3], np.int32)
    for exclusive, reverse, expected in (
        (False, False, [1, 3, 6]),
        (True, False, [0, 1, 3]),
        (False, True, [6, 5, 3]),
        (True, True, [5, 3, 0]),
    ):
        assert run("CUMSUM", x, scalar(-1), exclusive=exclusive, reverse=reverse) == expected
    assert run("CUMSUM", np.full(2, 2**30, np.int32), scalar(0)) == [2**30, -(2**31)]


def test_conditions_for_rows_or_for_elements():
    x, y = constant([[1, 2], [3, 4]]), constant([[5, 6], [7, 8]])
    flags = np.array([True, False])
    assert run("SELECT", flags, x, y, dtype=DType.FLOAT32) == [[1, 2], [7, 8]]
    assert run("SELECT_V2", flags, x, y, dtype=DType.FLOAT32) == [[1, 6], [3, 8]]


def test_single_elements_keep_the_shape_of_the_file():
    case = build("SELECT_V2", np.array([True]), constant([[1]]), constant(2), dtype=DType.FLOAT32, shape=(1, 1, 1))
    assert run_forms(case.model, case.samples[0])[0][0].shape == (1, 1, 1)


def test_blocks_move_and_come_back():
    x = np.arange(16, dtype=np.int8).reshape(1, 4, 4, 1)
    batches = run("SPACE_TO_BATCH_ND", x, vector(2, 2), constant([[0, 0], [0, 0]], np.int32))
    assert np.array(batches)[1, :, :, 0].tolist() == [[1, 3], [9, 11]]
    back = run("BATCH_TO_SPACE_ND", np.array(batches, np.int8), vector(2, 2), constant([[0, 0], [0, 0]], np.int32))
    assert back == x.tolist()
    deep = run("SPACE_TO_DEPTH", x, block_size=2)
    assert deep[0][0][0] == [0, 1, 4, 5]
    assert run("DEPTH_TO_SPACE", np.array(deep, np.int8), block_size=2) == x.tolist()


def test_blocks_are_padded_with_the_zero_point():
    x = np.ones((1, 1, 1), np.int8)
    params = {"scale": 0.5, "zero_point": -9}
    assert run("SPACE_TO_BATCH_ND", x, vector(2), constant([[0, 1]], np.int32), params=params) == [[[1]], [[-9]]]


def test_diagonals_are_filled_with_code_zero():
    x = np.array([1, 2], np.int8)
    assert run("MATRIX_DIAG", x, params={"scale": 0.5, "zero_point": 5}) == [[1, 0], [0, 2]]
    assert run("MATRIX_SET_DIAG", np.zeros((1, 2, 3), np.int8), constant([[7, 8]], np.int8)) == [[[7, 0, 0], [0, 8, 0]]]


ONES = np.ones((1, 2, 2, 1), np.float32)
FRAME = constant([[0, 0], [0, 0]], np.int32)


@pytest.mark.parametrize(
    ("op", "x", "others", "options", "words"),
    [
        ("TILE", ONES, [vector(1, 1)], {}, "one multiple"),
        ("TILE", ONES, [vector(1, 1, 1, -1)], {}, "not negative"),
        ("BROADCAST_TO", ONES, [vector(2, 3)], {"version": 2}, "broadcasts to"),
        ("BROADCAST_TO", ONES, [vector(1, 3, 2, 1)], {"version": 2}, "broadcasts to"),
        ("BROADCAST_ARGS", np.array([2], np.int32), [vector(3)], {}, "broadcast"),
        ("RANGE", np.int32(0), [scalar(4), scalar(0)], {}, "step"),
        ("RANGE", np.int32(0), [scalar(4), scalar(-1)], {}, "step"),
        ("RANGE", np.float32(0), [constant(np.inf), constant(1)], {}, "finite"),
        ("FILL", np.array([-1], np.int32), [constant(1)], {"dtype": DType.FLOAT32}, "not negative"),
        ("CUMSUM", ONES, [scalar(4)], {}, "axis"),
        ("SPACE_TO_BATCH_ND", ONES, [vector(2, 3), FRAME], {}, "divides into blocks"),
        ("SPACE_TO_BATCH_ND", ONES, [vector(2, 0), FRAME], {}, "positive"),
        ("SPACE_TO_BATCH_ND", ONES, [vector(1, 1), constant([[-1, 1], [0, 0]], np.int32)], {}, "not negative"),
        ("BATCH_TO_SPACE_ND", ONES, [vector(2, 1), FRAME], {}, "batches"),
        ("BATCH_TO_SPACE_ND", ONES, [vector(1, 1), constant([[2, 1], [0, 0]], np.int32)], {}, "crops"),
        ("SPACE_TO_DEPTH", ONES, [], {"block_size": 3}, "divide by 3"),
        ("DEPTH_TO_SPACE", ONES, [], {"block_size": 2}, "divide by 4"),
        ("DEPTH_TO_SPACE", ONES, [], {"block_size": 0}, "positive"),
        ("MATRIX_SET_DIAG", ONES, [constant([1])], {}, "shape"),
        (
            "SELECT",
            np.array([True, False]),
            [constant([1, 2, 3]), constant([1, 2, 3])],
            {"dtype": DType.FLOAT32},
            "shape",
        ),
        (
            "SELECT_V2",
            np.array([True, False]),
            [constant([1, 2, 3]), constant(1)],
            {"dtype": DType.FLOAT32},
            "broadcast",
        ),
    ],
)
def test_values_that_do_not_fit(op, x, others, options, words):
    with pytest.raises(ModelError, match=words):
        run(op, x, *others, **options)


@pytest.mark.parametrize(
    ("op", "x", "others", "options"),
    [
        ("TILE", ONES, [vector(2**10, 2**10, 2**10, 1)], {}),
        ("BROADCAST_TO", ONES, [vector(2**30, 2, 2, 1)], {"version": 2}),
        ("FILL", np.array([2**20, 2**20], np.int32), [constant(1)], {"dtype": DType.FLOAT32}),
        ("RANGE", np.int32(0), [scalar(2**31 - 1), scalar(1)], {}),
    ],
)
def test_outputs_are_bounded(op, x, others, options):
    with pytest.raises(UnsupportedError, match="elements"):
        run(op, x, *others, **options)


@pytest.mark.parametrize(
    ("op", "x", "others", "options", "error", "words"),
    [
        ("ZEROS_LIKE", np.zeros(1, np.int8), [], {}, UnsupportedError, "int32"),
        ("CUMSUM", np.zeros(1, np.int8), [scalar(0)], {}, UnsupportedError, "int32"),
        ("DEPTH_TO_SPACE", np.zeros((1, 1, 1, 4), np.int16), [], {"block_size": 2}, UnsupportedError, "int8"),
        ("MATRIX_DIAG", np.zeros(1, bool), [], {}, UnsupportedError, "int8"),
        ("FILL", np.array([1], np.int32), [constant([1])], {"dtype": DType.FLOAT32}, ModelError, "0 dimensions"),
        ("SELECT", np.zeros(2, np.int8), [constant([1, 2])] * 2, {"dtype": DType.FLOAT32}, ModelError, "BOOL"),
        ("SPACE_TO_BATCH_ND", np.zeros((1, 1), np.int8), [vector(), FRAME], {}, ModelError, "3 or 4"),
    ],
)
def test_refusals(op, x, others, options, error, words):
    with pytest.raises(error, match=words):
        prepare_op(build(op, x, *others, **options).model)


EMPTY = np.zeros((0, 4), np.float32)
EMPTY_CASES = [
    ("RESHAPE", EMPTY, [vector(2, 0, -1)], {}),
    ("RESHAPE", EMPTY, [vector(2, -1)], {}),
    ("SQUEEZE", EMPTY[:, :1], [], {}),
    ("EXPAND_DIMS", EMPTY, [scalar(1)], {}),
    ("TRANSPOSE", EMPTY, [vector(1, 0)], {}),
    ("SLICE", EMPTY, [vector(0, 1), vector(0, 2)], {}),
    ("STRIDED_SLICE", EMPTY, [vector(0, 1), vector(0, 3), vector(1, 1)], {}),
    ("CONCATENATION", EMPTY, [constant(np.zeros((0, 4)))], {"axis": 0}),
    ("PAD", EMPTY, [constant([[0, 0], [1, 1]], np.int32)], {}),
    ("PAD", EMPTY, [constant([[1, 0], [1, 1]], np.int32)], {}),
    ("MIRROR_PAD", EMPTY, [constant([[0, 0], [1, 1]], np.int32)], {"mode": 1}),
    ("GATHER", EMPTY, [vector(1, 1)], {"axis": 1}),
    ("GATHER", EMPTY.T, [vector(1, 1)], {"axis": 0}),
    ("TILE", EMPTY, [vector(2, 2)], {}),
    ("TILE", np.ones(2, np.float32), [vector(0)], {}),
    ("CUMSUM", EMPTY, [scalar(1)], {}),
    ("SUM", EMPTY, [vector(0)], {}),
    ("REDUCE_MAX", EMPTY, [vector(0)], {}),
    ("MEAN", EMPTY, [vector(1)], {}),
    ("DEPTH_TO_SPACE", np.zeros((0, 1, 1, 4), np.float32), [], {"block_size": 2}),
    ("RESIZE_BILINEAR", np.zeros((0, 2, 2, 1), np.float32), [vector(3, 3)], {}),
    ("AVERAGE_POOL_2D", np.zeros((1, 2, 2, 0), np.float32), [], {"stride_h": 1, "stride_w": 1, "filter_height": 2}),
    ("AVERAGE_POOL_2D", np.zeros((1, 0, 2, 3), np.float32), [], {"stride_h": 1, "stride_w": 1}),
]


@pytest.mark.litert
@pytest.mark.parametrize(("op", "x", "others", "options"), EMPTY_CASES)
def test_empty_tensors_have_litert_s_shapes(op, x, others, options, litert):
    if op == "AVERAGE_POOL_2D":
        options = {"filter_height": 1, "filter_width": 1, **options}
    case = build(op, x, *others, **options)
    (expected,) = litert.run(fbs.write(case.model), case.ordered(), all_tensors=False)[0].outputs
    for (y,) in run_forms(case.model, case.samples[0]):
        assert y.shape == expected.shape
        assert np.array_equal(y, expected, equal_nan=True)


@pytest.mark.litert
@pytest.mark.parametrize(
    ("op", "x", "others", "options"),
    [
        ("EXPAND_DIMS", np.ones(2, np.int8), [scalar(0)], {}),
        ("GATHER", np.ones(2, np.int8), [vector(0)], {"axis": 0}),
        ("RESIZE_NEAREST_NEIGHBOR", np.ones((1, 1, 1, 1), np.int8), [vector(2, 2)], {}),
        ("SPLIT_V", np.ones(2, np.int8), [vector(2), scalar(0)], {"num_splits": 1}),
        ("FILL", np.array([2], np.int32), [constant(1, np.int8)], {}),
        ("ARG_MAX", np.ones(2, np.int8), [scalar(0)], {"output_type": 2}),
        ("SHAPE", np.ones(2, np.int8), [], {"out_type": 2}),
        ("WHERE", np.ones(2, np.int8), [], {}),
        ("MATRIX_DIAG", np.ones(2, np.int8), [], {}),
    ],
)
def test_the_type_that_the_file_gives_an_output_is_ignored(op, x, others, options, litert):
    case = build(op, x, *others, dtype=DType.FLOAT32, **options)
    assert compare(case.model, case.ordered(), litert) > 0


def test_sums_of_codes_in_tflite_micro_start_from_code_0():
    params = {"scale": 0.5, "zero_point": 1}
    x, y = Operand(np.array([3, 5], np.int8), params=params), Result(DType.INT8, params)
    running = one_op("", "CUMSUM", [x, scalar(0)], [y], exclusive=False, reverse=False).model
    assert quantref.run(running, {"x0": x.array}, profile="tflm")["y0"].tolist() == [2, 6]
    twice = one_op("", "ADD_N", [x, x], [y]).model
    assert quantref.run(twice, {"x0": x.array, "x1": x.array}, profile="tflm")["y0"].tolist() == [4, 8]


@pytest.mark.litert
def test_uint16_is_padded_with_a_byte_twice(litert):
    params, ones = {"scale": 0.5, "zero_point": 7}, np.ones((1, 1, 1, 1), np.uint16)
    operands = [
        Operand(ones, params=params),
        vector(1, 2),
        Operand(np.array([[0, 0], [1, 0]], np.int32), constant=True),
    ]
    model = one_op("", "SPACE_TO_BATCH_ND", operands, [Result(DType.UINT16, params)]).model
    assert quantref.run(model, {"x0": ones})["y0"].ravel().tolist() == [0x0707, 1]
    assert compare(model, [[ones]], litert) == 2
