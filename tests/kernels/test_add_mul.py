"""ADD, SUB and MUL against LiteRT, against Python integers, against goldens, and by hand."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels.profiles import LITERT_OPTIMIZED_ARM64
from qmath.errors import ModelError, UnsupportedError
from qmath.types import DType
from quantref.vectors.cells import add, mul
from quantref.vectors.cells.models import two_inputs
from tests.kernels.forms import assert_forms_agree, prepare_op, run_forms, trace
from tests.kernels.goldens import assert_goldens_match
from tests.kernels.sweeps import compare_cell
from tests.oracles import elementwise as oracle

CELLS = {**add.CELLS, **mul.CELLS}
SCALES = st.sampled_from([2.0**-7, 2.0**-6, 3 * 2.0**-8, 0.1, 0.007, 1.0, 5 * 2.0**-9])
CODES = st.integers(-128, 127)


def binary(op, x1, x2, params=((1, 0), (1, 0), (1, 0)), dtype=DType.INT8, target=None, **options):
    """Build a model of one op from lists of numbers; quantization as (scale, zero point), None for none."""
    arrays = tuple(np.asarray(x, dtype.storage) for x in (x1, x2))
    keywords = tuple({} if p is None else {"scale": p[0], "zero_point": p[1]} for p in params)
    return two_inputs(op, arrays, (dtype, dtype), target or dtype, keywords, **options)


def evaluate(*args, **keywords):
    """Return the output of the definition and of the compiled form, which must be the same."""
    model, sample = binary(*args, **keywords)
    (expected,), (found,) = run_forms(model, sample)
    assert expected.shape == found.shape
    assert expected.tolist() == found.tolist()
    return expected.tolist()


@pytest.mark.litert
@pytest.mark.parametrize("cell", CELLS)
def test_litert_gives_the_same(cell, litert):
    assert compare_cell(cell, CELLS[cell], litert, least=1500) > 700


@pytest.mark.parametrize("cell", [cell for cell in CELLS if "plain" not in cell])
@settings(max_examples=10, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**32 - 1))
def test_compiled_form_equals_definition(cell, seed):
    assert assert_forms_agree(next(CELLS[cell](np.random.default_rng(seed)))) > 0


@pytest.mark.shared
@pytest.mark.parametrize("op", ["ADD", "SUB", "MUL"])
def test_goldens(op, shared):
    assert assert_goldens_match(shared, op) > 170_000


@settings(max_examples=150, deadline=None, derandomize=True)
@given(data=st.data())
def test_definition_equals_python_integers(data):
    bits = data.draw(st.sampled_from([8, 16]))
    low, high = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    zero_points = [0 if bits == 16 else data.draw(CODES) for _ in range(3)]
    params = tuple(zip([data.draw(SCALES) for _ in range(3)], zero_points, strict=True))
    codes = data.draw(st.tuples(st.integers(low, high), st.integers(low, high)))
    dtype = DType.INT16 if bits == 16 else DType.INT8
    pair = ([codes[0]], [codes[1]], params, dtype)
    assert evaluate("ADD", *pair, pot_scale_int16=False) == [oracle.add(codes, params, 1, bits)]
    assert evaluate("SUB", *pair, pot_scale_int16=False) == [oracle.add(codes, params, -1, bits)]
    assert evaluate("MUL", *pair) == [oracle.mul(codes, params, bits)]


@pytest.mark.parametrize(
    ("op", "expected"), [("ADD", [8, -4, 127, -128]), ("SUB", [2, -2, 0, 0]), ("MUL", [15, 3, 127, 127])]
)
def test_by_hand_with_one_scale(op, expected):
    assert evaluate(op, [5, -3, 100, -100], [3, -1, 100, -100]) == expected


def test_by_hand_with_zero_points():
    # Real values 0.5 * (10 - 2) = 4 and 0.25 * (8 + 4) = 3.
    params = (0.5, 2), (0.25, -4), (1.0, -1)
    assert evaluate("ADD", [10], [8], params) == [7 - 1]
    assert evaluate("SUB", [10], [8], params) == [1 - 1]
    assert evaluate("MUL", [10], [8], params) == [12 - 1]


def test_a_tie_goes_away_from_zero():
    params = (1, 0), (1, 0), (2, 0)
    assert evaluate("ADD", [1, -1, 3, -3], [0, 0, 0, 0], params) == [1, -1, 2, -2]


def test_stages_have_names():
    model, sample = binary("ADD", [10], [8], ((0.5, 2), (0.25, -4), (1.0, -1)))
    _, stages = trace(model, sample)
    assert stages["input 1: shifted"] == [8 << 20]
    # Half of the common scale, then a quarter: 8 * 0.5 and 12 * 0.25 in units of 2**-20.
    assert stages["accumulator"] == [(8 << 19) + (12 << 18)]
    assert stages["clamped"] == [6]


@pytest.mark.parametrize(("activation", "expected"), [(0, [-4, 8]), (1, [0, 8]), (2, [-1, 1]), (3, [0, 6])])
def test_fused_activations(activation, expected):
    assert evaluate("ADD", [-2, 5], [-2, 3], fused_activation_function=activation) == expected


def test_scales_that_are_powers_of_two_take_a_shift():
    params = (0.25, 0), (1.0, 0), (1.0, 0)
    assert evaluate("ADD", [6, -6, 32767], [1, 1, 32767], params, DType.INT16) == [3, -1, 32767]
    assert evaluate("SUB", [6, -6, -32768], [1, 1, 32767], params, DType.INT16) == [1, -3, -32768]


def test_a_shift_of_sixteen_bits_gives_one():
    params = (2.0**-16, 0), (1.0, 0), (1.0, 0)
    assert evaluate("ADD", [32767, 0, -1], [0, 0, 0], params, DType.INT16) == [1, 1, -1]


def test_mul_of_int16_to_int8_keeps_the_upper_bits():
    params = (2.0**-15, 0), (2.0**-15, 0), (2.0**-7, 3)
    assert evaluate("MUL", [16384, -32768], [16384, -32768], params, DType.INT16, DType.INT8) == [35, 127]


def test_sub_with_a_tiny_output_scale_leaves_the_sign():
    params = (1, 0), (1, 0), (1e-6, 10)
    assert evaluate("SUB", [5, 5, -100], [3, 5, 100], params) == [11, 11, 9]
    with pytest.raises(UnsupportedError, match="negative count"):
        evaluate("SUB", [100], [-100], ((1, 0), (1, 0), (1e-9, 0)))


def test_sub_with_a_tiny_output_scale_saturates_on_arm_in_blocks_of_eight():
    def on_arm(x1, x2, dtype, scale):
        params = (1, 0), (1, 0), (scale, 0)
        model, sample = binary("SUB", x1, x2, params, dtype, pot_scale_int16=False)
        (expected,), (found,) = run_forms(model, sample, LITERT_OPTIMIZED_ARM64)
        assert expected.tolist() == found.tolist()
        return expected.tolist()

    # Measured: the first eight elements go through vector instructions, the ninth through scalar ones.
    assert on_arm([5, 5, 5, 5, -7, -7, -7, 1, 5], [5, 4, 6, 5, -7, -8, -6, 1, 6], DType.INT16, 4e-5) == [
        *(1, 25001, -25000, 1, 1, 25001, -25000, 1),
        -1,
    ]
    assert on_arm([5] * 9, [5, 4, 6, 5, 3, 4, 5, 6, 4], DType.INT8, 4e-7) == [0, 127, -128, 0, 127, 127, 0, -128, 1]
    assert on_arm([5] * 8, [4], DType.INT8, 4e-7) == [1] * 8


def test_floats_stay_finite():
    assert evaluate("ADD", [3e38], [3e38], (None,) * 3, DType.FLOAT32) == [np.finfo(np.float32).max]


def test_plain_integers_wrap():
    assert evaluate("ADD", [2**31 - 1], [1], (None,) * 3, DType.INT32) == [-(2**31)]
    assert evaluate("MUL", [2**31], [2], (None,) * 3, DType.UINT32, fused_activation_function=2) == [1]


@pytest.mark.parametrize(
    ("op", "params", "dtype", "error", "words"),
    [
        ("ADD", ((1, 0), (1, 0), (1e-6, 0)), DType.INT8, ModelError, "between 0 and 1"),
        ("SUB", ((1, 300), (1, 0), (1, 0)), DType.INT8, ModelError, "zero point of INT8"),
        ("ADD", ((1, 1), (1, 0), (1, 0)), DType.INT16, ModelError, "zero point 0"),
        ("ADD", ((0.5, 0), (0.5, 0), (1, 0)), DType.INT16, ModelError, "larger input scale"),
        ("ADD", (None, None, None), DType.INT8, ModelError, "quantization parameters"),
        ("ADD", ((0, 0), (1, 0), (1, 0)), DType.INT8, ModelError, "positive scale"),
        ("ADD", (None, None, None), DType.BOOL, UnsupportedError, "not covered"),
        ("MUL", ((1, 1), (1, 0), (1, 0)), DType.INT16, ModelError, "zero point 0"),
        ("MUL", (None, None, None), DType.FLOAT64, UnsupportedError, "not covered"),
    ],
)
def test_refusals(op, params, dtype, error, words):
    model, _ = binary(op, [1], [1], params, dtype)
    with pytest.raises(error, match=words):
        prepare_op(model)


def test_add_of_powers_of_two_does_not_broadcast():
    model, _ = binary("ADD", [[1, 2]], [3], dtype=DType.INT16)
    with pytest.raises(ModelError, match="does not broadcast"):
        prepare_op(model)


def test_shapes_that_do_not_broadcast():
    model, _ = binary("ADD", [[1, 2, 3]], [[1, 2, 3]])
    with pytest.raises(ModelError, match="shapes that broadcast"):
        prepare_op(resized(model, (3, 3), (2, 3)))


def resized(model, *shapes):
    """Return the model with other shapes of its inputs."""
    graph = model.subgraphs[0]
    tensors = list(graph.tensors)
    for index, shape in zip(graph.inputs, shapes, strict=True):
        tensors[index] = dataclasses.replace(tensors[index], shape=shape)
    return dataclasses.replace(model, subgraphs=(dataclasses.replace(graph, tensors=tuple(tensors)),))
