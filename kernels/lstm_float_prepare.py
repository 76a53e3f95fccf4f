"""From the tensors of an LSTM on float32 activations to its prepared form.

Source: ``tflite/kernels/lstm.cc``, ``tflite/kernels/unidirectional_sequence_lstm.cc``,
``tflite/kernels/bidirectional_sequence_lstm.cc``.
"""

from __future__ import annotations

from collections.abc import Mapping

from kernels.engine.activation import Activation
from kernels.engine.contract import choice, input_tensor, option, scale_of
from kernels.engine.hybrid import ASYMMETRIC, SYMMETRIC
from kernels.engine.hybrid_matmul import MISREADS
from kernels.engine.sequences import Order
from kernels.engine.types import OpView
from kernels.lstm_float import FloatLSTM, Scales
from kernels.lstm_tensors import INPUT, PEEPHOLES, Gate, Layout, Slots, Types, check_states, clip_option
from kernels.profiles import Profile
from qmath.errors import UnsupportedError
from qmath.types import DType

#: Types of weights.
WEIGHTS = (DType.FLOAT32, DType.INT8, DType.UINT8)


def types_of(weights: DType) -> Types:
    """Return the types of a form by that of its weights."""
    return Types(weights, peephole=weights, bias=DType.FLOAT32, norm=DType.FLOAT32)


def prepare_float(op: OpView, slots: Slots, layout: Layout, order: Order, profile: Profile) -> FloatLSTM:
    """Prepare one direction whose tensors fit each other.

    Raises
    ------
    ModelError
        The op breaks its contract.
    UnsupportedError
        The runtime has no defined result.

    """
    activation = choice(op, "fused_activation_function", Activation)
    hybrid = input_tensor(op, slots.weights + Gate.OUTPUT).dtype is not DType.FLOAT32
    if not hybrid and activation is Activation.NONE:
        msg = f"{op.name} in float32 without a fused activation: the runtime loses products where its input is zero"
        raise UnsupportedError(msg)
    if not hybrid and layout.outputs > layout.cells:
        msg = f"{op.name} in float32 that projects to more outputs than cells: the runtime writes past its memory"
        raise UnsupportedError(msg)
    check_states(op, slots, order.batch(input_tensor(op, INPUT).shape), layout, DType.FLOAT32, DType.FLOAT32)
    quantize = (ASYMMETRIC if option(op, "asymmetric_quantize_inputs") else SYMMETRIC)[profile]
    return FloatLSTM(
        slots,
        layout,
        order,
        activation,
        clip_option(op, "cell_clip"),
        clip_option(op, "proj_clip"),
        quantize if hybrid else None,
        _scales(op, slots, layout) if hybrid else None,
        all(tensor is None or tensor.is_variable or tensor.data is not None for tensor in op.inputs[1:]),
        (slots.output_state, slots.cell_state),
        misreads=MISREADS[profile],
    )


def _scales(op: OpView, slots: Slots, layout: Layout) -> Scales:
    def group(first: int | None) -> Mapping[Gate, float]:
        return {} if first is None else {gate: scale_of(input_tensor(op, first + gate)) for gate in layout.gates}

    def peephole(gate: Gate) -> float:
        return scale_of(input_tensor(op, slots.peephole + PEEPHOLES.index(gate)))

    return Scales(
        group(slots.weights),
        group(slots.recurrent),
        group(slots.auxiliary),
        {gate: peephole(gate) for gate in PEEPHOLES if layout.peephole and gate in layout.gates},
        scale_of(input_tensor(op, slots.projection)) if layout.projection else 0.0,
    )
