"""UNIDIRECTIONAL_SEQUENCE_LSTM in TFLite Micro and CMSIS-NN: int8 or int16 activations, int8 weights, int16 cell state.

Four gates, no peephole weights, no projection, no layer normalization. LiteRT's integer LSTM (``lstm_integer.py``) is
another: it folds zero points into its biases, saturates elsewhere and has other functions.

Source: tflite-micro ``tensorflow/lite/micro/kernels/lstm_eval.cc``, ``lstm_eval_general.cc``, ``lstm_common.cc``;
CMSIS-NN ``Source/NNSupportFunctions/arm_nn_lstm_step_s8.c``, ``Source/LSTMFunctions/arm_lstm_unidirectional_s8.c``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np

from kernels.engine import exact
from kernels.engine.contract import expect, input_tensor, output_tensor, scale_of, zero_point_of
from kernels.engine.sequences import Order
from kernels.engine.types import Inputs, OpView, Outputs, Prepared, Runner, given
from kernels.lstm_tensors import (
    INPUT,
    Gate,
    Layout,
    Parameters,
    Slots,
    Types,
    check_layout,
    check_states,
    clip_option,
    parameters,
    run_steps,
)
from kernels.profiles import CMSIS_NN, LITERT_REFERENCE, TFLM, Rules
from qmath.errors import UnsupportedError
from qmath.fixed_point import saturate, wrap_int32
from qmath.lookup import logistic_int16, tanh_int16
from qmath.multiplier import quantize_multiplier
from qmath.requantize import DOUBLE_ROUNDING, REDUCED_64, Regime
from qmath.requantize_vector import REDUCED_64_CUT_EARLY
from qmath.stages import Note, silent, under
from qmath.types import Array, DType, FixedPointMultiplier, Int64Array


@dataclass(frozen=True, slots=True)
class Habits:
    """In what the two runtimes differ.

    Attributes
    ----------
    keeps_state
        Whether the states live on from one invocation to the next.
    saturates_parts
        Whether each part of a sum is saturated to int16 before it is added, or the sum alone.
    wide
        The regime of 64-bit accumulators, those of int16 activations.

    """

    keeps_state: bool
    saturates_parts: bool
    wide: Regime


#: None where the runtime is not TFLite Micro.
HABITS: Rules[Habits | None] = Rules(
    "UNIDIRECTIONAL_SEQUENCE_LSTM",
    {
        LITERT_REFERENCE: None,
        TFLM: Habits(keeps_state=True, saturates_parts=True, wide=REDUCED_64),
        CMSIS_NN: Habits(keeps_state=False, saturates_parts=False, wide=REDUCED_64_CUT_EARLY),
    },
)
#: The type of the bias by that of the activations.
BIASES: Mapping[DType, DType] = {DType.INT8: DType.INT32, DType.INT16: DType.INT64}
#: Integer bits of what enters a gate's function: its scale is 2**-12.
GATE_LOG2 = -12
#: The multiplier of the functions' table for codes of that scale.
TABLE_MULTIPLIER = 3


@dataclass(frozen=True, slots=True)
class MicroGate:
    """From the products with a gate's weights to the scale of the gate."""

    from_input: FixedPointMultiplier
    from_output: FixedPointMultiplier


@dataclass(frozen=True, slots=True)
class MicroLSTM(Prepared):
    """A prepared LSTM of TFLite Micro or CMSIS-NN.

    Attributes
    ----------
    slots, layout, order
        Where the tensors are, their sizes, and how the sequence lies in memory.
    habits
        Of the runtime.
    codes
        Type of input and output.
    zero_points
        Of input and output.
    gates
        The multipliers of each gate.
    let_in
        From input gate times update to the cell state.
    hidden
        From output gate times tanh(cell state) to the output.
    cell_log2
        The cell state's scale is ``2**cell_log2``.
    cell_clip
        Largest magnitude of the cell state, 0 for no limit.
    updates
        The slots of the states, if they live on.

    """

    slots: Slots
    layout: Layout
    order: Order
    habits: Habits
    codes: DType
    zero_points: tuple[int, int]
    gates: Mapping[Gate, MicroGate]
    let_in: FixedPointMultiplier
    hidden: FixedPointMultiplier
    cell_log2: int
    cell_clip: int
    constant: bool
    updates: tuple[int, ...]

    def evaluate(self, inputs: Inputs, note: Note) -> Outputs:
        """Evaluate :func:`micro_step` at each step of the sequence."""
        return self._run(inputs, MicroWeights.of(parameters(inputs, self.slots), self), note)

    def compile(self, constants: Inputs) -> Runner:
        """Lay constant weights out once."""
        if not self.constant:
            return partial(self.evaluate, note=silent)
        weights = MicroWeights.of(parameters(constants, self.slots), self)
        return lambda inputs: self._run(inputs, weights, silent)

    def _run(self, inputs: Inputs, weights: MicroWeights, note: Note) -> Outputs:
        def step(x: Array, output: Array, cell: Array, time: int) -> tuple[Array, Array]:
            return micro_step(x, output, cell, weights, self, under(note, f"step {time}"))

        output, cell = (given(inputs, slot) for slot in (self.slots.output_state, self.slots.cell_state))
        if self.habits.keeps_state:
            return run_steps(given(inputs, INPUT), output, cell, self.order, step)
        start = np.full_like(output, self.zero_points[1])
        return run_steps(given(inputs, INPUT), start, np.zeros_like(cell), self.order, step)[:1]


@dataclass(frozen=True, slots=True)
class MicroWeights:
    """Weights laid out for exact sums, and what is added to the raw sums: bias and zero points."""

    weights: Mapping[Gate, exact.MatMul]
    recurrent: Mapping[Gate, exact.MatMul]
    bias: Mapping[Gate, Int64Array]
    recurrent_bias: Mapping[Gate, Int64Array]

    @classmethod
    def of(cls, found: Parameters, lstm: MicroLSTM) -> MicroWeights:
        """Lay out what is among an op's inputs."""
        gates = lstm.layout.gates
        weights = {gate: _matrix(found.weights[gate], lstm.codes) for gate in gates}
        recurrent = {gate: _matrix(found.recurrent[gate], lstm.codes) for gate in gates}
        of_input, of_output = lstm.zero_points
        biases = {gate: np.asarray(found.bias[gate], np.int64) for gate in gates}
        return cls(
            weights,
            recurrent,
            {gate: biases[gate] - of_input * weights[gate].weights.sum(axis=0) for gate in gates},
            {gate: -of_output * recurrent[gate].weights.sum(axis=0) for gate in gates},
        )


def _matrix(weights: Array | None, codes: DType) -> exact.MatMul:
    return exact.MatMul(np.asarray(weights, np.int64).T, codes)


def micro_step(
    x: Array, output: Array, cell: Array, weights: MicroWeights, lstm: MicroLSTM, note: Note = silent
) -> tuple[Array, Array]:
    """Do one step.

    Quirk: CMSIS-NN's LSTM starts every invocation from an empty state; TFLite Micro's goes on where the last ended.

    Quirk: TFLite Micro's LSTM saturates each part of a gate's sum and of the cell state to int16 before it adds them;
    CMSIS-NN's saturates some sums alone.

    Parameters
    ----------
    x
        int8 or int16, shape (batch, features): quantized.
    output
        Of the type of ``x``, shape (batch, cells): the output state, quantized.
    cell
        int16, shape (batch, cells): the cell state, of scale ``2**cell_log2``.
    weights, lstm
        The cell.
    note
        Receives the stages.

    Returns
    -------
    Both new states.

    Notes
    -----
    1. Each gate by :func:`micro_gate`.
    2. ``cell = forget * cell / 2**15 + input * update / (2**30 * cell_scale)``, each product rounded twice, saturated
       to int16.
    3. Clamp the cell state to the clip, if there is one.
    4. output: output gate times tanh(cell), requantized.

    """
    gates = {gate: micro_gate(x, output, gate, weights, lstm, note) for gate in lstm.layout.gates}
    products = DOUBLE_ROUNDING
    kept = saturate(products.apply(gates[Gate.FORGET] * cell, quantize_multiplier(2.0**-15)), 16)
    added = products.apply(gates[Gate.INPUT] * gates[Gate.CELL], lstm.let_in)
    cell = saturate(kept + (saturate(added, 16) if lstm.habits.saturates_parts else added), 16).astype(np.int16)
    if lstm.cell_clip > 0:
        cell = np.clip(cell, -lstm.cell_clip, lstm.cell_clip).astype(np.int16)
    note("cell state", cell)
    left = lstm.cell_log2 - GATE_LOG2
    opened = tanh_int16(cell, TABLE_MULTIPLIER << max(left, 0), max(-left, 0)).astype(np.int64) * gates[Gate.OUTPUT]
    scaled = products.apply(opened, lstm.hidden) + lstm.zero_points[1]
    codes = np.clip(scaled, lstm.codes.min, lstm.codes.max).astype(lstm.codes.storage)
    return note("output", codes), cell


def micro_gate(
    x: Array, output: Array, gate: Gate, weights: MicroWeights, lstm: MicroLSTM, note: Note = silent
) -> Int64Array:
    """Compute one gate, in units of 2**-15, shape (batch, cells).

    1. Sum of weights * (x - zero_point), plus bias; requantize to a scale of 2**-12; saturate to int16.
    2. Sum of recurrent weights * (output state - zero_point); the same, but for CMSIS-NN, which does not saturate it.
    3. Add; saturate to int16.
    4. The logistic function by table; tanh for the CELL gate.
    """
    regime = lstm.habits.wide if lstm.codes is DType.INT16 else DOUBLE_ROUNDING
    factors, name = lstm.gates[gate], gate.name.lower()

    def requantized(codes: Array, matrix: exact.MatMul, bias: Int64Array, factor: FixedPointMultiplier) -> Int64Array:
        sums = np.asarray(matrix(codes), np.int64) + bias
        return regime.apply(sums if lstm.codes is DType.INT16 else wrap_int32(sums), factor)

    from_input = saturate(requantized(x, weights.weights[gate], weights.bias[gate], factors.from_input), 16)
    recurrent = requantized(output, weights.recurrent[gate], weights.recurrent_bias[gate], factors.from_output)
    before = saturate(from_input + (saturate(recurrent, 16) if lstm.habits.saturates_parts else recurrent), 16)
    note(f"{name} gate before its function", before.astype(np.int16))
    function = tanh_int16 if gate is Gate.CELL else logistic_int16
    return note(f"{name} gate", function(before, TABLE_MULTIPLIER, 0)).astype(np.int64)


def prepare_micro(op: OpView, slots: Slots, order: Order, habits: Habits) -> MicroLSTM:
    """Check the contract and derive the multipliers: float32 products of scales, all else in float64.

    Raises
    ------
    ModelError
        The op breaks its contract.
    UnsupportedError
        TFLite Micro has no such LSTM.

    """
    x, output = input_tensor(op, INPUT), input_tensor(op, slots.output_state)
    bias = BIASES[x.dtype]
    layout = check_layout(op, slots, x.shape[-1], Types(DType.INT8, DType.INT16, bias, DType.INT16))
    if layout.peephole or layout.projection or layout.norm or not layout.has_input_gate:
        raise UnsupportedError(
            f"TFLite Micro has {op.name} with four gates and without peepholes, projection and normalization alone"
        )
    check_states(op, slots, order.batch(x.shape), layout, x.dtype, DType.INT16)
    cell_scale = scale_of(input_tensor(op, slots.cell_state))
    log2 = float(np.log2(cell_scale)) if cell_scale > 0 else np.nan
    expect(
        bool(abs(log2 - np.round(log2)) < 1e-3), f"a power of two as the scale of the cell state, found {cell_scale:g}"
    )
    hidden_scale = scale_of(output_tensor(op))
    clip = clip_option(op, "cell_clip") / cell_scale
    return MicroLSTM(
        slots,
        layout,
        order,
        habits,
        x.dtype,
        (zero_point_of(x), zero_point_of(output)),
        {gate: _gate(op, slots, gate) for gate in layout.gates},
        quantize_multiplier(2.0**-30 / cell_scale),
        quantize_multiplier(2.0**-30 / hidden_scale),
        int(np.round(log2)),
        int(min(clip, DType.INT16.max)),
        all(tensor is None or tensor.data is not None for tensor in op.inputs[1 : slots.output_state]),
        (slots.output_state, slots.cell_state) if habits.keeps_state else (),
    )


def _gate(op: OpView, slots: Slots, gate: Gate) -> MicroGate:
    def multiplier(activation: int, weights: int) -> FixedPointMultiplier:
        scales = [np.float32(scale_of(input_tensor(op, slot))) for slot in (activation, weights + gate)]
        return quantize_multiplier(float(scales[0] * scales[1]) / 2.0**GATE_LOG2)

    return MicroGate(multiplier(INPUT, slots.weights), multiplier(slots.output_state, slots.recurrent))
