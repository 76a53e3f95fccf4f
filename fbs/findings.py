"""What a check finds odd, and where."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from qmath.errors import QuantrefError


@dataclass(frozen=True, slots=True)
class Finding:
    """Something odd in a model that nevertheless runs.

    Attributes
    ----------
    where
        Subgraph, operator or tensor.
    message
        What is odd, as a sentence about it.

    """

    where: str
    message: str

    def __str__(self) -> str:
        """Return place and message."""
        return f"{self.where}: {self.message}"


class Findings:
    """Collects findings, and knows where the check is at."""

    def __init__(self) -> None:
        self.items: list[Finding] = []
        self._places: list[str] = []

    @contextmanager
    def within(self, place: str) -> Iterator[None]:
        """Name the place that is being checked; an error that leaves it says so too."""
        self._places.append(place)
        try:
            yield
        except QuantrefError as error:
            raise error.within(place) from None
        finally:
            self._places.pop()

    def add(self, message: str) -> None:
        """Note something odd about the place that is being checked."""
        self.items.append(Finding(": ".join(self._places) or "model", message))
