"""Finds out which profile some outputs, or a runtime, follow.

Each op is run under every profile on the inputs that the device itself wrote down, and its outputs are compared. Where
tensors in between are not known, the ops up to the next known one are run together, at worst the whole model.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import fbs
from kernels.engine.types import Inputs
from kernels.profiles import PROFILES, Profile, profile_named
from qmath.errors import InputError
from qmath.types import Array
from quantref.control_flow import HANDLERS
from quantref.inference.candidates import Candidate, Telling
from quantref.inference.dump import Dump, Invocation, read_dump
from quantref.inference.mixture import mixtures
from quantref.inference.replay import Replay, segments
from quantref.inference.requantized import candidate_of, rank, try_regimes
from quantref.inference.result import InferResult, Mixture, OpInference
from quantref.inference.sharing import Shared
from quantref.inference.tally import Pattern, Tally
from quantref.inference.telling import smallest
from quantref.interpreter import ModelSource, load
from quantref.names import tensor_keys
from quantref.npz import load_npz
from quantref.runtimes import LiteRT, Runtime, find_runtime
from quantref.samples import random_samples, samples_from

Arrays = Mapping[str, Array] | str | os.PathLike[str]


def infer_profile(  # noqa: PLR0913 - every one of them is a choice that a user makes
    model: ModelSource,
    inputs: Arrays | None = None,
    outputs: Arrays | None = None,
    *,
    runtime: str | Runtime | None = None,
    profiles: Sequence[str | Profile] | None = None,
    column: str = "",
    samples: int = 4,
    seed: int = 0,
    budget: float = 60.0,
    timeout: float = 60.0,
) -> InferResult:
    """Find the profile that explains every element of some outputs.

    Parameters
    ----------
    model
        Path, bytes, or a model.
    inputs
        What the device was given: arrays by input name, or the path of an ``.npz``; samples along axis 0. May be left
        out if they are among the outputs, or if a runtime is named.
    outputs
        What it gave: its final outputs, or these and tensors in between, by name, or the path of an ``.npz`` such as
        ``quantref run --all-tensors`` writes.
    runtime
        Instead of outputs: an installed runtime, run here with all its tensors.
    profiles
        Candidates; by default all.
    column
        Read only the keys ``column__KEY`` of the outputs.
    samples, seed
        Random inputs for a runtime, if none are given.
    budget
        Seconds for the search for one op of another profile, where only the outputs of a whole model are known.
    timeout
        Seconds that a runtime has for each sample.

    Raises
    ------
    InputError
        There are neither outputs nor a runtime, or they do not fit the model.
    ModelError, UnsupportedError
        The model cannot be read.
    RuntimeUnavailableError, RuntimeFailure
        The runtime is not there, or gave nothing.

    """
    loaded = load(model)
    if (outputs is None) == (runtime is None):
        raise InputError("expected outputs or a runtime, found " + ("neither" if outputs is None else "both"))
    given = None if inputs is None else _arrays(inputs)
    if outputs is not None:
        source = "given outputs" if isinstance(outputs, Mapping) else Path(outputs).name
        dump = read_dump(loaded, given, _arrays(outputs), column, source)
    else:
        cut = random_samples(loaded, samples, seed) if given is None else samples_from(loaded, given)
        dump = run_runtime(loaded, find_runtime(runtime or ""), cut, timeout)
    return infer(dump, [profile_named(name) for name in profiles or PROFILES.values()], budget)


def _arrays(source: Arrays) -> Mapping[str, Array]:
    return source if isinstance(source, Mapping) else load_npz(source)


def run_runtime(model: fbs.Model, runtime: Runtime, samples: Sequence[Sequence[Array]], timeout: float) -> Dump:
    """Return what a runtime gives for a model, with every tensor that it keeps."""
    graph = model.subgraphs[0]
    wanted = {number for op in graph.operators for number in (*op.outputs, *op.inputs) if number >= 0}
    kept = sorted(n for n in wanted if graph.tensors[n].data is None and n not in graph.inputs)
    kept = [number for number in kept if graph.tensors[number].dtype.bits]
    with LiteRT(runtime) as litert:
        source = f"{runtime.name} ({litert.version})"
        answers = litert.run(fbs.write(model), samples, tensors=kept, timeout=timeout)
    invocations = [
        Invocation(sample, {**answer.tensors, **dict(zip(graph.outputs, answer.outputs, strict=True))})
        for sample, answer in zip(samples, answers, strict=True)
    ]
    return Dump(model, tuple(invocations), source)


def infer(dump: Dump, profiles: Sequence[Profile], budget: float = 60.0) -> InferResult:
    """Find the profile that explains every element of a dump; see :func:`infer_profile`."""
    dump, left_out = _without_constants(dump)
    model, graph = dump.model, dump.model.subgraphs[0]
    ends = segments(model, dump.observed)
    tallies, seen = _tallies(dump, profiles, ends)
    ops = tuple(_op(dump, index, ends[index], tallies[index], profiles, seen[index]) for index in ends)
    totals = [_total(number, profile, list(tallies.values())) for number, profile in enumerate(profiles)]
    pooled = [(index, pattern) for index in ends for pattern in tallies[index].patterns.items()]
    winners = [number for number, total in enumerate(totals) if total.explains]
    notes = [f"{op.place}: {op.note}" for op in ops if op.note]
    mixed: list[Mixture] = []
    drift = "" if winners else _drift(graph, ops)
    if not winners and any(len(op.ops) > 1 and not op.is_explained for op in ops):
        mixed, note = mixtures(dump, profiles, budget)
        notes += [note] if note else []
    telling = _telling(graph, pooled, profiles, winners, [total.refusal for total in totals]) if winners else ()
    name = model.path.name if model.path else "model"
    ranked = tuple(sorted(totals, key=rank))
    notes += left_out
    return InferResult(
        name, dump.source, len(dump.invocations), ranked, ops, telling, tuple(mixed), tuple(notes), drift
    )


def _without_constants(dump: Dump) -> tuple[Dump, list[str]]:
    """Leave out tensors that are spread out from constants alone, and say so.

    A delegate spreads them out for itself and does not write them: what lies in their memory is anything.
    """
    graph = dump.model.subgraphs[0]
    spread = {
        number
        for operator in graph.operators
        if operator.name in {"DEQUANTIZE", "DENSIFY"} and graph.tensors[operator.inputs[0]].data is not None
        for number in operator.outputs
        if number not in graph.outputs
    }
    left = spread & dump.observed
    if not left:
        return dump, []
    kept = (Invocation(i.inputs, {n: a for n, a in i.tensors.items() if n not in left}) for i in dump.invocations)
    note = f"{len(left)} tensors that are constants, spread out, were not compared: a delegate does not write them"
    return Dump(dump.model, tuple(kept), dump.source), [note]


def _drift(graph: fbs.Subgraph, ops: Sequence[OpInference]) -> str:
    """Say that float sums drift, if ops that sum floats run together with others that quantize them again."""
    floats = [
        index
        for op in ops
        if len(op.ops) > 1 and not op.is_explained
        for index in op.ops
        if any(graph.tensors[number].dtype.name.startswith("FLOAT") for number in graph.operators[index].outputs)
    ]
    if not floats:
        return ""
    what = f"{len(floats)} ops give floats, which are right to 1e-5 op by op; what follows may amplify that"
    return f"{what}: a dump of every tensor says more"


def _tallies(
    dump: Dump, profiles: Sequence[Profile], ends: Mapping[int, tuple[int, ...]]
) -> tuple[dict[int, Tally], dict[int, list[Inputs]]]:
    """Run every profile on every invocation; return counts by op, and what ops that stand alone were given."""
    tallies = {index: Tally(len(profiles)) for index in ends}
    seen: dict[int, list[Inputs]] = {index: [] for index in ends}
    shared = Shared()
    replays = [Replay(dump.model, profile, shared=shared) for profile in profiles]
    for sample, invocation in enumerate(dump.invocations):
        runs = zip(*(replay.outcomes(invocation) for replay in replays), strict=True)
        for index, outcomes in enumerate(runs):
            if index not in ends:
                continue
            tally = tallies[index]
            for number, outcome in enumerate(outcomes):
                if outcome.blocked:
                    tally.refuse(number, outcome.blocked)
            if len(ends[index]) == 1:
                seen[index].append(next((outcome.inputs for outcome in outcomes if outcome.inputs), ()))
            for tensor in sorted({tensor for outcome in outcomes for tensor in outcome.tensors}):
                predicted = [outcome.tensors.get(tensor) for outcome in outcomes]
                tally.add(sample, tensor, invocation.tensors[tensor], predicted)
    return tallies, seen


def _op(
    dump: Dump, index: int, ops: tuple[int, ...], tally: Tally, profiles: Sequence[Profile], seen: Sequence[Inputs]
) -> OpInference:
    graph = dump.model.subgraphs[0]
    operator, keys = graph.operators[index], tensor_keys(graph)
    known = [number for number in operator.outputs if number in dump.observed]
    candidates = [candidate_of(number, profile.name, tally) for number, profile in enumerate(profiles)]
    regimes: tuple[Candidate, ...] = ()
    note = ""
    if not tally.explaining and tally.elements and len(ops) == 1 and operator.name not in HANDLERS:
        regimes = try_regimes(dump, index, seen, profiles)
    if not tally.elements:
        note = next((refusal for refusal in tally.refusals if refusal), "its outputs are not known")
    patterns = [(index, pattern) for pattern in tally.patterns.items()]
    return OpInference(
        index,
        operator.name,
        ops,
        ", ".join(dict.fromkeys(graph.tensors[number].dtype.name.lower() for number in known)),
        tuple(keys[number] for number in known),
        tally.elements,
        tuple(sorted(candidates, key=rank)),
        regimes,
        _telling(graph, patterns, profiles, tally.explaining, tally.refusals) if tally.explaining else (),
        note,
    )


def _total(number: int, profile: Profile, tallies: Sequence[Tally]) -> Candidate:
    compared = [tally for tally in tallies if tally.elements]
    refusal = next((tally.refusals[number] for tally in compared if tally.refusals[number]), "")
    return Candidate(
        profile.name,
        sum(tally.elements for tally in compared),
        sum(tally.mismatches[number] for tally in compared),
        sum(tally.inexact[number] for tally in compared),
        sum(tally.explains(number) for tally in compared),
        len(compared),
        refusal,
        profile.description,
    )


def _telling(
    graph: fbs.Subgraph,
    patterns: Sequence[tuple[int, tuple[int, Pattern]]],
    profiles: Sequence[Profile],
    winners: Sequence[int],
    refusals: Sequence[str],
) -> tuple[Telling, ...]:
    """Return the fewest elements that rule out every profile but some; those that refuse are ruled out already."""
    rivals = [number for number in range(len(profiles)) if number not in winners and not refusals[number]]
    chosen = smallest([mask for _, (mask, _) in patterns], sum(1 << number for number in rivals))
    keys = tensor_keys(graph)
    found = []
    for index, (_, pattern) in (patterns[place] for place in chosen):
        predicted = {profile.name: value for profile, value in zip(profiles, pattern.predicted, strict=True)}
        where = (index, graph.operators[index].name, keys[pattern.tensor], pattern.sample, pattern.index)
        found.append(Telling(*where, pattern.observed, predicted))
    return tuple(found)
