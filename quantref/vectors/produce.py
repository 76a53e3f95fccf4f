"""Make one case: its model, inputs, expected outputs, and the note of what it hits."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np

import fbs
from qmath.errors import QuantrefError, SpecError
from qmath.types import Array
from quantref.interpreter import load
from quantref.names import tensor_keys
from quantref.npz import npz_bytes
from quantref.samples import random_samples
from quantref.vectors.catalogue import aims, all_cells
from quantref.vectors.formats import extra_files
from quantref.vectors.items import Item
from quantref.vectors.negative import negative
from quantref.vectors.plan import Plan
from quantref.vectors.running import Answer, answer, dtypes_of, lacking_op
from quantref.vectors.suite import INPUTS, MODEL, NOTE, join_invocations

#: How many cases of a generator are looked at until one fits.
_TRIES = 200
#: Generators that go through several kinds in turn are entered at a place that follows from the case's number.
_KINDS_IN_TURN = 6
#: A case runs at most so often; later invocations of a generator's case are dropped.
_MOST_INVOCATIONS = 8


@dataclass(frozen=True, slots=True)
class Made:
    """A case with the content of its files; plain, so that it may come from another machine.

    Attributes
    ----------
    item, op, dtypes, invocations
        What it is made from, and how the index calls it.
    profiles
        For each profile the name of the file of its outputs.
    aims
        What it hits, under any profile.
    counts
        Under each profile, the number of elements that were ties, saturated, wrapped ...
    refused
        Why a profile has no outputs.
    expected_error
        For a negative case.
    files
        Content by name.

    """

    item: Item
    op: str
    dtypes: str
    invocations: int
    profiles: Mapping[str, str]
    aims: tuple[str, ...]
    counts: Mapping[str, Mapping[str, int]]
    refused: Mapping[str, str]
    expected_error: str | None
    files: Mapping[str, bytes] = field(repr=False, default_factory=dict)

    @property
    def bytes(self) -> int:
        """Size of the files together."""
        return sum(len(content) for content in self.files.values())


def make(item: Item, plan: Plan) -> Made | None:
    """Make a case; None if its cell gives none that fits what the item and the plan ask for."""
    if item.kind == "negative":
        return _negative(item, plan)
    if item.kind == "model":
        model = load(item.content)
        ordered = random_samples(model, item.number + 1, plan.seed)[item.number]
        return _made(item, plan, model, (_named(model, ordered),))
    candidates = all_cells()[item.cell](item.rng(plan.seed))
    for case in islice(candidates, item.number % _KINDS_IN_TURN, _TRIES):
        if _fits(case.model, item) and _size(case.model, case.samples[:_MOST_INVOCATIONS]) <= plan.largest_case:
            samples = tuple(_named(case.model, sample) for sample in case.ordered()[:_MOST_INVOCATIONS])
            if _hits(item, case.model, samples):
                made = _made(item, plan, case.model, samples)
                if made.profiles:
                    return made
    return None


def _named(model: fbs.Model, arrays: Sequence[Array]) -> dict[str, Array]:
    graph = model.subgraphs[0]
    keys = tensor_keys(graph)
    return {keys[index]: array for index, array in zip(graph.inputs, arrays, strict=True)}


def _fits(model: fbs.Model, item: Item) -> bool:
    found = dict(model.subgraphs[0].operators[0].options or {})
    return all(name in found and found[name] == value for name, value in item.options)


def _size(model: fbs.Model, samples: Sequence[Mapping[str, Array]]) -> int:
    return len(fbs.write(model)) + sum(array.nbytes for sample in samples for array in sample.values())


def _hits(item: Item, model: fbs.Model, samples: Sequence[Mapping[str, Array]]) -> bool:
    """Whether a case hits what its cell is aimed at."""
    aim = aims().get(item.cell)
    if aim is None:
        return True
    try:
        found = answer(fbs.write(model), samples, aim.profile)
    except QuantrefError:
        return False
    return set(aim.hits) <= set(found.coverage.aims())


# --- A case that runs ---------------------------------------------------------------------------------------------


def _made(item: Item, plan: Plan, model: fbs.Model, samples: tuple[dict[str, Array], ...]) -> Made:
    content = fbs.write(model) if item.kind == "op" else item.content
    answers, refused = _answers(item, plan, content, samples)
    files = {MODEL: content, INPUTS: join_invocations(samples)}
    profiles = {}
    for profile, outputs in _shared({p: join_invocations(tuple(a.outputs)) for p, a in answers.items()}):
        profiles[profile] = f"expected.{outputs[0]}.npz"
        files[profiles[profile]] = outputs[1]
    for profile, found in answers.items():
        if found.tensors:
            files[f"tensors.{profile}.npz"] = join_invocations(tuple(found.tensors))
        if found.stages:
            files[f"stages.{profile}.npz"] = npz_bytes(found.stages)
    files |= extra_files(item.id, plan.formats, model, samples, answers)
    operators = model.subgraphs[0].operators
    made = Made(
        item=item,
        op="MODEL" if item.kind == "model" else operators[0].name,
        dtypes=_model_dtypes(model) if item.kind == "model" or not operators[0].inputs else dtypes_of(model),
        invocations=len(samples),
        profiles=profiles,
        aims=tuple(sorted({mark for found in answers.values() for mark in found.coverage.aims()})),
        counts={profile: dict(found.coverage.counts()) for profile, found in answers.items()},
        refused=refused,
        expected_error=None,
    )
    coverage = {profile: json.dumps(found.coverage.to_json()).encode() for profile, found in answers.items()}
    shared = {profile: first for profile, (first, _) in _shared(coverage)}
    told = {profile: _coverage_of(answers, profile, shared[profile]) for profile in answers}
    return _with_note(made, files, plan, {"tensors": _tensors(model, samples), "coverage": told})


def _answers(
    item: Item, plan: Plan, content: bytes, samples: Sequence[Mapping[str, Array]]
) -> tuple[dict[str, Answer], dict[str, str]]:
    """Return what each profile of a plan gives, or why it refuses."""
    whole = item.kind == "model"
    found = {
        profile: _or_refusal(content, samples, profile, all_tensors=whole, stages=plan.stages)
        for profile in plan.profiles
    }
    answers = {profile: given for profile, given in found.items() if isinstance(given, Answer)}
    return answers, {profile: told for profile, told in found.items() if isinstance(told, str)}


def _or_refusal(content: bytes, samples: Sequence[Mapping[str, Array]], profile: str, **kept: bool) -> Answer | str:
    try:
        lacking = lacking_op(load(content), profile)
        return f"UnsupportedError: {lacking}" if lacking else answer(content, samples, profile, **kept)
    except QuantrefError as error:
        return f"{type(error).__name__}: {error}"


def _shared(contents: Mapping[str, bytes]) -> Iterator[tuple[str, tuple[str, bytes]]]:
    """Yield for each profile its content, and the first profile that has the same."""
    first: dict[bytes, str] = {}
    for profile, content in contents.items():
        yield profile, (first.setdefault(content, profile), content)


def _coverage_of(answers: Mapping[str, Answer], profile: str, first: str) -> Any:
    return answers[profile].coverage.to_json() if first == profile else first


def _model_dtypes(model: fbs.Model) -> str:
    graph = model.subgraphs[0]
    types = dict.fromkeys(graph.tensors[index].dtype.name.lower() for index in (*graph.inputs, *graph.outputs))
    return " -> ".join(types)


def _tensors(model: fbs.Model, samples: Sequence[Mapping[str, Array]]) -> dict[str, Any]:
    """Return type and quantization of inputs and outputs, and the shape of each input at each invocation."""
    graph = model.subgraphs[0]
    keys, found = tensor_keys(graph), {}
    for index in dict.fromkeys((*graph.inputs, *graph.outputs)):
        tensor = graph.tensors[index]
        plain: dict[str, Any] = {"role": "input" if index in graph.inputs else "output", "dtype": tensor.dtype.name}
        if tensor.quant is not None:
            plain["scale"] = [float(scale) for scale in tensor.quant.scale]
            plain["zero_point"] = [int(zero_point) for zero_point in tensor.quant.zero_point]
        if index in graph.inputs:
            plain["shapes"] = [list(np.shape(sample[keys[index]])) for sample in samples]
        found[keys[index]] = plain
    return found


# --- A case to refuse ---------------------------------------------------------------------------------------------


def _negative(item: Item, plan: Plan) -> Made:
    case = negative(item.cell, item.rng(plan.seed))
    answers, refused = _answers(item, plan, case.content, [case.inputs])
    if answers:
        raise SpecError(f"{item.cell}: expected every profile to refuse it, found that {', '.join(answers)} run it")
    error = next(iter(refused.values())).partition(":")[0]
    made = Made(item, case.op, "", 1, {}, (), {}, refused, error)
    note = {"wrong": case.wrong, "expected_error": error, "device": "refuses to load, to prepare or to run it"}
    return _with_note(made, {MODEL: case.content, INPUTS: npz_bytes(case.inputs)}, plan, note)


def _with_note(made: Made, files: dict[str, bytes], plan: Plan, more: Mapping[str, Any]) -> Made:
    note = {
        "id": made.item.id,
        "op": made.op,
        "cell": made.item.cell,
        "dtypes": made.dtypes,
        "kind": made.item.kind,
        "seed": plan.seed,
        "number": made.item.number,
        "options": dict(made.item.options),
        "invocations": made.invocations,
        "profiles": dict(made.profiles),
        "refused": dict(made.refused),
        **more,
    }
    files[NOTE] = (json.dumps(note, indent=1) + "\n").encode()
    return Made(
        **{name: getattr(made, name) for name in Made.__dataclass_fields__ if name != "files"}, files=dict(files)
    )
