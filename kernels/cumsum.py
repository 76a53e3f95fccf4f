"""CUMSUM: running sums along an axis.

Source: ``tflite/kernels/cumsum.cc``, ``internal/reference/cumsum.h``.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from kernels.engine.contract import expect_count, expect_dtype, input_tensor, option, output_tensor
from kernels.engine.movement import (
    Movement,
    expect_covered,
    in_words,
    one_integer,
    resolve_axis,
)
from kernels.engine.registry import Kernel
from kernels.engine.types import OpView, Prepared
from kernels.profiles import LITERT_REFERENCE, TFLM, Profile, Rules
from kernels.scaled_sums import ScaledCumsum, ScaledSum
from qmath.types import Array, DType


def cumsum(x: Array, axis: Array, *, exclusive: bool, reverse: bool) -> Array:
    """Sum the elements up to each place along an axis, in the element type; integers wrap.

    1. ``reverse`` sums from the end.
    2. ``exclusive`` leaves the element itself out.

    Raises
    ------
    ModelError
        There is no such axis.

    """
    front = np.moveaxis(x, resolve_axis(one_integer(axis), x.ndim), 0)
    walked = front[::-1] if reverse else front
    if exclusive:
        walked = np.concatenate([np.zeros_like(walked[:1]), walked[:-1]])
    sums = np.add.accumulate(walked, axis=0, dtype=x.dtype)
    ordered = sums[::-1] if reverse else sums
    return np.asarray(np.moveaxis(ordered, 0, resolve_axis(one_integer(axis), x.ndim)), order="C")


def prepare_cumsum(op: OpView, profile: Profile) -> Prepared:
    """Check the contract of CUMSUM.

    Raises
    ------
    ModelError
        The op breaks its contract.
    UnsupportedError
        The element type is not covered.

    """
    expect_count(op, {2})
    x, axis = input_tensor(op, 0), input_tensor(op, 1)
    expect_covered(op, x, (*NUMBERS, *CODES[profile]))
    expect_dtype(output_tensor(op), x.dtype)
    expect_dtype(axis, DType.INT32)
    exclusive, reverse = bool(option(op, "exclusive")), bool(option(op, "reverse"))
    if x.dtype is DType.INT8:
        return ScaledCumsum(ScaledSum.of(x, output_tensor(op)), exclusive, reverse)
    return Movement(partial(cumsum, exclusive=exclusive, reverse=reverse))


NUMBERS = (DType.INT32, DType.INT64, DType.FLOAT32)
#: Types of codes that runtimes sum.
CODES: Rules[tuple[DType, ...]] = Rules("CUMSUM", {LITERT_REFERENCE: (), TFLM: (DType.INT8,)})

KERNELS = (Kernel("CUMSUM", prepare_cumsum, covers=in_words(NUMBERS)),)
