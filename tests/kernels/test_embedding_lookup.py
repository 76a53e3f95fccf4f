"""EMBEDDING_LOOKUP against LiteRT, and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qmath.errors import ModelError, UnsupportedError
from qmath.types import DType
from quantref.vectors.cells.build import Operand, Result, dtype_of, one_op
from quantref.vectors.cells.embedding_lookup import CELLS
from tests.kernels.forms import assert_forms_agree, prepare_op, run_forms
from tests.kernels.sweeps import compare_cell, examples


def build(lookup, table, to=DType.FLOAT32, *, dtype=None, scale=0.5, zero_point=0, axis=0, constant=False):
    """Build an EMBEDDING_LOOKUP of arrays."""
    table = np.asarray(table)
    params = {"scale": scale, "zero_point": zero_point, "quantized_dimension": axis}
    constant = constant or np.ndim(scale) > 0 or (dtype is not None and dtype.bits < 8)
    operands = [
        Operand(np.array(lookup, np.int32)),
        Operand(table, dtype, constant, params if (dtype or dtype_of(table)).is_integer else {}),
    ]
    return one_op("", "EMBEDDING_LOOKUP", operands, [Result(to)], version=4).model


def run(lookup, table, *args, **kwargs):
    """Run both forms and return their common output as a list."""
    sample = {"x0": np.array(lookup, np.int32), "x1": np.asarray(table)}
    (definition,), (compiled,) = run_forms(build(lookup, table, *args, **kwargs), sample)
    assert np.array_equal(definition, compiled)
    return definition.tolist()


@pytest.mark.litert
@pytest.mark.parametrize("cell", CELLS)
def test_litert_gives_the_same(cell, litert):
    assert compare_cell(cell, CELLS[cell], litert, least=2000) >= 2000


@pytest.mark.parametrize("cell", CELLS)
@examples(3)
@given(seed=st.integers(0, 2**32 - 1))
def test_compiled_form_equals_definition(cell, seed):
    assert assert_forms_agree(next(CELLS[cell](np.random.default_rng(seed)))) > 0


def test_rows_of_codes_become_real_numbers():
    table = np.array([[1, -2], [3, -4], [5, -6]], np.int8)
    assert run([2, 0, 2], table) == [[2.5, -3], [0.5, -1], [2.5, -3]]
    assert run([2, 1], table, scale=[1, 2, 4], zero_point=[0, 0, 0]) == [[20, -24], [6, -8]]


def test_uint8_is_read_as_int8():
    assert run([0], np.array([[127, 128, 255]], np.uint8), scale=1.0) == [[127, -128, -1]]


@pytest.mark.parametrize(
    ("dtype", "table", "expected"),
    [
        # Five bytes of two codes: row 1 starts in the middle of the third, and is read from its beginning.
        (DType.INT4, [[1, 2, 3, 4, 5], [6, 7, -8, -7, -6]], [5, 6, 7, -8, -7]),
        # Four codes a byte: row 1 starts in the first byte, like row 0.
        (DType.INT2, [[1, 0], [-1, -2]], [1, 0]),
    ],
)
def test_rows_of_narrow_codes_start_at_a_byte(dtype, table, expected):
    assert run([1], np.array(table, np.int8), dtype=dtype, scale=1.0) == [expected]


def test_rows_of_any_type_are_copied():
    table = np.array([[[1, 2]], [[3, 4]]], np.int8)
    assert run([1], table, DType.INT8) == [[[3, 4]]]
    assert run([1, 1], np.array([[0.5], [1.5]], np.float32)) == [[1.5], [1.5]]


@pytest.mark.parametrize("index", [-1, 3])
def test_indices_beyond_the_table_are_named(index):
    with pytest.raises(ModelError, match=f"indices of 3 rows, found {index}"):
        run([0, index], np.zeros((3, 2), np.int8))


@pytest.mark.parametrize(
    ("table", "options", "error", "message"),
    [
        (np.zeros(3, np.int8), {}, ModelError, "two or more dimensions"),
        (np.zeros((3, 1), np.int8), {"zero_point": 1}, ModelError, "zero point 0"),
        (np.zeros((3, 2), np.int8), {"scale": [1, 1], "zero_point": [0, 0], "axis": 1}, ModelError, "3 scales"),
        (np.zeros((3, 1), np.int16), {}, UnsupportedError, "covered: int8"),
        (
            np.zeros((3, 1), np.int8),
            {"to": DType.INT8, "scale": [1] * 3, "zero_point": [0] * 3},
            ModelError,
            "one scale",
        ),
    ],
)
def test_broken_contracts_are_named(table, options, error, message):
    with pytest.raises(error, match=message):
        prepare_op(build([0], table, **options))
