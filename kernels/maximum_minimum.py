"""MAXIMUM and MINIMUM: of raw codes, whatever the scales.

Known difference: XNNPACK takes NaN beside a number for one or the other, as it broadcasts; quantref follows LiteRT.

Source: ``tflite/kernels/maximum_minimum.cc``.
"""

from __future__ import annotations

import numpy as np

from kernels.engine import delegate, micro
from kernels.engine.contract import expect_count, expect_dtype, output_tensor, unsupported
from kernels.engine.elementwise import PlainBinary, expect_broadcast, expect_same_types
from kernels.engine.registry import Kernel
from kernels.engine.types import OpView, Prepared
from kernels.profiles import TFLM, XNNPACK, Profile
from qmath.types import Array, DType

_TYPES = (DType.INT8, DType.UINT8, DType.INT16, DType.INT32, DType.INT64, DType.FLOAT32, DType.FLOAT16)


def larger(x1: Array, x2: Array) -> Array:
    """Choose the first where it is larger, else the second, NaN or not."""
    return np.where(x1 > x2, x1, x2)


def smaller(x1: Array, x2: Array) -> Array:
    """Choose the first where it is smaller, else the second, NaN or not."""
    return np.where(x1 < x2, x1, x2)


def prepare(op: OpView, profile: Profile) -> Prepared:
    """Check the contract of MAXIMUM or MINIMUM.

    Quirk: MAXIMUM and MINIMUM compare raw codes and copy one, even if the scales or zero points of the tensors differ.

    Raises
    ------
    ModelError
        The op breaks its contract.
    UnsupportedError
        The type is not covered.

    """
    del profile
    expect_count(op, {2})
    dtype = expect_same_types(op)
    expect_broadcast(op)
    expect_dtype(output_tensor(op), dtype)
    if dtype not in _TYPES:
        raise unsupported(op, "; ".join(KERNELS[0].covers))
    return PlainBinary(larger if op.name == "MAXIMUM" else smaller)


_COVERS = tuple(dtype.name.lower() for dtype in _TYPES)
KERNELS = tuple(
    Kernel(name, prepare, covers=_COVERS, refusal={TFLM: micro.no_uint8, XNNPACK: delegate.binary(delegate.FLOATS)})
    for name in ("MAXIMUM", "MINIMUM")
)
