"""SPLIT, SPLIT_V: one tensor cut into several along an axis.

Quirk: SPLIT, GATHER, SELECT, RESIZE_BILINEAR and more give outputs of their input's type, whatever the file declares.

Source: ``tflite/kernels/split.cc``, ``split_v.cc``.
"""

from __future__ import annotations

import numpy as np

from kernels.engine import delegate
from kernels.engine.contract import expect, expect_count, expect_dtype, expect_rank, input_tensor, option
from kernels.engine.movement import (
    Movement,
    expect_covered,
    in_words,
    integers,
    one_integer,
    resolve_axis,
)
from kernels.engine.registry import Kernel
from kernels.engine.types import OpView, Outputs, Prepared
from kernels.profiles import XNNPACK, Profile
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
    return Movement(lambda x, sizes, axis: split(x, one_integer(axis), integers(sizes)))


SPLIT = (DType.INT8, DType.UINT8, DType.INT16, DType.INT32, DType.INT64, DType.FLOAT32)

KERNELS = (
    Kernel(
        "SPLIT",
        prepare_split,
        covers=in_words(SPLIT),
        refusal={XNNPACK: delegate.splitting},
        demands={XNNPACK: delegate.same_scale_and_zero_point},
    ),
    Kernel("SPLIT_V", prepare_split_v, covers=in_words(SPLIT)),
)
