"""Equality of dataclasses that hold arrays, and arrays that stay as they are."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

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


def frozen(array: Array) -> Array:
    """Return a read-only view."""
    view = array.view()
    view.flags.writeable = False
    return view
