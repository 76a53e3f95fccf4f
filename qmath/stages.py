"""How a literal definition names its stages without knowing who looks on."""

from __future__ import annotations

from typing import Protocol

from qmath.types import Array


class Note(Protocol):
    """Receives each named stage of a computation and hands it back.

    ``accumulator = note("accumulator", ...)`` reads as an assignment and lets a trace look on.
    """

    def __call__(self, stage: str, value: Array, /) -> Array:
        """Record ``value`` as ``stage`` and return it unchanged."""


def silent(stage: str, value: Array, /) -> Array:
    """Return ``value``: the note that nobody reads."""
    del stage
    return value
