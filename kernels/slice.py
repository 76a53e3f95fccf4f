"""SLICE: a box cut out of a tensor; DYNAMIC_UPDATE_SLICE: a box put into one.

Source: ``tflite/kernels/slice.cc``, ``dynamic_update_slice.cc``.
"""

from __future__ import annotations

import numpy as np

from kernels.engine import delegate
from kernels.engine.contract import expect, expect_count, expect_dtype, expect_rank, input_tensor, output_tensor
from kernels.engine.movement import COPIED, Movement, expect_covered, in_words, integers
from kernels.engine.registry import Kernel
from kernels.engine.types import OpView, Prepared
from kernels.profiles import XNNPACK, Profile
from qmath.types import Array, DType

#: Element types that the kernels copy: one of 4 bits too.
SLICED = (*COPIED, DType.INT4)
#: Most dimensions that DYNAMIC_UPDATE_SLICE takes.
MAX_UPDATED_RANK = 8


def slice_(x: Array, begin: Array, size: Array) -> Array:
    """Cut the box of ``size`` that starts at ``begin``; a size of -1 takes the rest of its axis.

    Raises
    ------
    ModelError
        The box does not lie inside.

    """
    starts, sizes = integers(begin), integers(size)
    expect(len(starts) == len(sizes) == x.ndim, f"{x.ndim} begins and sizes, found {starts} and {sizes}")
    extents = [
        dim - start if wanted == -1 else wanted for dim, start, wanted in zip(x.shape, starts, sizes, strict=True)
    ]
    expect(
        all(min(start, n) >= 0 and start + n <= dim for dim, start, n in zip(x.shape, starts, extents, strict=True)),
        f"a box inside {x.shape}, found begin {starts} and size {sizes}",
    )
    box = tuple(slice(start, start + n) for start, n in zip(starts, extents, strict=True))
    return np.asarray(x[box], order="C")


def prepare_slice(op: OpView, profile: Profile) -> Prepared:
    """Check the contract of SLICE.

    Raises
    ------
    ModelError
        The op breaks its contract.
    UnsupportedError
        The element type is not covered.

    """
    del profile
    expect_count(op, {3})
    x, begin, size = (input_tensor(op, slot) for slot in range(3))
    expect_covered(op, x, SLICED)
    expect_dtype(output_tensor(op), x.dtype)
    for tensor in (begin, size):
        expect_dtype(tensor, DType.INT32, DType.INT64)
        expect_rank(tensor, 1)
    return Movement(slice_)


def dynamic_update_slice(x: Array, update: Array, begin: Array) -> Array:
    """Replace the box of ``x`` that starts at ``begin`` by ``update``.

    A start that would leave part of the box outside is moved to the nearest one that does not.
    """
    starts = [min(max(0, start), dim - n) for start, dim, n in zip(integers(begin), x.shape, update.shape, strict=True)]
    result = x.copy()
    result[tuple(slice(start, start + n) for start, n in zip(starts, update.shape, strict=True))] = update
    return result


def prepare_dynamic_update_slice(op: OpView, profile: Profile) -> Prepared:
    """Check the contract of DYNAMIC_UPDATE_SLICE.

    Raises
    ------
    ModelError
        The op breaks its contract.
    UnsupportedError
        The element type is not covered.

    """
    del profile
    expect_count(op, {3})
    x, update, begin = (input_tensor(op, slot) for slot in range(3))
    expect_covered(op, x, SLICED)
    expect_dtype(update, x.dtype)
    expect_dtype(begin, DType.INT32, DType.INT64)
    rank = len(x.shape)
    expect(rank <= MAX_UPDATED_RANK, f"at most {MAX_UPDATED_RANK} dimensions, found {x.shape}")
    expect(begin.shape == (rank,), f"{rank} starts, found shape {begin.shape}")
    expect_rank(update, rank)
    expect(
        all(n <= dim for n, dim in zip(update.shape, x.shape, strict=True)),
        f"an update that fits into {x.shape}, found {update.shape}",
    )
    return Movement(dynamic_update_slice)


KERNELS = (
    Kernel(
        "SLICE",
        prepare_slice,
        covers=in_words(SLICED),
        refusal={XNNPACK: delegate.slicing},
        demands={XNNPACK: delegate.same_scale_and_zero_point},
    ),
    Kernel("DYNAMIC_UPDATE_SLICE", prepare_dynamic_update_slice, covers=in_words(SLICED)),
)
