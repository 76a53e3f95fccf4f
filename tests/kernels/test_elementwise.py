"""The engine of elementwise ops: when tables take over, what a constant operand changes, how scales are checked."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels.engine import elementwise
from kernels.engine.activation import Activation
from kernels.engine.blocks import in_place
from kernels.engine.elementwise import clamp_plain, exponent_of
from kernels.engine.shifts import divide_by_power_of_two_16
from qmath.requantize import DOUBLE_ROUNDING, SINGLE_ROUNDING, Requantize
from qmath.stages import silent
from qmath.types import ActivationRange, DType
from quantref.vectors.cells.models import two_inputs
from tests.kernels.forms import inputs_of, prepare_op

GRID = np.meshgrid(np.arange(-128, 128), np.arange(-128, 128), indexing="ij")


def pairs_model(op, target=DType.INT8, constant=None, arrays=None):
    """Build an op on all pairs of int8 codes."""
    arrays = arrays or tuple(codes.astype(np.int8) for codes in GRID)
    params = ({"scale": 0.3, "zero_point": 7}, {"scale": 0.2, "zero_point": -128}, {"scale": 0.5, "zero_point": 1})
    return two_inputs(op, arrays, (DType.INT8, DType.INT8), target, params, constant=constant)


@pytest.mark.parametrize("op", ["ADD", "SUB", "MUL", "SQUARED_DIFFERENCE", "PRELU", "LESS", "EQUAL"])
def test_tables_of_pairs_equal_the_definition_on_every_pair(op):
    model, sample = pairs_model(op, DType.BOOL if op in {"LESS", "EQUAL"} else DType.INT8)
    prepared, inputs = prepare_op(model), inputs_of(model, sample)
    run = prepared.compile([None, None])
    (expected,) = prepared.evaluate(inputs, silent)
    for _ in range(3):
        (found,) = run(inputs)
        assert np.array_equal(expected, found)


@pytest.mark.parametrize("constant", [0, 1])
@pytest.mark.parametrize("shape", [(), (1,), (1, 1, 1)])
def test_a_constant_of_one_element_gives_a_table_of_one_input(constant, shape):
    arrays = [np.arange(-128, 128).astype(np.int8)] * 2
    arrays[constant] = np.full(shape, 5, np.int8)
    model, sample = pairs_model("SUB", constant=constant, arrays=tuple(arrays))
    prepared = prepare_op(model)
    (found,) = prepared.compile(inputs_of(model, {}))(inputs_of(model, sample))
    (expected,) = prepared.evaluate(inputs_of(model, sample), silent)
    assert found.shape == expected.shape
    assert np.array_equal(found, expected)


def test_the_definition_runs_until_a_table_pays():
    seen = []

    def definition(x):
        seen.append(x.size)
        return x

    run = elementwise.unary(definition, DType.INT16)
    small, large = np.zeros(10, np.int16), np.zeros(elementwise.TABLE_PAYS, np.int16)
    for x in (small, small, large, large, small):
        run([x])
    assert seen == [10, 10, 1 << 16]


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    exponent=st.floats(-31, 6),
    zero_point=st.integers(-128, 127),
    near=st.integers(-(2**20), 2**20),
    regime=st.sampled_from([DOUBLE_ROUNDING, SINGLE_ROUNDING]),
)
def test_requantizing_in_place_equals_the_definition(exponent, zero_point, near, regime):
    largest = min(2**30, int(2 ** (31 - max(exponent, 0) - 1)))
    ends = ActivationRange(-(2**15), 2**15 - 1)
    requantize = Requantize(regime, np.asarray(2.0**exponent), zero_point, ends, DType.INT16)
    accumulators = np.arange(near - 500, near + 500) * 2 ** max(0, int(-exponent) - 9)
    accumulators = np.clip(np.append(accumulators, [-largest, largest]), -largest, largest)
    expected = requantize(accumulators)
    assert np.array_equal(in_place(requantize, largest)(accumulators.copy()), expected)


def test_where_requantizing_in_place_would_differ_the_definition_runs():
    ends = ActivationRange(-(2**15), 2**15 - 1)
    requantize = Requantize(DOUBLE_ROUNDING, np.asarray(4.0), 0, ends, DType.INT16)
    assert in_place(requantize, 2**28) is requantize
    assert in_place(requantize, 2**27) is not requantize


@pytest.mark.parametrize("shapes", [((200, 200), (200, 200)), ((200, 1), (1, 200)), ((), (40_000,))])
@pytest.mark.parametrize("op", ["ADD", "SUB", "MUL"])
def test_blocks_of_wide_tensors(op, shapes):
    rng = np.random.default_rng(8)
    arrays = tuple(rng.integers(-(2**15), 2**15, shape).astype(np.int16) for shape in shapes)
    params = ({"scale": 0.3}, {"scale": 0.2}, {"scale": 0.5})
    options = {} if op == "MUL" else {"pot_scale_int16": False}
    model, sample = two_inputs(op, arrays, (DType.INT16, DType.INT16), DType.INT16, params, **options)
    prepared, inputs = prepare_op(model), inputs_of(model, sample)
    (expected,), run = prepared.evaluate(inputs, silent), prepared.compile([None, None])
    for _ in range(2):
        (found,) = run(inputs)
        assert np.array_equal(found, expected)


@pytest.mark.parametrize(
    ("scale", "exponent"), [(1.0, 0), (2.0**-15, -15), (1.0005, 0), (1.001, None), (3.0, None), (2.0**100, 100)]
)
def test_what_counts_as_a_power_of_two(scale, exponent):
    assert exponent_of(np.asarray(scale, np.float32)) == exponent


@settings(max_examples=50, deadline=None, derandomize=True)
@given(x=st.integers(-(2**15), 2**15 - 1), exponent=st.integers(0, 31))
def test_dividing_words_of_sixteen_bits(x, exponent):
    # gemmlowp's lines with its 16-bit types.
    word = (1 << exponent) - 1 & 0xFFFF
    mask = word - 0x10000 if word >= 0x8000 else word
    threshold = (mask >> 1) + (x < 0)
    expected = (x >> exponent) + ((x & mask) > threshold)
    assert int(divide_by_power_of_two_16(np.asarray(x), exponent)) == expected


def test_clamping_plain_numbers():
    floats = np.array([-np.inf, -2, 0.5, 7, np.inf, np.nan], np.float32)
    highest = np.finfo(np.float32).max
    assert clamp_plain(floats, Activation.NONE)[:5].tolist() == [-highest, -2, 0.5, 7, highest]
    assert clamp_plain(floats, Activation.RELU6)[:5].tolist() == [0, 0, 0.5, 6, 6]
    assert np.isnan(clamp_plain(floats, Activation.RELU6)[5])
    assert clamp_plain(np.array([-5, 5]), Activation.RELU_N1_TO_1).tolist() == [-1, 1]
