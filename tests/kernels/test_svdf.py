"""SVDF against LiteRT, TFLite Micro and CMSIS-NN, against loops over Python integers, and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fbs
import quantref
from kernels.engine import registry
from kernels.profiles import CMSIS_NN, TFLM
from qmath.errors import ModelError, UnsupportedError
from qmath.stages import silent
from qmath.types import DType
from quantref.vectors.cells.svdf import CELLS
from tests.kernels.forms import inputs_of, prepare_op, trace
from tests.kernels.stateful import assert_goldens_of_steps_match, assert_stateful_forms_agree
from tests.kernels.sweeps import compare_cell, examples
from tests.one_op import run_ours
from tests.oracles import rational


def build(
    features=((2,),),
    times=((1, 4),),
    bias=None,
    *,
    types=(DType.INT8, DType.INT8, DType.INT16, DType.INT32),
    batch=1,
    x=(1.0, 0),
    state=(1.0, 0),
    y=(1.0, 0),
    rank=1,
    variable=True,
    state_shape=None,
    **options,
):
    """Build an SVDF; types of input, features, times and bias; quantization as (scale, zero point)."""
    features, times = np.array(features, types[1].storage), np.array(times, types[2].storage)
    floats = types[0] is DType.FLOAT32
    b = fbs.Builder()

    def params(dtype, scale, zero_point):
        return {} if dtype is DType.FLOAT32 else {"scale": scale, "zero_point": zero_point}

    state_type = DType.FLOAT32 if floats else types[2]
    shape = state_shape or (batch, times.size)
    slots = [
        b.input("x", types[0], (batch, features.shape[1]), **params(types[0], *x)),
        b.constant("f", features, types[1], **params(types[1], 1.0, 0)),
        b.constant("t", times, types[2], **params(types[2], 1.0, 0)),
        None if bias is None else b.constant("b", np.array(bias, types[3].storage), types[3]),
        (b.variable if variable else b.tensor)("s", state_type, shape, **params(state_type, *state)),
    ]
    out = b.tensor("y", types[0], (), **params(types[0], *y))
    b.op("SVDF", slots, [out], options={"rank": rank, "fused_activation_function": 1, **options})
    return b.finish([out])


def evaluate(model, x, state, profile=None):
    """Evaluate the definition once, and return output and new state."""
    prepared = prepare_op(model) if profile is None else registry.prepare(fbs.view(model.subgraphs[0], 0), profile)
    return prepared.evaluate(inputs_of(model, {"x": x, "s": state}), silent)


@pytest.mark.litert
@pytest.mark.parametrize("cell", CELLS)
def test_litert_gives_the_same(cell, litert):
    assert compare_cell(cell, CELLS[cell], litert, least=1000) >= 1000


@pytest.mark.parametrize("cell", CELLS)
@examples(8)
@given(seed=st.integers(0, 2**32 - 1))
def test_compiled_form_equals_definition(cell, seed):
    rng = np.random.default_rng(seed)
    assert assert_stateful_forms_agree(next(CELLS[cell](rng)), rng) > 0


@pytest.mark.shared
@pytest.mark.parametrize(("profile", "least"), [("litert-reference", 500), ("tflm", 1500), ("cmsis-nn", 1500)])
def test_goldens(shared, profile, least):
    assert assert_goldens_of_steps_match(shared, "SVDF", profile.replace("-", "_"), profile) > least


@pytest.mark.shared
@pytest.mark.parametrize("profile", ["tflm", "cmsis-nn"])
def test_a_model_with_int8_states_gives_what_tflite_micro_does(shared, profile):
    interpreter = quantref.Interpreter(shared / "models" / "tflm" / "keyword_scrambled_int8.tflite", profile=profile)
    interpreter.allocate_tensors()
    with np.load(shared / "goldens-models" / "tflm_keyword_scrambled_8bit.npz") as golden:
        expected = golden[f"{profile.replace('-', '_')}__output_0"]
        found = [run_ours(interpreter, [step])[0] for step in golden["input_0"]]
    assert np.array_equal(found, expected)


@examples(25)
@given(data=st.data())
def test_definition_equals_loops_over_integers(data):
    batch, depth, units, rank, memory = (data.draw(st.integers(1, 3)) for _ in range(5))
    filters = units * rank
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    x, features = (rng.integers(-128, 128, shape).astype(np.int8) for shape in ((batch, depth), (filters, depth)))
    times = rng.integers(-32768, 32768, (filters, memory)).astype(np.int16)
    state = rng.integers(-32768, 32768, (batch, filters * memory)).astype(np.int16)
    bias = rng.integers(-(2**20), 2**20, units)
    scales = {"state": (data.draw(st.sampled_from([1.0, 2.0, 3.0])), 0), "y": (2.0**22, 5)}
    model = build(features, times, bias, batch=batch, rank=rank, x=(1.0, -5), **scales)
    output, after = evaluate(model, x, state)
    to_state, to_output = (rational.encode(1 / scales["state"][0]), rational.encode(scales["state"][0] / 2.0**22))
    kept = state.reshape(batch, filters, memory).astype(int).tolist()
    for row, unit in np.ndindex(batch, units):
        total = int(bias[unit])
        for place in range(unit * rank, (unit + 1) * rank):
            summed = sum((int(a) + 5) * int(b) for a, b in zip(x[row], features[place], strict=True))
            newest = rational.saturate(rational.double_rounding(summed, *to_state), 16)
            kept[row][place] = [*kept[row][place][1:], newest]
            total += rational.wrap(sum(a * int(b) for a, b in zip(kept[row][place], times[place], strict=True)))
        scaled = rational.double_rounding(rational.wrap(total), *to_output) + 5
        assert output[row, unit] == min(max(scaled, -128), 127)
    assert after.ravel().tolist() == np.array(kept).ravel().tolist()


def test_the_memory_moves_on_step_by_step():
    # 2 * 3 enters an empty memory of two, then 2 * 5: the weights are 1 for the older and 4 for the newer.
    model = build(bias=(1,))
    y, state = evaluate(model, np.array([[3]], np.int8), np.zeros((1, 2), np.int16))
    assert (y.tolist(), state.tolist()) == ([[25]], [[0, 6]])
    y, state = evaluate(model, np.array([[5]], np.int8), state)
    assert (y.tolist(), state.tolist()) == ([[6 + 40 + 1]], [[6, 10]])


def test_stages_of_one_step():
    sample = {"x": np.array([[3]], np.int8), "s": np.array([[0, 7]], np.int16)}
    _, stages = trace(build(bias=(1,)), sample)
    assert (stages["newest: feature sum"], stages["newest: entry"]) == ([[6]], [[6]])
    assert (stages["state with the newest"], stages["accumulator"]) == ([[[7, 6]]], [[32]])


def test_the_fused_relu_is_not_applied():
    y, _ = evaluate(build(), np.array([[-3]], np.int8), np.zeros((1, 2), np.int16))
    assert y.tolist() == [[-24]]


@pytest.mark.parametrize(("profile", "newest", "output"), [(TFLM, 127, 65), (CMSIS_NN, 200 - 256, -27)])
def test_an_int8_state_saturates_or_wraps(profile, newest, output):
    # The weights 1 and 4 give (8 + 4 * newest) / 8.
    model = build(types=(DType.INT8, DType.INT8, DType.INT8, DType.INT32), y=(8.0, 0))
    y, state = evaluate(model, np.array([[100]], np.int8), np.array([[5, 8]], np.int8), profile)
    assert state.tolist() == [[8, newest]]
    assert y.tolist() == [[output]]


def test_float_filters_by_hand():
    types = (DType.FLOAT32,) * 4
    model = build([[2, 1], [1, 0]], [[1, 4], [1, 1]], [0.5], types=types, rank=2)
    y, state = evaluate(model, np.array([[3, -1]], np.float32), np.array([[9, 1, 9, 2]], np.float32))
    assert state.tolist() == [[1, 5, 2, 3]]
    assert y.tolist() == [[1 + 20 + 2 + 3 + 0.5]]


def test_hybrid_filters_by_hand():
    # Codes 127 and 0, scale 1: the feature sum is 254.
    types = (DType.FLOAT32, DType.INT8, DType.INT8, DType.FLOAT32)
    y, state = evaluate(build([[2, 1]], types=types), np.array([[127, 0]], np.float32), np.zeros((1, 2), np.float32))
    assert (y.tolist(), state.tolist()) == ([[4 * 254]], [[0, 254]])


INT8_STATE = (DType.INT8, DType.INT8, DType.INT8, DType.INT32)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"types": INT8_STATE}, UnsupportedError, "INT8 state: the runtime .* crashes"),
        ({"rank": 2}, ModelError, "a rank that divides 1 filters"),
        ({"rank": 0}, ModelError, "a rank that divides"),
        ({"times": ((),)}, ModelError, "a memory of at least one entry"),
        ({"times": ((1,), (2,))}, ModelError, "feature weights and state of shapes"),
        ({"state_shape": (1, 3)}, ModelError, "feature weights and state of shapes"),
        ({"bias": (1, 2)}, ModelError, "1 biases"),
        ({"variable": False}, ModelError, "a variable tensor as the state"),
        ({"fused_activation_function": 0}, ModelError, "the fused activation RELU, found NONE"),
        ({"types": (DType.INT8, DType.INT8, DType.INT32, DType.INT32)}, UnsupportedError, "covered: int8"),
        ({"types": (DType.INT8, DType.UINT8, DType.INT16, DType.INT32)}, UnsupportedError, "covered: int8"),
        ({"types": (DType.FLOAT32, DType.INT8, DType.FLOAT32, DType.FLOAT32)}, UnsupportedError, "FLOAT32"),
        ({"bias": (1,), "types": (DType.INT8, DType.INT8, DType.INT16, DType.INT16)}, ModelError, "to be INT32"),
    ],
)
def test_broken_contracts_are_named(arguments, error, message):
    with pytest.raises(error, match=message):
        prepare_op(build(**arguments))
