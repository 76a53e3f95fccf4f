"""SPACE_TO_DEPTH, DEPTH_TO_SPACE: blocks of pixels moved to the channel axis and back.

Source: ``tflite/kernels/space_to_depth.cc``, ``depth_to_space.cc``.
"""

from __future__ import annotations

from functools import partial

from kernels.engine import delegate
from kernels.engine.contract import expect, expect_count, expect_dtype, expect_rank, input_tensor, option, output_tensor
from kernels.engine.movement import (
    Movement,
    expect_covered,
    in_words,
)
from kernels.engine.registry import Kernel
from kernels.engine.types import OpView, Prepared
from kernels.profiles import XNNPACK, Profile
from qmath.types import Array, DType


def space_to_depth(x: Array, block: int) -> Array:
    """Move each block of pixels into the channels of one: row by row of the block, all channels of a pixel together."""
    n, h, w, c = x.shape
    split = x.reshape(n, h // block, block, w // block, block, c)
    return split.transpose(0, 1, 3, 2, 4, 5).reshape(n, h // block, w // block, block * block * c)


def depth_to_space(x: Array, block: int) -> Array:
    """Undo :func:`space_to_depth`."""
    n, h, w, c = x.shape
    split = x.reshape(n, h, w, block, block, c // (block * block))
    return split.transpose(0, 1, 3, 2, 4, 5).reshape(n, h * block, w * block, c // (block * block))


def prepare_depth(op: OpView, profile: Profile) -> Prepared:
    """Check the contract of SPACE_TO_DEPTH and DEPTH_TO_SPACE.

    Raises
    ------
    ModelError
        The op breaks its contract.
    UnsupportedError
        The element type is not covered.

    """
    del profile
    expect_count(op, {1})
    x = input_tensor(op, 0)
    expect_covered(op, x, DEPTHS)
    expect_dtype(output_tensor(op), x.dtype)
    expect_rank(x, 4)
    block = option(op, "block_size")
    expect(block > 0, f"a positive block size, found {block}")
    if op.name == "SPACE_TO_DEPTH":
        divides = x.shape[1] % block == 0 and x.shape[2] % block == 0
        expect(divides, f"height and width that divide by {block}, found shape {x.shape}")
        return Movement(partial(space_to_depth, block=block))
    expect(x.shape[3] % (block * block) == 0, f"channels that divide by {block * block}, found shape {x.shape}")
    return Movement(partial(depth_to_space, block=block))


DEPTHS = (DType.INT8, DType.UINT8, DType.INT32, DType.INT64, DType.FLOAT32)

KERNELS = (
    Kernel(
        "SPACE_TO_DEPTH",
        prepare_depth,
        covers=in_words(DEPTHS),
        refusal={XNNPACK: delegate.space_to_depth},
        demands={XNNPACK: delegate.same_scale_and_zero_point},
    ),
    Kernel(
        "DEPTH_TO_SPACE",
        prepare_depth,
        covers=in_words(DEPTHS),
        refusal={XNNPACK: delegate.depth_to_space},
        demands={XNNPACK: delegate.same_scale_and_zero_point},
    ),
)
