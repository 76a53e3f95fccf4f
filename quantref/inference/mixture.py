"""One op of another profile, or one regime in every op, where only the outputs of a whole model are known."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from kernels.engine import registry
from kernels.engine.types import OpView, Prepared, Runner
from kernels.profiles import Profile
from qmath.errors import QuantrefError
from qmath.requantize import Regime
from qmath.types import Array
from quantref.execution import Graph
from quantref.inference.dump import Dump, Invocation
from quantref.inference.regimes import CANDIDATES, name_of, with_regime
from quantref.inference.replay import Replay
from quantref.inference.result import Mixture
from quantref.inference.tally import Tally

#: How many of the best are reported where none explains everything.
BEST = 3
#: What a kernel raises on operands that a profile cannot take.
_FAILURES = (QuantrefError, ArithmeticError, TypeError, ValueError, LookupError)


@dataclass(frozen=True, slots=True)
class _Base:
    """A profile that runs the whole model: its graph, every tensor of every invocation, and who else agrees in all."""

    profile: Profile
    names: tuple[str, ...]
    graph: Graph
    values: tuple[Mapping[int, Array], ...]
    mismatches: int


def mixtures(dump: Dump, profiles: Sequence[Profile], budget: float) -> tuple[list[Mixture], str]:
    """Search for a profile with one op of another, or with another regime, that explains a dump.

    Parameters
    ----------
    dump
        What the device gave.
    profiles
        The candidates.
    budget
        Seconds that the search may take.

    Returns
    -------
    Every mixture that explains all elements, or the best few on the first invocation; and what was left out, or
    nothing.

    """
    subgraph = dump.model.subgraphs[0]
    if any(tensor.is_variable or not tensor.dtype.bits for tensor in subgraph.tensors):
        return [], "one op of another profile was not searched for: the model has state"
    end = time.monotonic() + budget
    found: list[Mixture] = []
    for tried, mixture in enumerate(_trials(dump, profiles), 1):
        if mixture is not None:
            found.append(mixture)
        if time.monotonic() > end:
            note = f"the search for one op of another profile ended after {tried} trials, {budget:g} s"
            return _best(found), note
    return _best(found), ""


def _best(found: list[Mixture]) -> list[Mixture]:
    exact = [mixture for mixture in found if mixture.mismatches == 0]
    return exact or sorted(found, key=lambda mixture: mixture.mismatches)[:BEST]


def _trials(dump: Dump, profiles: Sequence[Profile]) -> Iterator[Mixture | None]:
    """Yield the mixtures in turn, those of the nearest profiles first; None where nothing was to be tried."""
    bases = _different([base for profile in profiles if (base := _base(dump, profile)) is not None])
    for base in bases:
        for regime in CANDIDATES:
            yield _one_regime(dump, base, regime)
    ops = {index: _Op(bases[0], index, profiles) for index in range(len(dump.model.subgraphs[0].operators)) if bases}
    for base in bases:
        for op in ops.values():
            yield None
            yield from op.exchanged(dump, base)


def _base(dump: Dump, profile: Profile) -> _Base | None:
    replay, tally = Replay(dump.model, profile), Tally(1)
    graph, values = replay.graph, []
    for sample, invocation in enumerate(dump.invocations):
        for number, value in zip(graph.subgraph.inputs, invocation.inputs, strict=True):
            graph.values[number] = value
        try:
            graph.run_steps()
        except QuantrefError:
            return None
        values.append({number: value for number, value in enumerate(graph.values) if value is not None})
        _compare(tally, sample, invocation, values[-1])
    return _Base(profile, (profile.name,), graph, tuple(values), tally.mismatches[0])


def _different(bases: list[_Base]) -> list[_Base]:
    """Return the bases that differ in any tensor, the nearest first; those that agree go by all their names."""
    found: dict[bytes, _Base] = {}
    for base in bases:
        key = b"".join(value.tobytes() for values in base.values for value in values.values())
        known = found.get(key)
        found[key] = base if known is None else replace(known, names=known.names + base.names)
    return sorted(found.values(), key=lambda base: base.mismatches)


class _Op:
    """One op, prepared under every profile that runs it."""

    def __init__(self, base: _Base, index: int, profiles: Sequence[Profile]) -> None:
        self._index = index
        self._operator = base.graph.subgraph.operators[index]
        self._runs: dict[str, Runner] = {}
        if self._operator.name not in registry.registry():
            return
        shapes = [None if number < 0 else base.values[0][number].shape for number in self._operator.inputs]
        view = base.graph.view(index, shapes)
        constants = [None if tensor is None else tensor.data for tensor in view.inputs]
        for profile in profiles:
            with contextlib.suppress(*_FAILURES):
                self._runs[profile.name] = registry.prepare(view, profile).compile(constants)

    def exchanged(self, dump: Dump, base: _Base) -> Iterator[Mixture]:
        """Yield the mixtures of this op under other profiles: each different result once."""
        results: dict[bytes, tuple[list[str], list[Mapping[int, Array]]]] = {}
        for name, run in self._runs.items():
            outputs: list[Mapping[int, Array]] = []
            with contextlib.suppress(*_FAILURES), np.errstate(all="ignore"):
                for values in base.values:
                    given = [None if number < 0 else values[number] for number in self._operator.inputs]
                    outputs.append(dict(zip(self._operator.outputs, run(given), strict=False)))
                key = b"".join(array.tobytes() for output in outputs for array in output.values())
                results.setdefault(key, ([], outputs))[0].append(name)
        for names, outputs in results.values():
            if set(base.names).intersection(names):
                continue
            tally = Tally(1)
            for sample, changes in enumerate(outputs):
                _compare(tally, sample, dump.invocations[sample], self._rerun(base, sample, changes))
                if tally.mismatches[0]:
                    break
            exception = f"op {self._index} {self._operator.name} under {' or '.join(names)}"
            yield Mixture(" or ".join(base.names), exception, self._index, tally.elements, tally.mismatches[0])

    def _rerun(self, base: _Base, sample: int, changes: Mapping[int, Array]) -> Mapping[int, Array]:
        """Return the tensors of an invocation after the op gave something else."""
        values = dict(base.values[sample]) | dict(changes)
        touched = {n for n, value in changes.items() if not np.array_equal(value, base.values[sample][n])}
        for later in range(self._index + 1, len(base.graph.subgraph.operators)):
            operator = base.graph.subgraph.operators[later]
            if touched.intersection(operator.inputs):
                inputs = [None if number < 0 else values[number] for number in operator.inputs]
                for number, value in zip(operator.outputs, base.graph.run_op(later, inputs), strict=False):
                    if not np.array_equal(value, base.values[sample][number]):
                        touched.add(number)
                    values[number] = value
        return values


def _one_regime(dump: Dump, base: _Base, regime: Regime) -> Mixture | None:
    """Return a profile with a regime in every op that requantizes."""

    def prepare(graph: int, op: int, view: OpView) -> Prepared:
        del graph, op
        prepared = registry.prepare(view, base.profile)
        return with_regime(prepared, regime) or prepared

    replay, tally = Replay(dump.model, base.profile, prepare), Tally(1)
    graph = replay.graph
    for sample, invocation in enumerate(dump.invocations):
        for number, value in zip(graph.subgraph.inputs, invocation.inputs, strict=True):
            graph.values[number] = value
        try:
            graph.run_steps()
        except QuantrefError:
            return None
        _compare(tally, sample, invocation, dict(enumerate(graph.values)))
        if tally.mismatches[0]:
            break
    exception = f"the regime {name_of(regime)} in every op"
    return Mixture(" or ".join(base.names), exception, None, tally.elements, tally.mismatches[0])


def _compare(tally: Tally, sample: int, invocation: Invocation, values: Mapping[int, Array | None]) -> None:
    for number, observed in invocation.tensors.items():
        tally.add(sample, number, observed, [values.get(number)])
