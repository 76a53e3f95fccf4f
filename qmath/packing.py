"""Elements smaller than a byte: packed as files hold them, unpacked as arithmetic wants them.

A byte holds its elements from the low bits up: the first int4 is the low nibble, the first int2 the lowest two
bits. Elements follow each other over the whole tensor, rows are not padded; what is left of the last byte is 0.

Follows ``tflite/kernels/internal/portable_tensor_utils.cc`` (``UnpackPackedIntToInt8``, ``PackInt8IntoDenseInt``).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from qmath.arguments import as_int64
from qmath.errors import InputError
from qmath.types import Array, DType, UInt8Array


def packed_size(count: int, dtype: DType) -> int:
    """Return the number of bytes that ``count`` elements of INT4, UINT4 or INT2 take.

    Raises
    ------
    InputError
        The count is negative, or the dtype is none of the three.

    """
    if count < 0:
        raise InputError(f"expected a number of elements, found {count}")
    return -(-count // _elements_per_byte(dtype))


def pack(codes: npt.ArrayLike, dtype: DType) -> UInt8Array:
    """Pack codes, in C order.

    Parameters
    ----------
    codes
        Integers in the range of ``dtype``, any shape.
    dtype
        INT4, UINT4 or INT2.

    Returns
    -------
    UInt8Array
        Shape ``(packed_size(codes.size, dtype),)``.

    Raises
    ------
    InputError
        A code does not fit, or the dtype is none of the three.

    """
    per_byte = _elements_per_byte(dtype)
    flat = as_int64(codes).reshape(-1)
    if np.any((flat < dtype.min) | (flat > dtype.max)):
        raise InputError(f"expected codes from {dtype.min} to {dtype.max}, found {flat.min()} to {flat.max()}")
    padded = np.zeros((packed_size(flat.size, dtype), per_byte), np.uint8)
    padded.reshape(-1)[: flat.size] = flat & (2**dtype.bits - 1)
    shifts = np.arange(per_byte, dtype=np.uint8) * np.uint8(dtype.bits)
    joined: UInt8Array = np.bitwise_or.reduce(padded << shifts, axis=1)
    return joined


def unpack(packed: npt.NDArray[np.uint8], dtype: DType, count: int) -> Array:
    """Unpack the first ``count`` elements.

    Parameters
    ----------
    packed
        Bytes, at least ``packed_size(count, dtype)``.
    dtype
        INT4, UINT4 or INT2.
    count
        Number of elements; the caller reshapes them.

    Returns
    -------
    ndarray
        Shape ``(count,)``: int8, for UINT4 uint8, one element a byte.

    Raises
    ------
    InputError
        There are too few bytes, they come in another type, the count is negative, or the dtype is none of the three.

    """
    per_byte = _elements_per_byte(dtype)
    packed = np.asarray(packed)
    if packed.dtype.itemsize != 1 or packed.dtype.kind not in "iu":
        raise InputError(f"expected packed elements as bytes (uint8), found {packed.dtype}")
    packed = packed.reshape(-1).view(np.uint8)
    needed = packed_size(count, dtype)
    if packed.size < needed:
        raise InputError(f"expected {needed} bytes for {count} elements of type {dtype.name}, found {packed.size}")
    # Move each element to the top of its byte, then back down: the way down copies the sign bit of a signed type.
    top_shifts = np.arange(per_byte - 1, -1, -1, dtype=np.uint8) * np.uint8(dtype.bits)
    at_top = (packed[:needed, None] << top_shifts).reshape(-1)[:count]
    codes: Array = at_top.view(dtype.storage) >> dtype.storage.type(8 - dtype.bits)
    return codes


def _elements_per_byte(dtype: DType) -> int:
    if dtype not in (DType.INT4, DType.UINT4, DType.INT2):
        raise InputError(f"expected a type smaller than a byte, found {dtype.name}")
    return 8 // dtype.bits
