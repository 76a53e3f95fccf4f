"""SEGMENT_SUM and UNSORTED_SEGMENT_SUM, PROD, MAX, MIN: rows of a tensor combined by the segment they belong to.

SEGMENT_SUM is missing from LiteRT's reference resolver; the kernel of the default one is its reference.

Source: ``tflite/kernels/segment_sum.cc``, ``unsorted_segment.cc``, ``internal/reference/reference_ops.h``.
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
    expect_rank,
    input_tensor,
    output_tensor,
)
from kernels.engine.movement import Movement, expect_covered, in_words, one_integer
from kernels.engine.registry import Kernel
from kernels.engine.types import OpView, Prepared
from kernels.profiles import Profile
from qmath.types import Array, DType, Int64Array

SUMMED = (DType.INT32, DType.FLOAT32)


def segment_sum(x: Array, segments: Array) -> Array:
    """Add the rows of each segment, in order; segments are numbered from 0 without gaps, and sorted.

    Raises
    ------
    ModelError
        The numbers are not so.

    """
    expect(segments.shape == x.shape[:1], f"{x.shape[0]} segment numbers, found shape {segments.shape}")
    numbers = segments.astype(np.int64)
    steps = np.diff(numbers, prepend=-1)
    sorted_from_0 = numbers.size == 0 or (numbers[0] == 0 and bool(((steps[1:] == 0) | (steps[1:] == 1)).all()))
    expect(sorted_from_0, f"sorted segment numbers from 0 without gaps, found {numbers.tolist()}")
    count = int(numbers[-1]) + 1 if numbers.size else 0
    return _combine(np.add, x, numbers, checked_shape((count, *x.shape[1:])), 0)


def prepare_segment_sum(op: OpView, profile: Profile) -> Prepared:
    """Check the contract of SEGMENT_SUM.

    Raises
    ------
    ModelError
        The op breaks its contract.
    UnsupportedError
        The element type is not covered.

    """
    del profile
    expect_count(op, {2})
    x, segments = input_tensor(op, 0), input_tensor(op, 1)
    expect_covered(op, x, SUMMED)
    expect_dtype(output_tensor(op), x.dtype)
    expect_dtype(segments, DType.INT32)
    expect_rank(segments, 1)
    expect(len(x.shape) > 0, "a tensor with rows, found a scalar")
    return Movement(segment_sum)


def unsorted_segment(x: Array, segments: Array, count: Array, name: str) -> Array:
    """Combine the slices of each segment; negative numbers belong to none, and empty segments stay neutral.

    The neutral element of a maximum or minimum is the lowest or highest finite number.

    Raises
    ------
    ModelError
        The numbers do not fit the tensor, or are not below ``count``.

    """
    total = one_integer(count)
    rank = segments.ndim
    expect(x.shape[:rank] == segments.shape, f"segment numbers of shape {x.shape[:rank]}, found {segments.shape}")
    expect(bool((segments < total).all()) and total >= 0, f"segment numbers below {total}, found others")
    shape = checked_shape((total, *x.shape[rank:]))
    combine, neutral = _COMBINATIONS[name]
    start = neutral if neutral is not None else _extreme(x.dtype, lowest=combine is np.fmax)
    numbers = segments.astype(np.int64).reshape(-1)
    rows = x.reshape(len(numbers), *x.shape[rank:])
    return _combine(combine, rows[numbers >= 0], numbers[numbers >= 0], shape, start)


def _combine(combine: np.ufunc, rows: Array, numbers: Int64Array, shape: tuple[int, ...], start: float) -> Array:
    result = np.full(shape, start, rows.dtype)
    if math.prod(shape):
        combine.at(result, numbers, rows)
    return result


def _extreme(dtype: np.dtype, *, lowest: bool) -> float:
    limits = np.finfo(dtype) if dtype.kind == "f" else np.iinfo(dtype)
    return limits.min if lowest else limits.max


_COMBINATIONS: dict[str, tuple[np.ufunc, int | None]] = {
    "UNSORTED_SEGMENT_SUM": (np.add, 0),
    "UNSORTED_SEGMENT_PROD": (np.multiply, 1),
    "UNSORTED_SEGMENT_MAX": (np.fmax, None),
    "UNSORTED_SEGMENT_MIN": (np.fmin, None),
}


def prepare_unsorted_segment(op: OpView, profile: Profile) -> Prepared:
    """Check the contract of the UNSORTED_SEGMENT ops.

    Raises
    ------
    ModelError
        The op breaks its contract.
    UnsupportedError
        The element type is not covered.

    """
    del profile
    expect_count(op, {3})
    x, segments, count = (input_tensor(op, slot) for slot in range(3))
    expect_covered(op, x, SUMMED)
    expect_dtype(output_tensor(op), x.dtype)
    expect_dtype(segments, DType.INT32)
    expect_dtype(count, DType.INT32)
    return Movement(partial(unsorted_segment, name=op.name))


KERNELS = (
    Kernel("SEGMENT_SUM", prepare_segment_sum, covers=in_words(SUMMED)),
    *(Kernel(name, prepare_unsorted_segment, covers=in_words(SUMMED)) for name in _COMBINATIONS),
)
