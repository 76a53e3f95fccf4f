"""From the scales of an integer LSTM to its multipliers.

Source: ``tflite/kernels/lstm.cc`` and ``tflite/kernels/unidirectional_sequence_lstm.cc``
(PopulateQuantizedLstmParams8x8_16).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kernels.engine.contract import expect, input_tensor, output_tensor, scale_of, zero_point_of
from kernels.engine.sequences import Order
from kernels.engine.types import OpView, TensorView
from kernels.lstm_integer import IntegerLSTM
from kernels.lstm_integer_gate import IntegerGate, Norm, ZeroPoints
from kernels.lstm_tensors import INPUT, PEEPHOLES, Gate, Layout, Slots, Types, check_states, clip_option
from kernels.lstm_vector import Blocks
from kernels.profiles import LITERT_OPTIMIZED_ARM64, LITERT_REFERENCE, Profile, Rules
from qmath.errors import UnsupportedError
from qmath.multiplier import quantize_multiplier
from qmath.requantize import DOUBLE_ROUNDING, DOUBLE_ROUNDING_HALF_UP, Regime
from qmath.types import DType, FixedPointMultiplier

REGIME: Rules[Regime] = Rules("LSTM", {LITERT_REFERENCE: DOUBLE_ROUNDING})
#: Of whole blocks in Arm's vector code.
VECTOR_REGIME: Rules[Regime | None] = Rules(
    "LSTM", {LITERT_REFERENCE: None, LITERT_OPTIMIZED_ARM64: DOUBLE_ROUNDING_HALF_UP}
)
GROUPED_REGIME: Rules[Regime] = Rules("LSTM", {LITERT_REFERENCE: DOUBLE_ROUNDING_HALF_UP})
TYPES = Types(weights=DType.INT8, peephole=DType.INT16, bias=DType.INT32, norm=DType.INT16)
#: Integer bits of the cell state for which the runtime has a tanh.
CELL_BITS = range(7)
#: How far from a power of two the scale of the cell state may be, in its logarithm.
LOG2_TOLERANCE = 1e-3


@dataclass(frozen=True, slots=True)
class Scales:
    """Float32 scales that multipliers are made of.

    Attributes
    ----------
    input, output
        Of the input and of the output state.
    cell_log2
        The cell state's is ``2**cell_log2``.
    gates
        Of what enters each gate's function, or its layer normalization.
    hidden
        Of the cells' outputs before the projection.

    """

    input: np.float32
    output: np.float32
    cell_log2: int
    gates: tuple[np.float32, np.float32, np.float32, np.float32]
    hidden: np.float32


def prepare_integer(op: OpView, slots: Slots, layout: Layout, order: Order, profile: Profile) -> IntegerLSTM:
    """Derive the multipliers of an integer LSTM whose tensors fit each other.

    Raises
    ------
    ModelError
        The op breaks its contract.
    UnsupportedError
        The runtime has no defined result.

    """
    x, output = input_tensor(op, INPUT), input_tensor(op, slots.output_state)
    check_states(op, slots, order.batch(x.shape), layout, DType.INT8, DType.INT16)
    if layout.peephole and layout.outputs > layout.cells:
        msg = f"{op.name} with peephole weights and more outputs than cells: the runtime reads past their end"
        raise UnsupportedError(msg)
    scales = _scales(op, slots, layout)
    cell_bits = 15 + scales.cell_log2
    if cell_bits not in CELL_BITS:
        msg = f"{op.name} with a cell state of scale 2**{scales.cell_log2}: the runtime leaves its tanh unset"
        raise UnsupportedError(msg)
    project = _float32(scale_of(input_tensor(op, slots.projection))) if layout.projection else None
    return IntegerLSTM(
        slots,
        layout,
        order,
        Blocks(REGIME[profile], VECTOR_REGIME[profile]),
        GROUPED_REGIME[profile],
        {gate: _gate(op, slots, layout, scales, gate) for gate in layout.gates},
        ZeroPoints(zero_point_of(x), zero_point_of(output), zero_point_of(_hidden(op))),
        cell_bits,
        _quantized_clip(op, "cell_clip", input_tensor(op, slots.cell_state)),
        _encoded(2.0**-15 / float(scales.hidden) * 2.0**-15),
        None if project is None else _encoded(project * scales.hidden / scales.output),
        _quantized_clip(op, "proj_clip", output_tensor(op)),
        all(tensor is None or tensor.data is not None for tensor in op.inputs[1 : slots.output_state]),
        (slots.output_state, slots.cell_state),
    )


def _scales(op: OpView, slots: Slots, layout: Layout) -> Scales:
    cell = float(scale_of(input_tensor(op, slots.cell_state)))
    expect(cell > 0, f"a positive scale of the cell state, found {cell}")
    log2 = np.log2(cell)
    near = abs(log2 - np.round(log2)) < LOG2_TOLERANCE
    expect(bool(near), f"a power of two as the scale of the cell state, found {cell:g}")
    gates = [_float32(2.0**-12)] * 4
    if layout.norm:
        count = len(op.intermediates)
        expect(count == len(gates) + 1, f"{len(gates) + 1} intermediate tensors for layer normalization, found {count}")
        gates = [_float32(scale_of(tensor)) for tensor in op.intermediates[:4]]
    return Scales(
        _float32(scale_of(input_tensor(op, INPUT))),
        _float32(scale_of(input_tensor(op, slots.output_state))),
        int(np.round(log2)),
        (gates[0], gates[1], gates[2], gates[3]),
        _float32(scale_of(_hidden(op))),
    )


def _hidden(op: OpView) -> TensorView:
    """Return the last intermediate tensor, which stands for the cells' outputs before the projection."""
    expect(len(op.intermediates) > 0, "an intermediate tensor for the hidden state, found none")
    return op.intermediates[-1]


def _gate(op: OpView, slots: Slots, layout: Layout, scales: Scales, gate: Gate) -> IntegerGate:
    """Derive a gate's multipliers: products and quotients in float32, but for peephole weights in float64."""
    target = scales.gates[gate]
    weights, recurrent = (
        _float32(scale_of(input_tensor(op, first + gate))) for first in (slots.weights, slots.recurrent)
    )
    from_cell = None
    if layout.peephole and gate in PEEPHOLES:
        peephole = scale_of(input_tensor(op, slots.peephole + PEEPHOLES.index(gate)))
        from_cell = _encoded(2.0**scales.cell_log2 * peephole / float(target))
    norm = None
    if layout.norm and slots.norm is not None:
        scale = _float32(scale_of(input_tensor(op, slots.norm + gate)))
        norm = Norm(_encoded(scale), max(1, int(np.float32(10000) * scale)))
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        return IntegerGate(
            _encoded(weights * scales.input / target), _encoded(recurrent * scales.output / target), from_cell, norm
        )


def _encoded(real: float | np.float32) -> FixedPointMultiplier:
    """Round a real multiplier to float32, then encode it."""
    return quantize_multiplier(np.float64(_float32(real)))


def _float32(value: float | np.float32) -> np.float32:
    with np.errstate(over="ignore"):
        return np.float32(value)


def _quantized_clip(op: OpView, name: str, tensor: TensorView) -> int:
    """Return a clipping option in codes of a tensor, toward zero and no more than its type holds."""
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        steps = np.float32(clip_option(op, name)) / _float32(scale_of(tensor))
    return int(np.clip(np.nan_to_num(steps), tensor.dtype.min, tensor.dtype.max))
