"""The LSTM on float32 activations, with float32 weights or integer ones (hybrid).

Source: ``tflite/kernels/lstm_eval.cc`` (LstmStepFloat, LstmStepHybrid),
``tflite/kernels/internal/reference/portable_tensor_utils.cc`` (MeanStddevNormalization).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np

from kernels.engine import eigen
from kernels.engine.activation import Activation, activate_float
from kernels.engine.float_sums import add_in_order
from kernels.engine.hybrid import QuantizeRows
from kernels.engine.products import Matrix, Operand, float_matrix, operand, scaled_matrix
from kernels.engine.sequences import Order
from kernels.engine.types import Inputs, Outputs, Prepared, Runner, given
from kernels.lstm_tensors import INPUT, PEEPHOLES, Gate, Layout, Parameters, Slots, parameters, run_steps
from qmath.errors import ModelError
from qmath.stages import Note, silent, under
from qmath.types import Array, BoolArray, Float32Array


@dataclass(frozen=True, slots=True)
class Scales:
    """Scales of integer weights; 0 where there are none.

    Attributes
    ----------
    weights, recurrent, auxiliary, peephole
        One entry a gate.
    projection
        Of the projection's weights.

    """

    weights: Mapping[Gate, float]
    recurrent: Mapping[Gate, float]
    auxiliary: Mapping[Gate, float]
    peephole: Mapping[Gate, float]
    projection: float


@dataclass(frozen=True, slots=True)
class FloatLSTM(Prepared):
    """A prepared float32 or hybrid LSTM, one direction.

    Attributes
    ----------
    slots, layout, order
        Where the tensors are, their sizes, and how the sequence lies in memory.
    activation
        Of the cell's update and of the cell state.
    cell_clip, projection_clip
        Largest magnitudes of the cell state and of the projection's results, 0 for no limit.
    quantize
        How activations are quantized on the fly; None for float32 weights.
    scales
        Of integer weights; None for float32 weights.
    constant
        Whether all weights are constants.
    updates
        The slots of output and cell state.
    input, auxiliary
        The slot of the input, and that of a second one.
    forward
        Whether time runs forward.
    misreads
        Whether integer weights of -128 are misread.

    """

    slots: Slots
    layout: Layout
    order: Order
    activation: Activation
    cell_clip: float
    projection_clip: float
    quantize: QuantizeRows | None
    scales: Scales | None
    constant: bool
    updates: tuple[int, ...]
    input: int = INPUT
    auxiliary: int | None = None
    forward: bool = True
    misreads: bool = True

    def evaluate(self, inputs: Inputs, note: Note) -> Outputs:
        """Evaluate :func:`float_step` at each step of the sequence."""
        return self.run(inputs, Weights.of(parameters(inputs, self.slots), self), note)

    def compile(self, constants: Inputs) -> Runner:
        """Lay constant weights out once."""
        if not self.constant:
            return partial(self.evaluate, note=silent)
        weights = Weights.of(parameters(constants, self.slots), self)
        return lambda inputs: self.run(inputs, weights, silent)

    def run(self, inputs: Inputs, weights: Weights, note: Note) -> tuple[Array, Array, Array]:
        """Step through the sequence with weights that are laid out."""
        auxiliary = None if self.auxiliary is None else self.order.steps(given(inputs, self.auxiliary))
        x = given(inputs, self.input)
        packed = self._packed(self.order.batch(x.shape))

        def step(x: Array, output: Array, cell: Array, time: int) -> tuple[Array, Array]:
            second = None if auxiliary is None else auxiliary[time]
            vectors, inner = Vectors.of(x, second, output, self), under(note, f"step {time}")
            return float_step(vectors, cell, weights, self, packed, inner)

        output, cell = (given(inputs, slot) for slot in self.updates)
        return run_steps(x, output, cell, self.order, step, forward=self.forward)

    def _packed(self, batch: int) -> Mapping[Gate, BoolArray]:
        """Tell for each gate which elements Eigen handles in packets: the gates share one buffer, one after the other.

        A sequence that is batch major is computed one row at a time.
        """
        places = (Gate.INPUT, Gate.CELL, Gate.FORGET, Gate.OUTPUT) if self.layout.has_input_gate else PLACES_CIFG
        cells = self.layout.cells
        rows = batch if self.order is Order.BATCH_MAJOR else 1
        size = batch * cells // max(rows, 1)

        def mask(place: int) -> BoolArray:
            pieces = [eigen.in_packets(size, place * batch * cells + row * size) for row in range(rows)]
            return np.concatenate([np.zeros(0, np.bool_), *pieces]).reshape(batch, cells)

        return {gate: mask(place) for place, gate in enumerate(places)}


#: The order of the gates in memory without an input gate.
PLACES_CIFG = (Gate.CELL, Gate.FORGET, Gate.OUTPUT)


@dataclass(frozen=True, slots=True)
class Weights:
    """The weights of a cell, laid out for products; see :class:`~kernels.lstm_tensors.Parameters`."""

    weights: Mapping[Gate, Matrix]
    recurrent: Mapping[Gate, Matrix]
    auxiliary: Mapping[Gate, Matrix]
    peephole: Mapping[Gate, Float32Array]
    bias: Mapping[Gate, Float32Array]
    norm: Mapping[Gate, Float32Array]
    projection: Matrix | None
    projection_bias: Float32Array | None

    @classmethod
    def of(cls, found: Parameters, lstm: FloatLSTM) -> Weights:
        """Lay out what is among an op's inputs."""
        gates, scales = lstm.layout.gates, lstm.scales

        def matrix(weights: Array | None, scale: float) -> Matrix:
            return (
                float_matrix(_there(weights))
                if scales is None
                else scaled_matrix(_there(weights), scale, misreads=lstm.misreads)
            )

        def by_gate(group: str) -> dict[Gate, Matrix]:
            entries, own = getattr(found, group), None if scales is None else getattr(scales, group)
            return {gate: matrix(entries[gate], own[gate] if own else 0.0) for gate in gates}

        peephole = {gate: _there(found.peephole[gate]) for gate in gates if gate in PEEPHOLES and lstm.layout.peephole}
        if scales is not None:
            peephole = {
                gate: np.ascontiguousarray(codes).view(np.int8).astype(np.float32) * np.float32(scales.peephole[gate])
                for gate, codes in peephole.items()
            }
        return cls(
            by_gate("weights"),
            by_gate("recurrent"),
            {} if lstm.auxiliary is None else by_gate("auxiliary"),
            peephole,
            {gate: _there(found.bias[gate]) for gate in gates},
            {gate: _there(found.norm[gate]) for gate in gates} if lstm.layout.norm else {},
            matrix(found.projection, 0.0 if scales is None else scales.projection) if lstm.layout.projection else None,
            found.projection_bias,
        )


def _there(array: Array | None) -> Array:
    if array is None:
        raise ModelError("expected weights that the LSTM's layout asks for, found none")
    return array


@dataclass(frozen=True, slots=True)
class Vectors:
    """What a step multiplies its matrices with: input, second input if there is one, and output state."""

    x: Operand
    second: Operand
    output: Operand

    @classmethod
    def of(cls, x: Float32Array, second: Float32Array | None, output: Float32Array, lstm: FloatLSTM) -> Vectors:
        """Quantize each once for all four gates, if weights are integers."""
        ready = partial(operand, quantize=lstm.quantize, separate=lstm.order is Order.BATCH_MAJOR)
        return cls(ready(x), None if second is None else ready(second), ready(output))


def float_step(
    vectors: Vectors,
    cell: Float32Array,
    weights: Weights,
    lstm: FloatLSTM,
    packed: Mapping[Gate, BoolArray],
    note: Note = silent,
) -> tuple[Array, Array]:
    """Do one step, everything in float32.

    Quirk: Hybrid LSTM ignores the zero points of its weights, and reads UINT8 weights as INT8.

    Quirk: LSTM without a fused activation multiplies the output gate with the cell's update instead of the cell state.

    Parameters
    ----------
    vectors
        Input and output state.
    cell
        float32, shape (batch, cells): the cell state.
    weights, lstm
        The cell.
    packed
        Which elements of each gate follow the first formula of the logistic function.
    note
        Receives the stages.

    Returns
    -------
    Output state (batch, outputs) and cell state.

    Notes
    -----
    1. Each gate by :func:`float_gate`; input, forget and CELL gate see the old cell state, the output gate the new.
    2. ``cell = forget * cell + update * input``; without an input gate, 1 - forget takes its place.
    3. Clamp the cell state to the clip, if there is one.
    4. hidden: output gate times the activation of the cell state.
    5. The output state is hidden; or the projection's bias plus the product of hidden (quantized, if weights are
       integers) with its weights, clamped to the clip.

    """
    gate = partial(float_gate, vectors, weights=weights, lstm=lstm, packed=packed, note=note)
    let_in = gate(Gate.INPUT, cell) if lstm.layout.has_input_gate else None
    forget = gate(Gate.FORGET, cell)
    update = gate(Gate.CELL, cell)
    if let_in is None:
        let_in = np.float32(1) - forget
    cell = forget * cell + update * let_in
    if lstm.cell_clip > 0:
        cell = np.clip(cell, np.float32(-lstm.cell_clip), np.float32(lstm.cell_clip))
    note("cell state", cell)
    opened = gate(Gate.OUTPUT, cell)
    squashed = update if lstm.activation is Activation.NONE else activate_float(cell.copy(), lstm.activation)
    hidden = note("hidden", opened * squashed)
    if weights.projection is None:
        return note("output", hidden), cell
    start = np.zeros((len(cell), lstm.layout.outputs), np.float32)
    if weights.projection_bias is not None:
        start += weights.projection_bias
    output = weights.projection.add_to(start, operand(hidden, lstm.quantize, separate=lstm.order is Order.BATCH_MAJOR))
    if lstm.projection_clip > 0:
        output = np.clip(output, np.float32(-lstm.projection_clip), np.float32(lstm.projection_clip))
    return note("output", output), cell


def float_gate(
    vectors: Vectors,
    gate: Gate,
    cell: Float32Array,
    *,
    weights: Weights,
    lstm: FloatLSTM,
    packed: Mapping[Gate, BoolArray],
    note: Note,
) -> Float32Array:
    """Compute one gate (batch, cells).

    1. Start with the bias; with 0 if there is layer normalization.
    2. Add the products of the weights with the input, with the second input if there is one, and with the output
       state. Integer weights: accumulator times (row scale times weights scale), and nothing where all rows are zero.
    3. With peephole weights, add weights * cell state.
    4. With layer normalization: :func:`normalized`, times the coefficients, plus the bias.
    5. The logistic function; the op's activation for the CELL gate.
    """
    total = np.zeros_like(cell) if lstm.layout.norm else np.repeat(weights.bias[gate][None], len(cell), axis=0)
    total = weights.weights[gate].add_to(total, vectors.x)
    if gate in weights.auxiliary:
        total = weights.auxiliary[gate].add_to(total, vectors.second)
    total = weights.recurrent[gate].add_to(total, vectors.output)
    if gate in weights.peephole:
        total = total + weights.peephole[gate] * cell
    if gate in weights.norm:
        total = normalized(total) * weights.norm[gate] + weights.bias[gate]
    note(f"{gate.name.lower()} gate before its function", total)
    after = activate_float(total, lstm.activation) if gate is Gate.CELL else eigen.logistic(total, packed[gate])
    return np.asarray(note(f"{gate.name.lower()} gate", after), np.float32)


def normalized(rows: Float32Array) -> Float32Array:
    """Shift and scale each row to mean 0 and variance 1, each sum taken in order and each step in float32.

    1. ``mean = sum / size``; ``variance = (sum of (value - mean)**2) / size``.
    2. ``(value - mean) * (1 / sqrt(variance + 1e-8))``.
    """
    size = np.float32(rows.shape[1])
    centred = rows - (add_in_order(rows) / size)[:, None]
    variance = add_in_order(centred * centred) / size
    return np.asarray(centred * (np.float32(1) / np.sqrt(variance + np.float32(1e-8)))[:, None], np.float32)
