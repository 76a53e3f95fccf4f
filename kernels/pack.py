"""PACK, UNPACK: tensors put together along a new axis, and an axis taken apart.

Source: ``tflite/kernels/pack.cc``, ``unpack.cc``.
"""

from __future__ import annotations

import numpy as np

from kernels.engine.contract import expect, expect_count, expect_dtype, input_tensor, option, output_tensor
from kernels.engine.movement import (
    Movement,
    expect_covered,
    expect_same_quant,
    in_words,
    resolve_axis,
)
from kernels.engine.registry import Kernel
from kernels.engine.types import OpView, Outputs, Prepared
from kernels.profiles import Profile
from qmath.types import Array, DType


def pack(*tensors: Array, axis: int) -> Array:
    """Stack tensors of one shape along a new axis."""
    return np.stack(tensors, axis)


def prepare_pack(op: OpView, profile: Profile) -> Prepared:
    """Check the contract of PACK.

    Raises
    ------
    ModelError
        The op breaks its contract.
    UnsupportedError
        The element type is not covered.

    """
    del profile
    count = option(op, "values_count")
    expect_count(op, {count})
    expect(count > 0, "at least one input, found none")
    y, tensors = output_tensor(op), [input_tensor(op, slot) for slot in range(count)]
    first = tensors[0]
    expect_covered(op, first, PACKED)
    expect_dtype(y, first.dtype)
    axis = resolve_axis(option(op, "axis"), len(first.shape) + 1)
    for tensor in tensors:
        expect_dtype(tensor, first.dtype)
        expect(tensor.shape == first.shape, f"inputs of one shape, found {first.shape} and {tensor.shape}")
        expect_same_quant(tensor, y)
    return Movement(lambda *tensors: pack(*tensors, axis=axis))


def unpack(x: Array, axis: int) -> Outputs:
    """Give each slice along an axis, without that axis."""
    front = np.moveaxis(x, axis, 0)
    return tuple(np.asarray(piece, order="C") for piece in front)


def prepare_unpack(op: OpView, profile: Profile) -> Prepared:
    """Check the contract of UNPACK.

    Raises
    ------
    ModelError
        The op breaks its contract.
    UnsupportedError
        The element type is not covered.

    """
    del profile
    pieces = option(op, "num")
    expect_count(op, {1}, outputs=pieces)
    x = input_tensor(op, 0)
    expect_covered(op, x, UNPACKED)
    axis = resolve_axis(option(op, "axis"), len(x.shape))
    expect(min(x.shape) > 0, f"a tensor with elements, found shape {x.shape}")
    expect(x.shape[axis] == pieces, f"{pieces} indices along axis {axis}, found shape {x.shape}")
    for y in op.outputs:
        expect_dtype(y, x.dtype)
        expect_same_quant(x, y)
    return Movement(lambda x: unpack(x, axis))


PACKED = (
    DType.INT8,
    DType.UINT8,
    DType.INT16,
    DType.INT32,
    DType.UINT32,
    DType.INT64,
    DType.FLOAT32,
)
UNPACKED = (
    DType.INT8,
    DType.UINT8,
    DType.BOOL,
    DType.INT16,
    DType.FLOAT16,
    DType.BFLOAT16,
    DType.INT32,
    DType.FLOAT32,
)

KERNELS = (
    Kernel("UNPACK", prepare_unpack, covers=in_words(UNPACKED)),
    Kernel("PACK", prepare_pack, covers=in_words(PACKED)),
)
