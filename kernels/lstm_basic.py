"""LSTM, the basic kernel: one matrix for all gates, applied to input and previous output side by side.

Inputs: the input (batch, features), the previous output (batch, cells), weights (4 * cells, features + cells) and
biases (4 * cells,) of the gates in the order input, CELL, forget, output, and the previous cell state. Outputs: the
output, the cell state, what the matrix was applied to, and its result. Both states are variable tensors.

Source: ``tflite/kernels/lstm.cc`` (namespace basic), ``tflite/kernels/internal/optimized/optimized_ops.h`` (LstmCell).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np

from kernels.engine import eigen, exact
from kernels.engine.contract import (
    expect,
    expect_count,
    expect_rank,
    input_tensor,
    output_tensor,
    scale_of,
    unsupported,
    zero_point_of,
)
from kernels.engine.pairs import Pairs
from kernels.engine.types import Inputs, OpView, Outputs, Prepared, Runner, given
from kernels.lstm_integer_gate import GATE_BITS, LITERAL, TABULATED, Functions
from kernels.profiles import LITERT_OPTIMIZED_ARM64, LITERT_REFERENCE, Profile, Rules
from qmath.errors import UnsupportedError
from qmath.fixed_point import (
    rescale,
    rounding_divide_by_power_of_two,
    saturate,
    saturating_rounding_doubling_high_mul,
    wrap_int32,
)
from qmath.multiplier import quantize_multiplier
from qmath.requantize import DOUBLE_ROUNDING_HALF_UP, Regime
from qmath.requantize_vector import FLOOR_THEN_HALF_UP
from qmath.stages import Note, silent
from qmath.types import Array, DType, FixedPointMultiplier, Float32Array, Int64Array

#: Rounding of the matrix product; it runs on the optimized library in the reference kernels too.
REGIME: Rules[Regime] = Rules(
    "LSTM", {LITERT_REFERENCE: DOUBLE_ROUNDING_HALF_UP, LITERT_OPTIMIZED_ARM64: FLOOR_THEN_HALF_UP}
)
#: From so many columns on, a single row goes through a kernel of its own, which rounds twice.
ONE_ROW = 8
INPUTS, OUTPUTS = 5, 4
INPUT, OUTPUT_STATE, WEIGHTS, BIAS, CELL_STATE = range(INPUTS)
#: Integer bits of the cell state.
STATE_BITS = 4
#: Zero point of input and output.
ZERO_POINT = 128
#: How far from that scale the cell state's may be, in its logarithm.
LOG2_TOLERANCE = 1e-3
MAX_SHIFT = 30
QUANTIZED = (DType.UINT8, DType.UINT8, DType.UINT8, DType.INT32, DType.INT16)
QUANTIZED_OUTPUTS = (DType.UINT8, DType.INT16, DType.UINT8, DType.INT16)
COVERS = ("basic kernel: uint8 x uint8 with int16 cell state", "basic kernel: float32")


def prepare_basic(op: OpView, profile: Profile) -> Prepared:
    """Check the contract of LSTM's basic kernel and prepare it.

    Raises
    ------
    ModelError
        The op breaks its contract.
    UnsupportedError
        The combination of types is not covered, or the states are no variable tensors.

    """
    expect_count(op, {INPUTS}, OUTPUTS)
    x, output, weights, bias, cell = (input_tensor(op, slot) for slot in range(INPUTS))
    for tensor, rank in ((x, 2), (output, 2), (weights, 2), (bias, 1), (cell, 2)):
        expect_rank(tensor, rank)
    (batch, features), cells = x.shape, output.shape[1]
    wanted = ((batch, cells), (4 * cells, features + cells), (4 * cells,), (batch, cells))
    for tensor, shape in zip((output, weights, bias, cell), wanted, strict=True):
        expect(tensor.shape == shape, f"tensor {tensor.name!r} of shape {shape}, found {tensor.shape}")
    for state in (output, cell):
        if not state.is_variable:
            raise UnsupportedError(f"{op.name}: expected a variable tensor as state, found {state.name!r}")
    types = tuple(input_tensor(op, slot).dtype for slot in range(INPUTS))
    types_out = tuple(output_tensor(op, slot).dtype for slot in range(OUTPUTS))
    if {*types, *types_out} == {DType.FLOAT32}:
        return FloatBasicLSTM()
    if types != QUANTIZED or types_out != QUANTIZED_OUTPUTS:
        raise unsupported(op, "; ".join(COVERS))
    scale, wanted_scale = float(scale_of(output_tensor(op, 1))), 2.0 ** (STATE_BITS - 15)
    near = scale > 0 and abs(np.log2(scale / wanted_scale)) < LOG2_TOLERANCE
    expect(bool(near), f"scale {wanted_scale:g} of the cell state, found {scale:g}")
    factor = quantize_multiplier(np.float64(np.float32(4096) * np.float32(scale_of(bias))))
    if factor.shift > MAX_SHIFT:
        raise UnsupportedError(f"{op.name}: expected a bias of scale below 2**{MAX_SHIFT - 12}, found {scale_of(bias)}")
    regime, weights_zero_point, pairs = REGIME[profile], zero_point_of(weights), None
    if regime is FLOOR_THEN_HALF_UP:
        if batch == 1 and features + cells >= ONE_ROW:
            regime = DOUBLE_ROUNDING_HALF_UP
        else:
            pairs = Pairs(DType.UINT8.min, filled_weights=weights_zero_point == DType.UINT8.min)
    return BasicLSTM(regime, factor, weights_zero_point, pairs)


@dataclass(frozen=True, slots=True)
class BasicLSTM(Prepared):
    """A prepared basic LSTM on uint8.

    Attributes
    ----------
    regime, factor
        From the matrix's sums to int16 of scale ``2**-12``.
    weights_zero_point
        Of the weights.
    pairs
        How products join 16-bit lanes; None if they do not.

    """

    regime: Regime
    factor: FixedPointMultiplier
    weights_zero_point: int
    pairs: Pairs | None = None

    updates = (OUTPUT_STATE, CELL_STATE)

    def evaluate(self, inputs: Inputs, note: Note) -> Outputs:
        """Evaluate :func:`basic_lstm`."""
        return self._run(inputs, self._matrix(given(inputs, WEIGHTS)), LITERAL, note)

    def compile(self, constants: Inputs) -> Runner:
        """Lay constant weights out once, and tabulate the gates' functions."""
        if (weights := constants[WEIGHTS]) is None:
            return partial(self.evaluate, note=silent)
        matrix = self._matrix(weights)
        return lambda inputs: self._run(inputs, matrix, TABULATED, silent)

    def _matrix(self, weights: Array) -> exact.MatMul:
        return exact.MatMul(weights.T.astype(np.int64) - self.weights_zero_point, DType.UINT8)

    def _run(self, inputs: Inputs, matrix: exact.MatMul, functions: Functions, note: Note) -> Outputs:
        x, output, bias, cell = (given(inputs, slot) for slot in (INPUT, OUTPUT_STATE, BIAS, CELL_STATE))
        joined = np.concatenate([x, output], axis=1)
        gates, output, cell = basic_lstm(joined, matrix, bias, cell, self, functions, note)
        return output, cell, joined, gates, output, cell


def basic_lstm(
    joined: Array,
    matrix: exact.MatMul,
    bias: Array,
    cell: Array,
    lstm: BasicLSTM,
    functions: Functions,
    note: Note = silent,
) -> tuple[Array, Array, Array]:
    """Do one step of the basic LSTM on uint8.

    Quirk: The basic LSTM takes 128 for the zero points of input and output and ``2**-7`` for their scales, whatever
    the file says.

    Parameters
    ----------
    joined
        uint8, shape (batch, features + cells): input and previous output.
    matrix
        Weights, zero point taken away.
    bias
        int32, shape (4 * cells,).
    cell
        int16, shape (batch, cells): the cell state, in Q4.11.
    lstm, functions
        The prepared op.
    note
        Receives the stages.

    Returns
    -------
    gates
        int16, shape (batch, 4 * cells): what enters the gates' functions, in Q3.12.
    output
        uint8, shape (batch, cells).
    cell
        int16, shape (batch, cells).

    Notes
    -----
    1. gates: sum of weights * (code - 128), plus bias; requantized to int16.
    2. Logistic function of input, forget and output gate, tanh of the CELL gate; results in Q0.15. A product of two
       numbers below keeps 16 bits, ties up.
    3. ``cell = input * update`` in Q4.11, ties away from zero, plus ``forget * cell``; saturated.
    4. ``output = output gate * tanh(cell)``, the cell state saturated to Q3.12 for it. Divide by 256, ties away from
       zero; saturate to int8; add 128.

    """
    sums = matrix(joined).astype(np.int64) - ZERO_POINT * matrix.weights.sum(axis=0) + bias
    if lstm.pairs is not None:
        codes = matrix.weights.T.astype(np.int64) + lstm.weights_zero_point
        sums = sums - ((lstm.pairs.of_inputs(joined) @ lstm.pairs.of_weights(codes).T) << 16)
    accumulator = note("accumulator", wrap_int32(sums))
    gates = note("gates before their functions", saturate(lstm.regime.apply(accumulator, lstm.factor), 16))
    codes = gates.astype(np.int16)
    parts = (np.ascontiguousarray(part) for part in np.split(codes, 4, axis=1))
    into, update, forget, opened = (
        note(f"{name} gate", function(part, GATE_BITS))
        for name, part, function in zip(
            ("input", "cell", "forget", "output"),
            parts,
            (functions.logistic, functions.tanh, functions.logistic, functions.logistic),
            strict=True,
        )
    )
    added = rounding_divide_by_power_of_two(_times(into, update), STATE_BITS)
    cell = note("cell state", saturate(added + _times(forget, cell), 16).astype(np.int16))
    squashed = functions.tanh(rescale(cell, STATE_BITS, GATE_BITS, 16).astype(np.int16), GATE_BITS)
    activated = rounding_divide_by_power_of_two(_times(opened, squashed), 8)
    output = note("output", (saturate(activated, 8) + ZERO_POINT).astype(np.uint8))
    return codes, output, cell


def _times(a: Array, b: Array) -> Int64Array:
    return saturating_rounding_doubling_high_mul(a, b, 16)


@dataclass(frozen=True, slots=True)
class FloatBasicLSTM(Prepared):
    """A prepared basic LSTM in float32."""

    updates = (OUTPUT_STATE, CELL_STATE)

    def evaluate(self, inputs: Inputs, note: Note) -> Outputs:
        """Evaluate :func:`float_basic_lstm`."""
        x, output, weights, bias, cell = (given(inputs, slot) for slot in range(INPUTS))
        joined = np.concatenate([x, output], axis=1)
        gates, output, cell = float_basic_lstm(joined, weights, bias, cell, note)
        return output, cell, joined, gates, output, cell


def float_basic_lstm(
    joined: Float32Array, weights: Float32Array, bias: Float32Array, cell: Float32Array, note: Note = silent
) -> tuple[Array, Array, Array]:
    """Do one step of the basic LSTM in float32.

    1. ``gates = weights @ joined + bias``, in an order of additions that depends on the machine.
    2. ``cell = logistic(input) * tanh(update) + logistic(forget) * cell``.
    3. ``output = logistic(output gate) * tanh(cell)``.
    """
    gates = note("gates before their functions", joined @ weights.T + bias)
    into, update, forget, opened = np.split(gates, 4, axis=1)
    cell = note("cell state", _logistic(into) * eigen.tanh(update) + _logistic(forget) * cell)
    return gates, note("output", _logistic(opened) * eigen.tanh(cell)), cell


def _logistic(x: Float32Array) -> Float32Array:
    return eigen.logistic(x, np.ones(x.shape, np.bool_))
