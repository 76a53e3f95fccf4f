"""Which ops style ``quantref`` makes integer, and what binds their parameters.

An op is listed where LiteRT has an integer kernel for it and the quantization spec, or that kernel, says what its
parameters have to be (``tflite/kernels/*.cc`` for the types, ``quantization_spec.md`` of LiteRT's documentation).
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass

from qmath.types import DType


class Binding(enum.Enum):
    """What the parameters of an op's results are bound to."""

    #: Each result has its own range.
    OWN = "own range"
    #: Results have the parameters of the (only) float operand.
    INPUT = "the input's"
    #: All float operands have the parameters of the result, which has its own range.
    OUTPUT = "the output's"
    #: The op prescribes them.
    FIXED = "fixed"
    #: There are no float results.
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Support:
    """How an op becomes integer.

    Attributes
    ----------
    binding
        What binds its results' parameters.
    dtypes
        Types of activations that it is made for.

    """

    binding: Binding
    dtypes: frozenset[DType]


_BOTH = frozenset({DType.INT8, DType.INT16})
_INT8 = frozenset({DType.INT8})

_ROWS: tuple[tuple[str, Binding, frozenset[DType]], ...] = (
    ("CONV_2D DEPTHWISE_CONV_2D TRANSPOSE_CONV FULLY_CONNECTED BATCH_MATMUL", Binding.OWN, _BOTH),
    ("ADD SUB MUL MEAN RELU RELU6 LEAKY_RELU ABS EXP RSQRT GELU", Binding.OWN, _BOTH),
    ("DIV SQUARED_DIFFERENCE RELU_N1_TO_1 RELU_0_TO_1 PRELU HARD_SWISH ELU LOG SQRT REDUCE_PROD", Binding.OWN, _INT8),
    ("RESHAPE SQUEEZE EXPAND_DIMS TRANSPOSE SLICE STRIDED_SLICE GATHER GATHER_ND", Binding.INPUT, _BOTH),
    ("SPLIT SPLIT_V UNPACK PAD MIRROR_PAD BROADCAST_TO MAX_POOL_2D AVERAGE_POOL_2D", Binding.INPUT, _BOTH),
    ("RESIZE_BILINEAR RESIZE_NEAREST_NEIGHBOR REDUCE_MAX REDUCE_MIN", Binding.INPUT, _BOTH),
    ("SPACE_TO_BATCH_ND BATCH_TO_SPACE_ND", Binding.INPUT, _BOTH),
    ("SPACE_TO_DEPTH DEPTH_TO_SPACE TILE REVERSE_V2 TOPK_V2", Binding.INPUT, _INT8),
    ("CONCATENATION PACK MAXIMUM MINIMUM SELECT SELECT_V2 PADV2 DYNAMIC_UPDATE_SLICE", Binding.OUTPUT, _BOTH),
    ("SOFTMAX LOGISTIC TANH", Binding.FIXED, _BOTH),
    ("L2_NORMALIZATION LOG_SOFTMAX", Binding.FIXED, _INT8),
    ("EQUAL NOT_EQUAL GREATER GREATER_EQUAL LESS LESS_EQUAL ARG_MAX ARG_MIN", Binding.NONE, _INT8),
    ("UNIDIRECTIONAL_SEQUENCE_LSTM", Binding.OWN, _INT8),
)
SUPPORT: Mapping[str, Support] = {
    name: Support(binding, dtypes) for names, binding, dtypes in _ROWS for name in names.split()
}

#: Ops that have an integer form which no runtime of LiteRT 2.3 computes rightly, and what is wrong with it.
BROKEN: Mapping[str, str] = {"SUM": "LiteRT reads int8 and int16 codes of SUM as uint8; MEAN is computed rightly"}

#: Weights that may be int4, by the type of activations.
INT4_WEIGHTS: Mapping[DType, frozenset[str]] = {
    DType.INT8: frozenset({"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"}),
    DType.INT16: frozenset({"FULLY_CONNECTED"}),
    DType.FLOAT32: frozenset({"CONV_2D", "FULLY_CONNECTED"}),
}
#: Ops whose 16x8 kernel takes no int32 bias.
WIDE_BIAS_ONLY = frozenset({"DEPTHWISE_CONV_2D"})
