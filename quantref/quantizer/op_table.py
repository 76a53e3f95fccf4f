"""What quantization needs to know of each operator, as data: which operands are weights, which ops share one scale.

The lists say what each tool does, not what would be sensible: ``TFLITE_*`` the converter's MLIR quantizer
(``tensorflow/compiler/mlir/lite/ir/tfl_ops.td``), ``OLD_*`` its flatbuffer quantizer
(``tensorflow/compiler/mlir/lite/quantization/lite/toco_legacy/operator_property.cc``), ``AEQ_*`` AI Edge Quantizer's
default policy. What style ``quantref`` does is in :mod:`quantref.quantizer.op_support`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class AffineOp:
    """An op that multiplies by weights and adds a bias.

    Attributes
    ----------
    input, weights, bias
        Their input slots.
    axis
        Of the weights: where per-axis scales run along.

    """

    input: int
    weights: int
    bias: int
    axis: int


AFFINE_OPS: Mapping[str, AffineOp] = {
    "CONV_2D": AffineOp(input=0, weights=1, bias=2, axis=0),
    "DEPTHWISE_CONV_2D": AffineOp(input=0, weights=1, bias=2, axis=3),
    "FULLY_CONNECTED": AffineOp(input=0, weights=1, bias=2, axis=0),
    "TRANSPOSE_CONV": AffineOp(input=2, weights=1, bias=3, axis=0),
}

FIXED_OUTPUT_OPS = frozenset({"LOGISTIC", "SOFTMAX", "TANH", "L2_NORMALIZATION", "LOG_SOFTMAX"})


def _names(*lines: str) -> frozenset[str]:
    return frozenset(name for line in lines for name in line.split())


# --- TFLiteConverter, MLIR quantizer ----------------------------------------------------------------------------------

TFLITE_SAME_SCALE = _names(
    "ADD_N AVERAGE_POOL_2D MAX_POOL_2D CONCATENATION PACK UNPACK SPLIT SPLIT_V PAD PADV2 MIRROR_PAD",
    "RESHAPE SQUEEZE EXPAND_DIMS TRANSPOSE SLICE STRIDED_SLICE GATHER GATHER_ND SCATTER_ND TILE BROADCAST_TO FILL",
    "RESIZE_BILINEAR RESIZE_NEAREST_NEIGHBOR MAXIMUM MINIMUM REDUCE_MAX REDUCE_MIN SELECT SELECT_V2 TOPK_V2",
    "SPACE_TO_BATCH_ND BATCH_TO_SPACE_ND SPACE_TO_DEPTH DEPTH_TO_SPACE DYNAMIC_UPDATE_SLICE",
)
TFLITE_QUANTIZABLE = (
    (TFLITE_SAME_SCALE - {"ADD_N"})
    | FIXED_OUTPUT_OPS
    | _names(
        "ADD SUB MUL DIV SQUARED_DIFFERENCE CONV_2D DEPTHWISE_CONV_2D TRANSPOSE_CONV FULLY_CONNECTED BATCH_MATMUL",
        "MEAN SUM REDUCE_PROD RELU RELU6 RELU_N1_TO_1 RELU_0_TO_1 LEAKY_RELU PRELU HARD_SWISH GELU",
        "ABS EXP LOG SQRT RSQRT EQUAL NOT_EQUAL GREATER GREATER_EQUAL LESS LESS_EQUAL",
        "REVERSE_V2 ONE_HOT EMBEDDING_LOOKUP SHAPE RANK UNIDIRECTIONAL_SEQUENCE_LSTM SVDF",
    )
)
#: Operands that are weights, and their channel axis; None where scales are per-tensor.
TFLITE_WEIGHTS: Mapping[tuple[str, int], int | None] = {
    **{(name, op.weights): op.axis for name, op in AFFINE_OPS.items()},
    ("EMBEDDING_LOOKUP", 1): 0,
    ("PRELU", 1): None,
}

#: Dynamic range: operands that become int8, and their channel axis.
TFLITE_DYNAMIC: Mapping[tuple[str, int], int | None] = {
    **{(name, op.weights): op.axis for name, op in AFFINE_OPS.items()},
    ("BATCH_MATMUL", 1): None,
    ("EMBEDDING_LOOKUP", 1): 0,
    ("GATHER", 0): None,
}
#: Dynamic range: ops that are told to quantize their activations asymmetrically.
TFLITE_ASYMMETRIC_INPUTS = frozenset({"FULLY_CONNECTED", "BATCH_MATMUL"})

# --- TFLiteConverter, older flatbuffer quantizer ----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class OldOp:
    """How the older quantizer treats an op.

    Attributes
    ----------
    inputs
        Slots that are quantized; None for all.
    outputs
        Whether results are quantized; comparisons and the like have none.
    same_scale
        Whether the first input's parameters hold for the output; with all inputs quantized, the output's for them.
    version
        That the op gets.
    int16
        Whether it is quantized in 16x8 models.
    constants_as_activations
        Whether constant operands get 16 bits in 16x8 models.

    """

    inputs: tuple[int, ...] | None = (0,)
    outputs: bool = True
    same_scale: bool = False
    version: int = 2
    int16: bool = True
    constants_as_activations: bool = False


_BINARY = OldOp(inputs=(0, 1), constants_as_activations=True)
_COMPARISON = OldOp(inputs=(0, 1), outputs=False, int16=False)
_JOIN = OldOp(inputs=None, same_scale=True)
_EXTREME = OldOp(inputs=None, same_scale=True, constants_as_activations=True)

_OLD_ROWS: tuple[tuple[str, OldOp], ...] = (
    ("ABS RSQRT MEAN REDUCE_PROD LEAKY_RELU RELU RELU6 GELU EXP SOFTMAX LOGISTIC TANH", OldOp()),
    ("LOG_SOFTMAX L2_NORMALIZATION", OldOp(int16=False)),
    ("HARD_SWISH", OldOp(version=1, int16=False)),
    ("RELU_N1_TO_1", OldOp(version=1, int16=False)),
    ("PRELU", OldOp(inputs=(0, 1), version=1, int16=False)),
    ("ADD SUB MUL SQUARED_DIFFERENCE BATCH_MATMUL", _BINARY),
    ("EQUAL NOT_EQUAL GREATER GREATER_EQUAL LESS LESS_EQUAL", _COMPARISON),
    ("ARG_MAX", OldOp(outputs=False, int16=False)),
    ("SHAPE", OldOp(outputs=False, version=1)),
    ("AVERAGE_POOL_2D MAX_POOL_2D PAD PADV2 SLICE STRIDED_SLICE TRANSPOSE", OldOp(same_scale=True)),
    ("RESIZE_BILINEAR RESIZE_NEAREST_NEIGHBOR REDUCE_MAX REDUCE_MIN SUM", OldOp(same_scale=True)),
    ("RESHAPE SQUEEZE EXPAND_DIMS", OldOp(same_scale=True, version=1)),
    ("UNPACK", OldOp(same_scale=True, version=1)),
    ("SPLIT_V", OldOp(same_scale=True)),
    ("SPLIT", OldOp(inputs=(1,), same_scale=True)),
    ("GATHER", OldOp(same_scale=True, constants_as_activations=True)),
    ("GATHER_ND TILE REVERSE_V2 BROADCAST_TO", OldOp(same_scale=True, version=3)),
    ("FILL", OldOp(inputs=(1,), same_scale=True, version=3)),
    ("SCATTER_ND", OldOp(inputs=(1,), same_scale=True, version=1)),
    ("SELECT", OldOp(inputs=(1, 2), same_scale=True, version=1)),
    ("MIRROR_PAD SPACE_TO_BATCH_ND BATCH_TO_SPACE_ND", OldOp(same_scale=True)),
    ("SPACE_TO_DEPTH DEPTH_TO_SPACE", OldOp(same_scale=True, int16=False)),
    ("CONCATENATION PACK", _JOIN),
    ("MAXIMUM MINIMUM", _EXTREME),
    ("CONV_2D DEPTHWISE_CONV_2D", OldOp(inputs=(0, 1), version=3)),
    ("TRANSPOSE_CONV", OldOp(inputs=(2, 1), version=3)),
    ("FULLY_CONNECTED", OldOp(inputs=(0, 1), version=4)),
    ("UNIDIRECTIONAL_SEQUENCE_LSTM", OldOp(int16=False)),
)
OLD_OPS: Mapping[str, OldOp] = {name: op for names, op in _OLD_ROWS for name in names.split()}

#: Its dynamic range: operands that become int8, and their channel axis.
OLD_DYNAMIC: Mapping[tuple[str, int], int | None] = {
    **TFLITE_DYNAMIC,
    ("FULLY_CONNECTED", 1): None,
    ("TRANSPOSE_CONV", 1): None,
}
#: Its dynamic range: versions that ops get, whether they have int8 weights or not.
OLD_DYNAMIC_VERSIONS: Mapping[str, int] = {
    "FULLY_CONNECTED": 9,
    "CONV_2D": 5,
    "DEPTHWISE_CONV_2D": 6,
    "BATCH_MATMUL": 4,
    "UNIDIRECTIONAL_SEQUENCE_LSTM": 3,
    "DEQUANTIZE": 2,
}

# --- AI Edge Quantizer ------------------------------------------------------------------------------------------------

AEQ_SAME_AS_INPUT = _names(
    "RESHAPE AVERAGE_POOL_2D MAX_POOL_2D PAD MIRROR_PAD SPLIT TRANSPOSE SLICE STRIDED_SLICE UNPACK BROADCAST_TO",
    "RESIZE_BILINEAR RESIZE_NEAREST_NEIGHBOR GATHER GATHER_ND REDUCE_MIN SPACE_TO_DEPTH",
)
AEQ_SAME_AS_OUTPUT = _names("CONCATENATION MAXIMUM PACK SELECT SELECT_V2 PADV2 DYNAMIC_UPDATE_SLICE")
AEQ_FIXED_OUTPUT = frozenset({"LOGISTIC", "SOFTMAX", "TANH"})
AEQ_INT16 = (
    (AEQ_SAME_AS_INPUT - {"SPACE_TO_DEPTH"})
    | AEQ_SAME_AS_OUTPUT
    | AEQ_FIXED_OUTPUT
    | _names(
        "ADD SUB MUL DIV CONV_2D DEPTHWISE_CONV_2D TRANSPOSE_CONV FULLY_CONNECTED BATCH_MATMUL MEAN SUM",
        "EQUAL NOT_EQUAL RELU GELU SQRT RSQRT",
    )
)
AEQ_INT8 = AEQ_INT16 | {"SQUARED_DIFFERENCE", "HARD_SWISH", "SPACE_TO_DEPTH"}
AEQ_WEIGHTS_INT8 = frozenset(AFFINE_OPS) | {"BATCH_MATMUL", "EMBEDDING_LOOKUP"}
AEQ_DYNAMIC_INT4 = frozenset({"CONV_2D", "FULLY_CONNECTED", "EMBEDDING_LOOKUP"})
AEQ_WEIGHT_ONLY_INT4 = AEQ_DYNAMIC_INT4 | {"BATCH_MATMUL"}
AEQ_STATIC_INT4 = frozenset({"CONV_2D", "FULLY_CONNECTED"})
