"""ARG_MAX, ARG_MIN: where the largest or smallest element along an axis is.

Codes are compared as they are: scale and zero point do not change the order.

Source: ``tflite/kernels/arg_min_max.cc``, ``internal/reference/arg_min_max.h``.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from kernels.engine.contract import choice, expect, expect_count, expect_dtype, input_tensor
from kernels.engine.movement import Movement, expect_covered, in_words, one_integer, resolve_axis
from kernels.engine.registry import Kernel
from kernels.engine.types import OpView, Prepared
from kernels.profiles import Profile
from qmath.types import Array, DType


def arg_extremum(x: Array, axis: Array, *, largest: bool, dtype: DType) -> Array:
    """Return the place of the largest or smallest element along an axis: the first of equals.

    NaN loses against every number; where all are NaN, the first place is returned. (LiteRT's vector code on x86-64
    now and then chooses another place if there are NaN along the last axis.)

    Raises
    ------
    ModelError
        There is no such axis, or nothing along it.

    """
    place = resolve_axis(one_integer(axis), x.ndim)
    expect(x.shape[place] > 0, f"elements along axis {place}, found shape {x.shape}")
    choose = np.argmax if largest else np.argmin
    if x.dtype.kind != "f" or not np.isnan(x).any():
        return np.asarray(choose(x, axis=place)).astype(dtype.storage)
    numbers = ~np.isnan(x)
    worst = -np.inf if largest else np.inf
    best = np.asarray(choose(np.where(numbers, x, worst), axis=place))
    # Infinities of the losing sign tie with what stands for NaN: the first of the numbers counts.
    ties = np.take_along_axis(x, np.expand_dims(best, place), place).squeeze(place)
    return np.asarray(np.where(np.isnan(ties), np.argmax(numbers, axis=place), best)).astype(dtype.storage)


def prepare_arg_extremum(op: OpView, profile: Profile) -> Prepared:
    """Check the contract of ARG_MAX and ARG_MIN.

    Raises
    ------
    ModelError
        The op breaks its contract.
    UnsupportedError
        The element type is not covered.

    """
    del profile
    expect_count(op, {2})
    x, axis = input_tensor(op, 0), input_tensor(op, 1)
    expect_covered(op, x, COMPARED)
    expect_dtype(axis, DType.INT32, DType.INT64)
    dtype = choice(op, "output_type", DType)
    expect(dtype in {DType.INT32, DType.INT64}, f"output_type INT32 or INT64, found {dtype.name}")
    expect(len(x.shape) > 0, "a tensor with axes, found a scalar")
    return Movement(partial(arg_extremum, largest=op.name == "ARG_MAX", dtype=dtype))


COMPARED = (DType.INT8, DType.UINT8, DType.INT32, DType.FLOAT32, DType.BOOL)

KERNELS = (
    Kernel("ARG_MAX", prepare_arg_extremum, covers=in_words(COMPARED)),
    Kernel("ARG_MIN", prepare_arg_extremum, covers=in_words(COMPARED)),
)
