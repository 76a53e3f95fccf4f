"""What the tensors of an op are called: input, filter, weights, bias."""

from __future__ import annotations

from collections.abc import Mapping

from kernels.engine.types import OpView
from qmath.types import DType

_GATES = ("input", "forget", "cell", "output")
_LSTM = (
    "input",
    *(f"input_to_{gate}_weights" for gate in _GATES),
    *(f"recurrent_to_{gate}_weights" for gate in _GATES),
    *(f"cell_to_{gate}_weights" for gate in ("input", "forget", "output")),
    *(f"{gate}_gate_bias" for gate in _GATES),
    "projection_weights",
    "projection_bias",
    "output_state",
    "cell_state",
    *(f"{gate}_layer_norm" for gate in _GATES),
)
#: What the inputs of an op are called; others are ``input``, or ``input_1``, ``input_2`` ...
#: Types of axes, indices, shapes, biases, conditions.
INDICES = frozenset({DType.INT32, DType.INT64, DType.BOOL, DType.STRING})
_ROLES: Mapping[str, tuple[str, ...]] = {
    "CONV_2D": ("input", "filter", "bias"),
    "DEPTHWISE_CONV_2D": ("input", "filter", "bias"),
    "TRANSPOSE_CONV": ("shape", "filter", "input", "bias"),
    "FULLY_CONNECTED": ("input", "weights", "bias"),
    "SVDF": ("input", "feature_weights", "time_weights", "bias", "state"),
    "LSTM": _LSTM,
    "UNIDIRECTIONAL_SEQUENCE_LSTM": _LSTM,
    "BATCH_MATMUL": ("left", "right"),
    "PRELU": ("input", "slope"),
    "MEAN": ("input", "axes"),
    "SUM": ("input", "axes"),
}


def role(op: OpView, slot: int) -> str:
    """Return what an input of an op is called in formulas."""
    roles = _ROLES.get(op.name, ())
    if slot < len(roles):
        return roles[slot]
    data = [number for number, tensor in enumerate(op.inputs) if tensor is not None and tensor.dtype not in INDICES]
    if slot in data:
        return "input" if len(data) == 1 else f"input_{slot + 1}"
    return f"argument_{slot + 1}"
