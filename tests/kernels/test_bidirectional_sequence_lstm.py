"""BIDIRECTIONAL_SEQUENCE_LSTM against LiteRT, against LSTM, and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fbs
from qmath.errors import ModelError, UnsupportedError
from qmath.stages import silent
from qmath.types import DType
from quantref.vectors.cells.bidirectional_sequence_lstm import BACKWARD, CELLS, FORWARD
from tests.kernels.forms import inputs_of, prepare_op
from tests.kernels.stateful import assert_stateful_forms_agree
from tests.kernels.sweeps import compare_cell, examples


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


def build(x_shape=(1, 3, 1), *, second=None, own=(), cells=(1, 1), dtype=DType.FLOAT32, merge=False, **options):
    """Build an op whose weights are the cells' places, counted from 1; ``own`` lists slots of the second input's."""
    b, options = fbs.Builder(), {"time_major": False, **options}
    slots: list[int | None] = [None] * 48
    slots[0] = b.input("x", DType.FLOAT32, x_shape)
    batch = x_shape[1 if options["time_major"] else 0]

    def constant(slot, columns, size):
        values = np.repeat(np.arange(1, size + 1)[:, None], columns, axis=1)
        slots[slot] = b.constant(f"w{slot}", values.astype(dtype.storage), dtype)

    for (first, recurrent, _, bias, _, state, auxiliary), size in zip((FORWARD, BACKWARD), cells, strict=True):
        for gate in range(4):
            constant(first + gate, x_shape[-1], size)
            constant(recurrent + gate, size, size)
            slots[bias + gate] = b.constant(f"b{bias + gate}", np.zeros(size, np.float32))
            if auxiliary + gate in own:
                constant(auxiliary + gate, second[-1] if second else 1, size)
        slots[state] = b.variable(f"h{state}", DType.FLOAT32, (batch, size))
        slots[state + 1] = b.variable(f"c{state}", DType.FLOAT32, (batch, size))
    if second:
        slots[39] = b.input("second", DType.FLOAT32, second)
    ys = [b.tensor(f"y{place}", DType.FLOAT32, ()) for place in range(1 if merge else 2)]
    given_options = {"fused_activation_function": 4, "merge_outputs": merge, **options}
    b.op("BIDIRECTIONAL_SEQUENCE_LSTM", slots, ys, options=given_options)
    return b.finish(ys)


def run(model, **sample):
    """Evaluate the definition from states of zero."""
    tensors = fbs.view(model.subgraphs[0], 0).inputs
    states = {t.name: np.zeros(t.shape, np.float32) for t in tensors if t is not None and t.is_variable}
    arrays = {name: np.array(value, np.float32) for name, value in sample.items()}
    return prepare_op(model).evaluate(inputs_of(model, states | arrays), silent)


def test_the_backward_direction_is_the_forward_one_on_the_reversed_sequence():
    x = np.array([[[0.5], [-1], [2]]])
    forward, backward, *_ = run(build(), x=x)
    reversed_forward, reversed_backward, *_ = run(build(), x=x[:, ::-1])
    assert np.array_equal(backward, reversed_forward[:, ::-1])
    assert np.array_equal(forward, reversed_backward[:, ::-1])
    (merged, *_) = run(build(merge=True), x=x)
    assert np.array_equal(merged, np.concatenate([forward, backward], axis=-1))


def test_a_second_input_without_weights_feeds_the_backward_direction():
    x, second = np.array([[[0.5], [-1], [2]]]), np.array([[[1], [0], [-2]]])
    forward, backward, *_ = run(build(second=(1, 3, 1)), x=x, second=second)
    assert np.array_equal(forward, run(build(), x=x)[0])
    assert np.array_equal(backward, run(build(), x=second)[1])


def test_a_second_input_with_weights_of_its_own_is_added():
    # All weights are 1, so the sum of both inputs does the same.
    x, second = np.array([[[0.5], [-1], [2]]]), np.array([[[1], [0.25], [-2]]])
    both = run(build(second=(1, 3, 1), own=range(40, 48)), x=x, second=second)
    for found, expected in zip(both, run(build(), x=x + second), strict=True):
        assert found == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"x_shape": (2, 3, 1), "merge": True}, UnsupportedError, "reads states past them"),
        ({"cells": (1, 2)}, ModelError, "as many cells and outputs in both directions"),
        ({"own": range(40, 48)}, ModelError, "a second input beside its weights, found none"),
        ({"own": (41,), "second": (1, 3, 1)}, ModelError, "for all gates or none, found inputs .41."),
        ({"own": range(41, 48), "second": (1, 3, 1)}, ModelError, "a tensor as input 40"),
        ({"second": (1, 3, 2)}, ModelError, "a second input of shape .1, 3, 1."),
        ({"second": (1, 2, 2), "own": range(40, 48)}, ModelError, "a second input of shape .1, 3, 2."),
        ({"dtype": DType.INT16}, UnsupportedError, "covered: float32 x int8"),
        ({"fused_activation_function": 0}, UnsupportedError, "without a fused activation"),
        ({"x_shape": (1, 3)}, ModelError, "3 dimensions"),
    ],
)
def test_broken_contracts_are_named(arguments, error, message):
    with pytest.raises(error, match=message):
        prepare_op(build(**arguments))
