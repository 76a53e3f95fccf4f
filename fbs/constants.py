"""Element values of a tensor to and from the bytes of its buffer.

Types of less than a byte are packed, first element in the lowest bits, as in LiteRT's
``tflite/kernels/internal/portable_tensor_utils.cc``; in memory each element has a byte of its own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from qmath.errors import InputError, ModelError
from qmath.types import Array, DType, UInt8Array

#: Types whose buffers are not plain elements; their data stays bytes.
OPAQUE = frozenset({DType.STRING, DType.RESOURCE, DType.VARIANT})


#: Dimensions of a tensor: as many as the oldest NumPy that quantref runs on can have.
MAX_RANK = 32
_MAX_BYTES = (1 << 63) - 1
#: What elements can be made of, by the kind of the NumPy type that holds them: in words, and by NumPy's kinds.
_KINDS = {
    "i": ("integers", "iu"),
    "u": ("integers", "iu"),
    "f": ("real numbers", "fiub"),
    "c": ("numbers", "cfiub"),
    "b": ("truth values", "biuf"),
}


def byte_size(dtype: DType, shape: Sequence[int]) -> int:
    """Return how many bytes a dense tensor occupies in a file."""
    return (math.prod(shape) * dtype.bits + 7) // 8


def check_shape(dtype: DType, shape: Sequence[int]) -> None:
    """Check that a tensor of this shape could exist.

    Raises
    ------
    ModelError
        It has negative or too many dimensions, or more bytes than an address can count.

    """
    if min(shape, default=0) < 0:
        msg = f"expected a shape without negative dimensions, found {list(shape)}"
        raise ModelError(msg)
    # As in NumPy, empty dimensions do not excuse the others.
    if len(shape) > MAX_RANK or math.prod(max(size, 1) for size in shape) * max(dtype.bits, 8) // 8 > _MAX_BYTES:
        msg = f"expected at most {MAX_RANK} dimensions and {_MAX_BYTES} bytes"
        raise ModelError(f"{msg}, found {len(shape)} dimensions: {list(shape[:MAX_RANK])}")


def decode(raw: UInt8Array, dtype: DType, shape: Sequence[int]) -> Array:
    """Return the elements that bytes hold, without a copy where elements are whole bytes.

    Parameters
    ----------
    raw
        uint8, shape ``(n,)``; bytes beyond the last element are ignored, as in the runtime.
    dtype
        Element type. Opaque types (strings) give ``raw`` itself.
    shape
        Shape of the result.

    Returns
    -------
    Array
        ``dtype.storage``, shape ``shape``.

    Raises
    ------
    ModelError
        There are too few bytes, or the shape cannot be.

    """
    if dtype in OPAQUE:
        return raw
    check_shape(dtype, shape)
    if raw.size < byte_size(dtype, shape):
        msg = f"expected {dtype.name} data of shape {list(shape)}, found {raw.size} bytes"
        raise ModelError(msg)
    count = math.prod(shape)
    if dtype.bits < 8:
        return _unpack(raw, dtype, count).reshape(shape)
    return raw[: byte_size(dtype, shape)].view(dtype.storage).reshape(shape)


def encode(values: npt.ArrayLike, dtype: DType) -> UInt8Array:
    """Return the bytes that a buffer holds for elements; the inverse of :func:`decode`.

    Raises
    ------
    InputError
        A value does not fit the type.

    """
    found = as_array(values)
    if dtype in OPAQUE:
        return np.array(_fitting(found, DType.UINT8), np.uint8).reshape(-1)
    with np.errstate(over="ignore", under="ignore"):
        array = np.array(_fitting(found, dtype), dtype.storage, order="C")
    if dtype.storage.kind in "fc" and not np.array_equal(np.isfinite(array), np.isfinite(found)):
        msg = f"expected numbers that fit {dtype.name}, found {found[np.isfinite(found) & ~np.isfinite(array)].flat[0]}"
        raise InputError(msg)
    if dtype.bits < 8:
        return _pack(array, dtype)
    return array.reshape(-1).view(np.uint8)


def as_array(values: npt.ArrayLike) -> Array:
    """Return values as an array.

    Raises
    ------
    InputError
        They are nested lists of different lengths.

    """
    try:
        return np.asarray(values)
    except ValueError:
        raise InputError("expected an array, found nested lists of different lengths") from None


def _fitting(found: Array, dtype: DType) -> Array:
    """Return values that a type could hold, by their kind, and by their range if they must be integers."""
    name, kinds = _KINDS[dtype.storage.kind]
    low, high = (dtype.min, dtype.max) if dtype.is_integer else (0, (1 << dtype.bits) - 1)
    whole = dtype.storage.kind in "iu"
    expected = f"{name} from {low} to {high}" if whole else name
    if found.size and found.dtype.kind not in kinds:
        msg = f"expected {expected} for {dtype.name}, found {found.dtype.name}"
        raise InputError(msg)
    if found.size and whole and not low <= int(found.min()) <= int(found.max()) <= high:
        msg = f"expected {expected} for {dtype.name}, found {found.dtype.name} from {found.min()} to {found.max()}"
        raise InputError(msg)
    return found


def _unpack(raw: UInt8Array, dtype: DType, count: int) -> Array:
    """Spread packed elements to one a byte, sign-extended where the type is signed."""
    per_byte = 8 // dtype.bits
    places = np.arange(per_byte, dtype=np.uint8) * np.uint8(dtype.bits)
    used = raw[: -(-count // per_byte)]
    codes = (used[:, None] >> places & np.uint8((1 << dtype.bits) - 1)).reshape(-1)[:count]
    if dtype.min == 0:
        return codes
    sign = np.int8(1 << (dtype.bits - 1))
    return (codes.view(np.int8) ^ sign) - sign


def _pack(array: Array, dtype: DType) -> UInt8Array:
    """Put several elements in each byte, the first in the lowest bits; the last byte is filled with zeros."""
    per_byte = 8 // dtype.bits
    codes = np.zeros(-(-array.size // per_byte) * per_byte, np.uint8)
    codes[: array.size] = array.reshape(-1).view(np.uint8) & np.uint8((1 << dtype.bits) - 1)
    places = np.arange(per_byte, dtype=np.uint8) * np.uint8(dtype.bits)
    packed: UInt8Array = np.bitwise_or.reduce(codes.reshape(-1, per_byte) << places, axis=1).astype(np.uint8)
    return packed
