"""WHERE: the indices at which a condition holds.

Source: ``tflite/kernels/where.cc``.
"""

from __future__ import annotations

import numpy as np

from kernels.engine.contract import expect, expect_count, input_tensor
from kernels.engine.movement import Movement, expect_covered, in_words
from kernels.engine.registry import Kernel
from kernels.engine.types import OpView, Prepared
from kernels.profiles import Profile
from qmath.types import Array, DType


def where(condition: Array) -> Array:
    """Return the indices of the elements that are not 0, one place a row, in the order of memory."""
    return np.argwhere(condition != 0).astype(np.int64)


def prepare_where(op: OpView, profile: Profile) -> Prepared:
    """Check the contract of WHERE.

    Raises
    ------
    ModelError
        The op breaks its contract.
    UnsupportedError
        The element type is not covered.

    """
    del profile
    expect_count(op, {1})
    condition = input_tensor(op, 0)
    expect_covered(op, condition, TRUTHS)
    expect(len(condition.shape) > 0, "a condition with axes, found a scalar")
    return Movement(where)


TRUTHS = (DType.BOOL, DType.FLOAT32, DType.INT64, DType.INT32, DType.INT8, DType.UINT8, DType.UINT32)

KERNELS = (Kernel("WHERE", prepare_where, covers=in_words(TRUTHS)),)
