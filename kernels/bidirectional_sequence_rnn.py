"""BIDIRECTIONAL_SEQUENCE_RNN: two plain recurrent networks that step through a sequence, one backward in time.

The input is (batch, time, features), or (time, batch, features) where ``time_major`` says so. There is one output a
direction, or, where ``merge_outputs`` says so, one with the outputs of both directions side by side. A second input
is multiplied with weights of its own in both directions; without such weights it is the input of the backward
direction instead. ``rnn.py`` describes the cell.

Source: ``tflite/kernels/bidirectional_sequence_rnn.cc``, ``tflite/kernels/internal/kernel_utils.cc``.
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
)
from kernels.engine.registry import Kernel
from kernels.engine.sequences import Order
from kernels.engine.types import Inputs, OpView, Outputs, Prepared, Runner
from kernels.profiles import Profile
from kernels.rnn import COVERS, INPUT, Cell, Slots, prepare_cell
from qmath.errors import UnsupportedError
from qmath.stages import Note, under

INPUTS = 12
SECOND = 9
FORWARD = Slots(INPUT, 1, 2, 3, 4)
BACKWARD = Slots(INPUT, 5, 6, 7, 8)
#: The weights of the second input.
FORWARD_SECOND, BACKWARD_SECOND = 10, 11


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

    forward: Cell
    backward: Cell
    merge: bool

    updates = (FORWARD.state, BACKWARD.state)

    def evaluate(self, inputs: Inputs, note: Note) -> Outputs:
        """Evaluate both directions, each by :func:`~kernels.rnn.rnn_step` at each step.

        Quirk: Hybrid BIDIRECTIONAL_SEQUENCE_RNN in time-major order runs the whole sequence as many times as it has
        steps, and each run starts from the state that the one before has left.

        Quirk: BIDIRECTIONAL_SEQUENCE_RNN in batch-major order ignores a second input that has no weights.
        """
        forward = self.forward.evaluate(inputs, under(note, "forward"))
        return self._joined(forward, self.backward.evaluate(inputs, under(note, "backward")))

    def compile(self, constants: Inputs) -> Runner:
        """Lay constant weights out once."""
        forward, backward = self.forward.compile(constants), self.backward.compile(constants)
        return lambda inputs: self._joined(forward(inputs), backward(inputs))

    def _joined(self, forward: Outputs, backward: Outputs) -> Outputs:
        (first, first_state), (second, second_state) = forward, backward
        outputs = (np.concatenate([first, second], axis=-1),) if self.merge else (first, second)
        return (*outputs, first_state, second_state)


def prepare(op: OpView, profile: Profile) -> Bidirectional:
    """Check the contract of BIDIRECTIONAL_SEQUENCE_RNN and prepare both directions.

    Raises
    ------
    ModelError
        The op breaks its contract.
    UnsupportedError
        The combination of types is not covered, or the runtime has no defined result.

    """
    merge = bool(option(op, "merge_outputs"))
    expect_count(op, {INPUTS}, 1 if merge else 2)
    x = input_tensor(op, INPUT)
    expect_rank(x, 3)
    order = Order.TIME_MAJOR if option(op, "time_major") else Order.BATCH_MAJOR
    forward, backward = _slots(op, order)
    cells = [prepare_cell(op, slots, order, profile) for slots in (forward, backward)]
    hybrid = {cell.quantize is not None for cell in cells}
    expect(len(hybrid) == 1, "weights of one type in both directions, found two")
    if True in hybrid:
        _check_hybrid(op, order, merge=merge, own=forward.second is not None)
        cells = [replace(cell, once_a_step=order is Order.TIME_MAJOR) for cell in cells]
    return Bidirectional(cells[0], replace(cells[1], forward=False), merge)


def _slots(op: OpView, order: Order) -> tuple[Slots, Slots]:
    """Return the slots of both directions, by the place that the second input has in them."""
    x, second = input_tensor(op, INPUT), optional_input(op, SECOND)
    weights = [optional_input(op, slot) is not None for slot in (FORWARD_SECOND, BACKWARD_SECOND)]
    expect(weights[0] == weights[1], "weights of the second input for both directions or none, found one")
    if second is None:
        expect(not weights[0], "a second input beside its weights, found none")
        return FORWARD, BACKWARD
    expect_dtype(second, x.dtype)
    if weights[0]:
        expect_rank(second, 3)
        lead = second.shape[:2]
        expect(lead == x.shape[:2], f"a second input with {x.shape[:2]} as its first dimensions, found {lead}")
        if order is Order.TIME_MAJOR:
            _expect_same_size(op)
        ways = ((FORWARD, FORWARD_SECOND), (BACKWARD, BACKWARD_SECOND))
        forward, backward = (replace(slots, second=SECOND, second_weights=own) for slots, own in ways)
        return forward, backward
    if order is Order.BATCH_MAJOR:
        return FORWARD, BACKWARD
    expect(second.shape == x.shape, f"a second input of shape {x.shape}, found {second.shape}")
    return FORWARD, replace(BACKWARD, input=SECOND)


def _check_hybrid(op: OpView, order: Order, *, merge: bool, own: bool) -> None:
    if own:
        _expect_same_size(op)
    batch = order.batch(input_tensor(op, INPUT).shape)
    if merge and batch > 1 and order is Order.TIME_MAJOR and not option(op, "asymmetric_quantize_inputs"):
        msg = f"hybrid {op.name}, time-major with merged outputs: the runtime reads zero points that are not there"
        raise UnsupportedError(msg)


def _expect_same_size(op: OpView) -> None:
    size, second = (input_tensor(op, slot).shape[-1] for slot in (INPUT, SECOND))
    if size != second:
        msg = f"{op.name} with a second input of {second} features beside {size}: the runtime mixes the sizes up"
        raise UnsupportedError(msg)


KERNELS = (Kernel("BIDIRECTIONAL_SEQUENCE_RNN", prepare, covers=COVERS),)
