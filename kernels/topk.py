"""TOPK_V2: the k largest elements along the last axis, and where they are.

Source: ``tflite/kernels/topk_v2.cc``.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from kernels.engine.contract import checked_shape, expect, expect_count, expect_dtype, input_tensor, output_tensor
from kernels.engine.movement import Movement, expect_covered, in_words, one_integer
from kernels.engine.registry import Kernel
from kernels.engine.types import OpView, Outputs, Prepared
from kernels.profiles import Profile
from qmath.types import Array, DType


def topk(x: Array, k: Array, dtype: DType) -> Outputs:
    """Return the ``k`` largest elements along the last axis, largest first, and their places.

    Of equals the first in place comes first; NaN counts as minus infinity.

    Raises
    ------
    ModelError
        There are fewer than ``k`` elements.

    """
    count, size = max(0, one_integer(k)), x.shape[-1]
    expect(count <= size, f"at most {size} of {size} elements, found {count}")
    checked_shape((*x.shape[:-1], count))
    keys = np.where(np.isnan(x), -np.inf, x) if x.dtype.kind == "f" else x
    # Sorted backwards, rising and stable, then read from the end: falling, and equals in their order again.
    places = size - 1 - np.argsort(keys[..., ::-1], axis=-1, kind="stable")[..., ::-1][..., :count]
    return np.take_along_axis(x, places, -1), places.astype(dtype.storage)


def prepare_topk(op: OpView, profile: Profile) -> Prepared:
    """Check the contract of TOPK_V2.

    Raises
    ------
    ModelError
        The op breaks its contract.
    UnsupportedError
        The element type is not covered.

    """
    del profile
    expect_count(op, {2}, outputs=2)
    x, k = input_tensor(op, 0), input_tensor(op, 1)
    expect_covered(op, x, RANKED)
    expect_dtype(output_tensor(op), x.dtype)
    expect_dtype(output_tensor(op, 1), DType.INT32, DType.INT16)
    expect_dtype(k, DType.INT32, DType.INT16)
    expect(len(x.shape) > 0, "a tensor with axes, found a scalar")
    return Movement(partial(topk, dtype=output_tensor(op, 1).dtype))


RANKED = (DType.INT8, DType.UINT8, DType.INT16, DType.INT32, DType.INT64, DType.FLOAT32)

KERNELS = (Kernel("TOPK_V2", prepare_topk, covers=in_words(RANKED)),)
