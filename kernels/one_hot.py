"""ONE_HOT: each number as a vector with one element set.

Source: ``tflite/kernels/one_hot.cc``.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from kernels.engine.contract import (
    checked_shape,
    expect,
    expect_count,
    expect_dtype,
    input_tensor,
    option,
)
from kernels.engine.movement import Movement, expect_covered, in_words, one_integer
from kernels.engine.registry import Kernel
from kernels.engine.types import OpView, Prepared
from kernels.profiles import Profile
from qmath.types import Array, DType


def one_hot(indices: Array, depth: Array, on: Array, off: Array, *, axis: int) -> Array:
    """Insert an axis of ``depth`` elements: ``on`` at the index, ``off`` elsewhere; only off for an index outside.

    Quirk: ONE_HOT keeps the low 32 bits of int64 indices.

    Raises
    ------
    ModelError
        The depth is negative.

    """
    size = one_integer(depth)
    shape = checked_shape((*indices.shape[:axis], size, *indices.shape[axis:]))
    places = np.arange(size).reshape([-1 if i == axis else 1 for i in range(len(shape))])
    hit = np.expand_dims(indices.astype(np.int32), axis) == places
    return np.where(hit, on.reshape(()), off.reshape(()))


def prepare_one_hot(op: OpView, profile: Profile) -> Prepared:
    """Check the contract of ONE_HOT.

    Raises
    ------
    ModelError
        The op breaks its contract.
    UnsupportedError
        The element type is not covered.

    """
    del profile
    expect_count(op, {4})
    indices, depth, on, off = (input_tensor(op, slot) for slot in range(4))
    expect_covered(op, on, VALUES)
    expect_dtype(off, on.dtype)
    expect_dtype(indices, DType.INT32, DType.INT64)
    expect_dtype(depth, DType.INT32)
    for tensor in (depth, on, off):
        expect(all(size == 1 for size in tensor.shape), f"one element in {tensor.name!r}, found shape {tensor.shape}")
    axis = option(op, "axis")
    axis = len(indices.shape) if axis == -1 else axis
    expect(0 <= axis <= len(indices.shape), f"an axis from -1 to {len(indices.shape)}, found {axis}")
    return Movement(partial(one_hot, axis=axis))


VALUES = (DType.INT8, DType.UINT8, DType.INT32, DType.INT64, DType.FLOAT32, DType.BOOL)

KERNELS = (Kernel("ONE_HOT", prepare_one_hot, covers=in_words(VALUES)),)
