"""RANGE: numbers at equal distances; FILL, ZEROS_LIKE: one number everywhere.

Source: ``tflite/kernels/range.cc``, ``fill.cc``, ``zeros_like.cc``.
"""

from __future__ import annotations

import math

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
from kernels.engine.movement import (
    COPIED,
    Movement,
    expect_covered,
    expect_same_quant,
    expect_zero_point_zero,
    in_words,
    integers,
)
from kernels.engine.registry import Kernel
from kernels.engine.types import OpView, Prepared
from kernels.profiles import Profile
from qmath.types import Array, DType


def range_(start: Array, limit: Array, delta: Array) -> Array:
    """Return ``start``, ``start + delta`` ... up to before ``limit``.

    1. There are ``ceil(|limit - start| / |delta|)`` numbers; for floats this is float32 arithmetic.
    2. Each number is the one before plus ``delta``, rounded to the element type every time.

    Raises
    ------
    ModelError
        ``delta`` is 0 or leads away from ``limit``.

    """
    leads_there = (start >= limit and delta < 0) or (start <= limit and delta > 0)
    expect(bool(leads_there), f"a step that leads from {start} to {limit}, found {delta}")
    if start.dtype.kind == "f":
        steps = np.ceil(np.abs((limit - start) / delta))
        expect(bool(np.isfinite(steps)), f"a finite range, found {start} to {limit} by {delta}")
        count = int(steps)
    else:
        count = math.ceil(abs(int(limit) - int(start)) / abs(int(delta))) if int(delta) else 0
    numbers = np.full(checked_shape((count,)), delta, start.dtype)
    numbers[:1] = start
    return np.add.accumulate(numbers, dtype=start.dtype)


def prepare_range(op: OpView, profile: Profile) -> Prepared:
    """Check the contract of RANGE.

    Raises
    ------
    ModelError
        The op breaks its contract.
    UnsupportedError
        The element type is not covered.

    """
    del profile
    expect_count(op, {3})
    tensors = [input_tensor(op, slot) for slot in range(3)]
    expect_covered(op, tensors[0], NUMBERS)
    for tensor in tensors:
        expect_dtype(tensor, tensors[0].dtype)
        expect_rank(tensor, 0)
    return Movement(range_)


def fill(shape: Array, value: Array) -> Array:
    """Return a tensor of a shape that holds one value."""
    return np.full(checked_shape(integers(shape)), value, value.dtype)


def prepare_fill(op: OpView, profile: Profile) -> Prepared:
    """Check the contract of FILL.

    Raises
    ------
    ModelError
        The op breaks its contract.
    UnsupportedError
        The element type is not covered.

    """
    del profile
    expect_count(op, {2})
    shape, value, y = input_tensor(op, 0), input_tensor(op, 1), output_tensor(op)
    expect_covered(op, value, COPIED)
    expect_dtype(shape, DType.INT32, DType.INT64)
    expect_rank(shape, 1)
    expect_rank(value, 0)
    expect_same_quant(value, y)
    if value.dtype is DType.INT16:
        expect_zero_point_zero(value)
    return Movement(fill)


def zeros_like(x: Array) -> Array:
    """Return zeros of the shape and type of a tensor."""
    return np.zeros_like(x)


def prepare_zeros_like(op: OpView, profile: Profile) -> Prepared:
    """Check the contract of ZEROS_LIKE.

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
    expect_covered(op, x, NUMBERS)
    return Movement(zeros_like)


NUMBERS = (DType.INT32, DType.INT64, DType.FLOAT32)

KERNELS = (
    Kernel("RANGE", prepare_range, covers=in_words(NUMBERS)),
    Kernel("FILL", prepare_fill, covers=in_words(COPIED)),
    Kernel("ZEROS_LIKE", prepare_zeros_like, covers=in_words(NUMBERS)),
)
