"""SELECT, SELECT_V2: elements of one tensor where a condition holds, of another where not.

Source: ``tflite/kernels/select.cc``, ``internal/reference/select.h``.
"""

from __future__ import annotations

import math

import numpy as np

from kernels.engine.contract import expect, expect_count, expect_dtype, input_tensor, output_tensor
from kernels.engine.movement import COPIED, Movement, expect_covered, in_words
from kernels.engine.registry import Kernel
from kernels.engine.types import OpView, Prepared
from kernels.profiles import Profile
from qmath.types import Array, DType

#: Most dimensions that SELECT_V2 broadcasts to.
MAX_SELECTED_RANK = 8


def select(condition: Array, x: Array, y: Array) -> Array:
    """Choose elements of ``x`` where the condition holds, else of ``y``; all three broadcast against each other."""
    return np.where(condition, x, y)


def select_rows(condition: Array, x: Array, y: Array) -> Array:
    """Choose whole slices along the first axis: one condition for each, or a scalar for all."""
    return np.where(condition.reshape(condition.shape + (1,) * (x.ndim - condition.ndim)), x, y)


def prepare_select(op: OpView, profile: Profile) -> Prepared:
    """Check the contract of SELECT and SELECT_V2.

    Quirk: SELECT and SELECT_V2 of single elements keep the output shape that the file gives.

    Raises
    ------
    ModelError
        The op breaks its contract.
    UnsupportedError
        The element type is not covered.

    """
    del profile
    expect_count(op, {3})
    condition, x, y = (input_tensor(op, slot) for slot in range(3))
    expect_covered(op, x, COPIED)
    expect_dtype(condition, DType.BOOL)
    expect_dtype(y, x.dtype)
    shapes = [tensor.shape for tensor in (condition, x, y)]
    given = output_tensor(op).shape
    if all(math.prod(shape) == 1 for shape in (*shapes, given)):
        return Movement(lambda c, x, y: np.where(c.reshape(given), x.reshape(given), y.reshape(given)))
    if op.name == "SELECT" and condition.shape != x.shape:
        expect(condition.shape in {(), x.shape[:1]}, f"a condition of shape () or {x.shape[:1]}, found {shapes[0]}")
        expect(x.shape == y.shape, f"two tensors of one shape, found {x.shape} and {y.shape}")
        return Movement(select_rows)
    if op.name == "SELECT":
        expect(x.shape == y.shape, f"two tensors of one shape, found {x.shape} and {y.shape}")
    _expect_broadcast(shapes)
    return Movement(select)


def _expect_broadcast(shapes: list[tuple[int, ...]]) -> None:
    try:
        rank = len(np.broadcast_shapes(*shapes))
    except ValueError:
        rank = MAX_SELECTED_RANK + 1
    expect(
        rank <= MAX_SELECTED_RANK, f"shapes that broadcast to at most {MAX_SELECTED_RANK} dimensions, found {shapes}"
    )


KERNELS = (
    Kernel("SELECT", prepare_select, covers=in_words(COPIED)),
    Kernel("SELECT_V2", prepare_select, covers=in_words(COPIED)),
)
