"""Searches for an input on which two profiles give different outputs.

Rounding differs on ties alone, and ties are rare: one random element in some thousands, and what a layer behind rounds
away is lost. So the search has four ways. Random inputs. Inputs of few different values, whose sums are small and meet
ties of round scales often: all equal, mostly at the zero point, extremes only. Inputs aimed at a tie of the first op
(:mod:`quantref.inference.ties`). And a climb: the input that made something differ nearest to the outputs is changed a
little, and the change is kept if it comes as near or nearer.
"""

from __future__ import annotations

import html
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import fbs
from kernels.profiles import Profile, profile_named
from qmath.errors import InputError
from qmath.types import Array
from quantref.difference import Difference, Mismatch, difference
from quantref.execution import Graph, Session
from quantref.inference.ties import aim
from quantref.interpreter import ModelSource, load
from quantref.names import tensor_keys
from quantref.samples import random_samples

#: Of all tries, so many are random inputs, inputs near ties and inputs aimed at one, in turn; the rest climb.
_SEARCHING = 0.4


@dataclass(frozen=True, slots=True)
class Separation:
    """An input that tells two profiles apart, or that none was found.

    Attributes
    ----------
    model, first, second
        Name of the file, and of the profiles.
    tries
        How many inputs were run under both.
    way
        How the input was found, or empty.
    inputs
        The input by name; None if none was found.
    tensor, difference
        The first tensor wanted that differs, and by how much; the first profile's value is the expected one.
    nearest
        If none was found: the last op behind which something differed on any of the inputs, or empty.

    """

    model: str
    first: str
    second: str
    tries: int
    way: str = ""
    inputs: Mapping[str, Array] | None = None
    tensor: str = ""
    difference: Difference = field(default_factory=Difference)
    nearest: str = ""

    @property
    def mismatch(self) -> Mismatch | None:
        """The first element that differs."""
        return self.difference.first

    def summary(self) -> str:
        """Return the outcome as a line or two of text."""
        pair = f"{self.first} and {self.second}"
        if self.inputs is None or self.mismatch is None:
            inside = f"; behind {self.nearest} they differed, but not in the outputs" if self.nearest else ""
            return f"{self.model}: found no input on which {pair} differ in {self.tries} tries{inside}"
        where, seen = list(self.mismatch.index), self.mismatch
        return (
            f"{self.model}: {pair} differ in {self.difference.mismatches:,} of {self.difference.elements:,} elements "
            f"of {self.tensor!r}, found by {self.way} in {self.tries} tries\n"
            f"at {where}: {self.first} gives {seen.expected}, {self.second} gives {seen.found}"
        )

    def to_json(self) -> dict[str, Any]:
        """Return plain values, the input left out."""
        return {
            "model": self.model,
            "first": self.first,
            "second": self.second,
            "found": self.inputs is not None,
            "tries": self.tries,
            "way": self.way,
            "tensor": self.tensor,
            "difference": self.difference.to_json(),
            "nearest": self.nearest,
        }

    def _repr_html_(self) -> str:
        """Return the outcome for notebooks."""
        return "<br>".join(html.escape(line) for line in self.summary().splitlines())


def separate_profiles(
    model: ModelSource,
    first: str | Profile,
    second: str | Profile,
    *,
    tries: int = 500,
    seed: int = 0,
    any_tensor: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Separation:
    """Search for an input on which two profiles give different outputs.

    Parameters
    ----------
    model
        Path, bytes, or a model.
    first, second
        The profiles.
    tries, seed
        How many inputs to try at most, and the seed of the search: the same seed finds the same input.
    any_tensor
        Whether a difference in any tensor will do, not in the outputs alone.
    progress
        Called with the number of inputs tried and of all.

    Raises
    ------
    InputError
        An unknown profile, or twice the same.
    ModelError, UnsupportedError
        The model cannot be read, or does not run under one of the profiles.

    """
    loaded, pair = load(model), (profile_named(first), profile_named(second))
    if pair[0] is pair[1]:
        raise InputError(f"expected two profiles, found {pair[0].name} twice")
    name = loaded.path.name if loaded.path else "model"
    sides = _Sides(loaded, pair, any_tensor=any_tensor)
    climb = [_Trial((), 0.0, None, -1)]  # ever nearer
    tried = 0
    for tried, (way, sample) in enumerate(_inputs(sides, tries, seed, lambda: climb[-1].sample), 1):
        trial = sides.run(sample)
        if progress is not None:
            progress(tried, tries)
        if trial.found is not None:
            keys = tensor_keys(loaded.subgraphs[0])
            inputs = {keys[n]: value for n, value in zip(loaded.subgraphs[0].inputs, sample, strict=True)}
            where = trial.found
            return Separation(name, pair[0].name, pair[1].name, tried, way, inputs, keys[where[0]], where[1])
        if trial.score >= climb[-1].score:
            climb.append(trial)
            del climb[0]
    operators = loaded.subgraphs[0].operators
    last = climb[-1].last
    nearest = f"op {last} {operators[last].name}" if last >= 0 else ""
    return Separation(name, pair[0].name, pair[1].name, tried, nearest=nearest)


@dataclass(frozen=True, slots=True)
class _Trial:
    """One input under both profiles.

    Attributes
    ----------
    sample
        The input.
    score
        How near it came: counts of elements that differ behind each op, later ops counting far more.
    found
        The tensor wanted that differs, and how.
    last
        The last op behind which something differs; -1 if none.

    """

    sample: Sequence[Array]
    score: float
    found: tuple[int, Difference] | None
    last: int


class _Sides:
    """A model under two profiles."""

    def __init__(self, model: fbs.Model, pair: tuple[Profile, Profile], *, any_tensor: bool) -> None:
        self.model = model
        self.graphs: list[Graph] = [Session(model, profile).graph(0) for profile in pair]
        graph = model.subgraphs[0]
        self._subgraph = graph
        written = [number for operator in graph.operators for number in operator.outputs if number >= 0]
        self._wanted = [number for number in (written if any_tensor else graph.outputs) if number in written]

    def run(self, sample: Sequence[Array]) -> _Trial:
        """Run an input under both profiles; state starts afresh."""
        values = []
        for graph in self.graphs:
            graph.load_constants()
            graph.session.resources.clear()
            graph.session.done_once.clear()
            graph.reset_variables()
            for number, value in zip(self._subgraph.inputs, sample, strict=True):
                graph.values[number] = value
            graph.run_steps()
            values.append(list(graph.values))
        for number in self._wanted:
            found = _apart(values[0][number], values[1][number])
            if found.mismatches:
                return _Trial(sample, np.inf, (number, found), -1)
        return self._scored(sample, values)

    def _scored(self, sample: Sequence[Array], values: Sequence[Sequence[Array | None]]) -> _Trial:
        score, last = 0.0, -1
        for index, operator in enumerate(self._subgraph.operators):
            apart = [_apart(values[0][n], values[1][n]) for n in operator.outputs if n >= 0]
            share = sum(found.mismatches / found.elements for found in apart if found.elements)
            if share:
                # A difference behind a later op outweighs any number behind an earlier one.
                score, last = index + share / (1 + share), index
        return _Trial(sample, score, None, last)


def _apart(first: Array | None, second: Array | None) -> Difference:
    if first is None or second is None or first.dtype == object:
        return Difference()
    return difference(first, second)


def _inputs(
    sides: _Sides, tries: int, seed: int, best: Callable[[], Sequence[Array]]
) -> Iterator[tuple[str, Sequence[Array]]]:
    """Yield inputs and the way that each was made."""
    model, rng = sides.model, np.random.default_rng([seed, tries])
    searching = max(1, round(tries * _SEARCHING))
    for number in range(searching):
        (sample,) = random_samples(model, 1, seed + number // 3)
        if number % 3 == 0:
            yield "random inputs", sample
        elif number % 3 == 1:
            yield "inputs of few values", _near_ties(model, sample, rng)
        elif (aimed := aim(sides.graphs, sample, rng)) is not None:
            yield "an input aimed at a tie", aimed
    for _ in range(tries - searching):
        yield "changing inputs step by step", _changed(model, best(), rng)


def _near_ties(model: fbs.Model, sample: Sequence[Array], rng: np.random.Generator) -> list[Array]:
    """Return inputs of few different values: sums of them are small or round."""
    graph = model.subgraphs[0]
    return [_few_values(graph.tensors[n], value, rng) for n, value in zip(graph.inputs, sample, strict=True)]


def _few_values(tensor: fbs.Tensor, value: Array, rng: np.random.Generator) -> Array:
    if tensor.quant is None or not tensor.dtype.is_integer:
        steps = np.float64(2.0) ** rng.integers(-3, 4)
        return value if value.dtype.kind != "f" else (np.rint(value * steps) / steps).astype(value.dtype)
    low, high, zero = tensor.dtype.min, tensor.dtype.max, int(tensor.quant.zero_point[0])
    ways = ("equal", "sparse", "extremes", "small")
    way = ways[int(rng.integers(len(ways)))]
    if way == "equal":
        return np.full_like(value, rng.integers(low, high + 1))
    if way == "sparse":
        return np.where(rng.random(value.shape) < rng.choice([0.02, 0.1, 0.3]), value, zero).astype(value.dtype)
    if way == "extremes":
        return np.where(rng.random(value.shape) < 0.5, low, high).astype(value.dtype)
    near = zero + rng.integers(-8, 9, value.shape)
    return np.clip(near, low, high).astype(value.dtype)


def _changed(model: fbs.Model, sample: Sequence[Array], rng: np.random.Generator) -> list[Array]:
    """Return an input with some elements changed: by one, or to anything."""
    graph = model.subgraphs[0]
    changed = []
    for number, value in zip(graph.inputs, sample, strict=True):
        tensor, flat = graph.tensors[number], value.copy().reshape(-1)
        if flat.size == 0 or flat.dtype.kind not in "iuf":
            changed.append(value)
            continue
        count = int(rng.choice([1, max(1, flat.size // 100), max(1, flat.size // 10)]))
        places = rng.choice(flat.size, min(count, flat.size), replace=False)
        if flat.dtype.kind == "f":
            flat[places] += (rng.standard_normal(places.size) * (np.ptp(flat) or 1) / 16).astype(flat.dtype)
        elif tensor.quant is not None or tensor.dtype.bits < 32:
            low, high = tensor.dtype.min, tensor.dtype.max
            moved = flat[places].astype(np.int64) + rng.choice([-1, 1], places.size)
            anything = rng.integers(low, high + 1, places.size)
            flat[places] = np.clip(moved if rng.random() < 0.5 else anything, low, high)
        changed.append(flat.reshape(value.shape))
    return changed
