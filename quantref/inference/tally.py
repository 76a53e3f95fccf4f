"""Counts how many elements each candidate gets right, and remembers which elements rule out whom."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np

from qmath.types import Array
from quantref.difference import wrong_elements

#: One element as a plain number.
Scalar: TypeAlias = "int | float | bool | str"


@dataclass(frozen=True, slots=True)
class Pattern:
    """The elements that rule out the same candidates, and the first of them.

    Attributes
    ----------
    count
        How many there are.
    sample, tensor, index
        Where the first is.
    observed, predicted
        Its value in the dump, and what each candidate gives; None for one that gives nothing.

    """

    count: int
    sample: int
    tensor: int
    index: tuple[int, ...]
    observed: Scalar
    predicted: tuple[Scalar | None, ...]


@dataclass
class Tally:
    """What comparing some tensors with what each of several candidates gives has found so far.

    Attributes
    ----------
    candidates
        How many there are.
    elements
        Elements compared.
    mismatches, inexact
        For each candidate: elements that do not match, and floats that are not the same to the last bit.
    refusals
        For each candidate: why it gave nothing, or empty.
    patterns
        By the candidates that an element rules out, as a mask: the elements that do.

    """

    candidates: int
    elements: int = 0
    mismatches: list[int] = field(default_factory=list)
    inexact: list[int] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)
    patterns: dict[int, Pattern] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Start from nothing."""
        self.mismatches, self.inexact = [0] * self.candidates, [0] * self.candidates
        self.refusals = [""] * self.candidates

    def refuse(self, candidate: int, reason: str) -> None:
        """Remember why a candidate gave nothing."""
        self.refusals[candidate] = self.refusals[candidate] or reason

    def add(self, sample: int, tensor: int, observed: Array, predicted: Sequence[Array | None]) -> None:
        """Compare one tensor of one invocation; a candidate that gives nothing gets every element wrong."""
        self.elements += observed.size
        by_array: dict[int, list[int]] = {}
        for candidate, found in enumerate(predicted):
            by_array.setdefault(id(found), []).append(candidate)
        masks = np.zeros(observed.shape, np.int64)
        for alike in by_array.values():
            found = predicted[alike[0]]
            wrong = np.ones(observed.shape, np.bool_) if found is None else wrong_elements(observed, found)
            count = int(np.count_nonzero(wrong))
            inexact = _inexact(observed, found, count)
            for candidate in alike:
                self.mismatches[candidate] += count
                self.inexact[candidate] += inexact
            if count:
                masks[wrong] |= sum(1 << candidate for candidate in alike)
        places = np.flatnonzero(masks)
        patterns = np.unique(masks.reshape(-1)[places], return_index=True, return_counts=True)
        for mask, place, count in zip(*patterns, strict=True):
            first = places[place]
            before = self.patterns.get(int(mask))
            if before is None:
                index = tuple(int(i) for i in np.unravel_index(int(first), observed.shape))
                values = tuple(_element(found, observed, index) for found in predicted)
                seen = _scalar(observed[index])
                self.patterns[int(mask)] = Pattern(int(count), sample, tensor, index, seen, values)
            else:
                grown = before.count + int(count)
                same = (before.sample, before.tensor, before.index, before.observed, before.predicted)
                self.patterns[int(mask)] = Pattern(grown, *same)

    def explains(self, candidate: int) -> bool:
        """Whether there was something to explain, and a candidate explains all of it."""
        return self.elements > 0 and self.mismatches[candidate] == 0 and not self.refusals[candidate]

    @property
    def explaining(self) -> list[int]:
        """The candidates that explain every element."""
        return [candidate for candidate in range(self.candidates) if self.explains(candidate)]


def _inexact(observed: Array, found: Array | None, mismatches: int) -> int:
    if found is None or not np.issubdtype(observed.dtype, np.inexact) or found.shape != observed.shape:
        return mismatches
    same = (observed == found) | (np.isnan(observed) & np.isnan(found))
    return observed.size - int(np.count_nonzero(same))


def _element(found: Array | None, observed: Array, index: tuple[int, ...]) -> Scalar | None:
    return None if found is None or found.shape != observed.shape else _scalar(found[index])


def _scalar(value: Array) -> Scalar:
    plain = value.item()
    return plain if isinstance(plain, int | float) else str(plain)


def by_tensor(outcomes: Sequence[Mapping[int, Array]], tensor: int) -> list[Array | None]:
    """Return what each candidate gives for a tensor."""
    return [outcome.get(tensor) for outcome in outcomes]
