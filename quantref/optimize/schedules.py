"""How sparse a network is at each step of its training."""

from __future__ import annotations

import abc
import math
from dataclasses import dataclass

from qmath.errors import InputError


@dataclass(frozen=True, slots=True)
class Schedule(abc.ABC):
    """A sparsity for each step of training.

    Attributes
    ----------
    final
        Sparsity at the end: at least 0, below 1.
    begin, end
        Steps between which masks are made anew; before ``begin`` nothing is pruned, after ``end`` masks stay.
    frequency
        Steps from one time that masks are made to the next.

    """

    final: float
    begin: int
    end: int
    frequency: int = 100

    def __post_init__(self) -> None:
        """Check the numbers.

        Raises
        ------
        InputError
            A sparsity outside [0, 1), steps in the wrong order, or a frequency below 1.

        """
        if not (math.isfinite(self.final) and 0 <= self.final < 1):
            raise InputError(f"expected a final sparsity of at least 0 and below 1, found {self.final}")
        if not 0 <= self.begin <= self.end:
            raise InputError(f"expected steps 0 <= begin <= end, found {self.begin} and {self.end}")
        if self.frequency < 1:
            raise InputError(f"expected a frequency of at least 1, found {self.frequency}")

    def is_due(self, step: int) -> bool:
        """Whether masks are made at a step: every so many from ``begin``, and at ``end``."""
        return self.begin <= step <= self.end and ((step - self.begin) % self.frequency == 0 or step == self.end)

    @abc.abstractmethod
    def sparsity(self, step: int) -> float:
        """Return the sparsity of masks that are made at a step."""


@dataclass(frozen=True, slots=True)
class ConstantSparsity(Schedule):
    """The final sparsity from the first time on."""

    def sparsity(self, step: int) -> float:
        """Return 0 before ``begin``, ``final`` from there on."""
        return self.final if step >= self.begin else 0.0


@dataclass(frozen=True, slots=True)
class PolynomialDecay(Schedule):
    """From an initial sparsity to the final one, fast first and slow at the end.

    ``final + (initial - final) * (1 - (step - begin) / (end - begin)) ** power``; Zhu and Gupta, "To prune, or not to
    prune" (2017), with a power of 3.

    Attributes
    ----------
    initial
        Sparsity at ``begin``.
    power
        How fast it rises at first.

    """

    initial: float = 0.0
    power: float = 3.0

    def __post_init__(self) -> None:
        """Check the initial sparsity and the power too."""
        Schedule.__post_init__(self)
        if not 0 <= self.initial < 1:
            raise InputError(f"expected an initial sparsity of at least 0 and below 1, found {self.initial}")
        if not self.power > 0:
            raise InputError(f"expected a positive power, found {self.power}")

    def sparsity(self, step: int) -> float:
        """Return 0 before ``begin``, ``final`` from ``end`` on."""
        if step < self.begin:
            return 0.0
        left = 0.0 if step >= self.end else 1 - (step - self.begin) / (self.end - self.begin)
        return float(self.final + (self.initial - self.final) * left**self.power)
