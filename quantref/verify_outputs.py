"""Compare a profile with what a device wrote down: every tensor in a file, without the device.

Each op is fed with the tensors that the file has, so that a difference does not spread beyond the next of them; ops
whose outputs it lacks run together with those behind them. The model's outputs are compared end to end as well.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import fbs
from kernels.profiles import LITERT_REFERENCE, Profile, profile_named
from qmath.errors import QuantrefError
from qmath.types import Array
from quantref.difference import Difference, difference
from quantref.inference.dump import Dump, read_dump
from quantref.inference.replay import Replay, segments
from quantref.interpreter import Interpreter, ModelSource, load
from quantref.npz import load_npz
from quantref.verification import OpReport, OutputReport, VerifyResult

Arrays = Mapping[str, Array] | str | os.PathLike[str]


def verify_outputs(
    model: ModelSource,
    outputs: Arrays,
    inputs: Arrays | None = None,
    profile: str | Profile = LITERT_REFERENCE,
    *,
    column: str = "",
) -> VerifyResult:
    """Compare a profile with outputs, and tensors in between, that any runtime gave.

    Integers must be equal; floats may differ by 1e-5 (see :data:`quantref.difference.FLOAT_TOLERANCE`).

    Parameters
    ----------
    model
        Path, bytes, or a model.
    outputs
        Tensors by name, ``index:name``, ``output_0`` or ``tensor_26``, or the path of an ``.npz`` of them; samples
        along axis 0.
    inputs
        What the runtime was given, likewise; None if it is among the outputs.
    profile
        The arithmetic to compare.
    column
        Where one file holds what several runtimes gave: read only the keys ``column__KEY``.

    Raises
    ------
    InputError
        The arrays do not fit the model.
    ModelError, UnsupportedError
        The model cannot be read. What quantref cannot run is part of the result.

    """
    loaded, chosen = load(model), profile_named(profile)
    source = "given outputs" if isinstance(outputs, Mapping) else Path(outputs).name
    given = None if inputs is None else _arrays(inputs)
    dump = read_dump(loaded, given, _arrays(outputs), column, f"{source} ({column})" if column else source)
    ops, refusal = _ops(dump, chosen)
    ends, refused = _end_to_end(dump, chosen)
    return VerifyResult(
        model=loaded.path.name if loaded.path else "model",
        runtime=dump.source,
        runtime_version="from a file",
        profile=chosen.name,
        samples=len(dump.invocations),
        seed=None,
        ops=ops,
        outputs=ends,
        refusal=refusal or refused,
    )


def _arrays(source: Arrays) -> Mapping[str, Array]:
    return source if isinstance(source, Mapping) else load_npz(source)


def _ops(dump: Dump, profile: Profile) -> tuple[tuple[OpReport, ...], str]:
    """Compare op by op, or run of ops by run of ops; say what the profile does not run."""
    graph, ends = dump.model.subgraphs[0], segments(dump.model, dump.observed)
    found = {index: Difference() for index in ends}
    blocked: dict[int, str] = {}
    replay = Replay(dump.model, profile)
    for sample, invocation in enumerate(dump.invocations):
        for index, outcome in enumerate(replay.outcomes(invocation)):
            if outcome.blocked:
                blocked.setdefault(index, outcome.blocked)
            for number, value in outcome.tensors.items():
                found[index] += difference(invocation.tensors[number], value, sample)
    behind = {op: end for end, ops in reversed(ends.items()) for op in ops if op != end}
    reports = []
    for index, operator in enumerate(graph.operators):
        written = [graph.tensors[number] for number in operator.outputs if number >= 0]
        types = ", ".join(dict.fromkeys(tensor.dtype.name.lower() for tensor in written))
        names = tuple(tensor.name for tensor in written)
        why = "" if index in ends else _left_out(graph, behind.get(index))
        reason = f"quantref does not run it: {blocked[index]}" if index in blocked else why
        reports.append(OpReport(index, operator.name, types, names, found.get(index, Difference()), reason))
    return tuple(reports), next(iter(blocked.values()), "")


def _left_out(graph: fbs.Subgraph, end: int | None) -> str:
    if end is None:
        return "its outputs are not known, and nothing that is depends on them"
    return f"its outputs are not known: run together with op {end} {graph.operators[end].name}"


def _end_to_end(dump: Dump, profile: Profile) -> tuple[tuple[OutputReport, ...], str]:
    """Compare the model's outputs, computed from its inputs alone; say why, if they cannot be."""
    graph = dump.model.subgraphs[0]
    found = {number: Difference() for number in graph.outputs if number in dump.observed}
    interpreter = Interpreter(dump.model, profile)
    interpreter.allocate_tensors()
    refusal = ""
    try:
        for sample, invocation in enumerate(dump.invocations):
            for number, value in zip(graph.inputs, invocation.inputs, strict=True):
                interpreter.set_tensor(number, value)
            interpreter.invoke()
            for number in found:
                found[number] += difference(invocation.tensors[number], interpreter.get_tensor(number), sample)
    except QuantrefError as error:
        refusal = error.message
    return tuple(OutputReport(n, graph.tensors[n].name, difference) for n, difference in found.items()), refusal
