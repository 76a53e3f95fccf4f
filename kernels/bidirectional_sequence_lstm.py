"""BIDIRECTIONAL_SEQUENCE_LSTM: two LSTMs that step through a sequence, one forward in time, one backward.

The input is (batch, time, features), or (time, batch, features) where ``time_major`` says so. There is one output a
direction, or, where ``merge_outputs`` says so, one with the outputs of both directions side by side. A second input,
the *auxiliary* one, is multiplied with weights of its own in both directions; without such weights it is the input of
the backward direction instead.

Source: ``tflite/kernels/bidirectional_sequence_lstm.cc``, ``tflite/kernels/lstm_eval.cc``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from kernels.engine.contract import (
    expect,
    expect_count,
    expect_dtype,
    expect_rank,
    input_tensor,
    option,
    optional_input,
    output_tensor,
    unsupported,
)
from kernels.engine.registry import Kernel
from kernels.engine.sequences import Order
from kernels.engine.types import Inputs, OpView, Outputs, Prepared, Runner
from kernels.lstm_float import FloatLSTM
from kernels.lstm_float_prepare import WEIGHTS, prepare_float, types_of
from kernels.lstm_tensors import INPUT, Gate, Layout, Slots, check_layout, expect_parameter
from kernels.profiles import Profile
from qmath.errors import UnsupportedError
from qmath.stages import Note, under
from qmath.types import DType

INPUTS = 48
AUXILIARY_INPUT = 39
FORWARD = Slots(1, 5, 9, 12, 16, 35, 36, norm=None, auxiliary=40)
BACKWARD = Slots(18, 22, 26, 29, 33, 37, 38, norm=None, auxiliary=44)
COVERS = ("float32 x int8 or uint8 (hybrid)", "float32")


@dataclass(frozen=True, slots=True)
class Bidirectional(Prepared):
    """Two directions prepared.

    Attributes
    ----------
    forward, backward
        The directions.
    merge
        Whether their outputs lie side by side.

    """

    forward: FloatLSTM
    backward: FloatLSTM
    merge: bool

    updates = (FORWARD.output_state, FORWARD.cell_state, BACKWARD.output_state, BACKWARD.cell_state)

    def evaluate(self, inputs: Inputs, note: Note) -> Outputs:
        """Evaluate both directions, each by :func:`~kernels.lstm_float.float_step` at each step."""
        forward = self.forward.evaluate(inputs, under(note, "forward"))
        return self._joined(forward, self.backward.evaluate(inputs, under(note, "backward")))

    def compile(self, constants: Inputs) -> Runner:
        """Lay constant weights out once."""
        forward, backward = self.forward.compile(constants), self.backward.compile(constants)
        return lambda inputs: self._joined(forward(inputs), backward(inputs))

    def _joined(self, forward: Outputs, backward: Outputs) -> Outputs:
        (first, *first_states), (second, *second_states) = forward, backward
        outputs = (np.concatenate([first, second], axis=-1),) if self.merge else (first, second)
        return (*outputs, *first_states, *second_states)


def prepare(op: OpView, profile: Profile) -> Bidirectional:
    """Check the contract of BIDIRECTIONAL_SEQUENCE_LSTM and prepare both directions.

    Raises
    ------
    ModelError
        The op breaks its contract.
    UnsupportedError
        The combination of types is not covered, or the runtime has no defined result.

    """
    merge = bool(option(op, "merge_outputs"))
    expect_count(op, {INPUTS}, 1 if merge else 2)
    x, weights = input_tensor(op, INPUT), input_tensor(op, FORWARD.weights + Gate.OUTPUT)
    expect_rank(x, 3)
    outputs = {output_tensor(op, slot).dtype for slot in range(len(op.outputs))}
    if {x.dtype, *outputs} != {DType.FLOAT32} or weights.dtype not in WEIGHTS:
        raise unsupported(op, "; ".join(COVERS))
    order = Order.TIME_MAJOR if option(op, "time_major") else Order.BATCH_MAJOR
    if merge and order is Order.BATCH_MAJOR and order.batch(x.shape) != 1:
        msg = (
            f"{op.name} with merged outputs, batch-major, of more than one sequence: the runtime reads states past them"
        )
        raise UnsupportedError(msg)
    auxiliary = _auxiliary_weights(op)
    forward = _direction(op, FORWARD, order, profile, has_weights=auxiliary)
    backward = _direction(op, BACKWARD, order, profile, has_weights=auxiliary)
    sizes = [(way.layout.cells, way.layout.outputs) for way in (forward, backward)]
    expect(sizes[0] == sizes[1], f"as many cells and outputs in both directions, found {sizes[0]} and {sizes[1]}")
    backward = replace(backward, forward=False)
    if optional_input(op, AUXILIARY_INPUT) is not None and not auxiliary:
        backward = replace(backward, input=AUXILIARY_INPUT)
    return Bidirectional(forward, backward, merge)


def _auxiliary_weights(op: OpView) -> bool:
    """Tell whether the second input has weights of its own, after checking both."""
    x, second = input_tensor(op, INPUT), optional_input(op, AUXILIARY_INPUT)
    wanted = [(slots.auxiliary or 0) + gate for slots in (FORWARD, BACKWARD) for gate in tuple(Gate)[1:]]
    there = [slot for slot in wanted if optional_input(op, slot) is not None]
    expect(len(there) in {0, len(wanted)}, f"weights of the second input for all gates or none, found inputs {there}")
    if second is None:
        expect(not there, "a second input beside its weights, found none")
        return False
    expect_dtype(second, x.dtype)
    size = second.shape[-1] if there else x.shape[-1]
    expect(
        second.shape == (*x.shape[:2], size), f"a second input of shape {(*x.shape[:2], size)}, found {second.shape}"
    )
    return bool(there)


def _direction(op: OpView, slots: Slots, order: Order, profile: Profile, *, has_weights: bool) -> FloatLSTM:
    weights, first = input_tensor(op, FORWARD.weights + Gate.OUTPUT), slots.auxiliary
    layout = check_layout(op, slots, input_tensor(op, INPUT).shape[-1], types_of(weights.dtype))
    if has_weights and first is not None:
        _check_auxiliary(op, layout, first)
    else:
        slots = replace(slots, auxiliary=None)
    prepared = prepare_float(op, slots, layout, order, profile)
    activations = {INPUT, AUXILIARY_INPUT}
    parameters = [tensor for slot, tensor in enumerate(op.inputs) if tensor is not None and slot not in activations]
    constant = all(tensor.is_variable or tensor.data is not None for tensor in parameters)
    return replace(prepared, constant=constant, auxiliary=AUXILIARY_INPUT if has_weights else None)


def _check_auxiliary(op: OpView, layout: Layout, first: int) -> None:
    shape = (layout.cells, input_tensor(op, AUXILIARY_INPUT).shape[-1])
    dtype = input_tensor(op, FORWARD.weights + Gate.OUTPUT).dtype
    for gate in layout.gates:
        expect_parameter(input_tensor(op, first + gate), shape, dtype)


KERNELS = (Kernel("BIDIRECTIONAL_SEQUENCE_LSTM", prepare, covers=COVERS),)
