"""From the scales of an integer LSTM with 8-bit sums to its multipliers.

Source: ``tflite/kernels/lstm.cc`` (PopulateQuantizedLstmParams8x8_8), ``tflite/kernels/lstm_eval.cc``.
"""

from __future__ import annotations

import numpy as np

from kernels.engine.contract import expect, input_tensor, output_tensor, scale_of, zero_point_of
from kernels.engine.sequences import Order
from kernels.engine.types import OpView
from kernels.lstm_narrow import GATES, Branch, NarrowGate, NarrowLSTM
from kernels.lstm_tensors import INPUT, Gate, Layout, Slots, check_states, clip_option
from kernels.profiles import LITERT_REFERENCE, Profile, Rules
from qmath.errors import UnsupportedError
from qmath.multiplier import quantize_multiplier
from qmath.requantize import DOUBLE_ROUNDING, REDUCED_64, Regime
from qmath.types import DType, FixedPointMultiplier

REGIME: Rules[Regime] = Rules("LSTM", {LITERT_REFERENCE: DOUBLE_ROUNDING})
PROJECTION_REGIME: Rules[Regime] = Rules("LSTM", {LITERT_REFERENCE: REDUCED_64})
#: Intermediate tensors: for each gate its sum, its product with the input, its product with the output state.
INTERMEDIATES = 12
CELL_SCALE = 2.0**-15
#: Real multipliers above which the runtime's shifts are not defined.
MAX_SHIFT = 30
MAX_PROJECTION_SHIFT = 7


def prepare_narrow(op: OpView, slots: Slots, layout: Layout, order: Order, profile: Profile) -> NarrowLSTM:
    """Derive the multipliers of an LSTM with 8-bit sums whose tensors fit each other.

    Raises
    ------
    ModelError
        The op breaks its contract.
    UnsupportedError
        The runtime has no defined result.

    """
    if not (order is Order.SINGLE and layout.norm and layout.projection and slots.norm is not None):
        raise _undefined(op, "without layer normalization and a projection, or over a sequence")
    if len(op.inputs) <= slots.projection + 1 or op.inputs[slots.projection + 1] is None:
        raise _undefined(op, "without a projection bias")
    x, output, cell = (input_tensor(op, slot) for slot in (INPUT, slots.output_state, slots.cell_state))
    check_states(op, slots, order.batch(x.shape), layout, DType.INT8, DType.INT16)
    found = float(scale_of(cell))
    expect(found == CELL_SCALE, f"scale {CELL_SCALE:g} of the cell state, found {found:g}")
    cell_clip, projection_clip = clip_option(op, "cell_clip"), clip_option(op, "proj_clip")
    steps = np.float32(projection_clip) / np.float32(scale_of(output_tensor(op)))
    weights_scale, output_scale = (float(scale_of(tensor)) for tensor in (input_tensor(op, slots.projection), output))
    project = _encoded(op, np.float32(weights_scale * 2.0**-15 / output_scale))
    if project.shift > MAX_PROJECTION_SHIFT:
        raise _undefined(op, f"whose projection is scaled by more than 2**{MAX_PROJECTION_SHIFT}")
    return NarrowLSTM(
        slots,
        layout,
        REGIME[profile],
        PROJECTION_REGIME[profile],
        {gate: _gate(op, slots, gate) for gate in GATES},
        zero_point_of(x),
        zero_point_of(output),
        int(cell_clip / CELL_SCALE) if cell_clip < 1 else 0,
        project,
        int(np.clip(steps, DType.INT8.min, DType.INT8.max)),
        all(tensor is None or tensor.data is not None for tensor in op.inputs[1 : slots.output_state]),
        (slots.output_state, slots.cell_state),
    )


def _gate(op: OpView, slots: Slots, gate: Gate) -> NarrowGate:
    between = op.intermediates[3 * gate : 3 * gate + 3]
    total, *parts = (np.float32(scale_of(tensor)) for tensor in between)
    vectors = (INPUT, slots.weights + gate), (slots.output_state, slots.recurrent + gate)
    branches = []
    for part, tensor, (vector, weights) in zip(parts, between[1:], vectors, strict=True):
        scales = (np.float32(scale_of(input_tensor(op, slot))) for slot in (weights, vector))
        with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
            into, onward = np.prod([*scales], dtype=np.float32) / part, part / total
        branches.append(Branch(_encoded(op, into), zero_point_of(tensor), _encoded(op, onward)))
    from_input, from_output = branches
    if gate is Gate.OUTPUT:
        from_output = Branch(from_output.into, from_output.zero_point, None)
    coefficients = np.float32(scale_of(input_tensor(op, (slots.norm or 0) + gate)))
    encoded = quantize_multiplier(np.float64(coefficients))
    scale = np.float32(float(encoded.multiplier) * 2.0 ** (float(encoded.shift) - 31))
    return NarrowGate(from_input, from_output, scale)


def _encoded(op: OpView, real: np.float32) -> FixedPointMultiplier:
    factor = quantize_multiplier(np.float64(real))
    if factor.shift > MAX_SHIFT:
        raise _undefined(op, f"with a real multiplier of {real:g}")
    return factor


def _undefined(op: OpView, what: str) -> UnsupportedError:
    return UnsupportedError(f"{op.name} with 8-bit sums (12 intermediate tensors) {what}: the runtime has no result")
