"""The numbers that a prepared op holds: multipliers, shifts, zero points, ranges, found wherever they lie."""

from __future__ import annotations

import dataclasses
import enum
import re
from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

import numpy as np

from kernels.engine.types import Prepared
from qmath.types import Array

#: A number, an array of numbers, or words.
Parameter: TypeAlias = "int | float | bool | str | Array"

#: Arrays with more elements than this are data (tables, weights laid out), not parameters.
MAX_ELEMENTS = 1 << 16


def parameters(prepared: Prepared) -> dict[str, Parameter]:
    """Return every parameter of a prepared op by its place, such as ``"requantize.zero_point"``.

    Enumerations, regimes and functions are there by name.
    """
    return {name: value for name, value in _walk("", prepared) if name}


def holders(prepared: Prepared, kind: type[Any]) -> dict[str, Any]:
    """Return the dataclasses of a type that a prepared op holds, by their place."""
    return {name: value for name, value in _dataclasses("", prepared) if isinstance(value, kind)}


def words(name: str) -> str:
    """Return the name of a class as words: ``"DoubleRoundingHalfUp"`` is ``"double rounding half up"``."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name).lower()


def _children(value: Any) -> Iterator[tuple[str, Any]]:
    if dataclasses.is_dataclass(value):
        yield from ((field.name, getattr(value, field.name)) for field in dataclasses.fields(value))
    elif isinstance(value, Mapping):
        yield from ((key.name if isinstance(key, enum.Enum) else str(key), item) for key, item in value.items())
    elif isinstance(value, tuple | list):
        yield from ((str(number), item) for number, item in enumerate(value))


def _walk(place: str, value: Any) -> Iterator[tuple[str, Parameter]]:
    plain = _plain(value)
    if plain is not None:
        yield place, plain
        return
    children = list(_children(value))
    if dataclasses.is_dataclass(value) and not children:
        yield place, words(type(value).__name__)
    for name, child in children:
        yield from _walk(f"{place}.{name}" if place else name, child)


def _plain(value: Any) -> Parameter | None:
    if isinstance(value, enum.Enum):
        return value.name
    if isinstance(value, np.ndarray):
        return value if value.dtype.kind in "iufb" and value.size <= MAX_ELEMENTS else None
    if isinstance(value, np.generic):
        return np.asarray(value)
    if isinstance(value, bool | int | float | str):
        return value
    if callable(value) and not dataclasses.is_dataclass(value):
        name = getattr(value, "__name__", "")
        return str(name) if name else None
    return None


def _dataclasses(place: str, value: Any) -> Iterator[tuple[str, Any]]:
    if dataclasses.is_dataclass(value):
        yield place, value
    for name, child in _children(value):
        yield from _dataclasses(f"{place}.{name}" if place else name, child)
