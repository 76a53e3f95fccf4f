"""What TFLite Micro refuses, and why.

Source: tflite-micro ``tensorflow/lite/micro/kernels``; each refusal was met on the runtime.
"""

from __future__ import annotations

from kernels.engine.types import OpView
from qmath.types import DType


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
    """Refuse uint8, integer weights beside float activations, and int4 weights beside int16 activations."""
    found = [tensor.dtype for tensor in op.inputs if tensor is not None]
    narrow = {DType.INT8, DType.INT4, DType.INT2} & set(found)
    if DType.FLOAT32 in found and narrow:
        return f"TFLite Micro has no {op.name} of float32 activations with integer weights"
    if DType.INT16 in found[:1] and DType.INT4 in found:
        return f"TFLite Micro has no {op.name} of int16 activations with int4 weights"
    return no_uint8(op)


def fully_connected_of_cmsis_nn(op: OpView) -> str | None:
    """Refuse what CMSIS-NN's FULLY_CONNECTED of int16 does not compute, beside what TFLite Micro refuses."""
    x, weights = op.inputs[0], op.inputs[1]
    bias = op.inputs[2] if len(op.inputs) > 2 else None
    if x is not None and weights is not None and x.dtype is DType.INT16:
        if weights.quant is not None and weights.quant.per_axis:
            return "CMSIS-NN has no FULLY_CONNECTED of int16 with a scale a unit"
        if bias is not None and bias.dtype is DType.INT32:
            return "CMSIS-NN's FULLY_CONNECTED of int16 reads an int32 bias as int64, past its end"
    return sums(op)
