"""NON_MAX_SUPPRESSION and the convolutions over volumes, against LiteRT and by hand."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest

import fbs
from qmath.errors import ModelError, UnsupportedError
from qmath.types import DType
from quantref.vectors.cells.build import Operand, Result, dtype_of, one_op, scalar, vector
from quantref.vectors.cells.detection import CELLS
from tests.kernels.forms import prepare_op, run_forms
from tests.kernels.sweeps import compare_cell


def suppress(boxes, scores, most=9, overlap=0.5, least=0.0, sigma=None):
    """Run a NON_MAX_SUPPRESSION and return its outputs as lists."""
    operands = [Operand(np.array(array, np.float32)) for array in (boxes, scores)]
    limits = [Operand(np.float32(n), constant=True) for n in (overlap, least)]
    results = [Result(DType.INT32), Result(DType.INT32)]
    if sigma is not None:
        limits.append(Operand(np.float32(sigma), constant=True))
        results.insert(1, Result(DType.FLOAT32))
    op = f"NON_MAX_SUPPRESSION_V{4 if sigma is None else 5}"
    case = one_op("", op, [*operands, scalar(most), *limits], results)
    return [y.tolist() for y in run_forms(case.model, case.samples[0])[0]]


def volume(op, x, filter_, *, shape=None, bias=None, **options):
    """Build a convolution over volumes with strides 1."""
    operands = [Operand(np.asarray(x)), Operand(np.asarray(filter_), constant=True)]
    if op == "CONV_3D_TRANSPOSE":
        operands = [vector(*shape), operands[1], operands[0]]
    if bias is not None:
        operands.append(Operand(np.asarray(bias), constant=True))
    strides = {f"stride_{axis}": 1 for axis in "dhw"}
    return one_op("", op, operands, [Result(dtype_of(np.asarray(x)))], **{**strides, **options})


@pytest.mark.litert
@pytest.mark.parametrize("cell", CELLS)
def test_litert_gives_the_same(cell, litert):
    assert compare_cell(cell, CELLS[cell], litert, least=1500) >= 1500


SQUARES = [[0, 0, 1, 1], [0, 0, 1, 0.8], [2, 2, 3, 3]]


def test_the_better_of_two_that_overlap_is_kept():
    assert suppress(SQUARES, [0.5, 0.9, 0.3], most=4) == [[1, 2, 0, 0], 2]
    assert suppress(SQUARES, [0.5, 0.9, 0.3], overlap=0.9, most=4) == [[1, 0, 2, 0], 3]
    assert suppress(SQUARES, [0.5, 0.9, 0.3], least=0.4, most=1) == [[1], 1]


def test_a_soft_overlap_lowers_the_score():
    indices, scores, count = suppress(SQUARES, [0.5, 0.9, 0.3], overlap=0.9, most=3, sigma=0.5)
    assert (indices, count) == ([1, 2, 0], 3)
    assert scores == pytest.approx([0.9, 0.3, 0.5 * np.exp(-(0.8**2))])


@pytest.mark.litert
@pytest.mark.parametrize("cell", [cell for cell in CELLS if "CONV" in cell])
def test_sums_over_volumes_are_those_of_litert_to_the_last_bit(cell, litert):
    """Products are added in LiteRT's order, so that nothing is lost where they cancel."""
    compared = 0
    for case in islice(CELLS[cell](np.random.default_rng(99)), 30):
        answers = litert.run(fbs.write(case.model), case.ordered(), all_tensors=False, resize=True)
        for sample, answer in zip(case.samples, answers, strict=True):
            for expected, found in zip(answer.outputs, run_forms(case.model, sample)[0], strict=True):
                assert np.array_equal(expected.view(np.int32), found.view(np.int32))
                compared += found.size
    assert compared > 1000


def test_every_tap_is_a_product_of_a_volume_with_a_matrix():
    x = np.arange(8, dtype=np.float32).reshape(1, 2, 2, 2, 1)
    filter_ = np.ones((2, 2, 2, 1, 1), np.float32)
    case = volume("CONV_3D", x, filter_, bias=np.float32([100]), padding=1)
    assert run_forms(case.model, case.samples[0])[0][0].ravel().tolist() == [128]
    pixel = np.full((1, 1, 1, 1, 1), 3, np.float32)
    case = volume("CONV_3D_TRANSPOSE", pixel, filter_, shape=(1, 2, 2, 2, 1), padding=1)
    assert run_forms(case.model, case.samples[0])[0][0].ravel().tolist() == [3] * 8


@pytest.mark.parametrize(
    ("build", "error", "words"),
    [
        (
            lambda: volume("CONV_3D", np.zeros((1,) * 5, np.int8), np.zeros((1,) * 5, np.int8)),
            UnsupportedError,
            "float32",
        ),
        (lambda: volume("CONV_3D", *[np.zeros((1,) * 4, np.float32)] * 2), ModelError, "5 dimensions"),
        (
            lambda: volume("CONV_3D", np.zeros((1,) * 5, np.float32), np.zeros((1, 1, 1, 2, 1), np.float32)),
            ModelError,
            "2 input channels",
        ),
        (
            lambda: volume("CONV_3D", *[np.zeros((1,) * 5, np.float32)] * 2, bias=np.zeros(2, np.float32)),
            ModelError,
            "one bias",
        ),
    ],
)
def test_refusals(build, error, words):
    with pytest.raises(error, match=words):
        prepare_op(build().model)


@pytest.mark.parametrize(("shape", "words"), [((1, 2, 2, 2, 2), "a shape"), ((1, 3, 2, 2, 1), "windows")])
def test_output_shapes_that_do_not_fit(shape, words):
    case = volume(
        "CONV_3D_TRANSPOSE", np.ones((1,) * 5, np.float32), np.ones((2, 2, 2, 1, 1), np.float32), shape=shape, padding=1
    )
    with pytest.raises(ModelError, match=words):
        run_forms(case.model, case.samples[0])


@pytest.mark.parametrize(("changes", "words"), [({"most": -1}, "not negative"), ({"sigma": -1.0}, "sigma")])
def test_limits_that_make_no_sense(changes, words):
    with pytest.raises(ModelError, match=words):
        suppress(SQUARES, [0.5, 0.9, 0.3], **changes)
