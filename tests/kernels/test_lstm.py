"""LSTM and its sequence form against LiteRT, against loops over Python integers, against goldens, and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fbs
from kernels.engine.contract import input_tensor
from qmath.errors import ModelError, UnsupportedError
from qmath.stages import silent
from qmath.types import DType
from quantref.vectors.cells import lstm, lstm_basic, lstm_narrow
from tests.kernels.forms import inputs_of, prepare_op, trace
from tests.kernels.stateful import assert_goldens_of_steps_match, assert_stateful_forms_agree
from tests.kernels.sweeps import compare_cell, examples
from tests.oracles import rational, recurrent

CELLS = {**lstm.CELLS, **lstm_narrow.CELLS, **lstm_basic.CELLS}
NAMES = ("input", "forget", "cell", "output")
#: Scale that makes raw sums of weights and inputs of scale 2**-6 each the gates' codes.
SIXTH = 2.0**-6


@pytest.mark.litert
@pytest.mark.parametrize("cell", CELLS)
def test_litert_gives_the_same(cell, litert):
    assert compare_cell(cell, CELLS[cell], litert, least=1000) >= 1000


@pytest.mark.parametrize("cell", CELLS)
@examples(6)
@given(seed=st.integers(0, 2**32 - 1))
def test_compiled_form_equals_definition(cell, seed):
    rng = np.random.default_rng(seed)
    assert assert_stateful_forms_agree(next(CELLS[cell](rng)), rng) > 0


@pytest.mark.shared
def test_goldens(shared):
    op, runtime = "UNIDIRECTIONAL_SEQUENCE_LSTM", "litert_reference"
    assert assert_goldens_of_steps_match(shared, op, runtime, "litert-reference", "i8_*") > 5000


def integer_model(weights, recurrent, bias, projection=None, *, op="LSTM", batch=1, **given):
    """Build an integer LSTM of arrays, four of each (the first None without an input gate), scales as ``given``."""
    scales = {"x": SIXTH, "w": SIXTH, "r": SIXTH, "h": SIXTH, "hidden": SIXTH, "c": 2.0**-11, "p": 1.0} | given
    zeros = {"x": 0, "h": 0, "hidden": 0} | given.get("zeros", {})
    b = fbs.Builder()
    (cells, features), outputs = np.shape(weights[1]), np.shape(recurrent[1])[1]
    slots: list[int | None] = [None] * 20
    shape = given.get("x_shape", (batch, features))
    slots[0] = b.input("x", DType.INT8, shape, scale=scales["x"], zero_point=zeros["x"])
    for gate in range(4):
        if weights[gate] is not None:
            slots[1 + gate] = b.constant(f"w{gate}", np.array(weights[gate], np.int8), scale=scales["w"])
            slots[5 + gate] = b.constant(f"r{gate}", np.array(recurrent[gate], np.int8), scale=scales["r"])
            slots[12 + gate] = b.constant(f"b{gate}", np.array(bias[gate], np.int32), scale=1.0)
    if projection is not None:
        slots[16] = b.constant("p", np.array(projection[0], np.int8), scale=scales["p"])
        slots[17] = b.constant("pb", np.array(projection[1], np.int32), scale=1.0)
    h = {"scale": scales["h"], "zero_point": zeros["h"]}
    variable = given.get("variable", True)
    slots[18] = (b.variable if variable else b.tensor)("h", DType.INT8, (batch, outputs), **h)
    slots[19] = b.variable("c", DType.INT16, (batch, cells), scale=scales["c"])
    hidden = b.tensor("hidden", DType.INT8, (1,), scale=scales["hidden"], zero_point=zeros["hidden"])
    y = b.tensor("y", DType.INT8, (*shape[:-1], outputs), **h)
    between = [b.tensor(f"i{gate}", DType.INT16, (1,), scale=2.0**-12) for gate in range(4)]
    b.op(op, slots, [y], intermediates=[*between, hidden], options=given.get("options", {}))
    return b.finish([y])


def step(model, x, h, c):
    """Evaluate the definition once: output, output state, cell state."""
    sample = {"x": np.array(x, np.int8), "h": np.array(h, np.int8), "c": np.array(c, np.int16)}
    return prepare_op(model).evaluate(inputs_of(model, sample), silent)


@examples(15)
@given(data=st.data())
def test_integer_definition_equals_loops_over_integers(data):
    features, cells = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 4))
    cifg, project, clip = (data.draw(st.booleans()) for _ in range(3))
    outputs = data.draw(st.integers(1, 4)) if project else cells
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    gates = range(1, 4) if cifg else range(4)

    def codes(*shape):
        return rng.integers(-128, 128, shape)

    groups = [[codes(cells, size) if gate in gates else None for gate in range(4)] for size in (features, outputs)]
    bias = [rng.integers(-(2**13), 2**13, cells) if gate in gates else None for gate in range(4)]
    projection = (codes(outputs, cells), rng.integers(-999, 999, outputs)) if project else None
    zeros = {"x": -3, "h": 5, "hidden": 7 if project else 5}
    scales = {"x": 0.015, "h": 0.0078, "hidden": 0.009 if project else 0.0078, "c": 2.0**-12, "p": 0.007, "r": 0.02}
    options = {"cell_clip": 1.0 if clip else 0.0}
    model = integer_model(*groups, bias, projection, zeros=zeros, options=options, **scales)

    def encode(*numerator, over):
        real = np.float32(1)
        for factor in numerator:
            real = real * np.float32(factor)
        return rational.encode(float(real / np.float32(over)))

    into, back = encode(SIXTH, scales["x"], over=2.0**-12), encode(scales["r"], scales["h"], over=2.0**-12)
    literal = recurrent.Cell(
        {
            NAMES[gate]: recurrent.Gate(*(group[gate].tolist() for group in (*groups, bias)), into, back)
            for gate in gates
        },
        zeros["x"],
        zeros["h"],
        zeros["hidden"],
        3,
        rational.encode(float(np.float32(2.0**-30 / float(np.float32(scales["hidden"]))))),
        4096 if clip else 0,
        *([] if projection is None else [projection[0].tolist(), projection[1].tolist()]),
        **({} if projection is None else {"project": encode(scales["p"], scales["hidden"], over=scales["h"])}),
    )
    h, c = codes(1, outputs), rng.integers(-32768, 32768, (1, cells))
    for _ in range(3):
        x = codes(1, features)
        expected = recurrent.step(x[0].tolist(), h[0].tolist(), c[0].tolist(), literal)
        y, h, c = step(model, x, h, c)
        assert (y.tolist(), h.tolist(), c.tolist()) == ([expected[0]], [expected[0]], [expected[1]])


NOTHING = [[[0]]] * 4


@pytest.mark.parametrize(
    ("bias", "cell", "expected"),
    [
        # All gates half open and nothing to let in: the state halves, ties away from zero.
        ([0, 0, 0, 0], 1001, 501),
        ([0, 0, 0, 0], -1001, -501),
        # The forget gate (almost) open, the update (almost) 1: 0.5 in a state of scale 2**-11.
        ([0, 32767, 32767, 0], 1000, 1000 + 1024),
        ([0, 32767, -32768, 0], 1000, 1000 - 1024),
        # Saturation.
        ([32767, 32767, 32767, 0], 32767, 32767),
    ],
)
def test_cell_states_by_hand(bias, cell, expected):
    _, _, state = step(integer_model(NOTHING, NOTHING, [[b] for b in bias]), [[0]], [[0]], [[cell]])
    assert abs(int(state[0, 0]) - expected) <= (1 if 32767 in bias else 0)


def test_without_an_input_gate_what_is_forgotten_is_let_in():
    nothing = [None, *NOTHING[1:]]
    _, stages = trace(
        integer_model(nothing, nothing, [None, [0], [32767], [0]]),
        {"x": np.zeros((1, 1), np.int8), "h": np.zeros((1, 1), np.int8), "c": np.zeros((1, 1), np.int16)},
    )
    assert stages["step 0: forget gate"] == [[16384]]
    assert "step 0: input gate" not in stages
    assert stages["step 0: cell state"] == [[1024]]


def test_the_cell_state_is_clipped():
    model = integer_model(NOTHING, NOTHING, [[0]] * 4, options={"cell_clip": 0.1})
    _, _, state = step(model, [[0]], [[0]], [[1001]])
    assert state.tolist() == [[int(np.float32(0.1) * 2048)]]


def test_a_sequence_is_steps_after_each_other():
    rng = np.random.default_rng(3)
    arrays = [[rng.integers(-128, 128, (3, size)) for _ in range(4)] for size in (2, 3)]
    bias = [rng.integers(-999, 999, 3) for _ in range(4)]
    x = rng.integers(-128, 128, (2, 4, 2)).astype(np.int8)
    h, c = np.zeros((2, 3), np.int8), np.zeros((2, 3), np.int16)
    name = "UNIDIRECTIONAL_SEQUENCE_LSTM"
    batch_major = integer_model(*arrays, bias, op=name, batch=2, x_shape=x.shape)
    time_major = integer_model(*arrays, bias, op=name, batch=2, x_shape=(4, 2, 2), options={"time_major": True})
    y, h_after, c_after = step(batch_major, x, h, c)
    swapped, *states = step(time_major, x.swapaxes(0, 1), h, c)
    assert np.array_equal(swapped.swapaxes(0, 1), y)
    assert all(np.array_equal(a, b) for a, b in zip(states, (h_after, c_after), strict=True))
    one = integer_model(*arrays, bias, batch=2)
    for time in range(4):
        out, h, c = step(one, x[:, time], h, c)
        assert np.array_equal(out, y[:, time])
    assert np.array_equal(c, c_after)


def test_the_basic_kernel_by_hand():
    # Zero weights and biases: half of the state stays; 128 + round(128 * 0.5 * tanh(0.5)) = 128 + 29.6.
    b = fbs.Builder()
    eighth = {"scale": 2.0**-7, "zero_point": 128}
    slots = [
        b.input("x", DType.UINT8, (1, 1), **eighth),
        b.variable("h", DType.UINT8, (1, 1), **eighth),
        b.constant("w", np.full((4, 2), 9, np.uint8), scale=1.0, zero_point=9),
        b.constant("b", np.zeros(4, np.int32), scale=2.0**-7),
        b.variable("c", DType.INT16, (1, 1), scale=2.0**-11),
    ]
    types = (DType.UINT8, DType.INT16, DType.UINT8, DType.INT16)
    outputs = [b.tensor(f"y{place}", dtype, (), scale=2.0**-11) for place, dtype in enumerate(types)]
    b.op("LSTM", slots, outputs, kernel_type=1)
    model = b.finish(outputs)
    sample = {"x": np.array([[3]], np.uint8), "h": np.array([[4]], np.uint8), "c": np.array([[2048]], np.int16)}
    y, cell, joined, gates, *states = prepare_op(model).evaluate(inputs_of(model, sample), silent)
    assert (y.tolist(), cell.tolist(), joined.tolist(), gates.tolist()) == ([[158]], [[1024]], [[3, 4]], [[0] * 4])
    assert [state.tolist() for state in states] == [[[158]], [[1024]]]


def float_model(dtype=DType.FLOAT32, activation=4, units=1, outputs=None, **options):
    """Build a float or hybrid LSTM whose weights are ones and whose biases are zeros."""
    b, outputs = fbs.Builder(), outputs or units
    params = {} if dtype is DType.FLOAT32 else {"scale": 1.0}
    slots: list[int | None] = [None] * 20
    slots[0] = b.input("x", DType.FLOAT32, (1, 2))
    for gate in range(4):
        for first, depth in ((1, 2), (5, outputs)):
            ones = np.ones((units, depth), dtype.storage)
            slots[first + gate] = b.constant(f"w{first}{gate}", ones, dtype, **params)
        slots[12 + gate] = b.constant(f"b{gate}", np.zeros(units, np.float32))
    if outputs != units:
        slots[16] = b.constant("p", np.ones((outputs, units), dtype.storage), dtype, **params)
    slots[18] = b.variable("h", DType.FLOAT32, (1, outputs))
    slots[19] = b.variable("c", DType.FLOAT32, (1, units))
    y = b.tensor("y", DType.FLOAT32, (1, outputs))
    b.op("LSTM", slots, [y], options={"fused_activation_function": activation, **options})
    return b.finish([y])


@pytest.mark.parametrize("dtype", [DType.FLOAT32, DType.INT8, DType.UINT8])
def test_a_float_step_by_hand(dtype):
    model = float_model(dtype)
    sample = {"x": [[1, -0.5]], "h": [[0.25]], "c": [[2]]}
    arrays = {name: np.array(value, np.float32) for name, value in sample.items()}
    y, _, c = prepare_op(model).evaluate(inputs_of(model, arrays), silent)
    # All gates see 1 - 0.5 + 0.25; codes of -0.5 and 0.25 are off by less than half a step of 1 / 127.
    gate = 1 / (1 + np.exp(-0.75))
    cell = gate * 2 + gate * np.tanh(0.75)
    close = {"abs": 1e-6 if dtype is DType.FLOAT32 else 0.01}
    assert c[0, 0] == pytest.approx(cell, **close)
    assert y[0, 0] == pytest.approx(gate * np.tanh(cell), **close)


def test_without_an_activation_the_update_takes_the_place_of_the_cell_state():
    model = float_model(DType.INT8, activation=0)
    arrays = {"x": np.array([[127, 0]], np.float32), "h": np.zeros((1, 1), np.float32)}
    y, _, c = prepare_op(model).evaluate(inputs_of(model, {**arrays, "c": np.full((1, 1), 5, np.float32)}), silent)
    assert (y.tolist(), c.tolist()) == ([[127]], [[132]])


@pytest.mark.parametrize(
    ("build", "error", "message"),
    [
        (lambda: float_model(activation=0), UnsupportedError, "without a fused activation"),
        (lambda: float_model(units=1, outputs=2), UnsupportedError, "more outputs than cells"),
        (lambda: float_model(cell_clip=-1.0), ModelError, "cell_clip of at least 0"),
        (lambda: float_model(kernel_type=1), ModelError, "5 inputs, found 20"),
        (lambda: float_model(DType.INT16), UnsupportedError, "covered: int8"),
        (lambda: integer_model(NOTHING, NOTHING, [[0]] * 4, c=0.001), ModelError, "a power of two"),
        (lambda: integer_model(NOTHING, NOTHING, [[0]] * 4, c=2.0**-6), UnsupportedError, "leaves its tanh unset"),
        (lambda: integer_model(NOTHING, NOTHING, [[0, 0]] * 4), ModelError, "'b0' of shape .1,., found .2,."),
        (lambda: integer_model(NOTHING, NOTHING, [[0]] * 4, variable=False), ModelError, "a variable tensor"),
        (lambda: integer_model(NOTHING, [[[0, 0]]] * 4, [[0]] * 4), ModelError, "as many outputs as cells"),
        (lambda: integer_model(NOTHING, NOTHING, [[0]] * 4, x_shape=(1, 1, 1)), ModelError, "2 dimensions"),
    ],
)
def test_broken_contracts_are_named(build, error, message):
    with pytest.raises(error, match=message):
        prepare_op(build())


def test_sparse_weights_are_refused():
    levels = (fbs.sparsity.DimensionMetadata(0, 1), fbs.sparsity.DimensionMetadata(0, 1))
    sparse = fbs.sparsity.Sparsity((0, 1), (), levels)
    b = fbs.Builder()
    slots: list[int | None] = [None] * 20
    slots[0] = b.input("x", DType.FLOAT32, (1, 1))
    for slot in range(1, 9):
        slots[slot] = b.constant(f"w{slot}", np.ones(1, np.float32), DType.FLOAT32, shape=(1, 1), sparsity=sparse)
    for slot in range(12, 16):
        slots[slot] = b.constant(f"b{slot}", np.zeros(1, np.float32))
    slots[18], slots[19] = (b.variable(name, DType.FLOAT32, (1, 1)) for name in "hc")
    y = b.tensor("y", DType.FLOAT32, (1, 1))
    b.op("LSTM", slots, [y], fused_activation_function=4)
    model = b.finish([y])
    assert input_tensor(fbs.view(model.subgraphs[0], 0), 1).sparsity is not None
    with pytest.raises(UnsupportedError, match="sparse"):
        prepare_op(model)
