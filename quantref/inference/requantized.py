"""Runs one op under every regime, where no profile explains what a device gave."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from kernels.engine import registry
from kernels.engine.types import Inputs, OpView, Prepared
from kernels.profiles import Profile
from qmath.errors import QuantrefError
from quantref.inference.candidates import Candidate
from quantref.inference.dump import Dump
from quantref.inference.regimes import CANDIDATES, name_of, variants
from quantref.inference.replay import Replay
from quantref.inference.tally import Tally

#: What a kernel raises on numbers that a regime cannot take.
_FAILURES = (QuantrefError, ArithmeticError, TypeError, ValueError, LookupError)


def try_regimes(dump: Dump, index: int, seen: Sequence[Inputs], profiles: Sequence[Profile]) -> tuple[Candidate, ...]:
    """Run one op under every regime with the multipliers of every profile, and rank the regimes.

    Parameters
    ----------
    dump
        What the device gave.
    index
        The op.
    seen
        What it was given in each invocation.
    profiles
        Whose multipliers to take.

    """
    graph = Replay(dump.model, profiles[0]).graph
    view = graph.view(index, [None if value is None else value.shape for value in seen[0]])
    prepared = _prepared(view, profiles)
    found = []
    for regime, how in CANDIDATES.items():
        tried: list[Candidate] = []
        try:
            for profile, changed in variants(prepared, regime):
                tally = _compared(dump, index, seen, view, changed)
                tried.append(candidate_of(0, name_of(regime), tally, f"{how}; multipliers as under {profile.name}"))
        except _FAILURES as error:
            tried = tried or [Candidate(name_of(regime), 0, 0, 0, 0, 0, str(error), how)]
        if tried:
            found.append(min(tried, key=rank))
    return tuple(sorted(found, key=rank))


def _prepared(view: OpView, profiles: Sequence[Profile]) -> Mapping[Profile, Prepared]:
    """Return the op as each profile that runs it prepares it."""

    def each() -> Iterator[tuple[Profile, Prepared]]:
        for profile in profiles:
            try:
                yield profile, registry.prepare(view, profile)
            except QuantrefError:  # noqa: PERF203 - seven at most
                continue

    return dict(each())


def _compared(dump: Dump, index: int, seen: Sequence[Inputs], view: OpView, prepared: Prepared) -> Tally:
    tally = Tally(1)
    run = prepared.compile([None if tensor is None else tensor.data for tensor in view.inputs])
    outputs = dump.model.subgraphs[0].operators[index].outputs
    with np.errstate(all="ignore"):
        for sample, inputs in enumerate(seen):
            known = dump.invocations[sample].tensors
            for number, value in zip(outputs, run(inputs), strict=False):
                if number in known:
                    tally.add(sample, number, known[number], [value])
            if tally.mismatches[0]:
                break  # it is not this one: the next invocation would add nothing but time
    return tally


def candidate_of(number: int, name: str, tally: Tally, how: str = "") -> Candidate:
    """Return what a tally says of one candidate."""
    counts = (tally.elements, tally.mismatches[number], tally.inexact[number])
    return Candidate(name, *counts, int(tally.explains(number)), int(tally.elements > 0), tally.refusals[number], how)


def rank(candidate: Candidate) -> tuple[bool, int, int, bool, int]:
    """Return what to sort candidates by, the best first."""
    return (
        not candidate.explains,
        -candidate.ops_explained,
        candidate.mismatches,
        bool(candidate.refusal),
        candidate.inexact,
    )
