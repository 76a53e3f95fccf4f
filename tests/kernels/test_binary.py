"""Elementwise ops of two inputs, but for ADD, SUB and MUL, against LiteRT, Python integers, goldens, and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fbs
from qmath.errors import ModelError, UnsupportedError
from qmath.types import DType
from quantref.vectors.cells import binary
from quantref.vectors.cells.models import two_inputs
from tests.kernels.forms import assert_forms_agree, prepare_op, run_forms
from tests.kernels.goldens import assert_goldens_match
from tests.kernels.sweeps import compare_cell
from tests.oracles import elementwise as oracle

CELLS = binary.CELLS
SCALES = st.sampled_from([2.0**-7, 2.0**-6, 3 * 2.0**-8, 0.1, 0.007, 1.0, 5 * 2.0**-9])
CODES = st.integers(-128, 127)
NONE = (None, None, None)


def evaluate(op, x1, x2, params=((1, 0), (1, 0), (1, 0)), dtype=DType.INT8, target=None, **options):
    """Return the output of the definition and of the compiled form, which must be the same."""
    arrays = tuple(np.asarray(x, dtype.storage) for x in (x1, x2))
    keywords = tuple({} if p is None else {"scale": p[0], "zero_point": p[1]} for p in params)
    model, sample = two_inputs(op, arrays, (dtype, dtype), target or dtype, keywords, **options)
    (expected,), (found,) = run_forms(model, sample)
    assert expected.shape == found.shape
    assert expected.tolist() == found.tolist()
    return expected.tolist()


@pytest.mark.litert
@pytest.mark.parametrize("cell", CELLS)
def test_litert_gives_the_same(cell, litert):
    assert compare_cell(cell, CELLS[cell], litert, least=500) > 200


@pytest.mark.parametrize("cell", [cell for cell in CELLS if "plain" not in cell])
@settings(max_examples=6, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**32 - 1))
def test_compiled_form_equals_definition(cell, seed):
    assert assert_forms_agree(next(CELLS[cell](np.random.default_rng(seed)))) > 0


@pytest.mark.shared
@pytest.mark.parametrize(
    "op",
    ["DIV", "SQUARED_DIFFERENCE", "MAXIMUM", "MINIMUM", "EQUAL", "NOT_EQUAL", "LESS", "LESS_EQUAL", "GREATER"],
)
def test_goldens(op, shared):
    assert assert_goldens_match(shared, op) > 12_000


@settings(max_examples=100, deadline=None, derandomize=True)
@given(data=st.data())
def test_definitions_equal_python_integers(data):
    params = tuple(zip([data.draw(SCALES) for _ in range(3)], [data.draw(CODES) for _ in range(3)], strict=True))
    codes = data.draw(st.tuples(CODES, CODES))
    if codes[1] != params[1][1] and (quotient := oracle.div(codes, params)) is not None:
        assert evaluate("DIV", [codes[0]], [codes[1]], params) == [quotient]
    if max(params[0][0], params[1][0]) ** 2 < 2**12 * params[2][0]:
        expected = oracle.squared_difference(codes, params)
        assert evaluate("SQUARED_DIFFERENCE", [codes[0]], [codes[1]], params) == [expected]


def test_quotients_by_hand():
    # The reciprocal of 2 falls short of one half by a bit, so 7 / 2 is no tie.
    assert evaluate("DIV", [100, -100, 7, -7], [10, 10, -2, 2]) == [10, -10, -3, -3]
    # 50 / 4 at scales of one half: 25 / 2, in output steps of one half.
    assert evaluate("DIV", [50], [4], ((0.5, 0), (0.5, 0), (0.5, 1))) == [26]


def test_tiny_quotients_come_out_wrong():
    # 0 and 1 have 31 and 30 redundant sign bits; with the multiplier's shift that is more than x86 shifts by.
    assert evaluate("DIV", [0, 1, 2], [127, 127, 1], ((1e-3, 0), (1, 0), (1, 5))) == [6, 127, 127]


@pytest.mark.parametrize(("dtype", "target", "params"), [(DType.INT8, None, ((1, 0),) * 3), (DType.INT32, None, NONE)])
def test_a_divisor_of_zero_is_refused(dtype, target, params):
    with pytest.raises(ModelError, match="divisors other than 0"):
        evaluate("DIV", [1], [0], params, dtype, target)


def test_squares_by_hand():
    # (4 - 1) squared in steps of one half.
    assert evaluate("SQUARED_DIFFERENCE", [4], [2], ((1, 0), (0.5, 0), (0.5, -3))) == [15]


def test_comparisons_collapse_values_at_tiny_scales():
    params = (2.0**-12, 0), (2.0**-12, 0), None
    assert evaluate("EQUAL", [1, 9], [2, 25], params, target=DType.BOOL) == [True, False]
    assert evaluate("LESS", [1, 9], [2, 25], params, target=DType.BOOL) == [False, True]


def test_comparisons_at_scales_above_one_see_signs_alone():
    params = (2, 0), (2, 0), None
    assert evaluate("EQUAL", [1, 0, -1], [7, 5, 1], params, target=DType.BOOL) == [True, True, False]


def test_maximum_looks_at_codes_alone():
    assert evaluate("MAXIMUM", [1], [2], ((1.0, 0), (0.1, 0), (1.0, 0))) == [2]
    assert evaluate("MINIMUM", [1.0], [np.inf], NONE, DType.FLOAT32) == [1.0]


def test_floor_division_and_remainder():
    assert evaluate("FLOOR_DIV", [7, -7, 7, -127], [2, 2, -2, -1], NONE) == [3, -4, -4, 127]
    assert evaluate("FLOOR_MOD", [7, -7, 7, -128], [2, 2, -2, -1], NONE) == [1, 1, -1, 0]
    assert evaluate("FLOOR_MOD", [-1.5], [1.0], NONE, DType.FLOAT32) == [0.5]


def test_a_quotient_that_does_not_fit_is_refused():
    with pytest.raises(UnsupportedError, match="by the place"):
        evaluate("FLOOR_DIV", [-128], [-1], NONE)


def test_powers_of_integers_wrap_or_not():
    assert evaluate("POW", [3, -2], [40], NONE, DType.INT32) == [3**40 % 2**32 - 2**32 * (3**40 % 2**32 >= 2**31), 0]
    assert evaluate("POW", [3, -2], [40, 3], NONE, DType.INT32) == [-(2**31), -8]


def test_shifts_and_bits():
    assert evaluate("RIGHT_SHIFT", [-8, 8, 8], [1, 9, -1], NONE) == [-4, 0, 8]
    assert evaluate("BITWISE_XOR", [0b1100], [0b1010], NONE) == [0b0110]
    assert evaluate("LOGICAL_AND", [True, True], [True, False], NONE, DType.BOOL) == [True, False]


def test_add_n_adds_all():
    builder = fbs.Builder()
    inputs = [builder.input(name, DType.INT32, (1,)) for name in "abc"]
    output = builder.tensor("y", DType.INT32, (1,))
    builder.op("ADD_N", inputs, [output])
    sample = {name: np.array([number], np.int32) for name, number in zip("abc", (1, 20, 2**31 - 1), strict=True)}
    (found,), _ = run_forms(builder.finish([output]), sample)
    assert found.tolist() == [20 - 2**31]


@pytest.mark.parametrize(("first", "second"), [((), ()), ((), (3,)), ((0, 3), (1, 3)), ((1,), (2, 1, 2))])
@pytest.mark.parametrize("op", ["DIV", "MAXIMUM", "EQUAL"])
def test_scalars_and_empty_tensors(op, first, second):
    target = DType.BOOL if op == "EQUAL" else DType.INT8
    params = ((0.5, 0), (0.5, 0), None if op == "EQUAL" else (0.5, 0))
    evaluate(op, np.ones(first), np.ones(second), params, target=target)


@pytest.mark.parametrize(
    ("op", "dtype", "params", "error", "words"),
    [
        ("EQUAL", DType.INT8, ((1, 0), (1, 0), None), ModelError, "other than 1"),
        ("NOT_EQUAL", DType.INT16, NONE, UnsupportedError, "not covered"),
        ("LESS", DType.BOOL, NONE, UnsupportedError, "not covered"),
        ("SQUARED_DIFFERENCE", DType.INT16, ((1, 0),) * 3, UnsupportedError, "not covered"),
        ("SQUARED_DIFFERENCE", DType.INT8, ((1, 0), (1, 0), (1e-6, 0)), ModelError, "between 0 and 1"),
        ("MAXIMUM", DType.BOOL, NONE, UnsupportedError, "not covered"),
        ("DIV", DType.INT64, NONE, UnsupportedError, "not covered"),
        ("FLOOR_DIV", DType.INT64, NONE, UnsupportedError, "not covered"),
        ("POW", DType.INT64, NONE, UnsupportedError, "not covered"),
        ("ATAN2", DType.INT8, NONE, UnsupportedError, "not covered"),
        ("LOGICAL_AND", DType.INT8, NONE, UnsupportedError, "not covered"),
        ("BITWISE_XOR", DType.FLOAT32, NONE, UnsupportedError, "not covered"),
    ],
)
def test_refusals(op, dtype, params, error, words):
    arrays = np.ones(2, dtype.storage), np.ones(2, dtype.storage)
    keywords = tuple({} if p is None else {"scale": p[0], "zero_point": p[1]} for p in params)
    compares = op in {"EQUAL", "NOT_EQUAL", "LESS"}
    model, _ = two_inputs(op, arrays, (dtype, dtype), DType.BOOL if compares else dtype, keywords)
    with pytest.raises(error, match=words):
        prepare_op(model)


def test_negative_exponents_of_integers_are_refused():
    with pytest.raises(ModelError, match="not negative"):
        evaluate("POW", [2], [-1], NONE, DType.INT32)
