"""Equality of dataclasses that hold arrays, and arrays that stay as they are."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt

from fbs.constants import as_array
from qmath.errors import InputError
from qmath.types import Array


class Exact:
    """Equality of dataclasses that hold arrays: the same type, shape and bits."""

    __slots__ = ()

    def _key(self) -> tuple[Any, ...]:
        values = (getattr(self, item.name) for item in dataclasses.fields(self))  # type: ignore[arg-type]
        return tuple((v.dtype.str, v.shape, v.tobytes()) if isinstance(v, np.ndarray) else v for v in values)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, type(self)):
            return NotImplemented
        return self is other or self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def __reduce__(self) -> tuple[Any, ...]:
        """Copy and pickle by construction, so that arrays are read-only on the other side, too."""
        return type(self), tuple(getattr(self, item.name) for item in dataclasses.fields(self))  # type: ignore[arg-type]


def numbers(values: npt.ArrayLike, dtype: type[np.float32] | type[np.int64], what: str) -> Array:
    """Return a read-only vector of numbers.

    Raises
    ------
    InputError
        They are of another kind, or lie in more than one dimension.

    """
    found = np.atleast_1d(as_array(values))
    whole = dtype is np.int64
    expected = f"{what}: expected " + ("whole numbers that fit int64" if whole else "real numbers")
    if found.size and found.dtype.kind not in "fiub":
        raise InputError(f"{expected}, found {found.dtype}")
    with np.errstate(over="ignore", invalid="ignore"):
        vector = found.astype(dtype)
    if whole and not np.array_equal(vector, found):
        raise InputError(f"{expected}, found {found[vector != found].flat[0]}")
    if vector.ndim != 1:
        raise InputError(f"expected {what} in one dimension, found shape {vector.shape}")
    return frozen(vector)


def frozen(array: Array) -> Array:
    """Return a read-only view."""
    view = array.view()
    view.flags.writeable = False
    return view
