"""What callers give: arrays of numbers of one kind, or an InputError that says what was found instead.

Lists, scalars, arrays of either byte order and of any strides are fine; so are arrays without elements.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import numpy.typing as npt

from qmath.errors import InputError

if TYPE_CHECKING:
    from qmath.types import Array, Float32Array, Int64Array

Real = TypeVar("Real", np.float32, np.float64)


def as_int64(x: npt.ArrayLike) -> Int64Array:
    """Widen integers to int64.

    Raises
    ------
    InputError
        ``x`` holds something else than integers, or integers that need not fit.

    """
    array = _array(x)
    if not np.can_cast(array.dtype, np.int64, "safe") and (array.size or array.dtype != np.float64):
        msg = f"expected integers that fit int64, found {array.dtype}"
        raise InputError(msg)  # an empty list is an array of float64
    return array.astype(np.int64, copy=False)


def as_whole(x: npt.ArrayLike) -> Int64Array:
    """Convert whole numbers, be they held as integers or as floats, to int64.

    Raises
    ------
    InputError
        A number is not whole, or does not fit.

    """
    array = _array(x)
    if array.dtype.kind != "f":
        return as_int64(array)
    whole = (np.abs(array) < 2.0**63) & (np.trunc(array) == array)
    if not whole.all():
        raise InputError(f"expected whole numbers that fit int64, found {array[~whole].flat[0]}")
    return array.astype(np.int64)


def as_real(x: npt.ArrayLike, dtype: type[Real]) -> npt.NDArray[Real]:
    """Convert real numbers to float32 or float64; beyond float32 they become infinite.

    Raises
    ------
    InputError
        ``x`` holds something else than real numbers: complex ones, text, objects.

    """
    array = _array(x)
    if array.dtype.kind not in "fiub":
        msg = f"expected real numbers, found {array.dtype}"
        raise InputError(msg)
    with np.errstate(over="ignore", under="ignore"):
        return np.asarray(array.astype(dtype, copy=False))


def finite_float32(values: npt.ArrayLike, what: str) -> Float32Array:
    """Round real numbers to float32.

    Raises
    ------
    InputError
        A value is no number, NaN, infinite, or beyond float32; ``what`` names the values.

    """
    narrow = as_real(values, np.float32)
    finite = np.isfinite(narrow)
    if not finite.all():
        raise InputError(f"expected finite {what} to quantize, found {np.asarray(values)[~finite].flat[0]}")
    return narrow


def _array(x: Any) -> Array:
    try:
        return np.asarray(x)
    except ValueError:
        msg = "expected an array of numbers, found nested lists of different lengths"
        raise InputError(msg) from None
