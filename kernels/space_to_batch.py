"""SPACE_TO_BATCH_ND, BATCH_TO_SPACE_ND: blocks of pixels moved to the batch axis and back.

Quirk: SPACE_TO_BATCH_ND pads byte by byte, so that a quantized uint16 tensor of zero point 7 is padded with 0x0707.

Source: ``tflite/kernels/space_to_batch_nd.cc``, ``batch_to_space_nd.cc``.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from kernels.engine.contract import checked_shape, expect, expect_count, expect_dtype, input_tensor, output_tensor
from kernels.engine.movement import (
    COPIED,
    Movement,
    expect_covered,
    expect_same_quant,
    expect_zero_point_zero,
    in_words,
    integers,
    per_tensor_quant,
)
from kernels.engine.registry import Kernel
from kernels.engine.types import OpView, Prepared
from kernels.profiles import Profile
from qmath.types import Array, DType


def space_to_batch_nd(x: Array, block: Array, paddings: Array, fill: int) -> Array:
    """Move the pixels at each place within a block to a batch of their own.

    1. Pad height and width with ``fill``.
    2. The pixels at row ``i``, column ``j`` of every block make batches ``(i * block_width + j) * batches + n``.

    An input without a width axis has blocks along its height alone.

    Raises
    ------
    ModelError
        The padded size does not divide into blocks.

    """
    sizes = _blocks(x, block, paddings)
    frame = paddings.astype(np.int64)
    expect(not (frame < 0).any(), f"paddings that are not negative, found {frame.tolist()}")
    padded = checked_shape([x.shape[0], *(frame.sum(axis=1) + x.shape[1:-1]), x.shape[-1]])
    divides = all(size % n == 0 for size, n in zip(padded[1:-1], sizes, strict=True))
    expect(divides, f"a padded size that divides into blocks of {sizes}, found {padded[1:-1]}")
    whole = np.full(padded, fill, x.dtype)
    inside = tuple(slice(start, start + n) for start, n in zip(frame[:, 0], x.shape[1:-1], strict=True))
    whole[(slice(None), *inside)] = x
    counts = [size // n for size, n in zip(padded[1:-1], sizes, strict=True)]
    pairs = [part for pair in zip(counts, sizes, strict=True) for part in pair]
    split = whole.reshape(x.shape[0], *pairs, x.shape[-1])
    spatial = range(1, split.ndim - 1)
    moved = split.transpose([*spatial[1::2], 0, *spatial[::2], split.ndim - 1])
    return moved.reshape(checked_shape([x.shape[0] * int(np.prod(sizes)), *counts, x.shape[-1]]))


def batch_to_space_nd(x: Array, block: Array, crops: Array) -> Array:
    """Undo :func:`space_to_batch_nd`, cropping instead of padding.

    Raises
    ------
    ModelError
        The batches do not divide into blocks, or less than nothing is left after cropping.

    """
    sizes = _blocks(x, block, crops)
    blocks = int(np.prod(sizes))
    expect(x.shape[0] % blocks == 0, f"batches that divide into blocks of {sizes}, found {x.shape[0]}")
    batches = x.shape[0] // blocks
    split = x.reshape(*sizes, batches, *x.shape[1:])
    rank = len(sizes)
    order = [rank, *(axis for i in range(rank) for axis in (rank + 1 + i, i)), split.ndim - 1]
    whole_size = [size * n for size, n in zip(x.shape[1:-1], sizes, strict=True)]
    whole = split.transpose(order).reshape(batches, *whole_size, x.shape[-1])
    cut = crops.astype(np.int64)
    expect(not (cut < 0).any(), f"crops that are not negative, found {cut.tolist()}")
    expect(bool((cut.sum(axis=1) <= whole_size).all()), f"crops within {whole_size}, found {cut.tolist()}")
    kept = tuple(slice(before, size - behind) for (before, behind), size in zip(cut, whole_size, strict=True))
    return np.asarray(whole[(slice(None), *kept)], order="C")


def _blocks(x: Array, block: Array, frame: Array) -> tuple[int, ...]:
    """Check block shape and frame against the spatial axes of ``x`` and return the block shape."""
    rank = x.ndim - 2
    expect(block.shape == (rank,), f"{rank} block sizes, found shape {block.shape}")
    expect(frame.shape == (rank, 2), f"{rank} pairs, found shape {frame.shape}")
    sizes = integers(block)
    expect(min(sizes) > 0, f"positive block sizes, found {sizes}")
    return sizes


def prepare_batches(op: OpView, profile: Profile) -> Prepared:
    """Check the contract of SPACE_TO_BATCH_ND and BATCH_TO_SPACE_ND.

    Raises
    ------
    ModelError
        The op breaks its contract.
    UnsupportedError
        The element type is not covered.

    """
    del profile
    expect_count(op, {3})
    x, block, frame = (input_tensor(op, slot) for slot in range(3))
    y = output_tensor(op)
    expect_covered(op, x, COPIED)
    expect_dtype(y, x.dtype)
    expect(len(x.shape) in {3, 4}, f"3 or 4 dimensions, found shape {x.shape}")
    for tensor in (block, frame):
        expect_dtype(tensor, DType.INT32)
    if x.dtype in {DType.INT8, DType.UINT8, DType.INT16}:
        expect_same_quant(x, y)
    if x.dtype is DType.INT16:
        expect_zero_point_zero(x)
    if op.name == "BATCH_TO_SPACE_ND":
        return Movement(batch_to_space_nd)
    fill = per_tensor_quant(y)[1] if x.dtype in {DType.INT8, DType.UINT8, DType.UINT16} else 0
    expect(fill == 0 or y.dtype.min <= fill <= y.dtype.max, f"a zero point in range, found {fill}")
    if x.dtype is DType.UINT16:
        fill = (fill & 0xFF) * 0x0101
    return Movement(partial(space_to_batch_nd, fill=fill))


KERNELS = (
    Kernel("SPACE_TO_BATCH_ND", prepare_batches, covers=in_words(COPIED)),
    Kernel("BATCH_TO_SPACE_ND", prepare_batches, covers=in_words(COPIED)),
)
