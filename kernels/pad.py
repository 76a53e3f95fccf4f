"""PAD, PADV2: a tensor framed by one value; MIRROR_PAD: by its own elements, mirrored.

Source: ``tflite/kernels/pad.cc``, ``internal/reference/pad.h``, ``mirror_pad.cc``.
"""

from __future__ import annotations

import enum
from functools import partial

import numpy as np

from kernels.engine import delegate, micro
from kernels.engine.contract import (
    checked_shape,
    choice,
    expect,
    expect_count,
    expect_dtype,
    input_tensor,
    optional_input,
    output_tensor,
)
from kernels.engine.movement import (
    COPIED,
    Movement,
    expect_covered,
    expect_same_quant,
    expect_zero_point_zero,
    in_words,
    per_tensor_quant,
)
from kernels.engine.registry import Kernel
from kernels.engine.types import OpView, Prepared, TensorView
from kernels.profiles import TFLM, XNNPACK, Profile
from qmath.types import Array, DType

#: Most dimensions that PAD takes.
MAX_PADDED_RANK = 5


class Mirror(enum.Enum):
    """The schema's modes of MIRROR_PAD; the value counts the elements at the edge that are not repeated."""

    REFLECT = 0
    SYMMETRIC = 1

    @property
    def skipped(self) -> int:
        """Elements at the edge that the mirror image leaves out."""
        return 1 if self is Mirror.REFLECT else 0


def pad(x: Array, paddings: Array, value: Array) -> Array:
    """Put ``paddings[axis]`` elements of one value before and behind each axis.

    Raises
    ------
    ModelError
        A padding is negative.

    """
    before, behind = paddings.astype(np.int64).T
    expect(not ((before < 0) | (behind < 0)).any(), f"paddings that are not negative, found {paddings.tolist()}")
    shape = checked_shape(before + x.shape + behind)
    framed = np.full(shape, value, x.dtype)
    framed[tuple(slice(start, start + size) for start, size in zip(before, x.shape, strict=True))] = x
    return framed


def prepare_pad(op: OpView, profile: Profile) -> Prepared:
    """Check the contract of PAD and PADV2.

    The value is the third input; without one, the output's zero point, and 0 for types that are not quantized.

    Raises
    ------
    ModelError
        The op breaks its contract.
    UnsupportedError
        The element type is not covered.

    """
    del profile
    expect_count(op, {2, 3})
    x, paddings, value, y = input_tensor(op, 0), input_tensor(op, 1), optional_input(op, 2), output_tensor(op)
    expect_covered(op, x, PADDED)
    expect_dtype(y, x.dtype)
    expect(len(x.shape) <= MAX_PADDED_RANK, f"at most {MAX_PADDED_RANK} dimensions, found {x.shape}")
    expect_dtype(paddings, DType.INT32, DType.INT64, DType.INT8, DType.INT16, DType.BOOL)
    _expect_one_pair_an_axis(paddings, x)
    quantized = x.dtype is DType.UINT8 or (x.dtype in {DType.INT8, DType.INT16} and x.quant is not None)
    if value is None:
        zero_point = per_tensor_quant(y)[1] if quantized else 0
        expect(not quantized or y.dtype.min <= zero_point <= y.dtype.max, f"a zero point in range, found {zero_point}")
        fill = np.array(zero_point, x.dtype.storage)
        return Movement(lambda x, paddings, *_: pad(x, paddings, fill))
    expect_dtype(value, x.dtype)
    expect(all(size == 1 for size in value.shape), f"one value to pad with, found shape {value.shape}")
    if quantized:
        expect_same_quant(value, y)
    return Movement(lambda x, paddings, value: pad(x, paddings, value.reshape(())))


def mirror_pad(x: Array, paddings: Array, mirror: Mirror) -> Array:
    """Continue each axis before its start and behind its end by its mirror image.

    REFLECT leaves the element at the edge out of the image, SYMMETRIC repeats it.

    Raises
    ------
    ModelError
        A padding is negative, or longer than the image.

    """
    longest = np.array(x.shape, np.int64)[:, None] - mirror.skipped
    widths = paddings.astype(np.int64)
    fits = bool(((widths >= 0) & (widths <= longest)).all())
    expect(fits, f"paddings from 0 to {longest.ravel().tolist()}, found {widths.tolist()}")
    checked_shape(widths.sum(axis=1) + x.shape)
    for axis, (before, behind) in enumerate(widths):
        size = x.shape[axis]
        skipped = mirror.skipped
        image_before = np.arange(before + skipped - 1, skipped - 1, -1)
        image_behind = np.arange(size - 1 - skipped, size - 1 - skipped - behind, -1)
        x = x.take(np.concatenate([image_before, np.arange(size), image_behind]), axis)
    return x


def prepare_mirror_pad(op: OpView, profile: Profile) -> Prepared:
    """Check the contract of MIRROR_PAD.

    Raises
    ------
    ModelError
        The op breaks its contract.
    UnsupportedError
        The element type is not covered.

    """
    del profile
    expect_count(op, {2})
    x, paddings, y = input_tensor(op, 0), input_tensor(op, 1), output_tensor(op)
    expect_covered(op, x, COPIED)
    expect_dtype(y, x.dtype)
    expect_dtype(paddings, DType.INT32, DType.INT64)
    _expect_one_pair_an_axis(paddings, x)
    if x.dtype in {DType.INT8, DType.UINT8, DType.INT16}:
        expect_same_quant(x, y)
    if x.dtype is DType.INT16:
        expect_zero_point_zero(x, y)
    return Movement(partial(mirror_pad, mirror=choice(op, "mode", Mirror)))


def _expect_one_pair_an_axis(paddings: TensorView, x: TensorView) -> None:
    wanted = (len(x.shape), 2)
    expect(paddings.shape == wanted, f"paddings of shape {wanted}, found {paddings.shape}")


PADDED = (
    DType.INT8,
    DType.UINT8,
    DType.INT16,
    DType.INT32,
    DType.INT64,
    DType.BOOL,
    DType.FLOAT16,
    DType.BFLOAT16,
    DType.FLOAT32,
)

KERNELS = (
    Kernel(
        "PAD",
        prepare_pad,
        covers=in_words(PADDED),
        refusal={TFLM: micro.no_uint8, XNNPACK: delegate.padding},
        demands={XNNPACK: delegate.same_scale_and_zero_point},
    ),
    Kernel("PADV2", prepare_pad, covers=in_words(PADDED), refusal={TFLM: micro.no_uint8}),
    Kernel("MIRROR_PAD", prepare_mirror_pad, covers=in_words(COPIED)),
)
