"""Memory that starts where a cache line does: vector code is quicker if what it reads and writes lies in one line."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from kernels.engine.contract import checked_shape
from qmath.types import Array

#: Bytes of a cache line.
LINE = 64


def block(size: int) -> Array:
    """Return uninitialized bytes."""
    whole = np.empty(size + LINE, np.uint8)
    start = -whole.ctypes.data % LINE
    return whole[start : start + size]


def empty(shape: tuple[int, ...], dtype: npt.DTypeLike) -> Array:
    """Return an uninitialized array.

    Raises
    ------
    UnsupportedError
        A tensor may not have so many elements.

    """
    dtype = np.dtype(dtype)
    return block(math.prod(checked_shape(shape)) * dtype.itemsize).view(dtype).reshape(shape)


def full(shape: tuple[int, ...], value: float, dtype: npt.DTypeLike) -> Array:
    """Return an array filled with a value."""
    array = empty(shape, dtype)
    array[...] = value
    return array


def tiled(vector: Array, times: int) -> Array:
    """Return a vector several times over."""
    array = empty((times * len(vector),), vector.dtype)
    array.reshape(times, len(vector))[...] = vector
    return array
