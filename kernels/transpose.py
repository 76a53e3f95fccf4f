"""TRANSPOSE: axes in another order.

Source: ``tflite/kernels/transpose.cc``.
"""

from __future__ import annotations

import numpy as np

from kernels.engine import delegate, micro
from kernels.engine.contract import (
    expect,
    expect_count,
    expect_dtype,
    input_tensor,
    output_tensor,
)
from kernels.engine.movement import COPIED, Movement, expect_covered, in_words, integers, resolve_axis
from kernels.engine.registry import Kernel
from kernels.engine.types import OpView, Prepared
from kernels.profiles import CMSIS_NN, XNNPACK, Profile
from qmath.types import Array, DType

#: Most dimensions that the runtime permutes.
MAX_TRANSPOSED_RANK = 8


def transpose(x: Array, permutation: Array) -> Array:
    """Put axis ``permutation[i]`` of the input at place ``i``; negative axes count from the back.

    Raises
    ------
    ModelError
        The second input is no permutation of the axes.

    """
    axes = [resolve_axis(axis, x.ndim) for axis in integers(permutation)]
    expect(sorted(axes) == list(range(x.ndim)), f"a permutation of {x.ndim} axes, found {axes}")
    return np.asarray(x.transpose(axes), order="C")


def prepare_transpose(op: OpView, profile: Profile) -> Prepared:
    """Check the contract of TRANSPOSE.

    Raises
    ------
    ModelError
        The op breaks its contract.
    UnsupportedError
        The element type is not covered.

    """
    del profile
    expect_count(op, {2})
    x, permutation = input_tensor(op, 0), input_tensor(op, 1)
    expect_covered(op, x, TRANSPOSED)
    expect_dtype(output_tensor(op), x.dtype)
    expect_dtype(permutation, DType.INT32)
    rank = len(x.shape)
    # A scalar makes the runtime crash.
    expect(1 <= rank <= MAX_TRANSPOSED_RANK, f"1 to {MAX_TRANSPOSED_RANK} dimensions, found shape {x.shape}")
    return Movement(transpose)


TRANSPOSED = (*COPIED, DType.INT4, DType.UINT4)

KERNELS = (
    Kernel(
        "TRANSPOSE",
        prepare_transpose,
        covers=in_words(TRANSPOSED),
        refusal={CMSIS_NN: micro.no_fifth_dimension, XNNPACK: delegate.transposing},
        demands={XNNPACK: delegate.same_scale_and_zero_point},
    ),
)
