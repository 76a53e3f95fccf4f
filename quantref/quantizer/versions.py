"""Which version of an operator its types call for.

Follows ``tflite/converter/tools/versioning/op_version.cc``, for the types that quantization brings about.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import fbs
from qmath.types import DType

_FLOAT, _INT4, _INT8, _INT16 = DType.FLOAT32, DType.INT4, DType.INT8, DType.INT16

_BY_TYPE: tuple[tuple[str, Mapping[DType, int]], ...] = (
    ("SOFTMAX MEAN MIRROR_PAD REDUCE_MAX REDUCE_MIN RELU RELU6 RSQRT ABS LOGISTIC TANH", {_INT8: 2, _INT16: 3}),
    ("MAX_POOL_2D AVERAGE_POOL_2D PACK CONCATENATION PAD PADV2 BATCH_MATMUL ADD", {_INT8: 2, _INT16: 3}),
    ("LESS GREATER_EQUAL TOPK_V2", {_INT8: 2, _INT16: 3}),
    ("MAXIMUM MINIMUM SPLIT SPACE_TO_BATCH_ND BATCH_TO_SPACE_ND SLICE GATHER MUL", {_INT8: 2, _INT16: 4}),
    ("NOT_EQUAL", {_INT8: 2, _INT16: 4}),
    ("RESIZE_BILINEAR RESIZE_NEAREST_NEIGHBOR", {_INT8: 2, _INT16: 4}),
    ("EQUAL TRANSPOSE SUB", {_INT8: 2, _INT16: 5}),
    ("EXP LOG REDUCE_PROD SQRT", {_INT8: 2, _INT16: 2}),
    ("SPACE_TO_DEPTH DEPTH_TO_SPACE SPLIT_V SUM LOG_SOFTMAX GREATER LESS_EQUAL SQUARED_DIFFERENCE GELU", {_INT8: 2}),
    ("STRIDED_SLICE ARG_MAX ARG_MIN L2_NORMALIZATION", {_INT8: 2}),
    ("TILE REVERSE_V2 SVDF", {_INT8: 3}),
    ("FILL BROADCAST_TO", {_INT8: 3, _INT16: 3}),
    ("GATHER_ND", {_INT16: 3}),
    ("LEAKY_RELU", {_INT16: 2}),
    ("DYNAMIC_UPDATE_SLICE", {_INT16: 4}),
    ("UNPACK", {_INT8: 2, DType.UINT8: 2, _INT16: 4}),
    ("DEQUANTIZE", {_INT8: 2, _INT16: 3, DType.FLOAT16: 3, _INT4: 6}),
)
#: Version by the type of the operand that counts; 1 for what is not listed.
_VERSIONS = {name: versions for names, versions in _BY_TYPE for name in names.split()}
#: Versions of ops with weights, by the types of input, weights and output. int4 weights of DEPTHWISE_CONV_2D would call
#: for version 7, which LiteRT's resolvers do not know; the kernel takes them in any version.
_WITH_WEIGHTS: Mapping[str, Mapping[tuple[DType, DType, DType], int]] = {
    "CONV_2D": {
        (_INT8, _INT8, _INT8): 3,
        (_INT8, _INT4, _INT8): 7,
        (_FLOAT, _INT8, _FLOAT): 2,
        (_FLOAT, _INT4, _FLOAT): 2,
    },
    "DEPTHWISE_CONV_2D": {
        (_INT8, _INT8, _INT8): 3,
        (_INT8, _INT4, _INT8): 3,
        (_INT16, _INT8, _INT16): 5,
        (_FLOAT, _INT8, _FLOAT): 4,
    },
    "FULLY_CONNECTED": {(_INT8, _INT8, _INT8): 4, (_INT8, _INT4, _INT8): 10, (_INT16, _INT4, _INT16): 13},
}
#: The same where weights are per-axis and activations float.
_HYBRID_PER_AXIS = {"CONV_2D": 5, "DEPTHWISE_CONV_2D": 6, "FULLY_CONNECTED": 12}
#: The operand whose type counts, where it is not the first.
_COUNTING_OPERAND = {"SPLIT": 1, "FILL": 1}


def schema_version(op: fbs.OpView) -> int:
    """Return the lowest version that covers an operator's types, or its own where that is higher."""
    return max(op.version, _required(op))


def _required(op: fbs.OpView) -> int:
    if op.name in _WITH_WEIGHTS:
        return _with_weights(op)
    if op.name in _SPECIAL:
        return _SPECIAL[op.name](op)
    dtype = _dtype(op, _COUNTING_OPERAND.get(op.name, 0))
    return 1 if dtype is None else _VERSIONS.get(op.name, {}).get(dtype, 1)


def _with_weights(op: fbs.OpView) -> int:
    weights = op.inputs[1]
    types = (_dtype(op, 0), _dtype(op, 1), op.outputs[0].dtype)
    if weights is None:
        return 1
    if types in {(_FLOAT, _INT8, _FLOAT), (_FLOAT, _INT4, _FLOAT)}:
        if weights.quant is not None and weights.quant.per_axis:
            return _HYBRID_PER_AXIS[op.name]
        if op.name == "FULLY_CONNECTED":
            return 9 if op.options["asymmetric_quantize_inputs"] else 3
    bias_type = op.options.get("quantized_bias_type", 0)
    with_bias_type = {"CONV_2D": 8, "FULLY_CONNECTED": 11}
    if types[0] is _INT16 and bias_type and op.name in with_bias_type:
        return with_bias_type[op.name]
    if op.name == "FULLY_CONNECTED" and op.options["keep_num_dims"]:
        return max(5, _WITH_WEIGHTS[op.name].get(types, 1))  # type: ignore[arg-type]
    return _WITH_WEIGHTS[op.name].get(types, 1)  # type: ignore[arg-type]


def _quantize(op: fbs.OpView) -> int:
    result = op.outputs[0]
    if _INT4 in (result.dtype, _dtype(op, 0)):
        return 4
    if result.quant is not None and result.quant.per_axis:
        return 3
    return 2 if result.dtype is _INT16 else 1


def _dequantize(op: fbs.OpView) -> int:
    source = op.inputs[0]
    if source is None:
        return 1
    per_axis = source.quant is not None and source.quant.per_axis
    return 5 if source.dtype is _INT8 and per_axis else _VERSIONS["DEQUANTIZE"].get(source.dtype, 1)


def _mul(op: fbs.OpView) -> int:
    if _dtype(op, 0) is _INT8 and _rescales_upward(op):
        return 3
    return _VERSIONS["MUL"].get(_dtype(op, 0) or _FLOAT, 1)


def _batch_matmul(op: fbs.OpView) -> int:
    if _dtype(op, 0) is _FLOAT and _dtype(op, 1) is _INT8 and op.options["asymmetric_quantize_inputs"]:
        return 4
    return _VERSIONS["BATCH_MATMUL"].get(_dtype(op, 0) or _FLOAT, 1)


def _transpose_conv(op: fbs.OpView) -> int:
    if _dtype(op, 3) is not None:
        return 3
    return 2 if _dtype(op, 1) is _INT8 else 1


_SPECIAL: Mapping[str, Callable[[fbs.OpView], int]] = {
    "QUANTIZE": _quantize,
    "DEQUANTIZE": _dequantize,
    "MUL": _mul,
    "BATCH_MATMUL": _batch_matmul,
    "TRANSPOSE_CONV": _transpose_conv,
}


def _rescales_upward(op: fbs.OpView) -> bool:
    """Whether a MUL's real multiplier is 1 or more."""
    one, other, result = (tensor.quant if tensor is not None else None for tensor in (*op.inputs[:2], op.outputs[0]))
    if one is None or other is None or result is None or not result.scale[0]:
        return False
    return bool(float(one.scale[0]) * float(other.scale[0]) / float(result.scale[0]) >= 1)


def _dtype(op: fbs.OpView, slot: int) -> DType | None:
    operand = op.inputs[slot] if slot < len(op.inputs) else None
    return None if operand is None else operand.dtype
