"""How far two arrays are apart, element for element: integers by ``==``, floats within 1e-5 relative."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from qmath.types import Array, BoolArray, Float64Array

#: A float matches if it is this close, relative to its own size plus a tenth of the largest of its tensor.
FLOAT_TOLERANCE = 1e-5


@dataclass(frozen=True, slots=True)
class Mismatch:
    """One element that differs.

    Attributes
    ----------
    sample
        Number of the invocation, from 0.
    index
        Where in the tensor.
    expected, found
        The runtime's value and ours.

    """

    sample: int
    index: tuple[int, ...]
    expected: int | float | bool | str
    found: int | float | bool | str

    def __str__(self) -> str:
        """Say where, and both values."""
        return f"sample {self.sample} at {list(self.index)}: expected {self.expected}, found {self.found}"


@dataclass(frozen=True, slots=True)
class Difference:
    """What comparing found; add two to get that of both.

    Attributes
    ----------
    elements, mismatches
        Elements compared, and how many of them do not match.
    largest
        Largest absolute difference, in codes for integers and in the tensor's unit for floats.
    relative
        Largest relative difference of a float (see :data:`FLOAT_TOLERANCE`); None if only integers were compared.
    first
        The first element that does not match, or None.

    """

    elements: int = 0
    mismatches: int = 0
    largest: float = 0.0
    relative: float | None = None
    first: Mismatch | None = None

    def __add__(self, other: Difference) -> Difference:
        """Return the difference of both, this one's first mismatch before the other's."""
        relative = [value for value in (self.relative, other.relative) if value is not None]
        return Difference(
            self.elements + other.elements,
            self.mismatches + other.mismatches,
            max(self.largest, other.largest),
            max(relative, default=None),
            self.first or other.first,
        )

    def to_json(self) -> dict[str, Any]:
        """Return plain values; an infinite difference (NaN against a number, shapes that differ) is a string."""
        first = None
        if self.first is not None:
            first = {
                "sample": self.first.sample,
                "index": list(self.first.index),
                "expected": _plain(self.first.expected),
                "found": _plain(self.first.found),
            }
        return {
            "elements": self.elements,
            "mismatches": self.mismatches,
            "largest": _plain(self.largest),
            "relative": None if self.relative is None else _plain(self.relative),
            "first": first,
        }


def difference(expected: Array, found: Array, sample: int = 0) -> Difference:
    """Compare two arrays element for element.

    Two NaNs match. Arrays of different shapes or element types mismatch in every element.

    Parameters
    ----------
    expected
        The runtime's array.
    found
        Ours.
    sample
        Number to report with the first mismatch.

    """
    if expected.shape != found.shape or expected.dtype != found.dtype:
        wanted, got = (f"{array.dtype}{list(array.shape)}" for array in (expected, found))
        elements = max(expected.size, 1)
        return Difference(elements, elements, math.inf, None, Mismatch(sample, (), wanted, got))
    if expected.size == 0:
        return Difference()
    if np.issubdtype(expected.dtype, np.inexact):
        distance, relative = _float_distances(expected, found)
        wrong = relative > FLOAT_TOLERANCE
        worst: float | None = float(relative.max())
    else:
        wrong = wrong_elements(expected, found)
        distance = np.abs(expected.astype(np.float64) - found.astype(np.float64)) if wrong.any() else np.zeros(1)
        worst = None
    mismatches = int(np.count_nonzero(wrong))
    first = _first(expected, found, wrong, sample) if mismatches else None
    return Difference(expected.size, mismatches, float(distance.max()), worst, first)


def wrong_elements(expected: Array, found: Array) -> BoolArray:
    """Return which elements of an array do not match another's; all of them if shapes or element types differ."""
    if expected.shape != found.shape or expected.dtype != found.dtype:
        return np.ones(expected.shape, np.bool_)
    if expected.size and np.issubdtype(expected.dtype, np.inexact):
        return _float_distances(expected, found)[1] > FLOAT_TOLERANCE
    return np.asarray(expected != found)


def _float_distances(expected: Array, found: Array) -> tuple[Float64Array, Float64Array]:
    """Return absolute and relative distances; 0 where both are the same, infinite or NaN included."""
    wide = np.complex128 if np.issubdtype(expected.dtype, np.complexfloating) else np.float64
    ours, theirs = found.astype(wide), expected.astype(wide)
    same = (ours == theirs) | (np.isnan(ours) & np.isnan(theirs))
    finite = np.isfinite(ours) & np.isfinite(theirs)
    sizes = np.abs(np.where(np.isfinite(theirs), theirs, 0))
    with np.errstate(invalid="ignore"):
        distance = np.where(same, 0.0, np.where(finite, np.abs(ours - theirs), np.inf))
    floor = np.maximum(sizes + sizes.max() / 10, np.finfo(np.float64).tiny)
    return distance, distance / floor


def _first(expected: Array, found: Array, wrong: BoolArray, sample: int) -> Mismatch:
    place = np.unravel_index(int(np.argmax(wrong)), wrong.shape)
    index = tuple(int(i) for i in place)
    return Mismatch(sample, index, _scalar(expected[place]), _scalar(found[place]))


def _scalar(value: Any) -> int | float | bool | str:
    plain = value.item() if isinstance(value, np.generic) else value
    return plain if isinstance(plain, int | float) else str(plain)


def _plain(value: float | str) -> float | str:
    return value if not isinstance(value, float) or math.isfinite(value) else str(value)
