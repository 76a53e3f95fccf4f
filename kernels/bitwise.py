"""LOGICAL_AND, LOGICAL_OR and LOGICAL_NOT of truth values; BITWISE_XOR and RIGHT_SHIFT of plain integers.

Source: ``tflite/kernels/logical.cc``, ``tflite/kernels/elementwise.cc``, ``tflite/kernels/bitwise_xor.cc``,
``tflite/kernels/right_shift.cc``.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

import numpy as np

from kernels.engine.contract import expect_count, expect_dtype, input_tensor, output_tensor, unsupported
from kernels.engine.elementwise import PlainBinary, PlainUnary, expect_broadcast, expect_same_types
from kernels.engine.registry import Kernel
from kernels.engine.types import OpView, Prepared
from kernels.profiles import Profile
from qmath.types import Array, DType

_INTEGERS = (DType.INT8, DType.UINT8, DType.INT16, DType.UINT16, DType.INT32, DType.UINT32)


def right_shift(x1: Array, x2: Array) -> Array:
    """Shift right, copying the sign; counts below 0 count as 0, too large ones as the width less 1."""
    return np.asarray(np.right_shift(x1, np.clip(x2, 0, 8 * x1.dtype.itemsize - 1)))


_BINARY: dict[str, tuple[Callable[[Array, Array], Array], Collection[DType]]] = {
    "LOGICAL_AND": (np.logical_and, (DType.BOOL,)),
    "LOGICAL_OR": (np.logical_or, (DType.BOOL,)),
    "BITWISE_XOR": (np.bitwise_xor, _INTEGERS),
    "RIGHT_SHIFT": (right_shift, _INTEGERS),
}


def prepare_binary(op: OpView, profile: Profile) -> Prepared:
    """Check the contract of an op of two inputs.

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
    function, types = _BINARY[op.name]
    if dtype not in types:
        raise unsupported(op, "; ".join(each.name.lower() for each in types))
    return PlainBinary(function)


def prepare_not(op: OpView, profile: Profile) -> Prepared:
    """Check the contract of LOGICAL_NOT.

    Raises
    ------
    ModelError
        The op breaks its contract.

    """
    del profile
    expect_count(op, {1})
    expect_dtype(input_tensor(op, 0), DType.BOOL)
    expect_dtype(output_tensor(op), DType.BOOL)
    return PlainUnary(np.logical_not)


KERNELS = (
    *(Kernel(name, prepare_binary, tuple(t.name.lower() for t in types)) for name, (_, types) in _BINARY.items()),
    Kernel("LOGICAL_NOT", prepare_not, covers=("bool",)),
)
