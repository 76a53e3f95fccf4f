"""RNN: one step of a plain recurrent network, and the cell that its sequence forms share.

A cell has a *state* (batch, units), a variable tensor: its last output. At each step the output is the activation of
``weights @ input + recurrent weights @ state + bias``.

Source: ``tflite/kernels/basic_rnn.cc``, ``tflite/kernels/internal/kernel_utils.cc`` (RnnBatchStep).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np

from kernels.engine.activation import Activation, activate_float
from kernels.engine.contract import (
    choice,
    expect,
    expect_count,
    expect_dtype,
    expect_rank,
    input_tensor,
    option,
    output_tensor,
    scale_of,
    unsupported,
)
from kernels.engine.hybrid import ASYMMETRIC, SYMMETRIC, QuantizeRows
from kernels.engine.hybrid_matmul import MISREADS
from kernels.engine.products import Matrix, Operand, lane_matrix, operand, scaled_matrix
from kernels.engine.registry import Kernel
from kernels.engine.sequences import Order
from kernels.engine.types import Inputs, OpView, Outputs, Prepared, Runner, TensorView, given
from kernels.profiles import Profile
from qmath.errors import UnsupportedError
from qmath.stages import Note, silent, under
from qmath.types import Array, DType, Float32Array

INPUT = 0
INPUTS = 5
INTEGER_WEIGHTS = (DType.INT8, DType.UINT8)
COVERS = ("float32 x int8 or uint8 (hybrid)", "float32")


@dataclass(frozen=True, slots=True)
class Slots:
    """Input slots of one direction; ``second`` and ``second_weights`` are those of a second input, if there is one."""

    input: int = INPUT
    weights: int = 1
    recurrent: int = 2
    bias: int = 3
    state: int = 4
    second: int | None = None
    second_weights: int | None = None

    @property
    def matrices(self) -> tuple[int, ...]:
        """The slots of weights, of the second input's weights if there are any, and of recurrent weights."""
        between = () if self.second_weights is None else (self.second_weights,)
        return (self.weights, *between, self.recurrent)


@dataclass(frozen=True, slots=True)
class Cell(Prepared):
    """A prepared direction.

    Attributes
    ----------
    slots, order
        Where the tensors are, and how the sequence lies in memory.
    activation
        Applied to each output.
    quantize
        How activations are quantized on the fly; None for float32 weights.
    scales
        Of integer weights, in the order of ``slots.matrices``; empty for float32 weights.
    constant
        Whether all weights are constants.
    updates
        The slot of the state.
    forward
        Whether time runs forward.
    once_a_step
        Whether the whole sequence is run as many times as it has steps, on one state.
    misreads
        Whether integer weights of -128 are misread.

    """

    slots: Slots
    order: Order
    activation: Activation
    quantize: QuantizeRows | None
    scales: tuple[float, ...]
    constant: bool
    updates: tuple[int, ...]
    forward: bool = True
    once_a_step: bool = False
    misreads: bool = True

    def evaluate(self, inputs: Inputs, note: Note) -> Outputs:
        """Evaluate :func:`rnn_step` at each step of the sequence."""
        return self._run(inputs, self._matrices(inputs), note)

    def compile(self, constants: Inputs) -> Runner:
        """Lay constant weights out once."""
        if not self.constant:
            return partial(self.evaluate, note=silent)
        matrices = self._matrices(constants)
        return lambda inputs: self._run(inputs, matrices, silent)

    def _matrices(self, inputs: Inputs) -> tuple[Matrix, ...]:
        weights = [given(inputs, slot) for slot in self.slots.matrices]
        if not self.scales:
            return tuple(lane_matrix(each) for each in weights)
        return tuple(
            scaled_matrix(each, scale, misreads=self.misreads) for each, scale in zip(weights, self.scales, strict=True)
        )

    def _run(self, inputs: Inputs, matrices: tuple[Matrix, ...], note: Note) -> tuple[Array, Array]:
        slots = self.slots
        sequences = [self.order.steps(given(inputs, slot)) for slot in (slots.input, slots.second) if slot is not None]
        state, steps = given(inputs, slots.state), len(sequences[0])
        bias = np.broadcast_to(given(inputs, slots.bias), state.shape)
        outputs = np.zeros((steps, *state.shape), np.float32)
        ready = partial(operand, quantize=self.quantize, separate=self.order is Order.BATCH_MAJOR)
        times = list(range(steps) if self.forward else reversed(range(steps)))
        for time in times * (steps if self.once_a_step else 1):
            vectors = [ready(each) for each in (*(x[time] for x in sequences), state)]
            state = rnn_step(vectors, matrices, bias, self.activation, under(note, f"step {time}"))
            outputs[time] = state
        return self.order.joined(outputs), state


def rnn_step(
    vectors: list[Operand], matrices: tuple[Matrix, ...], bias: Float32Array, activation: Activation, note: Note
) -> Float32Array:
    """Do one step.

    Quirk: The hybrid RNN ops ignore the zero points of their weights, and read UINT8 weights as INT8.

    Parameters
    ----------
    vectors
        What matrices are multiplied with: input, second input if there is one, state; (batch, depth) each. With
        integer weights each row is quantized, or the entry is None where all rows are zero.
    matrices
        One each.
    bias
        float32, shape (batch, units): the bias in each row.
    activation
        Applied at the end.
    note
        Receives the stages.

    Returns
    -------
    float32, shape (batch, units): output and new state.

    Notes
    -----
    1. Start with the bias.
    2. Add the products in order. float32 weights: each a sum in the order of the vector code. Integer weights:
       accumulator times (row scale times weights scale), two float32 operations, and nothing where all rows are zero.
    3. Apply the activation.

    """
    total = bias
    for rows, matrix in zip(vectors, matrices, strict=True):
        total = matrix.add_to(total, rows)
    return np.asarray(note("output", activate_float(note("accumulator", total).copy(), activation)), np.float32)


def prepare(op: OpView, profile: Profile) -> Cell:
    """Check the contract of RNN and prepare its cell.

    Raises
    ------
    ModelError
        The op breaks its contract.
    UnsupportedError
        The combination of types is not covered.

    """
    expect_count(op, {INPUTS})
    expect_rank(input_tensor(op, INPUT), 2)
    return prepare_cell(op, Slots(), Order.SINGLE, profile)


def prepare_cell(op: OpView, slots: Slots, order: Order, profile: Profile) -> Cell:
    """Check the tensors of one direction against each other and prepare it.

    Raises
    ------
    ModelError
        The op breaks its contract.
    UnsupportedError
        The combination of types is not covered.

    """
    x, weights, state = (input_tensor(op, slot) for slot in (slots.input, slots.weights, slots.state))
    hybrid = weights.dtype in INTEGER_WEIGHTS
    outputs = {output_tensor(op, slot).dtype for slot in range(len(op.outputs))}
    if {x.dtype, *outputs} != {DType.FLOAT32} or not (hybrid or weights.dtype is DType.FLOAT32):
        raise unsupported(op, "; ".join(COVERS))
    expect_rank(weights, 2)
    units = weights.shape[0]
    depths = {slots.weights: x.shape[-1], slots.recurrent: units}
    if slots.second is not None and slots.second_weights is not None:
        depths[slots.second_weights] = input_tensor(op, slots.second).shape[-1]
    for slot, depth in depths.items():
        _expect(input_tensor(op, slot), (units, depth), weights.dtype)
    _expect(input_tensor(op, slots.bias), (units,), DType.FLOAT32)
    _expect(state, (order.batch(x.shape), units), DType.FLOAT32)
    expect(state.is_variable, f"a variable tensor as input {slots.state}, found {state.name!r}")
    quantize = (ASYMMETRIC if option(op, "asymmetric_quantize_inputs") else SYMMETRIC)[profile]
    matrices = [input_tensor(op, slot) for slot in slots.matrices]
    return Cell(
        slots,
        order,
        choice(op, "fused_activation_function", Activation),
        quantize if hybrid else None,
        tuple(float(scale_of(tensor)) for tensor in matrices) if hybrid else (),
        all(tensor.data is not None for tensor in matrices),
        (slots.state,),
        misreads=MISREADS[profile],
    )


def _expect(tensor: TensorView, shape: tuple[int, ...], dtype: DType) -> None:
    if tensor.sparsity is not None:
        raise UnsupportedError(f"weights {tensor.name!r} are sparse, which is not covered")
    expect(tensor.shape == shape, f"tensor {tensor.name!r} of shape {shape}, found {tensor.shape}")
    expect_dtype(tensor, dtype)


KERNELS = (Kernel("RNN", prepare, covers=COVERS),)
