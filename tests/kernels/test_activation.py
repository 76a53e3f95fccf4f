"""LOGISTIC, TANH, the RELU family, PRELU, HARD_SWISH, ELU and GELU against LiteRT, goldens, and by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fbs
from kernels.profiles import LITERT_OPTIMIZED, LITERT_REFERENCE, XNNPACK
from qmath.errors import ModelError, UnsupportedError
from qmath.lookup import code_table
from qmath.types import DType, QuantParams
from quantref.runtimes import LiteRT, litert_installed
from quantref.vectors.cells import activation, unary
from quantref.vectors.cells.build import Operand, Result, one_op
from quantref.vectors.cells.case import Case
from quantref.vectors.cells.models import one_input, two_inputs
from tests.kernels.forms import assert_forms_agree, prepare_op, run_forms
from tests.kernels.goldens import assert_goldens_match
from tests.one_op import compare
from tests.oracles import elementwise as oracle

FAMILY = ("LEAKY_RELU", "PRELU", "HARD_SWISH", "ELU", "GELU")
CELLS = {**activation.CELLS, **{cell: maker for cell, maker in unary.CELLS.items() if cell.startswith(FAMILY)}}
EVERY_CODE = list(range(-128, 128))


@pytest.fixture(scope="module")
def optimized():
    """LiteRT's optimized kernels: the only ones for some ops."""
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
    assert expected.tolist() == found.tolist()
    return expected.tolist()


def first_cases(cell: str, count: int = 16) -> list[Case]:
    generator = CELLS[cell](np.random.default_rng(5))
    return [next(generator) for _ in range(count)]


@pytest.mark.litert
@pytest.mark.parametrize("cell", CELLS)
def test_litert_gives_the_same(cell, litert, optimized):
    runtimes = {"litert-reference": litert, "litert-optimized": optimized}
    elements = 0
    for case in first_cases(cell):
        runtime = runtimes[case.runtime]
        elements += compare(case.model, case.ordered(), runtime, profile="litert-reference")
    assert elements > 800


@pytest.mark.parametrize("cell", [cell for cell in CELLS if "float" not in cell])
@settings(max_examples=6, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**32 - 1))
def test_compiled_form_equals_definition(cell, seed):
    assert assert_forms_agree(next(CELLS[cell](np.random.default_rng(seed)))) > 0


@pytest.mark.shared
@pytest.mark.parametrize(
    ("op", "runtime"),
    [
        ("LOGISTIC", "litert_reference"),
        ("TANH", "litert_reference"),
        ("RELU", "litert_reference"),
        ("RELU6", "litert_reference"),
        ("LEAKY_RELU", "litert_reference"),
        ("PRELU", "litert_reference"),
        ("HARD_SWISH", "litert_reference"),
        ("ELU", "litert_optimized"),
    ],
)
def test_goldens(op, runtime, shared):
    assert assert_goldens_match(shared, op, runtime) > 1_000


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    scales=st.tuples(*[st.sampled_from([0.5, 0.25, 0.1, 0.03, 3 * 2.0**-7])] * 2),
    zero_points=st.tuples(st.integers(-128, 127), st.integers(-128, 127)),
    alpha=st.sampled_from([0.25, 0.1, 1.5, -0.5, 0.0]),
)
def test_definitions_equal_python_integers(scales, zero_points, alpha):
    source, target = zip(scales, zero_points, strict=True)
    leaky = evaluate("LEAKY_RELU", EVERY_CODE, DType.INT8, source, target, alpha=alpha)
    assert leaky == [oracle.leaky_relu(code, source, target, float(np.float32(alpha))) for code in EVERY_CODE]
    swish = evaluate("HARD_SWISH", EVERY_CODE, DType.INT8, source, target)
    assert swish == [oracle.hard_swish(code, source, target) for code in EVERY_CODE]


def test_definition_of_tabulated_functions_is_the_table():
    source = QuantParams(scale=[0.1], zero_point=[3], dtype=DType.INT8)
    target = QuantParams(scale=[1 / 128], zero_point=[-1], dtype=DType.INT8)
    found = evaluate("TANH", EVERY_CODE, DType.INT8, (0.1, 3), (1 / 128, -1))
    assert found == code_table(np.tanh, source, target)[EVERY_CODE].tolist()


@pytest.mark.parametrize(
    ("scale", "codes"), [(0.07435547560453415, 9), (0.12962745130062103, 16), (0.1375802755355835, 17)]
)
def test_tanh_of_bytes_is_the_c_library_s(scale, codes):
    """The float32 number nearest to tanh is a tie, and the C library's, which LiteRT takes, is the one below it."""
    assert np.float32(math.tanh(np.float32(scale))) * 128 == codes + 0.5
    for profile in (LITERT_REFERENCE, LITERT_OPTIMIZED, XNNPACK):
        x = np.array([1, -1], np.int8)
        model = one_input("TANH", x, DType.INT8, DType.INT8, {"scale": scale}, {"scale": 1 / 128})
        (found,), _ = run_forms(model, {"x": x}, profile)
        assert found.tolist() == [codes, -codes]


@pytest.mark.parametrize(
    ("op", "scale", "inverse", "codes", "approximate"),
    [
        ("ELU", 0.28248724341392517, 128, -32, None),
        ("ELU", 0.41527870297431946, 128, -44, None),
        ("GELU", 0.755905032157898, 64, 38, False),
        ("GELU", 1.0237934589385986, 64, 56, False),
        ("GELU", 0.9075351357460022, 64, 48, True),
    ],
)
def test_elu_and_gelu_of_bytes_are_the_c_library_s(op, scale, inverse, codes, approximate):
    """Where the nearest float32 function value lies on the other side of a tie: what LiteRT gives."""
    x = np.array([-1 if op == "ELU" else 1], np.int8)
    options = {} if approximate is None else {"approximate": approximate}
    model = one_input(op, x, DType.INT8, DType.INT8, {"scale": scale}, {"scale": 1 / inverse}, **options)
    for profile in (LITERT_REFERENCE, LITERT_OPTIMIZED, XNNPACK):
        (found,), _ = run_forms(model, {"x": x}, profile)
        assert found.tolist() == [codes]


def test_logistic_of_zero_is_one_half():
    assert evaluate("LOGISTIC", [5], DType.INT8, (0.1, 5), (1 / 256, -128)) == [0]
    assert evaluate("LOGISTIC", [0], DType.INT16, (2.0**-12, 0), (1 / 32768, 0)) == [16384]
    assert evaluate("LOGISTIC", [0.0], DType.FLOAT32) == [0.5]


def test_tanh_is_odd_but_for_ties():
    codes = evaluate("TANH", [-4096, 0, 4096], DType.INT16, (2.0**-12, 0), (1 / 32768, 0))
    assert codes[1] == 0
    assert codes[2] == -codes[0] == round(np.tanh(1) * 32768)


@pytest.mark.parametrize(
    ("op", "expected"),
    [
        ("RELU", [0, 0, 0, 2, 127]),
        ("RELU6", [0, 0, 0, 2, 12]),
        ("RELU_N1_TO_1", [-2, -2, 0, 2, 2]),
        ("RELU_0_TO_1", [0, 0, 0, 2, 2]),
    ],
)
def test_bounds_in_codes(op, expected):
    # Two codes make one unit.
    assert evaluate(op, [-128, -2, 0, 2, 127], DType.INT8, (0.5, 0), (0.5, 0)) == expected


def test_relu_rescales_first():
    assert evaluate("RELU", [4, 5, -5], DType.INT8, (0.5, 0), (1.0, -10)) == [-8, -7, -10]


def test_prelu_takes_a_slope_for_each_channel():
    params = ({"scale": 1}, {"scale": 0.5}, {"scale": 1})
    arrays = np.array([[-4, -4, 3]], np.int8), np.array([1, -2, 9], np.int8)
    model, sample = two_inputs("PRELU", arrays, (DType.INT8, DType.INT8), DType.INT8, params)
    (found,), _ = run_forms(model, sample)
    assert found.tolist() == [[-2, 4, 3]]


def test_hard_swish_by_hand():
    # 3 * 6 / 6 and -1 * 2 / 6 in units of 1/32; what is far below 0 vanishes.
    found = evaluate("HARD_SWISH", [96, -32, -128], DType.INT8, (1 / 32, 0), (1 / 32, 0))
    assert found == [96, -11, 0]


def test_gelu_by_hand():
    # 1 * 0.8413, -1 * 0.1587.
    assert evaluate("GELU", [10, -10], DType.INT8, (0.1, 0), (0.1, 0), approximate=False) == [8, -2]


def test_codes_that_do_not_fit_saturate():
    assert evaluate("ELU", [127, -128], DType.INT8, (1e12, 0), (1e-12, 5)) == [127, -128]


@pytest.mark.parametrize("op", ["LOGISTIC", "TANH", "RELU", "HARD_SWISH"])
@pytest.mark.parametrize("shape", [(), (0,), (1, 0, 3)])
def test_scalars_and_empty_tensors_keep_their_shape(op, shape):
    target = (1 / 256, -128) if op == "LOGISTIC" else (0.1, 0)
    evaluate(op, np.zeros(shape), DType.INT8, (0.1, 0), target)
    evaluate(op, np.zeros(shape), DType.FLOAT32)


@pytest.mark.parametrize(
    ("op", "dtype", "source", "target", "error"),
    [
        ("LOGISTIC", DType.INT8, (0.1, 0), (1 / 255, -128), ModelError),
        ("LOGISTIC", DType.INT16, (0.1, 0), (1 / 16384, 0), ModelError),
        ("TANH", DType.INT16, (0.1, 1), (1 / 32768, 0), ModelError),
        ("TANH", DType.INT32, None, None, UnsupportedError),
        ("RELU_0_TO_1", DType.INT16, (0.1, 0), (0.1, 0), UnsupportedError),
        ("RELU", DType.INT8, None, None, ModelError),
        ("HARD_SWISH", DType.INT8, (1.0, 0), (1e-3, 0), ModelError),
        ("HARD_SWISH", DType.INT16, (1.0, 0), (1.0, 0), UnsupportedError),
        ("ELU", DType.UINT8, (1.0, 0), (1.0, 0), UnsupportedError),
    ],
)
def test_refusals(op, dtype, source, target, error):
    source, target = ({} if p is None else {"scale": p[0], "zero_point": p[1]} for p in (source, target))
    model = one_input(op, np.zeros(3, dtype.storage), dtype, dtype, source, target)
    with pytest.raises(error):
        prepare_op(model)


def test_prelu_refuses_slopes_of_int16():
    params = ({"scale": 1}, {"scale": 0.5}, {"scale": 1})
    arrays = np.zeros(3, np.int16), np.zeros(3, np.int16)
    model, _ = two_inputs("PRELU", arrays, (DType.INT16, DType.INT16), DType.INT16, params)
    with pytest.raises(UnsupportedError, match="slopes of int8"):
        prepare_op(model)


WINDOW = {"stride_h": 1, "stride_w": 1, "dilation_h_factor": 1, "dilation_w_factor": 1, "padding": 1}
INFINITE = {
    "ADD": ([np.float32([[[[3e38], [-3e38], [2.0]]]])], {}),
    "FULLY_CONNECTED": ([np.float32([[2.0]])], {}),
    "CONV_2D": ([np.float32([[[[2.0]]]]), np.zeros(1, np.float32)], WINDOW),
    "DEPTHWISE_CONV_2D": ([np.float32([[[[2.0]]]]), np.zeros(1, np.float32)], {**WINDOW, "depth_multiplier": 1}),
}


@pytest.mark.litert
@pytest.mark.parametrize("op", INFINITE)
def test_floats_stay_finite_without_an_activation(op, litert):
    constants, options = INFINITE[op]
    x = np.float32([3e38, -3e38, 2.0]).reshape((3, 1) if op == "FULLY_CONNECTED" else (1, 1, 3, 1))
    operands = [Operand(x)]
    operands += [Operand(constant, constant=True) for constant in constants]
    model = one_op("", op, operands, [Result(DType.FLOAT32)], **options).model
    (answer,) = litert.run(fbs.write(model), [[operands[0].array]], all_tensors=False)
    largest = float(np.finfo(np.float32).max)
    for (found,) in run_forms(model, {"x0": operands[0].array}):
        assert found.ravel().tolist() == answer.outputs[0].ravel().tolist() == [largest, -largest, 4.0]
