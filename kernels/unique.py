"""UNIQUE: the values of a vector without repeats.

Source: ``tflite/kernels/unique.cc``.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from kernels.engine.contract import expect, expect_count, expect_dtype, input_tensor, option, output_tensor
from kernels.engine.movement import Movement, expect_covered, in_words
from kernels.engine.registry import Kernel
from kernels.engine.types import OpView, Outputs, Prepared
from kernels.profiles import Profile
from qmath.errors import UnsupportedError
from qmath.types import Array, DType


def unique(x: Array, dtype: DType) -> Outputs:
    """Return the values of a vector in the order of their first occurrence, and for each element which it is.

    Raises
    ------
    UnsupportedError
        There is a NaN: what the runtime does depends on the shape of its search tree.

    """
    if x.dtype.kind == "f" and np.isnan(x).any():
        raise UnsupportedError("UNIQUE of NaN has no defined result")
    _, first, inverse = np.unique(x, return_index=True, return_inverse=True)
    order = np.argsort(first)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return x[first[order]], rank[inverse.reshape(-1)].astype(dtype.storage)


def prepare_unique(op: OpView, profile: Profile) -> Prepared:
    """Check the contract of UNIQUE.

    Raises
    ------
    ModelError
        The op breaks its contract.
    UnsupportedError
        The element type is not covered.

    """
    del profile
    expect_count(op, {1}, outputs=2)
    x, places = input_tensor(op, 0), output_tensor(op, 1)
    expect_covered(op, x, DISTINCT)
    expect_dtype(output_tensor(op), x.dtype)
    expect_dtype(places, DType.INT32, DType.INT64)
    wanted = option(op, "idx_out_type")
    expect(wanted == places.dtype.value, f"idx_out_type {places.dtype.value} ({places.dtype.name}), found {wanted}")
    expect(len(x.shape) == 1, f"a vector, found shape {x.shape}")
    return Movement(partial(unique, dtype=places.dtype))


DISTINCT = (DType.INT8, DType.UINT8, DType.INT16, DType.INT32, DType.INT64, DType.FLOAT32)

KERNELS = (Kernel("UNIQUE", prepare_unique, covers=in_words(DISTINCT)),)
