"""How a literal definition names its stages, and says how each follows from others, without knowing who looks on.

A *rule* is the textbook's formula for a stage, in names of *terms*, such as ``"half_up(product / 2**31)"``. It is
written where the stage is computed, and means the value of one element, in exact arithmetic:

- Operators and brackets are Python's: ``+ - * / // % ** << >> & | ^``, comparisons, ``a if condition else b``.
- ``half_up``, ``half_away``, ``half_even``, ``toward_zero`` and ``floor`` round to an integer; ``float32`` and
  ``float64`` round to the nearest number of those types.
- ``clamp(x, low, high)`` moves into a range; ``wrap(x)`` and ``wrap(x, bits)`` keep the lowest (32) bits, as a signed
  word. A trace counts the elements that they change.
- ``abs``, ``min``, ``max``, ``sqrt``, ``exp``, ``log``, ``tanh``, ``erf`` are the usual functions.

- A rule that begins with ``~`` is what the stage approximates, by a series or a table, and not what it does.

Terms are arrays laid out as the stage, or arrays and numbers that broadcast to it. A test evaluates rules by itself,
so that none can say anything but what the code does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, ParamSpec, Protocol, TypeVar

import numpy.typing as npt

from qmath.types import Array

P = ParamSpec("P")
R_co = TypeVar("R_co", covariant=True)


class Note(Protocol):
    """Receives each named stage of a computation and hands it back.

    ``accumulator = note("accumulator", ...)`` reads as an assignment and lets a trace look on.
    """

    def __call__(self, stage: str, value: Array, rule: str = "", /, **terms: npt.ArrayLike) -> Array:
        """Record ``value`` as ``stage``, with the rule that it follows from ``terms``, and return it unchanged."""


def silent(stage: str, value: Array, rule: str = "", /, **terms: npt.ArrayLike) -> Array:
    """Return ``value``: the note that nobody reads."""
    del stage, rule, terms
    return value


@dataclass(frozen=True, slots=True)
class Ruled(Generic[P, R_co]):
    """A function that one runtime has another of, and its rule in the names of its parameters."""

    rule: str
    function: Callable[P, R_co]

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co:
        """Call the function."""
        return self.function(*args, **kwargs)


def ruled(rule: str) -> Callable[[Callable[P, R_co]], Ruled[P, R_co]]:
    """Return a decorator that gives a function its rule."""
    return lambda function: Ruled(rule, function)


def under(note: Note, place: str) -> Note:
    """Return a note that names stages as parts of ``place``: ``"input 1: high multiply"``."""

    def noted(stage: str, value: Array, rule: str = "", /, **terms: npt.ArrayLike) -> Array:
        return note(f"{place}: {stage}", value, rule, **terms)

    return noted
