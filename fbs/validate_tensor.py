"""Whether one tensor makes sense: its shape, its data, its quantization."""

from __future__ import annotations

import numpy as np

from fbs import constants, sparsity
from fbs.findings import Findings, Subject
from fbs.model import Quantization, Tensor
from qmath.errors import ModelError
from qmath.types import DType, Float32Array


def check_tensor(tensor: Tensor, findings: Findings) -> None:
    """Check one tensor.

    Raises
    ------
    ModelError
        Its shape could not be, its data does not fill it, or its quantization parameters contradict it.

    """
    constants.check_shape(tensor.dtype, tensor.shape)
    with findings.about(Subject.STRUCTURE):
        _check_signature(tensor, findings)
    with findings.about(Subject.STRUCTURE):
        _check_data(tensor, findings)
    if tensor.quantization is not None:
        _check_quantization(tensor, tensor.quantization, findings)
    for variant in tensor.variant_tensors:
        constants.check_shape(variant.dtype, variant.shape)


def _check_signature(tensor: Tensor, findings: Findings) -> None:
    signature = tensor.shape_signature
    if not signature:
        return
    if len(signature) != len(tensor.shape) or min(signature) < -1:
        msg = f"expected a shape signature for {len(tensor.shape)} dimensions of -1 or a size"
        raise ModelError(f"{msg}, found {list(signature[: constants.MAX_RANK])}")
    if any(known not in {-1, size} for known, size in zip(signature, tensor.shape, strict=True)):
        findings.add(f"has the shape {list(tensor.shape)}, which does not fit its signature {list(signature)}")


def _check_data(tensor: Tensor, findings: Findings) -> None:
    raw = tensor.buffer.data
    if raw is None:
        return
    if tensor.is_variable:
        msg = f"expected a variable tensor without data, found {raw.size} bytes"
        raise ModelError(msg)
    if tensor.dtype in constants.OPAQUE:
        return
    if tensor.sparsity is not None:
        sparsity.locate(raw.size * 8 // tensor.dtype.bits, tensor.shape, tensor.sparsity)
        return
    needed = constants.byte_size(tensor.dtype, tensor.shape)
    if raw.size == 0 and needed:
        findings.add(f"has a buffer of no bytes where its shape needs {needed}; taken for an activation")
    elif raw.size < needed:
        msg = f"expected {needed} bytes for {tensor.dtype.name} of shape {list(tensor.shape)}, found {raw.size}"
        raise ModelError(msg)
    elif raw.size > needed:
        findings.add(f"has {raw.size} bytes of data where its shape needs {needed}")


def _check_quantization(tensor: Tensor, quantization: Quantization, findings: Findings) -> None:
    if quantization.custom is not None:
        findings.add("has custom quantization details, which are kept but not interpreted")
    scale, zero_point = quantization.scale, quantization.zero_point
    if scale is None or scale.size == 0:
        return
    if zero_point is None or zero_point.size != scale.size:
        found = "none" if zero_point is None else zero_point.size
        msg = f"expected as many zero points as the {scale.size} scales, found {found}"
        raise ModelError(msg)
    with findings.about(Subject.SCALE):
        _check_scale(scale, findings)
    with findings.about(Subject.AXIS):
        _check_axis(tensor, scale.size, quantization.quantized_dimension, findings)
    dtype = tensor.dtype
    if dtype.is_integer and dtype is not DType.UINT64:
        low, high = int(zero_point.min()), int(zero_point.max())
        if low < dtype.min or high > dtype.max:
            findings.add(f"has zero points from {low} to {high}, outside of {dtype.name}", Subject.ZERO_POINT)


def _check_scale(scale: Float32Array, findings: Findings) -> None:
    bad = np.flatnonzero(~(np.isfinite(scale) & (scale >= 0)))
    if bad.size:
        msg = f"expected finite scales above 0, found {scale[bad[0]]} at {bad[0]} of {scale.size}"
        raise ModelError(msg)
    zeros = np.count_nonzero(scale == 0)
    if zeros:
        findings.add(f"has a scale of 0 ({zeros} of {scale.size})", Subject.SCALE)


def _check_axis(tensor: Tensor, scales: int, axis: int, findings: Findings) -> None:
    rank = len(tensor.shape)
    if scales == 1:
        if not 0 <= axis < max(rank, 1):
            message = f"has quantized_dimension {axis} and {rank} dimensions; one scale holds for all"
            findings.add(message, Subject.AXIS)
        return
    if 0 <= axis < rank and tensor.shape[axis] == scales:
        return
    if rank == 1 and tensor.shape[0] == scales and axis > 0:
        # Older converters gave biases the axis of their filters.
        findings.add(f"has quantized_dimension {axis} and 1 dimension, which the scales fit", Subject.AXIS)
        return
    msg = f"expected {scales} scales to run along a dimension of shape {list(tensor.shape)}"
    raise ModelError(f"{msg}, found quantized_dimension {axis}")
