"""What a definition says of itself while it runs: its stages, and where values met the ends of their range."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from kernels.engine.types import Inputs, Outputs
from qmath.rounding import shift_right_half_away, shift_right_half_up
from qmath.types import Array
from quantref.execution import Graph
from quantref.formulas import Formula, parse


@dataclass(frozen=True, slots=True)
class Ends:
    """How many elements of a stage met an end of their range.

    Attributes
    ----------
    wrapped
        Did not fit the register, so that the lowest bits alone remained.
    below, above
        Were clamped to the lowest or to the highest value.

    """

    wrapped: int = 0
    below: int = 0
    above: int = 0

    def __bool__(self) -> bool:
        """Whether there is any."""
        return bool(self.wrapped or self.below or self.above)

    def __add__(self, other: Ends) -> Ends:
        """Return the counts of both."""
        return Ends(self.wrapped + other.wrapped, self.below + other.below, self.above + other.above)

    def to_json(self) -> dict[str, int]:
        """Return plain values."""
        return {"wrapped": self.wrapped, "below": self.below, "above": self.above}


@dataclass(frozen=True, slots=True)
class Stage:
    """A stage of an op.

    Attributes
    ----------
    name
        As the definition calls it; a repeated name has a number behind it.
    value
        Integers as int32 if they fit, else as int64; floats as they are.
    rule
        How it follows from ``terms``, or empty (see :mod:`qmath.stages`).
    terms
        The numbers that the rule names; empty if they were not kept.
    ends
        How many elements met an end of their range.

    """

    name: str
    value: Array
    rule: str = ""
    terms: Mapping[str, Array] = field(default_factory=dict)
    ends: Ends = Ends()

    def to_json(self) -> dict[str, Any]:
        """Return plain values: the range, not the elements."""
        plain = {"name": self.name, "dtype": str(self.value.dtype), "shape": list(self.value.shape)}
        return plain | {"rule": self.rule, **range_of(self.value), "ends": self.ends.to_json()}


class Recorder:
    """A note that keeps what it hears.

    Parameters
    ----------
    keep_terms
        Whether to keep the terms of rules, too.
    keep_rules
        Whether to keep rules, and count what met an end.

    """

    def __init__(self, *, keep_terms: bool, keep_rules: bool = True) -> None:
        self._keep_terms = keep_terms
        self._keep_rules = keep_rules
        self._names: dict[str, int] = {}
        self._stages: list[Stage] = []

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The stages in the order in which they were named."""
        return tuple(self._stages)

    def __call__(self, stage: str, value: Array, rule: str = "", /, **terms: npt.ArrayLike) -> Array:
        """Keep a copy of a stage; definitions may go on to change the array."""
        count = self._names[stage] = self._names.get(stage, 0) + 1
        name = stage if count == 1 else f"{stage} {count}"
        if not self._keep_rules:
            self._stages.append(Stage(name, np.array(value)))
            return value
        arrays = {term: np.asarray(given) for term, given in terms.items()}
        ends = count_ends(parse(rule), np.asarray(value), arrays) if rule else Ends()
        kept = {term: array.copy() for term, array in arrays.items()} if self._keep_terms else {}
        self._stages.append(Stage(name, narrowed(np.asarray(value)), rule, kept, ends))
        return value


def narrowed(value: Array) -> Array:
    """Return a copy: integers of 64 bits as int32 where all of them fit."""
    if value.dtype == np.int64:
        info = np.iinfo(np.int32)
        if value.size == 0 or (value.min() >= info.min and value.max() <= info.max):
            return value.astype(np.int32)
    return value.copy()


def range_of(value: Array) -> dict[str, Any]:
    """Return the smallest and the largest element as plain values; None where there is none."""
    numbers = value[np.isfinite(value)] if value.dtype.kind == "f" else value
    if numbers.size == 0 or numbers.dtype.kind not in "iufb":
        return {"min": None, "max": None}
    return {"min": numbers.min().item(), "max": numbers.max().item()}


def operations(graph: Graph) -> Iterator[tuple[int, Inputs]]:
    """Yield each op of a graph with what it reads; whoever asks runs it and stores its outputs."""
    for index in range(len(graph.subgraph.operators)):
        yield index, graph.inputs_of(index)


def evaluate_all(graph: Graph, *, keep_terms: bool) -> Iterator[tuple[int, Inputs, Outputs, Recorder]]:
    """Run every op by its literal definition, each on what the ones before it gave."""
    for index, inputs in operations(graph):
        recorder = Recorder(keep_terms=keep_terms)
        outputs = graph.evaluate_op(index, inputs, recorder)
        graph.store(index, outputs)
        yield index, inputs, outputs, recorder


# --- Ends of ranges -----------------------------------------------------------------------------------------------


def count_ends(formula: Formula, value: Array, terms: Mapping[str, Array]) -> Ends:
    """Count the elements that the outermost ``clamp`` or ``wrap`` of a rule changed.

    Parameters
    ----------
    formula
        The rule.
    value
        What it gave.
    terms
        What it names.

    """
    call = formula.tree
    if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id in {"clamp", "wrap"}):
        return Ends()
    try:
        inside, *bounds = (on_arrays(argument, terms) for argument in call.args)
    except UnwatchedError:
        return Ends()
    if call.func.id == "wrap":
        return Ends(wrapped=_count(inside != value, value))
    low, high = bounds
    return Ends(below=_count(inside < low, value), above=_count(inside > high, value))


def _count(where: Array, value: Array) -> int:
    return int(np.count_nonzero(np.broadcast_to(where, value.shape)))


class UnwatchedError(Exception):
    """The rule computes something that is not computed on whole arrays."""


_ROUNDED = {"half_up": shift_right_half_up, "half_away": shift_right_half_away}


def on_arrays(node: ast.expr, terms: Mapping[str, Array]) -> Array:
    """Compute sums, products, shifts and rounded shifts on whole arrays.

    Raises
    ------
    UnwatchedError
        There is something else.

    """
    match node:
        case ast.Constant(value=int() | float() as number):
            return np.asarray(number)
        case ast.Name(id=name) if name in terms:
            term = terms[name]
            return term.astype(np.int64) if term.dtype.kind in "iu" else term
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return np.negative(on_arrays(operand, terms))
        case ast.BinOp(left=ast.Constant(value=2), op=ast.Pow(), right=exponent):
            return np.left_shift(np.int64(1), on_arrays(exponent, terms))
        case ast.BinOp(left=left, op=ast.Add() | ast.Sub() | ast.Mult() as operator, right=right):
            function = {ast.Add: np.add, ast.Sub: np.subtract, ast.Mult: np.multiply}[type(operator)]
            return np.asarray(function(on_arrays(left, terms), on_arrays(right, terms)))
        case ast.Call(func=ast.Name(id=name), args=[ast.BinOp(left=left, op=ast.Div(), right=right)]):
            match right:
                case ast.BinOp(left=ast.Constant(value=2), op=ast.Pow(), right=exponent) if name in _ROUNDED:
                    return _ROUNDED[name](on_arrays(left, terms), on_arrays(exponent, terms))
    raise UnwatchedError
