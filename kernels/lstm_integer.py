"""The integer LSTM with 16-bit gates: int8 input, output and weights, int16 cell state ("8x8_16").

Source: ``tflite/kernels/lstm_eval.cc`` (LstmStepInteger8x8_16),
``tflite/kernels/internal/reference/portable_tensor_utils.cc``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np

from kernels.engine import exact
from kernels.engine.sequences import Order
from kernels.engine.types import Inputs, Outputs, Prepared, Runner, given
from kernels.lstm_integer_gate import (
    GATE_BITS,
    LITERAL,
    TABULATED,
    Functions,
    IntegerGate,
    Weights,
    ZeroPoints,
    normalized,
)
from kernels.lstm_tensors import INPUT, Gate, Layout, Slots, parameters, run_steps
from kernels.lstm_vector import PRODUCTS, PROJECTED, Blocks
from qmath.fixed_point import rounding_divide_by_power_of_two, saturate, wrap, wrap_int32
from qmath.requantize import Regime
from qmath.stages import Note, silent, under
from qmath.types import Array, FixedPointMultiplier, Int64Array

#: Elements of a row that vector code adds peephole products to at once.
PEEPHOLE_GROUP = 16


@dataclass(frozen=True, slots=True)
class IntegerLSTM(Prepared):
    """A prepared integer LSTM.

    Attributes
    ----------
    slots, layout, order
        Where the tensors are, their sizes, and how the sequence lies in memory.
    blocks
        Of every requantization but one.
    grouped_regime
        Of peephole products in whole groups of ``PEEPHOLE_GROUP``.
    gates
        The multipliers of each gate.
    zero_points
        Of the int8 tensors.
    cell_bits
        Integer bits of the cell state: its scale is ``2**(cell_bits - 15)``.
    cell_clip
        Largest magnitude of the cell state, 0 for no limit.
    hidden
        From output gate times tanh(cell state) to the cells' outputs.
    project
        From the projection's sums to the output state; None without a projection.
    projection_clip
        Largest magnitude of the projection's results, 0 for no limit.
    constant
        Whether all weights are constants.
    updates
        The slots of output and cell state.

    """

    slots: Slots
    layout: Layout
    order: Order
    blocks: Blocks
    grouped_regime: Regime
    gates: Mapping[Gate, IntegerGate]
    zero_points: ZeroPoints
    cell_bits: int
    cell_clip: int
    hidden: FixedPointMultiplier
    project: FixedPointMultiplier | None
    projection_clip: int
    constant: bool
    updates: tuple[int, ...]

    def evaluate(self, inputs: Inputs, note: Note) -> Outputs:
        """Evaluate :func:`integer_step` at each step of the sequence."""
        weights = Weights.of(parameters(inputs, self.slots), self.layout, self.zero_points)
        return self._run(inputs, weights, LITERAL, note)

    def compile(self, constants: Inputs) -> Runner:
        """Lay constant weights out once, and tabulate the gates' functions."""
        if not self.constant:
            return partial(self.evaluate, note=silent)
        weights = Weights.of(parameters(constants, self.slots), self.layout, self.zero_points)
        return lambda inputs: self._run(inputs, weights, TABULATED, silent)

    def together(self, rows: Array) -> int:
        """Return how many rows a step computes at once."""
        return 1 if self.order is Order.BATCH_MAJOR else len(rows)

    def _run(self, inputs: Inputs, weights: Weights, functions: Functions, note: Note) -> Outputs:
        def step(x: Array, output: Array, cell: Array, time: int) -> tuple[Array, Array]:
            return integer_step(x, output, cell, weights, self, functions, under(note, f"step {time}"))

        output, cell = (given(inputs, slot) for slot in self.updates)
        return run_steps(given(inputs, INPUT), output, cell, self.order, step)


def integer_step(
    x: Array,
    output: Array,
    cell: Array,
    weights: Weights,
    lstm: IntegerLSTM,
    functions: Functions,
    note: Note = silent,
) -> tuple[Array, Array]:
    """Do one step.

    Quirk: Integer LSTM with a projection stores its hidden codes with the zero point negated.

    Parameters
    ----------
    x
        int8, shape (batch, features): quantized.
    output
        int8, shape (batch, outputs): the output state, quantized.
    cell
        int16, shape (batch, cells): the cell state, in Q(cell_bits).
    weights, lstm, functions
        The cell.
    note
        Receives the stages.

    Returns
    -------
    Both new states.

    Notes
    -----
    1. Each gate by :func:`integer_gate`; input, forget and CELL gate see the old cell state, the output gate the new.
    2. ``cell = forget * cell / 2**15 + input * update / 2**(15 + cell_bits)``, each product rounded, ties away from
       zero, and the sum saturated to int16. Without an input gate, 32767 - forget takes its place.
    3. Clamp the cell state to the clip, if there is one.
    4. hidden: output gate times tanh(cell), requantized to int8.
    5. The output state is hidden; or the projection of hidden, requantized to int8 and clamped to the clip.

    """
    gate = partial(integer_gate, x, output, weights=weights, lstm=lstm, functions=functions, note=note)
    forget = gate(Gate.FORGET, cell).astype(np.int64)
    let_in = gate(Gate.INPUT, cell).astype(np.int64) if lstm.layout.has_input_gate else 32767 - forget
    update = gate(Gate.CELL, cell)
    cell = _next_cell(cell, forget, let_in, update, lstm, note)
    output_gate, squashed = gate(Gate.OUTPUT, cell).astype(np.int64), functions.tanh(cell, lstm.cell_bits)
    note("tanh of the cell state", squashed, f"~ 2**15 * tanh(cell_state / 2**{15 - lstm.cell_bits})", cell_state=cell)
    opened = note("accumulator", output_gate * squashed, "output_gate * tanh", output_gate=output_gate, tanh=squashed)
    scaled = lstm.blocks.apply(opened, lstm.hidden, PRODUCTS, note=note)
    sign = "-" if lstm.project is not None else "+"
    rule, zero_point = f"clamp(scaled {sign} zero_point, -128, 127)", np.asarray(lstm.zero_points.hidden)
    if lstm.project is None:
        codes = saturate(scaled + lstm.zero_points.hidden, 8).astype(np.int8)
        return note("output", codes, rule, scaled=scaled, zero_point=zero_point), cell
    hidden = saturate(scaled - lstm.zero_points.hidden, 8).astype(np.int8)
    note("hidden", hidden, rule, scaled=scaled, zero_point=zero_point)
    return note("output", _project(hidden, weights, lstm)), cell


def _next_cell(
    cell: Array, forget: Int64Array, let_in: Int64Array, update: Array, lstm: IntegerLSTM, note: Note
) -> Array:
    """Forget a part of the cell state, and add to it (steps 2 and 3 of :func:`integer_step`)."""
    note("cell state before", cell)
    kept = rounding_divide_by_power_of_two(forget * cell, 15)
    note("kept", kept, "half_away(forget * cell / 2**15)", forget=forget, cell=cell)
    bits = 15 + lstm.cell_bits
    added = wrap(rounding_divide_by_power_of_two(let_in * update, bits), 16)
    note("added", added, f"wrap(half_away(let_in * update / 2**{bits}), 16)", let_in=let_in, update=update)
    saturated = saturate(kept + added, 16).astype(np.int16)
    note("cell state", saturated, "clamp(kept + added, -32768, 32767)", kept=kept, added=added)
    clip = lstm.cell_clip
    if clip <= 0:
        return saturated
    clipped = np.clip(saturated, -clip, clip)
    return note("cell state clipped", clipped, f"clamp(cell_state, -{clip}, {clip})", cell_state=saturated)


def _project(hidden: Array, weights: Weights, lstm: IntegerLSTM) -> Array:
    if weights.projection is None or lstm.project is None:
        return hidden
    sums = _sums(hidden, weights.projection, weights.projection_bias, lstm)
    scaled = lstm.blocks.apply(sums, lstm.project, PROJECTED, lstm.together(sums))
    codes = saturate(scaled + lstm.zero_points.output, 8)
    if lstm.projection_clip > 0:
        codes = np.clip(codes, -lstm.projection_clip, lstm.projection_clip)
    return codes.astype(np.int8)


def integer_gate(
    x: Array,
    output: Array,
    gate: Gate,
    cell: Array,
    *,
    weights: Weights,
    lstm: IntegerLSTM,
    functions: Functions,
    note: Note,
) -> Array:
    """Compute one gate: int16 with no integer bits, shape (batch, cells).

    1. Sum of weights * (x - zero_point), plus bias unless there is layer normalization; requantize; saturate to int16.
    2. Add the sum of recurrent weights * (output state - zero_point), requantized; saturate.
    3. With peephole weights, add weights * cell state, requantized; saturate.
    4. With layer normalization, :func:`normalized`.
    5. The logistic function; tanh for the CELL gate.
    """
    factors = lstm.gates[gate]
    apply, name = lstm.blocks.regime.apply, f"{gate.name.lower()} gate"
    parts = [under(note, f"{name}: from the {source}") for source in ("input", "output state")]
    sums = parts[0]("sum with bias", _sums(x, weights.weights[gate], weights.bias[gate], lstm))
    from_input = apply(sums, factors.from_input, parts[0])
    sums = parts[1]("sum with bias", _sums(output, weights.recurrent[gate], weights.recurrent_bias[gate], lstm))
    from_output = apply(sums, factors.from_output, parts[1])
    total = saturate(saturate(from_input, 16) + from_output, 16)
    rule = "clamp(clamp(from_input, -32768, 32767) + from_output, -32768, 32767)"
    note(f"{name}: both", total, rule, from_input=from_input, from_output=from_output)
    if factors.from_cell is not None:
        total = _add_peephole(total, weights.peephole[gate], cell, factors.from_cell, lstm)
    if factors.norm is not None:
        total = normalized(total, weights.norm[gate], weights.norm_bias[gate], factors.norm, lstm.blocks)
    plain = factors.from_cell is None and factors.norm is None
    before = note(f"{name} before its function", total.astype(np.int16), "both" if plain else "", both=total)
    after = functions.tanh(before, GATE_BITS) if gate is Gate.CELL else functions.logistic(before, GATE_BITS)
    argument = f"before / 2**{15 - GATE_BITS}"
    rule = f"~ 2**15 * tanh({argument})" if gate is Gate.CELL else f"~ 2**15 / (1 + exp(-{argument}))"
    return note(name, after, rule, before=before)


def _sums(x: Array, matrix: exact.MatMul, bias: Array | None, lstm: IntegerLSTM) -> Int64Array:
    sums = np.asarray(matrix(x), np.int64) - lstm.blocks.lost(x, matrix.weights)
    return wrap_int32(sums + (0 if bias is None else bias))


def _add_peephole(
    total: Int64Array, weights: Array, cell: Array, factor: FixedPointMultiplier, lstm: IntegerLSTM
) -> Int64Array:
    """Add peephole weights times cell state.

    Quirk: Integer LSTM with peephole weights and a projection adds the peephole products to as many elements as there
    are outputs, counted from the start of the whole batch, not to every cell.

    Quirk: Integer LSTM rounds ties of peephole products up in groups of 16 elements, as vector code does, and away from
    zero in what is left over.
    """
    outputs = lstm.layout.outputs
    together = lstm.together(total)
    flat = total.reshape(len(total) // max(together, 1), -1).copy()
    reach = together * outputs
    products = np.tile(weights[:outputs], together) * cell.reshape(flat.shape)[:, :reach]
    in_group = np.arange(outputs) < outputs // PEEPHOLE_GROUP * PEEPHOLE_GROUP
    grouped, alone = (regime.apply(products, factor) for regime in (lstm.grouped_regime, lstm.blocks.regime))
    flat[:, :reach] = saturate(flat[:, :reach] + np.where(np.tile(in_group, together), grouped, alone), 16)
    return flat.reshape(total.shape)
