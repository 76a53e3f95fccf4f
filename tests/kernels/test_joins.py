"""CONCATENATION, PAD, PADV2 and MIRROR_PAD against LiteRT, against goldens, and by hand."""

from __future__ import annotations

import numpy as np
import pytest

from qmath.errors import ModelError, UnsupportedError
from quantref.vectors.cells.build import Operand, Result, dtype_of, one_op
from quantref.vectors.cells.joins import CELLS
from tests.kernels.forms import assert_forms_agree, prepare_op, run_forms, trace
from tests.kernels.goldens import assert_goldens_match
from tests.kernels.sweeps import compare_cell

HALVES = {"scale": 0.5, "zero_point": 3}


def joined(*tensors, params=None, out=None, axis=0, **options):
    """Build a CONCATENATION of inputs ``x0``, ``x1`` ..."""
    params = [{}] * len(tensors) if params is None else params
    operands = [Operand(np.asarray(t), params=p) for t, p in zip(tensors, params, strict=True)]
    result = Result(dtype_of(np.asarray(tensors[0])), params[0] if out is None else out)
    return one_op("", "CONCATENATION", operands, [result], axis=axis, **options).model


def padded(x, paddings, op="PAD", params=None, out=None, **options):
    """Build a PAD of input ``x0`` by constant paddings."""
    params = {} if params is None else params
    operands = [Operand(np.asarray(x), params=params), Operand(np.array(paddings, np.int32), constant=True)]
    result = Result(dtype_of(np.asarray(x)), params if out is None else out)
    return one_op("", op, operands, [result], **options).model


@pytest.mark.litert
@pytest.mark.parametrize("cell", CELLS)
def test_litert_gives_the_same(cell, litert):
    assert compare_cell(cell, CELLS[cell], litert) >= 200


@pytest.mark.parametrize("cell", ["CONCATENATION uint8", "CONCATENATION uint8 rescaled"])
@pytest.mark.parametrize("seed", range(8))
def test_compiled_form_equals_definition(cell, seed):
    assert assert_forms_agree(next(CELLS[cell](np.random.default_rng(seed)))) > 0


@pytest.mark.shared
@pytest.mark.parametrize("op", ["CONCATENATION", "PAD", "PADV2"])
def test_goldens(op, shared):
    assert assert_goldens_match(shared, op) > 8000


def test_uint8_codes_are_rescaled_step_by_step():
    # Codes 3 and 8 with zero point 3 and scale 1/2 stand for 0 and 5/2: 5/4 steps of 2 after zero point 10.
    x = np.array([3, 8], np.uint8)
    model = joined(x, x, params=[HALVES, {"scale": 2.0, "zero_point": 10}], out={"scale": 2.0, "zero_point": 10})
    (y,), stages = trace(model, {"x0": x, "x1": x})
    assert stages["real"] == [0.0, 1.25]
    assert y.tolist() == [10, 11, 3, 8]


def test_constant_scalars_make_a_vector():
    operands = [Operand(np.float32(n), constant=True) for n in (1, 2, 3)]
    model = one_op("", "CONCATENATION", operands, [Result(dtype_of(np.zeros(1, np.float32)))], axis=0).model
    (y,), _ = run_forms(model, {})
    assert y.tolist() == [1, 2, 3]


def test_padding_is_the_zero_point_of_the_output():
    x = np.array([1, 2], np.int8)
    model = padded(x, [[1, 2]], params=HALVES, out={"scale": 0.5, "zero_point": -7})
    assert run_forms(model, {"x0": x})[0][0].tolist() == [-7, 1, 2, -7, -7]


@pytest.mark.parametrize(("mode", "expected"), [(0, [3, 2, 1, 2, 3, 2]), (1, [2, 1, 1, 2, 3, 3])])
def test_mirrors(mode, expected):
    x = np.array([1, 2, 3], np.int8)
    model = padded(x, [[2, 1]], "MIRROR_PAD", mode=mode)
    assert run_forms(model, {"x0": x})[0][0].tolist() == expected


@pytest.mark.parametrize(
    ("build", "error", "words"),
    [
        (lambda: joined(np.zeros(1), np.zeros(2, np.int8)), UnsupportedError, "float32"),
        (lambda: joined(np.zeros(1, np.int8), np.zeros(1, np.int32)), ModelError, "INT8"),
        (lambda: joined(np.zeros((1, 2), np.int8), np.zeros((1, 3), np.int8)), ModelError, "axis 0 alone"),
        (lambda: joined(np.zeros(1, np.int8), axis=1), ModelError, "axis"),
        (lambda: joined(np.zeros(1, np.int8), fused_activation_function=1), ModelError, "activation"),
        (lambda: joined(np.int8(1), np.int8(1)), ModelError, "scalars"),
        (lambda: joined(np.zeros(1, np.int8), params=[HALVES], out={"scale": 0.25}), ModelError, "equal scale"),
        (lambda: joined(np.zeros(1, np.int16), params=[HALVES]), ModelError, "zero point 0"),
        (lambda: padded(np.zeros(2, np.int8), [[1, 1], [0, 0]]), ModelError, "shape"),
        (lambda: padded(np.zeros((1,) * 6, np.int8), [[0, 0]] * 6), ModelError, "5 dimensions"),
        (lambda: padded(np.zeros(1, np.uint16), [[0, 0]]), UnsupportedError, "int8"),
        (lambda: padded(np.zeros(1, np.int8), [[0, 0]], "MIRROR_PAD", mode=2), ModelError, "mode"),
    ],
)
def test_refusals(build, error, words):
    with pytest.raises(error, match=words):
        prepare_op(build())


@pytest.mark.parametrize(
    ("op", "paddings", "error", "words"),
    [
        ("PAD", [[-1, 0]], ModelError, "not negative"),
        ("PAD", [[2**30, 0]], UnsupportedError, "elements"),
        ("MIRROR_PAD", [[2, 0]], ModelError, "from 0 to"),
        ("MIRROR_PAD", [[0, -1]], ModelError, "from 0 to"),
    ],
)
def test_paddings_that_do_not_fit(op, paddings, error, words):
    x = np.zeros(2, np.float32)
    options = {"mode": 0} if op == "MIRROR_PAD" else {}
    with pytest.raises(error, match=words):
        run_forms(padded(x, paddings, op, **options), {"x0": x})
