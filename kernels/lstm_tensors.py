"""The tensors of the LSTM ops: where each lies among the inputs, and the contract between their shapes.

An LSTM has a *cell state* (batch, cells) and an *output state* (batch, outputs), both variable tensors. At each step
four gates are computed from the input, the output state and, with *peephole* weights, the cell state. Without an
input gate (CIFG: coupled input and forget gates) one minus the forget gate takes its place. A *projection* maps the
cells' outputs to fewer; layer normalization may be applied inside each gate.

Source: ``tflite/kernels/lstm_shared.h``, ``tflite/kernels/lstm.cc``,
``tflite/kernels/unidirectional_sequence_lstm.cc``, ``tflite/kernels/bidirectional_sequence_lstm.cc``.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from kernels.engine.contract import expect, expect_dtype, expect_rank, input_tensor, option, optional_input
from kernels.engine.sequences import Order
from kernels.engine.types import Inputs, OpView, TensorView
from qmath.errors import UnsupportedError
from qmath.types import Array, DType

#: From an input (batch, features), output state, cell state and the number of the step to both new states.
Step: TypeAlias = Callable[[Array, Array, Array, int], tuple[Array, Array]]


class Gate(enum.IntEnum):
    """The gates, in the order of their tensors. The schema calls what the CELL gate lets in the cell's update."""

    INPUT = 0
    FORGET = 1
    CELL = 2
    OUTPUT = 3


#: The order of peephole weights; the CELL gate has none.
PEEPHOLES = (Gate.INPUT, Gate.FORGET, Gate.OUTPUT)


@dataclass(frozen=True, slots=True)
class Slots:
    """Input slots of one direction: the first of each group of tensors, or of each single tensor.

    Attributes
    ----------
    weights, recurrent, bias
        Four each, in the order of :class:`Gate`.
    peephole
        Three, in the order of ``PEEPHOLES``.
    projection
        Weights, then bias.
    output_state, cell_state
        The states.
    norm
        Four coefficients of layer normalization.
    auxiliary
        The weights of a second input, four, if the op has one.

    """

    weights: int = 1
    recurrent: int = 5
    peephole: int = 9
    bias: int = 12
    projection: int = 16
    output_state: int = 18
    cell_state: int = 19
    norm: int | None = 20
    auxiliary: int | None = None


#: The slots of LSTM and UNIDIRECTIONAL_SEQUENCE_LSTM.
SLOTS = Slots()
INPUT = 0


@dataclass(frozen=True, slots=True)
class ByGate:
    """One entry a gate, None where a gate has none."""

    entries: tuple[Array | None, Array | None, Array | None, Array | None]

    def __getitem__(self, gate: Gate) -> Array | None:
        """Return the entry of a gate."""
        return self.entries[gate]


@dataclass(frozen=True, slots=True)
class Parameters:
    """The constant arrays of one direction.

    Attributes
    ----------
    weights
        (cells, features) each.
    recurrent
        (cells, outputs) each.
    auxiliary
        (cells, auxiliary features) each.
    peephole, bias, norm
        (cells,) each.
    projection
        (outputs, cells), or None.
    projection_bias
        (outputs,), or None.

    """

    weights: ByGate
    recurrent: ByGate
    auxiliary: ByGate
    peephole: ByGate
    bias: ByGate
    norm: ByGate
    projection: Array | None
    projection_bias: Array | None


def parameters(inputs: Inputs, slots: Slots) -> Parameters:
    """Look the constant arrays of a direction up among an op's inputs."""

    def at(slot: int | None) -> Array | None:
        return inputs[slot] if slot is not None and slot < len(inputs) else None

    def four(first: int | None) -> ByGate:
        wanted = [None if first is None else first + gate for gate in Gate]
        return ByGate((at(wanted[0]), at(wanted[1]), at(wanted[2]), at(wanted[3])))

    first = slots.peephole
    return Parameters(
        four(slots.weights),
        four(slots.recurrent),
        four(slots.auxiliary),
        ByGate((at(first), at(first + 1), None, at(first + 2))),
        four(slots.bias),
        four(slots.norm),
        at(slots.projection),
        at(slots.projection + 1),
    )


@dataclass(frozen=True, slots=True)
class Layout:
    """The sizes of one direction, and what it has.

    Attributes
    ----------
    features, cells, outputs
        Sizes of an input vector, of the cell state and of the output state.
    gates
        All four, or three without the input gate (CIFG).
    peephole, projection, norm
        Whether the direction has these.

    """

    features: int
    cells: int
    outputs: int
    gates: tuple[Gate, ...]
    peephole: bool
    projection: bool
    norm: bool

    @property
    def has_input_gate(self) -> bool:
        """Whether the input gate has weights of its own."""
        return Gate.INPUT in self.gates


@dataclass(frozen=True, slots=True)
class Types:
    """Element types that a form of the op expects.

    Attributes
    ----------
    weights
        Of all matrices.
    peephole
        Of peephole weights.
    bias
        Of biases, and of the projection's.
    norm
        Of layer normalization's coefficients.

    """

    weights: DType
    peephole: DType
    bias: DType
    norm: DType


def check_layout(op: OpView, slots: Slots, features: int, types: Types) -> Layout:
    """Check the tensors of one direction against each other.

    Raises
    ------
    ModelError
        Tensors are missing or there without their companions, or shapes or types do not fit.
    UnsupportedError
        Weights are sparse.

    """
    expect_rank(weights := input_tensor(op, slots.weights + Gate.OUTPUT), 2)
    expect_rank(recurrent := input_tensor(op, slots.recurrent + Gate.OUTPUT), 2)
    cells, outputs = weights.shape[0], recurrent.shape[1]
    gates = tuple(Gate) if optional_input(op, slots.weights) is not None else tuple(Gate)[1:]
    for gate in gates:
        expect_parameter(input_tensor(op, slots.weights + gate), (cells, features), types.weights)
        expect_parameter(input_tensor(op, slots.recurrent + gate), (cells, outputs), types.weights)
        expect_parameter(input_tensor(op, slots.bias + gate), (cells,), types.bias)
    if Gate.INPUT not in gates:
        unwanted = [slots.recurrent, slots.bias, slots.peephole, *([] if slots.norm is None else [slots.norm])]
        found = [slot for slot in unwanted if optional_input(op, slot) is not None]
        expect(not found, f"no tensors of the input gate beside its missing weights, found inputs {found}")
    return Layout(
        features,
        cells,
        outputs,
        gates,
        _check_peephole(op, slots, cells, gates, types),
        _check_projection(op, slots, (outputs, cells), types),
        _check_norm(op, slots, cells, gates, types),
    )


def _check_peephole(op: OpView, slots: Slots, cells: int, gates: tuple[Gate, ...], types: Types) -> bool:
    wanted = [slots.peephole + place for place, gate in enumerate(PEEPHOLES) if gate in gates]
    there = [tensor for slot in wanted if (tensor := optional_input(op, slot)) is not None]
    expect(len(there) in {0, len(wanted)}, f"peephole weights of all gates or none, found {len(there)}")
    for tensor in there:
        expect_parameter(tensor, (cells,), types.peephole)
    return bool(there)


def _check_projection(op: OpView, slots: Slots, shape: tuple[int, int], types: Types) -> bool:
    weights, bias = optional_input(op, slots.projection), optional_input(op, slots.projection + 1)
    if weights is None:
        expect(bias is None, "no projection bias without projection weights")
        expect(shape[0] == shape[1], f"as many outputs as cells without a projection, found {shape[0]} and {shape[1]}")
        return False
    expect_parameter(weights, shape, types.weights)
    if bias is not None:
        expect_parameter(bias, shape[:1], types.bias)
    return True


def _check_norm(op: OpView, slots: Slots, cells: int, gates: tuple[Gate, ...], types: Types) -> bool:
    if slots.norm is None or optional_input(op, slots.norm + Gate.FORGET) is None:
        return False
    for gate in gates:
        expect_parameter(input_tensor(op, slots.norm + gate), (cells,), types.norm)
    return True


def expect_parameter(tensor: TensorView, shape: tuple[int, ...], dtype: DType) -> None:
    """Check shape, type and storage of a constant of an LSTM.

    Raises
    ------
    ModelError
        Shape or type do not fit.
    UnsupportedError
        It is sparse.

    """
    if tensor.sparsity is not None:
        raise UnsupportedError(f"weights {tensor.name!r} of an LSTM are sparse, which is not covered")
    expect(tensor.shape == shape, f"tensor {tensor.name!r} of shape {shape}, found {tensor.shape}")
    expect_dtype(tensor, dtype)


def check_states(op: OpView, slots: Slots, batch: int, layout: Layout, output: DType, cell: DType) -> None:
    """Check that both states are variable tensors of the right size and type.

    Raises
    ------
    ModelError
        They are not.

    """
    wanted = ((slots.output_state, layout.outputs, output), (slots.cell_state, layout.cells, cell))
    for slot, size, dtype in wanted:
        state = input_tensor(op, slot)
        expect(state.is_variable, f"a variable tensor as input {slot}, found {state.name!r}")
        expect_dtype(state, dtype)
        found = int(np.prod(state.shape))
        expect(found == batch * size, f"{batch * size} elements in the state {state.name!r}, found {state.shape}")


def clip_option(op: OpView, name: str) -> float:
    """Return a clipping option: 0 for none.

    Raises
    ------
    ModelError
        It is negative.

    """
    clip = float(option(op, name))
    expect(clip >= 0, f"{name} of at least 0, found {clip}")
    return clip


def run_steps(
    x: Array, output: Array, cell: Array, order: Order, step: Step, *, forward: bool = True
) -> tuple[Array, Array, Array]:
    """Step through a sequence.

    Parameters
    ----------
    x
        The input, in ``order``.
    output, cell
        The states at the start, of any shape; ``step`` sees them as (batch, size).
    order
        How ``x`` lies in memory.
    step
        One step; the new output state is its output.
    forward
        Whether time runs forward.

    Returns
    -------
    The output, in ``order``, and both states at the end, in their own shapes.

    """
    sequence = order.steps(x)
    batch = sequence.shape[1]
    h, c = (state.reshape(batch, state.size // max(batch, 1)) for state in (output, cell))
    outputs = np.zeros((len(sequence), *h.shape), h.dtype)
    for time in range(len(sequence)) if forward else reversed(range(len(sequence))):
        h, c = step(sequence[time], h, c, time)
        outputs[time] = h
    return order.joined(outputs), h.reshape(output.shape), c.reshape(cell.shape)
