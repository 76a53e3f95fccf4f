"""Recipes: rules that say of some operators and tensors what the rest of the model is not to get.

A recipe is a TOML file or a Python object::

    [[rule]]
    op = "SOFTMAX|LOGISTIC"      # the whole name of an op
    mode = "float32"

    [[rule]]
    tensor = "head/.*"           # found anywhere in the name of one of an op's results
    mode = "16x8"

    [[rule]]
    tensor = "conv1"
    observer = "percentile:99.9"

A rule with both ``op`` and ``tensor`` wants both. Of rules that speak of the same thing the last one counts.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qmath.errors import InputError, QuantrefError
from quantref.quantizer.graph import FloatGraph
from quantref.quantizer.request import Mode, mode_named

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_KEYS = frozenset({"op", "tensor", "mode", "observer"})


@dataclass(frozen=True, slots=True)
class Rule:
    """What some operators get.

    Attributes
    ----------
    op
        Regular expression that fits the whole name of an op in the schema's spelling, or None for any op.
    tensor
        Regular expression that is found in the name of one of the op's results, or None for any tensor.
    mode
        How the op is quantized instead; :attr:`Mode.FLOAT32` keeps it float. None to leave that.
    observer
        Name of the observer that makes the range of the op's results, or None to leave that.

    Raises
    ------
    InputError
        The rule chooses nothing or says nothing, or an expression is malformed.

    """

    op: str | None = None
    tensor: str | None = None
    mode: Mode | None = None
    observer: str | None = None

    def __post_init__(self) -> None:
        """Check the rule."""
        if self.op is None and self.tensor is None:
            raise InputError("expected a rule with op or tensor, found neither")
        if self.mode is None and self.observer is None:
            raise InputError("expected a rule with mode or observer, found neither")
        for pattern in (self.op, self.tensor):
            _check_pattern(pattern or "")

    def fits(self, graph: FloatGraph, op: int) -> bool:
        """Whether the rule speaks of an operator."""
        operator = graph.operators[op]
        names = [graph.tensors[tensor].name for tensor in operator.outputs if tensor >= 0]
        if self.op is not None and not re.fullmatch(self.op, operator.name):
            return False
        return self.tensor is None or any(re.search(self.tensor, name) for name in names)


@dataclass(frozen=True, slots=True)
class Recipe:
    """Rules, the last of which counts most."""

    rules: tuple[Rule, ...] = ()

    @classmethod
    def from_toml(cls, values: Mapping[str, Any]) -> Recipe:
        """Return the recipe that a TOML document holds.

        Raises
        ------
        InputError
            The document holds something else.

        """
        entries = values.get("rule", [])
        if set(values) - {"rule"} or not isinstance(entries, list):
            raise InputError(f"expected a recipe of [[rule]] tables, found {', '.join(values) or 'nothing'}")
        return cls(tuple(_rule(entry, number) for number, entry in enumerate(entries, start=1)))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Recipe:
        """Read a TOML file.

        Raises
        ------
        InputError
            There is no such file, or it holds something else.

        """
        try:
            return cls.from_toml(_toml(Path(path)))
        except QuantrefError as error:
            raise error.within(str(path)) from None

    def mode(self, graph: FloatGraph, op: int) -> Mode | None:
        """Return how the last rule that says so quantizes an operator, or None."""
        found = [rule.mode for rule in self.rules if rule.mode is not None and rule.fits(graph, op)]
        return found[-1] if found else None

    def observer(self, graph: FloatGraph, tensor: int) -> str | None:
        """Return the observer that the last rule that says so gives a tensor, or None."""
        producer = graph.producers.get(tensor)
        if producer is None:
            name = graph.tensors[tensor].name
            return _last(rule.observer for rule in self.rules if rule.op is None and re.search(rule.tensor or "", name))
        return _last(rule.observer for rule in self.rules if rule.fits(graph, producer))

    def check(self, graph: FloatGraph) -> None:
        """Check that every rule speaks of something.

        Raises
        ------
        InputError
            A rule fits no operator and no input.

        """
        inputs = [graph.tensors[tensor].name for tensor in graph.subgraph.inputs]
        for number, rule in enumerate(self.rules, start=1):
            of_input = rule.op is None and any(re.search(rule.tensor or "", name) for name in inputs)
            if not of_input and not any(rule.fits(graph, op) for op in range(len(graph.operators))):
                raise InputError(
                    f"rule {number} of the recipe: expected an op or tensor of the model, found none that fits"
                )


def _check_pattern(pattern: str) -> None:
    try:
        re.compile(pattern)
    except re.error as error:
        raise InputError(f"expected a regular expression, found {pattern!r}: {error}") from None


def _rule(entry: object, number: int) -> Rule:
    try:
        return _checked_rule(entry)
    except QuantrefError as error:
        raise error.within(f"rule {number}") from None


def _checked_rule(entry: object) -> Rule:
    if not isinstance(entry, Mapping) or set(entry) - _KEYS:
        found = ", ".join(sorted(set(entry) - _KEYS)) if isinstance(entry, Mapping) else repr(entry)
        raise InputError(f"expected the keys {', '.join(sorted(_KEYS))}, found {found}")
    if not all(isinstance(value, str) for value in entry.values()):
        raise InputError("expected text for every key, found something else")
    mode = mode_named(entry["mode"]) if "mode" in entry else None
    return Rule(entry.get("op"), entry.get("tensor"), mode, entry.get("observer"))


def _toml(path: Path) -> Mapping[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"expected a readable file, found: {error.strerror}") from error
    except ValueError as error:
        raise InputError(f"expected TOML, found: {error}") from error


def _last(values: Iterable[str | None]) -> str | None:
    found = [value for value in values if value is not None]
    return found[-1] if found else None
