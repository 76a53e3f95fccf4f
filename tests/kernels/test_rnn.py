"""RNN and its sequence forms against LiteRT, and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fbs
from qmath.errors import ModelError, UnsupportedError
from qmath.stages import silent
from qmath.types import DType
from quantref.vectors.cells.rnn import CELLS
from tests.kernels.forms import inputs_of, prepare_op
from tests.kernels.stateful import assert_stateful_forms_agree
from tests.kernels.sweeps import compare_cell, examples

RELU = 1


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


def one_way(x_shape, op="RNN", *, dtype=DType.FLOAT32, weights=(1, 2), bias=(0.5,), state=(1, 1), **options):
    """Build an op of one direction with one unit: weights of two features and of the unit itself, 3."""
    b = fbs.Builder()
    variable = options.pop("variable", True)
    x = b.input("x", DType.FLOAT32, x_shape)
    slots = [
        x,
        b.constant("w", np.array([weights], dtype.storage), dtype, **_scale(dtype)),
        b.constant("r", np.array([[3]], dtype.storage), dtype, **_scale(dtype)),
        b.constant("b", np.array(bias, np.float32)),
        (b.variable if variable else b.tensor)("h", DType.FLOAT32, state),
    ]
    y = b.tensor("y", DType.FLOAT32, (*x_shape[:-1], 1))
    b.op(op, slots, [y], options={"fused_activation_function": RELU, **options})
    return b.finish([y])


def both_ways(x_shape, *, dtype=DType.FLOAT32, second=None, own=False, merge=False, **options):
    """Build a BIDIRECTIONAL_SEQUENCE_RNN with one unit a direction: weights 1 and 10, recurrent weights 1."""
    b = fbs.Builder()
    slots: list[int | None] = [b.input("x", DType.FLOAT32, x_shape)]
    batch = x_shape[1 if options.get("time_major") else 0]

    def weights(name, value, columns):
        return b.constant(name, np.full((1, columns), value, dtype.storage), dtype, **_scale(dtype))

    for name, value in (("fw", 1), ("bw", 10)):
        slots += [weights(f"{name}w", value, x_shape[-1]), weights(f"{name}r", 1, 1)]
        slots += [b.constant(f"{name}b", np.zeros(1, np.float32)), b.variable(f"{name}h", DType.FLOAT32, (batch, 1))]
    slots += [None] * 3
    if second:
        slots[9] = b.input("second", DType.FLOAT32, second)
    if own in {True, "only"}:
        columns = second[-1] if second else 1
        slots[10], slots[11] = weights("fw2", 100, columns), weights("bw2", 1000, columns)
    ys = [b.tensor(f"y{place}", DType.FLOAT32, ()) for place in range(1 if merge else 2)]
    given_options = {"fused_activation_function": RELU, "merge_outputs": merge, **options}
    b.op("BIDIRECTIONAL_SEQUENCE_RNN", slots, ys, options=given_options)
    return b.finish(ys)


def _scale(dtype):
    return {} if dtype is DType.FLOAT32 else {"scale": 1.0}


def run(model, **sample):
    """Evaluate the definition from states of zero, and return what it gives as lists."""
    tensors = fbs.view(model.subgraphs[0], 0).inputs
    states = {t.name: np.zeros(t.shape, np.float32) for t in tensors if t is not None and t.is_variable}
    arrays = {name: np.array(value, np.float32) for name, value in sample.items()}
    return [array.tolist() for array in prepare_op(model).evaluate(inputs_of(model, states | arrays), silent)]


@pytest.mark.parametrize("dtype", [DType.FLOAT32, DType.INT8, DType.UINT8])
def test_one_step_by_hand(dtype):
    # 127 + 2 * 0 + 3 * 0 + 0.5, then with that as the state; codes of 127 have the scale 1.
    assert run(one_way((1, 2), dtype=dtype), x=[[127, 0]]) == [[[127.5]], [[127.5]]]
    assert run(one_way((1, 2), dtype=dtype), x=[[127, 0]], h=[[127]]) == [[[508.5]], [[508.5]]]
    assert run(one_way((1, 2), dtype=dtype), x=[[-127, 0]]) == [[[0]], [[0]]]


def test_a_sequence_goes_on_from_each_state():
    name = "UNIDIRECTIONAL_SEQUENCE_RNN"
    steps = [[[1, 0]], [[0, 1]], [[0, 0]]]
    expected = [1.5, 3 * 1.5 + 2.5, 3 * 7 + 0.5]
    y, state = run(one_way((3, 1, 2), name, time_major=True), x=steps)
    assert (np.ravel(y).tolist(), state) == (expected, [[expected[-1]]])
    y, state = run(one_way((1, 3, 2), name), x=np.swapaxes(steps, 0, 1))
    assert (np.ravel(y).tolist(), state) == (expected, [[expected[-1]]])


def test_the_backward_direction_runs_from_the_end():
    forward, backward, *states = run(both_ways((1, 3, 1)), x=[[[1], [2], [4]]])
    assert forward == [[[1], [3], [7]]]
    assert backward == [[[70], [60], [40]]]
    assert states == [[[7]], [[70]]]
    merged, *_ = run(both_ways((1, 3, 1), merge=True), x=[[[1], [2], [4]]])
    assert merged == [[[1, 70], [3, 60], [7, 40]]]


def test_a_second_input_has_weights_of_its_own_or_feeds_the_backward_direction():
    x, second = [[[1]], [[2]]], [[[3]], [[0]]]
    model = both_ways((2, 1, 1), second=(2, 1, 1), own=True, time_major=True)
    assert run(model, x=x, second=second)[:2] == [[[[301]], [[303]]], [[[3030]], [[20]]]]
    model = both_ways((2, 1, 1), second=(2, 1, 1), time_major=True)
    assert run(model, x=x, second=second)[:2] == [[[[1]], [[3]]], [[[30]], [[0]]]]
    # Batch-major, the runtime forgets that.
    model = both_ways((1, 2, 1), second=(1, 2, 1))
    assert run(model, x=[[[1], [2]]], second=[[[3], [0]]])[1] == [[[30], [20]]]


def test_the_hybrid_form_runs_a_time_major_sequence_once_a_step():
    # Two steps: the second run starts from the first one's 254.
    x = [[[127]], [[127]]]
    forward, _, state, _ = run(both_ways((2, 1, 1), dtype=DType.INT8, time_major=True), x=x)
    assert (forward, state) == ([[[127 * 3]], [[127 * 4]]], [[127 * 4]])
    forward, *_ = run(both_ways((2, 1, 1), time_major=True), x=x)
    assert forward == [[[127]], [[127 * 2]]]


@pytest.mark.parametrize(
    ("build", "error", "message"),
    [
        (lambda: one_way((1, 2), bias=(0, 0)), ModelError, "'b' of shape .1,., found .2,."),
        (lambda: one_way((1, 3)), ModelError, "'w' of shape .1, 3., found .1, 2."),
        (lambda: one_way((1, 2), state=(2, 1)), ModelError, "'h' of shape .1, 1."),
        (lambda: one_way((1, 2), variable=False), ModelError, "a variable tensor as input 4"),
        (lambda: one_way((1, 1, 2)), ModelError, "2 dimensions"),
        (lambda: one_way((1, 2), "UNIDIRECTIONAL_SEQUENCE_RNN"), ModelError, "3 dimensions"),
        (lambda: one_way((1, 2), dtype=DType.INT16), UnsupportedError, "covered: float32 x int8"),
        (lambda: both_ways((1, 2)), ModelError, "3 dimensions"),
        (lambda: both_ways((1, 2, 1), own="only"), ModelError, "a second input beside its weights"),
        (lambda: both_ways((1, 2, 1), second=(1, 3, 1), own=True), ModelError, "as its first dimensions"),
        (lambda: both_ways((1, 2, 1), second=(1, 2, 3), time_major=True), ModelError, "a second input of shape"),
        (
            lambda: both_ways((1, 2, 1), second=(1, 2, 3), own=True, time_major=True),
            UnsupportedError,
            "mixes the sizes up",
        ),
        (
            lambda: both_ways((1, 2, 1), dtype=DType.INT8, merge=True, time_major=True),
            UnsupportedError,
            "zero points that are not there",
        ),
    ],
)
def test_broken_contracts_are_named(build, error, message):
    with pytest.raises(error, match=message):
        prepare_op(build())
