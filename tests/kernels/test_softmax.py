"""SOFTMAX, LOG_SOFTMAX and the normalizations against LiteRT, against Python integers, against goldens, and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels.profiles import LITERT_OPTIMIZED
from qmath.errors import ModelError, UnsupportedError
from qmath.types import DType
from quantref.vectors.cells import softmax, unary
from quantref.vectors.cells.models import one_input
from tests.kernels.forms import assert_forms_agree, prepare_op, run_forms
from tests.kernels.goldens import assert_goldens_match
from tests.kernels.sweeps import compare_cell
from tests.one_op import compare
from tests.oracles import elementwise as oracle

CELLS = {**softmax.CELLS, **{cell: maker for cell, maker in unary.CELLS.items() if "NORMALIZATION" in cell}}
OUTPUTS = {
    DType.INT8: {"scale": 1 / 256, "zero_point": -128},
    DType.INT16: {"scale": 1 / 32768, "zero_point": 0},
    DType.FLOAT32: {},
}


def evaluate(op, x, source, target, scale=None, zero_point=0, output=None, **options):
    """Return the output of the definition and of the compiled form, which must be the same."""
    x = np.asarray(x, source.storage)
    params = {} if scale is None else {"scale": scale, "zero_point": zero_point}
    model = one_input(op, x, source, target, params, OUTPUTS[target] if output is None else output, **options)
    (expected,), (found,) = run_forms(model, {"x": x})
    assert expected.shape == found.shape == x.shape
    assert expected.tolist() == found.tolist()
    return expected.tolist()


@pytest.mark.litert
@pytest.mark.parametrize("cell", CELLS)
def test_litert_gives_the_same(cell, litert):
    assert compare_cell(cell, CELLS[cell], litert, least=3000) > 1000


@pytest.mark.parametrize("cell", CELLS)
@settings(max_examples=10, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**32 - 1))
def test_compiled_form_equals_definition(cell, seed):
    assert assert_forms_agree(next(CELLS[cell](np.random.default_rng(seed)))) > 0


@pytest.mark.shared
@pytest.mark.parametrize("op", ["SOFTMAX", "LOG_SOFTMAX", "L2_NORMALIZATION"])
def test_goldens(op, shared):
    assert assert_goldens_match(shared, op) > 7_000


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    row=st.lists(st.integers(-128, 127), min_size=1, max_size=8),
    scale=st.sampled_from([0.001, 0.05, 0.1, 0.5, 2.0, 40.0]),
    beta=st.sampled_from([0.5, 1.0, 3.0]),
)
def test_softmax_equals_python_integers(row, scale, beta):
    assert evaluate("SOFTMAX", [row], DType.INT8, DType.INT8, scale, beta=beta) == [oracle.softmax(row, scale, beta, 8)]
    wide = evaluate("SOFTMAX", [row], DType.INT8, DType.INT16, scale, beta=beta)
    assert wide == [oracle.softmax(row, scale, beta, 16)]


@settings(max_examples=60, deadline=None, derandomize=True)
@given(row=st.lists(st.integers(-128, 127), min_size=1, max_size=8), zero_point=st.integers(-128, 127))
def test_l2_normalization_equals_python_integers(row, zero_point):
    options = {"output": {"scale": 1 / 128, "zero_point": 0}}
    found = evaluate("L2_NORMALIZATION", [row], DType.INT8, DType.INT8, 0.5, zero_point, **options)
    assert found == [oracle.l2_normalization(row, zero_point)]


def test_equal_elements_share_equally():
    assert evaluate("SOFTMAX", [[7, 7, 7, 7]], DType.INT8, DType.INT8, 0.1, beta=1.0) == [[-64] * 4]
    assert evaluate("SOFTMAX", [[7, 7]], DType.INT16, DType.INT16, 0.1, beta=1.0) == [[16384] * 2]
    assert evaluate("SOFTMAX", [[7, 7]], DType.FLOAT32, DType.FLOAT32, beta=1.0) == [[0.5] * 2]


def test_a_single_element_has_everything():
    assert evaluate("SOFTMAX", [[-5]], DType.INT8, DType.INT8, 0.1, beta=1.0) == [[127]]


def test_what_is_far_below_the_maximum_gets_the_lowest_code():
    assert evaluate("SOFTMAX", [[127, -128]], DType.INT8, DType.INT8, 1.0, beta=1.0) == [[127, -128]]


def test_logarithm_of_a_half():
    # -ln(2) / (1 / 16) is -11.09.
    options = {"output": {"scale": 1 / 16, "zero_point": 127}}
    assert evaluate("LOG_SOFTMAX", [[7, 7]], DType.INT8, DType.INT8, 0.1, **options) == [[116, 116]]


def test_three_four_five():
    options = {"output": {"scale": 1 / 128, "zero_point": 0}}
    # 3/5 and 4/5 of 128 are 76.8 and 102.4.
    assert evaluate("L2_NORMALIZATION", [[3, 4]], DType.INT8, DType.INT8, 1.0, **options) == [[77, 102]]
    assert evaluate("L2_NORMALIZATION", [[3.0, 4.0]], DType.FLOAT32, DType.FLOAT32) == [
        [float(np.float32(0.6)), float(np.float32(0.8))]
    ]


def test_the_window_of_local_response_is_not_symmetric():
    options = {"radius": 1, "bias": 0.0, "alpha": 1.0, "beta": 1.0}
    x = [[[[1.0, 2.0, 4.0]]]]
    # Sums of squares 1, 1 + 4 and 4 + 16: from one channel below up to the channel itself.
    found = evaluate("LOCAL_RESPONSE_NORMALIZATION", x, DType.FLOAT32, DType.FLOAT32, **options)
    assert np.allclose(found, [[[[1, 2 / 5, 4 / 20]]]])


@pytest.mark.parametrize("shape", [(0,), (3, 0), (0, 3)])
def test_empty_rows_keep_their_shape(shape):
    for target in (DType.INT8, DType.INT16):
        evaluate("SOFTMAX", np.zeros(shape), DType.INT8, target, 0.1, beta=1.0)
    for dtype in (DType.INT16, DType.FLOAT32):
        evaluate("SOFTMAX", np.zeros(shape), dtype, dtype, 0.1 if dtype is DType.INT16 else None, beta=1.0)


def test_five_hundred_and_twelve_equal_elements_are_refused():
    evaluate("SOFTMAX", np.zeros((1, 511)), DType.INT8, DType.INT8, 0.1, beta=1.0)
    with pytest.raises(UnsupportedError, match="512"):
        evaluate("SOFTMAX", np.zeros((1, 512)), DType.INT8, DType.INT8, 0.1, beta=1.0)


@pytest.mark.parametrize(
    ("op", "shape", "types", "scale", "output", "options", "error"),
    [
        ("SOFTMAX", (), (DType.INT8, DType.INT8), 0.1, OUTPUTS[DType.INT8], {"beta": 1.0}, ModelError),
        ("SOFTMAX", (3,), (DType.INT8, DType.INT8), 0.1, {"scale": 1 / 128}, {"beta": 1.0}, ModelError),
        ("SOFTMAX", (3,), (DType.INT8, DType.INT8), 1e-9, OUTPUTS[DType.INT8], {"beta": 1.0}, ModelError),
        ("SOFTMAX", (3,), (DType.INT8, DType.INT8), 0.1, OUTPUTS[DType.INT8], {"beta": -1.0}, ModelError),
        ("SOFTMAX", (3,), (DType.INT16, DType.INT8), 0.1, OUTPUTS[DType.INT8], {"beta": 1.0}, UnsupportedError),
        ("LOG_SOFTMAX", (3,), (DType.INT8, DType.INT8), 0.1, {"scale": 1 / 32, "zero_point": 127}, {}, ModelError),
        ("LOG_SOFTMAX", (3,), (DType.INT16, DType.INT16), 0.1, {"scale": 1 / 16}, {}, UnsupportedError),
        ("L2_NORMALIZATION", (3,), (DType.INT8, DType.INT8), 0.1, {"scale": 1 / 64}, {}, ModelError),
        ("LOCAL_RESPONSE_NORMALIZATION", (3,), (DType.FLOAT32, DType.FLOAT32), None, {}, {}, ModelError),
    ],
)
def test_refusals(op, shape, types, scale, output, options, error):
    params = {} if scale is None else {"scale": scale}
    model = one_input(op, np.zeros(shape, types[0].storage), *types, params, output, **options)
    with pytest.raises(error):
        prepare_op(model)


@pytest.mark.litert
def test_powers_of_very_many_classes_are_added_one_after_the_other(litert):
    """Added in parts, the sum is a better one, and every share farther than 1e-5 from the runtime's."""
    x = np.random.default_rng(1).standard_normal((1, 300_000)).astype(np.float32)
    model = one_input("SOFTMAX", x, DType.FLOAT32, DType.FLOAT32, beta=1.0)
    assert compare(model, [[x]], litert) == x.size
    (ours,), _ = run_forms(model, {"x": x})
    (better,), _ = run_forms(model, {"x": x}, LITERT_OPTIMIZED)
    assert np.abs(better / ours - 1).min() > 1e-5
