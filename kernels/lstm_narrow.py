"""The integer LSTM with 8-bit sums ("8x8_8"): products with input and output state are int8 before they are added.

It is always without an input gate, with layer normalization and with a projection; functions are computed in float32.

Source: ``tflite/kernels/lstm_eval.cc`` (LstmStepInteger8x8_8), ``tflite/kernels/lstm.cc``
(PopulateQuantizedLstmParams8x8_8), ``tflite/kernels/internal/reference/portable_tensor_utils.cc``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np

from kernels.engine import exact, libm
from kernels.engine.float_sums import add_in_order
from kernels.engine.sequences import Order
from kernels.engine.types import Inputs, Outputs, Prepared, Runner, given
from kernels.lstm_tensors import INPUT, Gate, Layout, Parameters, Slots, parameters, run_steps
from qmath.errors import ModelError
from qmath.fixed_point import rounding_divide_by_power_of_two, saturate, wrap, wrap_int32
from qmath.requantize import Regime
from qmath.rounding import round_half_away_from_zero
from qmath.stages import Note, silent, under
from qmath.types import Array, FixedPointMultiplier, Float32Array, Int64Array

#: Gates that the op computes.
GATES = (Gate.FORGET, Gate.CELL, Gate.OUTPUT)


@dataclass(frozen=True, slots=True)
class Branch:
    """One of the two products of a gate.

    Attributes
    ----------
    into
        From the raw sums to int8.
    zero_point
        Of that int8.
    onward
        From there to the scale of the gate; None if the product is left out.

    """

    into: FixedPointMultiplier
    zero_point: int
    onward: FixedPointMultiplier | None


@dataclass(frozen=True, slots=True)
class NarrowGate:
    """How one gate is computed.

    Attributes
    ----------
    from_input, from_output
        The products with the input and with the output state.
    norm
        Scale of layer normalization's coefficients.

    """

    from_input: Branch
    from_output: Branch
    norm: np.float32


@dataclass(frozen=True, slots=True)
class NarrowLSTM(Prepared):
    """A prepared LSTM with 8-bit sums.

    Attributes
    ----------
    slots, layout
        Where the tensors are, and their sizes.
    regime
        Of sums in 32 bits.
    projection_regime
        Of the projection's sums, in 64 bits.
    gates
        Forget, CELL and output gate.
    input_zero_point, output_zero_point
        Of the input and of the output state.
    cell_clip
        Largest magnitude of the cell state, 0 for no limit.
    project
        From the projection's sums to the output state.
    projection_clip
        Largest magnitude of the projection's results, 0 for no limit.
    constant
        Whether all weights are constants.
    updates
        The slots of output and cell state.

    """

    slots: Slots
    layout: Layout
    regime: Regime
    projection_regime: Regime
    gates: Mapping[Gate, NarrowGate]
    input_zero_point: int
    output_zero_point: int
    cell_clip: int
    project: FixedPointMultiplier
    projection_clip: int
    constant: bool
    updates: tuple[int, ...]

    def evaluate(self, inputs: Inputs, note: Note) -> Outputs:
        """Evaluate :func:`narrow_step`."""
        return self._run(inputs, Weights.of(parameters(inputs, self.slots)), note)

    def compile(self, constants: Inputs) -> Runner:
        """Lay constant weights out once."""
        if not self.constant:
            return partial(self.evaluate, note=silent)
        weights = Weights.of(parameters(constants, self.slots))
        return lambda inputs: self._run(inputs, weights, silent)

    def _run(self, inputs: Inputs, weights: Weights, note: Note) -> Outputs:
        def step(x: Array, output: Array, cell: Array, time: int) -> tuple[Array, Array]:
            return narrow_step(x, output, cell, weights, self, under(note, f"step {time}"))

        output, cell = (given(inputs, slot) for slot in self.updates)
        return run_steps(given(inputs, INPUT), output, cell, Order.SINGLE, step)


@dataclass(frozen=True, slots=True)
class Weights:
    """The weights of a cell, transposed; see :class:`~kernels.lstm_tensors.Parameters`."""

    weights: Mapping[Gate, Array]
    recurrent: Mapping[Gate, Array]
    bias: Mapping[Gate, Array]
    norm: Mapping[Gate, Array]
    projection: Array
    projection_bias: Array

    @classmethod
    def of(cls, found: Parameters) -> Weights:
        """Take what is among an op's inputs."""
        return cls(
            {gate: _there(found.weights[gate]).T for gate in GATES},
            {gate: _there(found.recurrent[gate]).T for gate in GATES},
            {gate: _there(found.bias[gate]) for gate in GATES},
            {gate: _there(found.norm[gate]) for gate in GATES},
            _there(found.projection).T,
            _there(found.projection_bias),
        )


def _there(array: Array | None) -> Array:
    if array is None:
        raise ModelError("expected weights that the LSTM's layout asks for, found none")
    return array


def narrow_step(
    x: Array, output: Array, cell: Array, weights: Weights, lstm: NarrowLSTM, note: Note = silent
) -> tuple[Array, Array]:
    """Do one step.

    Quirk: Integer LSTM with 8-bit sums ignores input gate and peephole weights.

    Quirk: Integer LSTM with 8-bit sums leaves the output state's product out of the output gate.

    Parameters
    ----------
    x
        int8, shape (batch, features): quantized.
    output
        int8, shape (batch, outputs): the output state, quantized.
    cell
        int16, shape (batch, cells): the cell state, of scale ``2**-15``.
    weights, lstm
        The cell.
    note
        Receives the stages.

    Returns
    -------
    Both new states.

    Notes
    -----
    1. Each gate by :func:`narrow_gate`.
    2. ``cell = forget * cell / 2**15 + (32767 - forget) * update / 2**15``, each product rounded, ties away from zero,
       and the sum saturated to int16.
    3. Clamp the cell state to the clip, if there is one.
    4. hidden: output gate times tanh(cell), divided by ``2**15``, ties away from zero.
    5. Output state: the projection of hidden plus bias, requantized to int8 and clamped to the clip.

    """
    forget, update, opened = (narrow_gate(x, output, gate, weights, lstm, note).astype(np.int64) for gate in GATES)
    kept = rounding_divide_by_power_of_two(forget * cell, 15)
    added = wrap(rounding_divide_by_power_of_two((32767 - forget) * update, 15), 16)
    cell = saturate(kept + added, 16).astype(np.int16)
    if lstm.cell_clip > 0:
        cell = np.clip(cell, -lstm.cell_clip, lstm.cell_clip)
    note("cell state", cell)
    hidden = note("hidden", rounding_divide_by_power_of_two(opened * float_tanh(cell, -15), 15))
    sums = exact.matmul(hidden, weights.projection) + weights.projection_bias
    codes = saturate(lstm.projection_regime.apply(sums, lstm.project) + lstm.output_zero_point, 8)
    if lstm.projection_clip > 0:
        codes = np.clip(codes, -lstm.projection_clip, lstm.projection_clip)
    return note("output", codes.astype(np.int8)), cell


def narrow_gate(x: Array, output: Array, gate: Gate, weights: Weights, lstm: NarrowLSTM, note: Note) -> Int64Array:
    """Compute one gate: int16 with no integer bits, shape (batch, cells).

    1. Sum of weights * (x - zero_point), requantized to int8 with a zero point of its own; the same with recurrent
       weights and output state.
    2. Take the zero points away, requantize both to the scale of the gate, add them, saturate to int16.
    3. :func:`normalized`.
    4. The logistic function, or tanh for the CELL gate, times ``2**15``, toward zero, at most 32767.
    """
    factors = lstm.gates[gate]
    vectors = (x, weights.weights, lstm.input_zero_point), (output, weights.recurrent, lstm.output_zero_point)
    total = np.zeros((len(x), lstm.layout.cells), np.int64)
    for branch, (codes, matrices, zero_point) in zip((factors.from_input, factors.from_output), vectors, strict=True):
        if branch.onward is not None:
            sums = wrap_int32(exact.matmul(codes.astype(np.int64) - zero_point, matrices[gate]))
            eight_bits = saturate(lstm.regime.apply(sums, branch.into) + branch.zero_point, 8)
            total += lstm.regime.apply(eight_bits - branch.zero_point, branch.onward)
    total = normalized(saturate(total, 16), weights.norm[gate], weights.bias[gate], factors.norm)
    before = note(f"{gate.name.lower()} gate before its function", total)
    after = float_tanh(before, -12) if gate is Gate.CELL else float_logistic(before)
    return note(f"{gate.name.lower()} gate", after)


def normalized(gate: Int64Array, coefficients: Array, bias: Array, scale: np.float32) -> Int64Array:
    """Normalize each row to mean 0 and variance 1, scale it by the coefficients and add the bias, in float32.

    1. ``mean = sum / cells``; ``variance = (sum of squares) / cells - mean**2``; sums in order.
    2. ``(gate - mean) * (1 / sqrt(variance))``; a variance of 0 is replaced by 1e-8.
    3. ``(that * coefficients) * scale + bias * (scale / 2**10)``.
    4. Times ``2**12``, ties away from zero, saturated to int16.

    Quirk: Integer LSTM with 8-bit sums may find a negative variance where all cells agree; the whole row is then -8.
    """
    rows, cells = gate.astype(np.float32), np.float32(gate.shape[1])
    mean = add_in_order(rows) / cells
    variance = add_in_order(rows * rows) / cells - mean * mean
    with np.errstate(invalid="ignore", over="ignore"):
        inverse = np.float32(1) / np.sqrt(np.where(variance == 0, np.float32(1e-8), variance))
        unit = (rows - mean[:, None]) * inverse[:, None]
        weighted = unit * coefficients.astype(np.float32) * scale
        shifted = (weighted + bias.astype(np.float32) * (np.float32(2.0**-10) * scale)) * np.float32(2**12)
    limited = np.where(np.abs(shifted) < 2.0**31, shifted, np.float32(-(2.0**31)))
    return saturate(round_half_away_from_zero(limited).astype(np.int64), 16)


def float_logistic(x: Array) -> Int64Array:
    """Compute the logistic function of codes of scale ``2**-12``, in float32."""
    decayed = np.exp(x * -(2.0**-12)).astype(np.float32)
    return _to_int16(np.float32(1) / (np.float32(1) + decayed))


def float_tanh(x: Array, log2_scale: int) -> Int64Array:
    """Compute tanh of codes of scale ``2**log2_scale``, in float32."""
    return _to_int16(libm.tanh(x.astype(np.float32) * np.float32(2.0**log2_scale)))


def _to_int16(real: Float32Array) -> Int64Array:
    """Multiply by ``2**15``, round toward zero, saturate."""
    return np.minimum((real * np.float32(2**15)).astype(np.int64), 32767)
