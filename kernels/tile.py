"""TILE: a tensor repeated along its axes; BROADCAST_TO: stretched along axes of size 1; BROADCAST_ARGS: to what shape.

Source: ``tflite/kernels/tile.cc``, ``broadcast_to.cc``, ``broadcast_args.cc``.
"""

from __future__ import annotations

import numpy as np

from kernels.engine.contract import (
    checked_shape,
    expect,
    expect_count,
    expect_dtype,
    expect_rank,
    input_tensor,
    output_tensor,
)
from kernels.engine.movement import COPIED, Movement, expect_covered, in_words, integers
from kernels.engine.registry import Kernel
from kernels.engine.types import OpView, Prepared
from kernels.profiles import Profile
from qmath.types import Array, DType


def tile(x: Array, multiples: Array) -> Array:
    """Repeat a tensor ``multiples[axis]`` times along each axis.

    Raises
    ------
    ModelError
        There is not one multiple an axis, or one is negative.

    """
    times = integers(multiples)
    expect(len(times) == x.ndim, f"one multiple for each of {x.ndim} axes, found {times}")
    expect(min(times, default=0) >= 0, f"multiples that are not negative, found {times}")
    shape = checked_shape(size * n for size, n in zip(x.shape, times, strict=True))
    return np.tile(x, times) if all(shape) else np.zeros(shape, x.dtype)


def prepare_tile(op: OpView, profile: Profile) -> Prepared:
    """Check the contract of TILE.

    Raises
    ------
    ModelError
        The op breaks its contract.
    UnsupportedError
        The element type is not covered.

    """
    del profile
    expect_count(op, {2})
    x = input_tensor(op, 0)
    expect_covered(op, x, COPIED)
    expect_dtype(output_tensor(op), x.dtype)
    expect_dtype(input_tensor(op, 1), DType.INT32, DType.INT64)
    return Movement(tile)


def broadcast_to(x: Array, shape: Array) -> Array:
    """Stretch axes of size 1, and new axes in front, to a shape.

    Raises
    ------
    ModelError
        An axis is neither of size 1 nor as long as asked for.

    """
    wanted = checked_shape(integers(shape))
    behind = wanted[len(wanted) - x.ndim :]
    fits = x.ndim <= len(wanted) and all(size in {1, n} for size, n in zip(x.shape, behind, strict=True))
    expect(fits, f"a shape that {x.shape} broadcasts to, found {wanted}")
    return np.array(np.broadcast_to(x, wanted), order="C")


def prepare_broadcast_to(op: OpView, profile: Profile) -> Prepared:
    """Check the contract of BROADCAST_TO.

    Raises
    ------
    ModelError
        The op breaks its contract.
    UnsupportedError
        The element type is not covered.

    """
    del profile
    expect_count(op, {2})
    x, shape = input_tensor(op, 0), input_tensor(op, 1)
    expect_covered(op, x, COPIED)
    expect_dtype(output_tensor(op), x.dtype)
    expect_dtype(shape, DType.INT32, DType.INT64)
    expect_rank(shape, 1)
    return Movement(broadcast_to)


def broadcast_args(first: Array, second: Array) -> Array:
    """Return the shape that two shapes broadcast to.

    Raises
    ------
    ModelError
        They do not broadcast.

    """
    rank = max(first.size, second.size)
    ours, theirs = (np.concatenate([np.ones(rank - s.size, s.dtype), s]) for s in (first, second))
    expect(bool(((ours == theirs) | (ours == 1) | (theirs == 1)).all()), f"shapes to broadcast, found {ours}, {theirs}")
    return np.where(ours == 1, theirs, ours)


def prepare_broadcast_args(op: OpView, profile: Profile) -> Prepared:
    """Check the contract of BROADCAST_ARGS.

    Raises
    ------
    ModelError
        The op breaks its contract.

    """
    del profile
    expect_count(op, {2})
    first, second = input_tensor(op, 0), input_tensor(op, 1)
    expect_dtype(first, DType.INT32, DType.INT64)
    expect_dtype(second, first.dtype)
    expect_dtype(output_tensor(op), first.dtype)
    for shape in (first, second):
        expect_rank(shape, 1)
    return Movement(broadcast_args)


KERNELS = (
    Kernel("TILE", prepare_tile, covers=in_words(COPIED)),
    Kernel("BROADCAST_TO", prepare_broadcast_to, covers=in_words(COPIED)),
    Kernel("BROADCAST_ARGS", prepare_broadcast_args, covers=("int32", "int64")),
)
