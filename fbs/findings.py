"""What a check finds odd, or wrong, and where."""

from __future__ import annotations

import enum
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from qmath.errors import QuantrefError


class Subject(enum.Enum):
    """What a finding is about."""

    STRUCTURE = "structure"
    SCALE = "scale"
    ZERO_POINT = "zero point"
    AXIS = "quantized dimension"


@dataclass(frozen=True, slots=True)
class Place:
    """Where something was found: indices, as far as it lies inside of something."""

    subgraph: int | None = None
    operator: int | None = None
    tensor: int | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    """Something odd in a model that nevertheless runs; or, where all of it was asked for, something wrong.

    Attributes
    ----------
    where
        Subgraph, operator or tensor.
    message
        What is odd or wrong, as a sentence about it.
    wrong
        Whether it contradicts the format, or itself.
    subject
        What it is about.
    place
        The same as ``where``, in indices.

    """

    where: str
    message: str
    wrong: bool = False
    subject: Subject = Subject.STRUCTURE
    place: Place = Place()

    def __str__(self) -> str:
        """Return place and message."""
        return f"{self.where}: {self.message}"


class Findings:
    """Collects findings, and knows where the check is at.

    Parameters
    ----------
    everything
        Whether to go on after what is wrong: it becomes a finding instead of an error.

    """

    def __init__(self, *, everything: bool = False) -> None:
        self.items: list[Finding] = []
        self._everything = everything
        self._names: list[str] = []
        self._place = Place()

    @contextmanager
    def within(self, name: str, **indices: int) -> Iterator[None]:
        """Name the place that is being checked, with its indices; an error that leaves it says so too."""
        outside, self._place = self._place, replace(self._place, **indices)
        self._names.append(name)
        try:
            with self.about(Subject.STRUCTURE):
                yield
        except QuantrefError as error:
            raise error.within(name) from None
        finally:
            self._names.pop()
            self._place = outside

    @contextmanager
    def about(self, subject: Subject) -> Iterator[None]:
        """Say what is being checked; where everything is collected, an error ends here."""
        try:
            yield
        except QuantrefError as error:
            if not self._everything:
                raise
            self._append(str(error), subject, wrong=True)

    def add(self, message: str, subject: Subject = Subject.STRUCTURE) -> None:
        """Note something odd about the place that is being checked."""
        self._append(message, subject, wrong=False)

    def _append(self, message: str, subject: Subject, *, wrong: bool) -> None:
        self.items.append(Finding(": ".join(self._names) or "model", message, wrong, subject, self._place))
