"""What TFLite Micro refuses, and why.

Types were read in the kernels' Prepare and Eval functions, the ops that were run with stored outputs agree. The other
refusals were met on the runtime.

Source: tflite-micro ``tensorflow/lite/micro/kernels`` at commit 90b983c2 (2026-08-20).
"""

from __future__ import annotations

from collections.abc import Mapping

from kernels.engine.types import OpView
from qmath.types import DType

_NUMBERS = "float32 int8 int16"
#: Element types of the data that an op reads; ops that are not listed move anything, or nothing.
TYPES: Mapping[str, str] = {
    **dict.fromkeys(("ABS", "LEAKY_RELU", "LOGISTIC", "TANH", "SOFTMAX", "RELU", "RELU6", "TRANSPOSE"), _NUMBERS),
    **dict.fromkeys(("AVERAGE_POOL_2D", "MAX_POOL_2D", "BATCH_MATMUL", "CONV_2D", "DEPTHWISE_CONV_2D"), _NUMBERS),
    **dict.fromkeys(("FULLY_CONNECTED", "TRANSPOSE_CONV", "MEAN", "SUM", "RESIZE_NEAREST_NEIGHBOR"), _NUMBERS),
    **dict.fromkeys(("EXPAND_DIMS", "SELECT_V2", "PRELU", "UNIDIRECTIONAL_SEQUENCE_LSTM"), _NUMBERS),
    **dict.fromkeys(("ADD", "SUB", "MUL", "SQUARED_DIFFERENCE", "PAD", "PADV2"), f"{_NUMBERS} int32"),
    **dict.fromkeys(("SPLIT", "SPLIT_V", "UNPACK", "DYNAMIC_UPDATE_SLICE"), f"{_NUMBERS} int32"),
    **dict.fromkeys(("SLICE", "STRIDED_SLICE"), f"{_NUMBERS} int32 bool"),
    **dict.fromkeys(("MAXIMUM", "MINIMUM", "PACK"), f"{_NUMBERS} int32 int64"),
    **dict.fromkeys(("ADD_N", "ARG_MAX", "ARG_MIN", "BATCH_TO_SPACE_ND", "CUMSUM", "DEPTH_TO_SPACE"), "float32 int8"),
    **dict.fromkeys(
        ("ELU", "EMBEDDING_LOOKUP", "GATHER", "GATHER_ND", "HARD_SWISH", "L2_NORMALIZATION"), "float32 int8"
    ),
    **dict.fromkeys(("LOG_SOFTMAX", "MIRROR_PAD", "REDUCE_MAX", "REDUCE_MIN", "RESIZE_BILINEAR"), "float32 int8"),
    **dict.fromkeys(("RSQRT", "SPACE_TO_BATCH_ND", "SPACE_TO_DEPTH", "SVDF"), "float32 int8"),
    **dict.fromkeys(("CEIL", "COS", "EXP", "FLOOR", "FLOOR_DIV", "FLOOR_MOD", "L2_POOL_2D", "LOG"), "float32"),
    **dict.fromkeys(("NEG", "ROUND", "SIN", "SQRT", "SQUARE"), "float32"),
    **dict.fromkeys(("EQUAL", "NOT_EQUAL"), "bool float32 int8 int32 int64"),
    **dict.fromkeys(("GREATER_EQUAL", "LESS", "LESS_EQUAL"), "float32 int8 int32 int64"),
    **dict.fromkeys(("LOGICAL_AND", "LOGICAL_OR", "LOGICAL_NOT", "REDUCE_ALL"), "bool"),
    "BROADCAST_ARGS": "int32 int64",
    "CAST": f"{_NUMBERS} int32 uint32 bool",
    "CONCATENATION": f"{_NUMBERS} int32 int64 bool",
    "DEQUANTIZE": "int8 int16 uint8",
    "DIV": "float32 int8 int32",
    "FILL": "float32 int8 int32",
    "GREATER": f"{_NUMBERS} int32 int64",
    "QUANTIZE": f"{_NUMBERS} int32 uint8",
    "REVERSE_V2": f"{_NUMBERS} int32 int64 uint8 bool",
    "ZEROS_LIKE": "float32 int8 int32 int64",
}
#: Which input is the data, where it is not the first.
_SLOT = {"EMBEDDING_LOOKUP": 1, "FILL": 1, "SELECT_V2": 1, "SPLIT": 1, "TRANSPOSE_CONV": 2}
#: Element types of outputs that differ from the input's, by that.
_OUTPUTS: Mapping[str, Mapping[str, str]] = {
    "CAST": dict.fromkeys(TYPES["CAST"].split(), f"{_NUMBERS} int32 uint32"),
    "QUANTIZE": {
        "float32": "int8 int16",
        "int32": "int8 int16",
        "int16": "int8 int16 int32",
        "int8": "int8 uint8 int16 int32",
        "uint8": "int8",
    },
}


def refused_type(op: OpView) -> str | None:
    """Refuse element types that TFLite Micro's kernel of an op does not have."""
    slot = _SLOT.get(op.name, 0)
    data = op.inputs[slot] if slot < len(op.inputs) else None
    if data is None or op.name not in TYPES:
        return None
    found = data.dtype.name.lower()
    if found not in TYPES[op.name].split():
        return f"TFLite Micro has no {op.name} of {found}"
    given = op.outputs[0].dtype.name.lower() if op.outputs else found
    if given not in _OUTPUTS.get(op.name, {}).get(found, given).split():
        return f"TFLite Micro has no {op.name} of {found} to {given}"
    return None


def no_uint8(op: OpView) -> str | None:
    """Refuse tensors of uint8."""
    found = any(tensor is not None and tensor.dtype is DType.UINT8 for tensor in (*op.inputs, *op.outputs))
    return f"TFLite Micro has no {op.name} of uint8" if found else None


def no_int8(op: OpView) -> str | None:
    """Refuse tensors of int8, and of uint8."""
    found = any(tensor is not None and tensor.dtype is DType.INT8 for tensor in op.inputs)
    return f"TFLite Micro has no {op.name} of int8" if found else no_uint8(op)


def no_int16(op: OpView) -> str | None:
    """Refuse tensors of int16, and of uint8."""
    found = any(tensor is not None and tensor.dtype is DType.INT16 for tensor in op.inputs)
    return f"TFLite Micro has no {op.name} of int16" if found else no_uint8(op)


def no_scales_of_int16(op: OpView) -> str | None:
    """Refuse GREATER of int16, whose multipliers are never computed: every result depends on stale memory."""
    if any(tensor is not None and tensor.dtype is DType.INT16 for tensor in op.inputs):
        return f"TFLite Micro lists {op.name} of int16 but never computes its multipliers"
    return no_uint8(op)


def no_fifth_dimension(op: OpView) -> str | None:
    """Refuse int8 tensors of more than 4 dimensions, which CMSIS-NN leaves unwritten."""
    x = op.inputs[0] if op.inputs else None
    if x is not None and x.dtype is DType.INT8 and len(x.shape) > 4:
        return f"CMSIS-NN's {op.name} of int8 leaves outputs of more than 4 dimensions unwritten"
    return None


def sums(op: OpView) -> str | None:
    """Refuse uint8, integer weights beside float activations, and weights that go with no such activations."""
    found = [tensor.dtype for tensor in op.inputs if tensor is not None]
    narrow = {DType.INT8, DType.INT4, DType.INT2} & set(found)
    if DType.FLOAT32 in found and narrow:
        return f"TFLite Micro has no {op.name} of float32 activations with integer weights"
    data, weights = (2, 1) if op.name == "TRANSPOSE_CONV" else (0, 1)
    pair = [op.inputs[slot] for slot in (data, weights) if slot < len(op.inputs)]
    if len(pair) == 2 and pair[0] is not None and pair[1] is not None:
        taken = _BESIDE.get(op.name, _WEIGHTS).get(pair[0].dtype, frozenset())
        if taken and pair[1].dtype not in taken:
            names = (pair[0].dtype.name.lower(), pair[1].dtype.name.lower())
            return f"TFLite Micro has no {op.name} of {names[0]} activations with {names[1]} weights"
    return no_uint8(op)


#: Weights that go with activations; both sides of BATCH_MATMUL are of one type.
_WEIGHTS = {DType.INT8: frozenset({DType.INT8, DType.INT4}), DType.INT16: frozenset({DType.INT8})}
_BESIDE = {
    "BATCH_MATMUL": {dtype: frozenset({dtype}) for dtype in _WEIGHTS},
    "TRANSPOSE_CONV": {dtype: frozenset({DType.INT8}) for dtype in _WEIGHTS},
}


def fully_connected_of_cmsis_nn(op: OpView) -> str | None:
    """Refuse what CMSIS-NN's FULLY_CONNECTED of int16 does not compute, beside what TFLite Micro refuses."""
    x, weights, bias = (*op.inputs, None, None, None)[:3]
    if x is not None and weights is not None and x.dtype is DType.INT16:
        if weights.quant is not None and weights.quant.per_axis:
            return "CMSIS-NN has no FULLY_CONNECTED of int16 with a scale a unit"
        if bias is not None and bias.dtype is DType.INT32:
            return "CMSIS-NN's FULLY_CONNECTED of int16 reads an int32 bias as int64, past its end"
    return sums(op)
