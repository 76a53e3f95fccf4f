"""Elements of a stage that lie halfway between two integers, where the tie rules of runtimes differ."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from qmath.types import Array
from quantref.formulas import parse
from quantref.recording import Stage, UnwatchedError, on_arrays

_ROUNDING = {"half_up", "half_away", "half_even"}
_FLOATS = {"float32": np.float32, "float64": np.float64}
#: Beyond this a float32 or float64 has no halves.
_LARGEST = 2.0**53
Terms: TypeAlias = Mapping[str, Array]


@dataclass(frozen=True, slots=True)
class Ties:
    """How many elements were exactly halfway, by their sign: zero is never a tie."""

    positive: int = 0
    negative: int = 0

    def __bool__(self) -> bool:
        """Whether there is any."""
        return bool(self.positive or self.negative)

    def __add__(self, other: Ties) -> Ties:
        """Return the counts of both."""
        return Ties(self.positive + other.positive, self.negative + other.negative)


def ties_of(stage: Stage) -> Ties:
    """Count the ties of all roundings of a stage's rule; a stage that approximates, or has no terms, has none."""
    found = Ties()
    if not stage.rule or not stage.terms or stage.rule.startswith("~"):
        return found
    for argument in _rounded(parse(stage.rule).tree):
        found += _ties(argument, stage.terms, stage.value.shape)
    return found


def _rounded(tree: ast.expr) -> Iterator[ast.expr]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _ROUNDING:
            yield node.args[0]


def _ties(argument: ast.expr, terms: Terms, shape: tuple[int, ...]) -> Ties:
    try:
        with np.errstate(all="ignore"):  # NaN and infinities are no ties, and nobody's fault
            halfway, number = _halfway(argument, terms)
    except UnwatchedError:
        return Ties()
    halfway, number = np.broadcast_arrays(halfway, number)
    if number.size == 1:  # one number for all elements
        halfway, number = np.broadcast_to(halfway, shape), np.broadcast_to(number, shape)
    return Ties(int(np.count_nonzero(halfway & (number > 0))), int(np.count_nonzero(halfway & (number < 0))))


def _halfway(argument: ast.expr, terms: Terms) -> tuple[Array, Array]:
    """Return where a number that is rounded has a half, and something of its sign."""
    match argument:
        case ast.BinOp(left=left, op=ast.Div(), right=right):
            number, divisor = _integers(left, terms), _integers(right, terms)
            return 2 * np.mod(number, np.maximum(divisor, 1)) == divisor, number
        case _:
            number = _real(argument, terms)
            whole = np.where(np.abs(number) < _LARGEST, number, 0)
            return whole - np.floor(whole) == 0.5, number


def _integers(node: ast.expr, terms: Terms) -> Array:
    found = on_arrays(node, terms)
    if found.dtype.kind not in "iu":
        raise UnwatchedError
    return found


def _real(node: ast.expr, terms: Terms) -> Array:
    match node:
        case ast.Call(func=ast.Name(id=name), args=[inside]) if name in _FLOATS:
            # A product or a sum of two float32 is rounded once more at most: in float64 it is exact or nearly so.
            return _real(inside, terms).astype(_FLOATS[name])
        case ast.BinOp(left=left, op=ast.Div(), right=right):
            return np.asarray(_real(left, terms) / _real(right, terms))
        case ast.BinOp(left=left, op=ast.Mult(), right=right):
            return np.asarray(_real(left, terms) * _real(right, terms))
        case _:
            return on_arrays(node, terms).astype(np.float64)
