"""EXP, LOG, roots, ABS, NEG and the float ops of one input against LiteRT, Python integers, goldens, and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qmath.errors import ModelError, UnsupportedError
from qmath.types import DType
from quantref.runtimes import LiteRT, litert_installed
from quantref.vectors.cells.models import one_input
from quantref.vectors.cells.unary import CELLS as ALL
from tests.kernels.forms import assert_forms_agree, prepare_op, run_forms
from tests.kernels.goldens import assert_goldens_match
from tests.one_op import compare
from tests.oracles import elementwise as oracle

ELSEWHERE = ("LEAKY_RELU", "PRELU", "HARD_SWISH", "ELU", "GELU", "FAKE_QUANT", "L2_NORM", "LOCAL_RESPONSE")
CELLS = {cell: maker for cell, maker in ALL.items() if not cell.startswith(ELSEWHERE)}


@pytest.fixture(scope="module")
def optimized():
    """LiteRT's optimized kernels: the only ones for CEIL and ROUND."""
    if not litert_installed():
        pytest.skip("ai-edge-litert is not installed")
    with LiteRT("litert-optimized") as runtime:
        yield runtime


def evaluate(op, x, dtype, source=None, target=None, **options):
    """Return the output of the definition and of the compiled form, which must be the same."""
    x = np.asarray(x, dtype.storage)
    source, target = ({} if p is None else {"scale": p[0], "zero_point": p[1]} for p in (source, target))
    model = one_input(op, x, dtype, dtype, source, target, **options)
    (expected,), (found,) = run_forms(model, {"x": x})
    assert expected.shape == found.shape == x.shape
    assert np.array_equal(expected, found, equal_nan=dtype is DType.FLOAT32)
    return expected.tolist()


@pytest.mark.litert
@pytest.mark.parametrize("cell", CELLS)
def test_litert_gives_the_same(cell, litert, optimized):
    runtimes, elements = {"litert-reference": litert, "litert-optimized": optimized}, 0
    generator = CELLS[cell](np.random.default_rng(6))
    for _ in range(12):
        case = next(generator)
        elements += compare(case.model, case.ordered(), runtimes[case.runtime], profile="litert-reference")
    assert elements > 500


@pytest.mark.parametrize("cell", [cell for cell in CELLS if "int8" in cell or "int16" in cell])
@settings(max_examples=6, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**32 - 1))
def test_compiled_form_equals_definition(cell, seed):
    assert assert_forms_agree(next(CELLS[cell](np.random.default_rng(seed)))) > 0


@pytest.mark.shared
@pytest.mark.parametrize("op", ["ABS", "NEG", "RSQRT"])
def test_goldens(op, shared):
    assert assert_goldens_match(shared, op) > 200


@settings(max_examples=60, deadline=None, derandomize=True)
@given(code=st.integers(-100, 127), zero_point=st.integers(-128, -100), root=st.sampled_from([0.5, 0.25, 2.0**-4]))
def test_rsqrt_equals_python_integers(code, zero_point, root):
    source, target = (root**2, zero_point), (3 / 127, -3)
    expected = oracle.rsqrt(code, source, (float(np.float32(target[0])), target[1]))
    assert evaluate("RSQRT", [code], DType.INT8, source, target) == [expected]


def test_roots_by_hand():
    # sqrt(2) is 1.41 and is cut to 1; sqrt(8) is 2.83 and is cut to 2.
    assert evaluate("SQRT", [2, 8, 9], DType.INT8, (1, 0), (1, 0)) == [1, 2, 3]
    # 1 / sqrt(4) in steps of 1/64.
    assert evaluate("RSQRT", [4, 0], DType.INT8, (1, 0), (1 / 64, 0)) == [32, 127]


@pytest.mark.parametrize("op", ["SQRT", "RSQRT"])
@pytest.mark.parametrize("dtype", [DType.INT8, DType.INT16])
def test_roots_of_negative_numbers_are_refused(op, dtype):
    with pytest.raises(ModelError, match="under the root"):
        evaluate(op, [-1], dtype, (1, 0), (1, 0))


def test_negation_ignores_the_zero_point():
    assert evaluate("NEG", [5, -128], DType.INT8, (1, 10), (1, -10)) == [-5, -128]


def test_magnitudes():
    assert evaluate("ABS", [5, -5, -128], DType.INT8, (1, 10), (1, 10)) == [15, 25, 127]
    assert evaluate("ABS", [5, -6], DType.INT8, (0.5, 0), (1, 0)) == [3, 3]
    assert evaluate("ABS", [-32768], DType.INT16) == [-32768]


def test_logarithm_of_what_is_not_positive_is_the_lowest_code():
    assert evaluate("LOG", [-3, 0, 1], DType.INT8, (1, 0), (0.1, 20)) == [-128, -128, 20]


def test_exponential_by_hand():
    # e and 1 / e in steps of one tenth.
    assert evaluate("EXP", [10, -10], DType.INT8, (0.1, 0), (0.1, 0)) == [27, 4]


def test_float_functions():
    assert evaluate("ROUND", [0.5, 1.5, -0.5], DType.FLOAT32) == [0, 2, 0]
    assert evaluate("FLOOR", [-0.5], DType.FLOAT32) == [-1]
    assert evaluate("CEIL", [0.5], DType.FLOAT32) == [1]
    assert evaluate("SQUARE", [3.0], DType.FLOAT32) == [9]
    assert evaluate("SIGN", [-3.0, 0.0], DType.FLOAT32) == [-1, 0]
    assert evaluate("COS", [0.0], DType.FLOAT32) == [1]


@pytest.mark.parametrize(
    ("op", "dtype", "source", "target", "error"),
    [
        ("EXP", DType.UINT8, (1, 0), (1, 0), UnsupportedError),
        ("EXP", DType.INT16, (1, 3), (1, 0), ModelError),
        ("LOG", DType.INT8, None, None, ModelError),
        ("SQRT", DType.UINT8, (1, 0), (1, 0), UnsupportedError),
        ("RSQRT", DType.INT8, (1e-30, 0), (1e-30, 0), ModelError),
        ("ABS", DType.UINT8, (1, 0), (1, 0), UnsupportedError),
        ("NEG", DType.UINT8, (1, 0), (1, 0), UnsupportedError),
        ("SIN", DType.INT8, (1, 0), (1, 0), UnsupportedError),
        ("CEIL", DType.FLOAT16, None, None, UnsupportedError),
        ("LOGICAL_NOT", DType.INT8, None, None, ModelError),
    ],
)
def test_refusals(op, dtype, source, target, error):
    source, target = ({} if p is None else {"scale": p[0], "zero_point": p[1]} for p in (source, target))
    model = one_input(op, np.zeros(3, dtype.storage), dtype, dtype, source, target)
    with pytest.raises(error):
        prepare_op(model)
