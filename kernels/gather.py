"""GATHER, GATHER_ND: slices of a tensor chosen by their indices.

Source: ``tflite/kernels/gather.cc``, ``internal/reference/gather.h``, ``gather_nd.cc``.
"""

from __future__ import annotations

import math
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
from kernels.engine.movement import Movement, expect_covered, in_words, resolve_axis
from kernels.engine.registry import Kernel
from kernels.engine.types import OpView, Prepared
from kernels.profiles import Profile
from qmath.errors import UnsupportedError
from qmath.types import Array, DType


def gather(x: Array, indices: Array, *, axis: int, batch_dims: int) -> Array:
    """Choose slices along an axis.

    With batch dims the first ``batch_dims`` axes of both inputs go together: batch ``b`` of the indices chooses from
    batch ``b`` of the tensor. Their axes take the place of ``axis``.

    Raises
    ------
    ModelError
        An index is negative or beyond the axis.

    """
    size = x.shape[axis]
    expect(not ((indices < 0) | (indices >= size)).any(), f"indices from 0 to {size - 1}, found others")
    before, behind = x.shape[:axis], x.shape[axis + 1 :]
    shape = checked_shape((*before, *indices.shape[batch_dims:], *behind))
    batches, outer = math.prod(before[:batch_dims]), math.prod(before[batch_dims:])
    source = x.reshape(batches, outer, size, math.prod(behind))
    chosen = indices.reshape(batches, math.prod(indices.shape[batch_dims:]))
    batch, place = np.arange(batches)[:, None, None], np.arange(outer)[:, None]
    return source[batch, place, chosen[:, None, :]].reshape(shape)


def prepare_gather(op: OpView, profile: Profile) -> Prepared:
    """Check the contract of GATHER.

    Raises
    ------
    ModelError
        The op breaks its contract.
    UnsupportedError
        The element type is not covered; or elements of 4 bits in slices of odd size, whose nibbles the runtime shifts.

    """
    del profile
    expect_count(op, {2})
    x, indices = input_tensor(op, 0), input_tensor(op, 1)
    expect_covered(op, x, GATHERED)
    expect_dtype(indices, *INDICES)
    axis = resolve_axis(option(op, "axis"), len(x.shape))
    batch_dims = option(op, "batch_dims")
    batch_dims += len(indices.shape) if batch_dims < 0 else 0
    expect(0 <= batch_dims <= min(axis, len(indices.shape)), f"batch dims from 0 to axis {axis}, found {batch_dims}")
    ours, theirs = x.shape[:batch_dims], indices.shape[:batch_dims]
    expect(ours == theirs, f"the same {batch_dims} batch dims, found {ours} and {theirs}")
    if x.dtype is DType.INT4 and math.prod(x.shape[axis + 1 :]) % 2:
        raise UnsupportedError(f"GATHER of int4 needs slices of an even number of elements, found shape {x.shape}")
    return Movement(partial(gather, axis=axis, batch_dims=batch_dims))


def gather_nd(x: Array, indices: Array) -> Array:
    """Choose the slices ``x[i]`` for all vectors ``i`` along the last axis of the indices.

    Raises
    ------
    ModelError
        An index is negative or beyond its axis.

    """
    depth = indices.shape[-1]
    limits = np.array(x.shape[:depth], np.int64)
    expect(not ((indices < 0) | (indices >= limits)).any(), f"indices within {x.shape[:depth]}, found others")
    shape = checked_shape((*indices.shape[:-1], *x.shape[depth:]))
    flat = indices.reshape(-1, depth) if depth else np.zeros((math.prod(indices.shape[:-1]), 0), np.int64)
    strides = np.array([math.prod(x.shape[axis + 1 : depth]) for axis in range(depth)], np.int64)
    rows = x.reshape(math.prod(x.shape[:depth]), math.prod(x.shape[depth:]))
    return np.asarray(rows[flat.astype(np.int64) @ strides].reshape(shape))


def prepare_gather_nd(op: OpView, profile: Profile) -> Prepared:
    """Check the contract of GATHER_ND.

    Raises
    ------
    ModelError
        The op breaks its contract.
    UnsupportedError
        The element type is not covered.

    """
    del profile
    expect_count(op, {2})
    x, indices = input_tensor(op, 0), input_tensor(op, 1)
    expect_covered(op, x, GATHERED_ND)
    expect_dtype(indices, *INDICES)
    expect(len(x.shape) > 0 and len(indices.shape) > 0, f"no scalars, found shapes {x.shape} and {indices.shape}")
    expect(indices.shape[-1] <= len(x.shape), f"vectors of at most {len(x.shape)} indices, found {indices.shape}")
    nothing = math.prod(indices.shape) == 0
    expect(math.prod(x.shape) > 0 or nothing, f"elements to choose from, found shape {x.shape}")
    return Movement(gather_nd)


INDICES = (DType.INT16, DType.INT32, DType.INT64)
GATHERED_ND = (
    DType.INT8,
    DType.UINT8,
    DType.BOOL,
    DType.INT16,
    DType.FLOAT16,
    DType.BFLOAT16,
    DType.INT32,
    DType.FLOAT32,
    DType.INT64,
)
GATHERED = (*GATHERED_ND, DType.INT4)

KERNELS = (
    Kernel("GATHER", prepare_gather, covers=in_words(GATHERED)),
    Kernel("GATHER_ND", prepare_gather_nd, covers=in_words(GATHERED_ND)),
)
