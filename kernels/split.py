"""SPLIT, SPLIT_V: one tensor cut into several along an axis; UNPACK, PACK: an axis taken apart, put together.

Source: ``tflite/kernels/split.cc``, ``split_v.cc``, ``pack.cc``, ``unpack.cc``.
"""

from __future__ import annotations

import numpy as np

from kernels.engine.contract import expect, expect_count, expect_dtype, expect_rank, input_tensor, option, output_tensor
from kernels.engine.movement import (
    Movement,
    expect_covered,
    expect_same_quant,
    in_words,
    integers,
    one_integer,
    resolve_axis,
)
from kernels.engine.registry import Kernel
from kernels.engine.types import OpView, Outputs, Prepared
from kernels.profiles import Profile
from qmath.types import Array, DType


def split(x: Array, axis: int, sizes: tuple[int, ...]) -> Outputs:
    """Cut a tensor into pieces of the given sizes along an axis.

    1. One size may be -1: what the others leave.
    2. The sizes sum to that of the axis.

    Raises
    ------
    ModelError
        There is no such axis, or the sizes do not fit it.

    """
    axis = resolve_axis(axis, x.ndim)
    expect(sizes.count(-1) <= 1, f"at most one size of -1, found {sizes}")
    rest = x.shape[axis] - sum(size for size in sizes if size != -1)
    sizes = tuple(rest if size == -1 else size for size in sizes)
    expect(min(sizes, default=0) >= 0, f"sizes that are not negative, found {sizes}")
    expect(sum(sizes) == x.shape[axis], f"sizes that sum to {x.shape[axis]}, found {sizes}")
    pieces = np.split(x, np.cumsum(sizes[:-1], dtype=np.int64), axis)
    return tuple(np.asarray(piece, order="C") for piece in pieces)


def prepare_split(op: OpView, profile: Profile) -> Prepared:
    """Check the contract of SPLIT: pieces of equal size.

    Raises
    ------
    ModelError
        The op breaks its contract.
    UnsupportedError
        The element type is not covered.

    """
    del profile
    pieces = option(op, "num_splits")
    expect_count(op, {2}, outputs=pieces)
    expect(pieces > 0, "at least one output, found none")
    axis, x = input_tensor(op, 0), input_tensor(op, 1)
    expect_covered(op, x, SPLIT)
    expect_dtype(axis, DType.INT32)
    _expect_outputs_like(op, x.dtype)

    def definition(axis: Array, x: Array) -> Outputs:
        place = resolve_axis(one_integer(axis), x.ndim)
        size, left_over = divmod(x.shape[place], pieces)
        expect(left_over == 0, f"an axis that divides into {pieces} pieces, found {x.shape[place]} elements")
        return split(x, place, (size,) * pieces)

    return Movement(definition)


def prepare_split_v(op: OpView, profile: Profile) -> Prepared:
    """Check the contract of SPLIT_V: pieces of given sizes.

    Raises
    ------
    ModelError
        The op breaks its contract.
    UnsupportedError
        The element type is not covered.

    """
    del profile
    pieces = option(op, "num_splits")
    expect_count(op, {3}, outputs=pieces)
    x, sizes, axis = (input_tensor(op, slot) for slot in range(3))
    expect_covered(op, x, SPLIT)
    expect_rank(sizes, 1)
    expect_dtype(sizes, DType.INT32, DType.INT64)
    expect(sizes.shape[0] == pieces > 0, f"one size for each of {pieces} outputs, found {sizes.shape[0]}")
    expect_dtype(axis, DType.INT32)
    _expect_outputs_like(op, x.dtype)
    return Movement(lambda x, sizes, axis: split(x, one_integer(axis), integers(sizes)))


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
    _expect_outputs_like(op, x.dtype)
    for y in op.outputs:
        expect_same_quant(x, y)
    return Movement(lambda x: unpack(x, axis))


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


def _expect_outputs_like(op: OpView, dtype: DType) -> None:
    for y in op.outputs:
        expect_dtype(y, dtype)


SPLIT = (DType.INT8, DType.UINT8, DType.INT16, DType.INT32, DType.INT64, DType.FLOAT32)
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
PACKED = (*SPLIT, DType.UINT32)

KERNELS = (
    Kernel("SPLIT", prepare_split, covers=in_words(SPLIT)),
    Kernel("SPLIT_V", prepare_split_v, covers=in_words(SPLIT)),
    Kernel("UNPACK", prepare_unpack, covers=in_words(UNPACKED)),
    Kernel("PACK", prepare_pack, covers=in_words(PACKED)),
)
