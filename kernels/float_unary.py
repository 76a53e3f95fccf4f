"""SIN, COS, SQUARE, FLOOR, CEIL and ROUND of floats.

LiteRT's reference resolver has no CEIL and no ROUND: the builtin kernels are the reference here.

Known difference: XNNPACK gives NaN for COS and SIN of numbers as large as 1e30, loses digits at 1e8, and its COS and
SIN of float16 differ in the last bit of up to 7 % of outputs.

Source: ``tflite/kernels/elementwise.cc``, ``tflite/kernels/floor.cc``, ``tflite/kernels/ceil.cc``,
``tflite/kernels/round.cc``, ``tflite/kernels/internal/reference/round.h``.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from kernels.engine import delegate
from kernels.engine.contract import expect_count, expect_dtype, input_tensor, output_tensor, unsupported
from kernels.engine.elementwise import PlainUnary
from kernels.engine.registry import Kernel
from kernels.engine.types import OpView, Prepared
from kernels.profiles import XNNPACK, Profile
from qmath.types import Array, DType


def through_float32(function: Callable[[Array], Array], x: Array) -> Array:
    """Apply a function in float32 and round once to the type of ``x``."""
    return np.asarray(function(x.astype(np.float32))).astype(x.dtype)


def sin(x: Array) -> Array:
    """Compute sines."""
    return through_float32(np.sin, x)


def cos(x: Array) -> Array:
    """Compute cosines."""
    return through_float32(np.cos, x)


_FLOATS = (DType.FLOAT32, DType.FLOAT16)
_OPS: dict[str, tuple[Callable[[Array], Array], tuple[DType, ...]]] = {
    "SIN": (sin, _FLOATS),
    "COS": (cos, _FLOATS),
    "SQUARE": (np.square, (DType.FLOAT32,)),
    "FLOOR": (np.floor, _FLOATS),
    "CEIL": (np.ceil, (DType.FLOAT32,)),
    "ROUND": (np.rint, _FLOATS),
}


def prepare(op: OpView, profile: Profile) -> Prepared:
    """Check the contract of one of the ops.

    Raises
    ------
    ModelError
        The op breaks its contract.
    UnsupportedError
        The type is not covered.

    """
    del profile
    expect_count(op, {1})
    x = input_tensor(op, 0)
    expect_dtype(output_tensor(op), x.dtype)
    function, types = _OPS[op.name]
    if x.dtype not in types:
        raise unsupported(op, "; ".join(dtype.name.lower() for dtype in types))
    return PlainUnary(function)


KERNELS = tuple(
    Kernel(name, prepare, tuple(t.name.lower() for t in types), refusal={XNNPACK: delegate.unary(delegate.FLOATS)})
    for name, (_, types) in _OPS.items()
)
