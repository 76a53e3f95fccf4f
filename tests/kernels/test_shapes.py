"""RESHAPE and its kin, TRANSPOSE and the REVERSE ops against LiteRT, against goldens, and by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels.reshape import resolve_shape
from qmath.errors import ModelError, UnsupportedError
from qmath.types import DType
from quantref.vectors.cells.build import Operand, Result, dtype_of, one_op, scalar, vector
from quantref.vectors.cells.shapes import CELLS
from tests.kernels.forms import prepare_op, run_forms
from tests.kernels.goldens import assert_goldens_match
from tests.kernels.sweeps import compare_cell, examples


def build(op, x, *others, params=None, out=None, dtype=None, **options):
    """Build an op of input ``x0`` and constant index tensors."""
    x, params = np.asarray(x), {} if params is None else params
    operands = [Operand(x, params=params), *others]
    result = Result(dtype_of(x) if dtype is None else dtype, params if out is None else out)
    return one_op("", op, operands, [result], **options).model


def run(op, x, *others, **options):
    """Run an op and return its output."""
    (y,), _ = run_forms(build(op, x, *others, **options), {"x0": np.asarray(x)})
    return y


@pytest.mark.litert
@pytest.mark.parametrize("cell", CELLS)
def test_litert_gives_the_same(cell, litert):
    least = 20 if cell.startswith(("RANK", "SHAPE")) else 150
    assert compare_cell(cell, CELLS[cell], litert, least=least) >= least


@pytest.mark.shared
def test_goldens(shared):
    assert assert_goldens_match(shared, "TRANSPOSE") > 8000


@examples(100)
@given(sizes=st.lists(st.integers(0, 5), max_size=4), data=st.data())
def test_a_size_of_minus_one_is_what_is_missing(sizes, data):
    wanted = data.draw(st.permutations(sizes))
    if wanted and 0 not in wanted:
        hidden = data.draw(st.integers(0, len(wanted) - 1))
        assert resolve_shape(tuple(sizes), (*wanted[:hidden], -1, *wanted[hidden + 1 :])) == tuple(wanted)
    assert math.prod(resolve_shape(tuple(sizes), tuple(wanted))) == math.prod(sizes)


@pytest.mark.parametrize(
    ("shape", "wanted", "expected"),
    [
        ((4, 0), (2, 0, -1), (2, 0, 2)),
        ((4, 0), (2, -1), (2, 0)),
        ((2, 3), (-1,), (6,)),
        ((1,), (), ()),
        ((), (1, -1), (1, 1)),
    ],
)
def test_shapes_with_and_without_elements(shape, wanted, expected):
    assert resolve_shape(shape, wanted) == expected


@pytest.mark.parametrize("wanted", [(-1, -1), (-2,), (5,), (-1, 4)])
def test_shapes_that_cannot_be(wanted):
    with pytest.raises(ModelError):
        resolve_shape((2, 3), wanted)


def test_the_option_new_shape_counts_where_there_is_no_int32_vector():
    x = np.arange(4, dtype=np.int8)
    wide = Operand(np.array([2, 2]), DType.INT64, constant=True)
    assert run("RESHAPE", x, wide, new_shape=[4, 1]).shape == (4, 1)
    assert run("RESHAPE", x, vector(2, 2), new_shape=[4, 1]).shape == (2, 2)
    assert run("RESHAPE", x[:1], new_shape=[0]).shape == ()


def test_scalars_stay_scalars():
    assert run("SQUEEZE", np.zeros((1, 1), np.int8)).shape == ()
    assert run("EXPAND_DIMS", np.int8(3), scalar(-1)).shape == (1,)
    assert run("RANK", np.zeros((2, 3), np.int8), dtype=DType.INT32).tolist() == 2
    assert run("SHAPE", np.zeros((2, 3), np.int8), dtype=DType.INT64, out_type=4).tolist() == [2, 3]


def test_bitcast_is_little_endian():
    assert run("BITCAST", np.array([258], np.int16), dtype=DType.UINT8).tolist() == [[2, 1]]
    assert run("BITCAST", np.array([[2, 1]], np.uint8), dtype=DType.INT16).tolist() == [258]


def test_reverse_sequence_leaves_the_rest():
    x = np.arange(8, dtype=np.int32).reshape(2, 4)
    y = run("REVERSE_SEQUENCE", x, vector(3, -1), seq_dim=1, batch_dim=0)
    assert y.tolist() == [[2, 1, 0, 3], [4, 5, 6, 7]]


HALVES, QUARTERS = {"scale": 0.5, "zero_point": 3}, {"scale": 0.25, "zero_point": 3}


@pytest.mark.parametrize(
    ("op", "x", "others", "options", "error", "words"),
    [
        ("RESHAPE", np.zeros(1, np.complex128), [vector(1)], {}, UnsupportedError, "int8"),
        ("SQUEEZE", np.zeros((1,) * 9, np.int8), [], {}, ModelError, "8 dimensions"),
        ("EXPAND_DIMS", np.zeros(1, np.int8), [scalar(0)], {"params": HALVES, "out": QUARTERS}, ModelError, "scale"),
        ("EXPAND_DIMS", np.zeros(1, np.int16), [scalar(0)], {"params": HALVES}, ModelError, "zero point 0"),
        ("SHAPE", np.zeros(1, np.int8), [], {"dtype": DType.INT16, "out_type": 7}, ModelError, "out_type"),
        ("TRANSPOSE", np.zeros((1,) * 9, np.int8), [vector(*range(9))], {}, ModelError, "8 dimensions"),
        ("TRANSPOSE", np.int8(0), [vector()], {}, ModelError, "1 to 8"),
        ("REVERSE_SEQUENCE", np.zeros((1, 1), np.int8), [vector(1)], {}, UnsupportedError, "uint8"),
        ("REVERSE_SEQUENCE", np.zeros((1, 1), np.int16), [vector(1)], {"seq_dim": -1}, ModelError, "axes from 0"),
    ],
)
def test_refusals(op, x, others, options, error, words):
    with pytest.raises(error, match=words):
        prepare_op(build(op, x, *others, **options))


@pytest.mark.parametrize(
    ("op", "x", "others", "options", "words"),
    [
        ("SQUEEZE", np.zeros((2, 1), np.int8), [], {"squeeze_dims": [0]}, "size 1"),
        ("EXPAND_DIMS", np.zeros(2, np.int8), [scalar(2)], {}, "position"),
        ("TRANSPOSE", np.zeros((2, 2), np.int8), [vector(0, 0)], {}, "permutation"),
        ("TRANSPOSE", np.zeros((2, 2), np.int8), [vector(0, 2)], {}, "axis"),
        ("REVERSE_V2", np.zeros((2, 2, 2), np.int8), [vector(0, 2)], {}, "side by side"),
        ("REVERSE_V2", np.zeros((2, 2), np.int8), [vector(1, 1)], {}, "side by side"),
        ("REVERSE_V2", np.zeros((2, 2), np.int8), [vector()], {}, "found none"),
        ("REVERSE_SEQUENCE", np.zeros((2, 3), np.int16), [vector(1, 4)], {"seq_dim": 1}, "at most 3"),
        ("REVERSE_SEQUENCE", np.zeros((2, 3), np.int16), [vector(1)], {"seq_dim": 1}, "2 lengths"),
        ("BITCAST", np.zeros(3, np.int8), [], {"dtype": DType.INT32}, "last axis of 4"),
    ],
)
def test_values_that_do_not_fit(op, x, others, options, words):
    with pytest.raises(ModelError, match=words):
        run(op, x, *others, **options)
