"""Compare a profile with a runtime, tensor by tensor, feeding each op with the runtime's own inputs.

So a difference in one op does not spread to those behind it, and the report names the ops that differ. The model's
outputs are compared end to end as well.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import fbs
from qmath.errors import InputError
from qmath.types import Array
from quantref.autopsy import examine
from quantref.interpreter import load
from quantref.npz import load_npz
from quantref.refeeding import Findings, Task, compare
from quantref.runtimes import LiteRT, Runtime, find_runtime
from quantref.samples import random_samples, samples_from
from quantref.verification import Death, OpReport, OutputReport, VerifyResult

if TYPE_CHECKING:
    from concurrent.futures import Executor

__all__ = ["VerifyResult", "verify"]

#: Seconds beyond which nobody waits, and clocks cannot count.
LONGEST = 1e9
#: Samples are dealt to an executor in portions of at most this many.
PORTION = 16


def verify(  # noqa: PLR0913 - every one of them is a choice that a user makes
    model: str | os.PathLike[str] | bytes | fbs.Model,
    runtime: str | Runtime | LiteRT = "litert-reference",
    profile: str | None = None,
    *,
    samples: int = 20,
    seed: int = 0,
    inputs: Mapping[str, Array] | str | os.PathLike[str] | None = None,
    executor: Executor | None = None,
    timeout: float = 60.0,
    progress: Callable[[int, int], None] | None = None,
) -> VerifyResult:
    """Compare quantref with a runtime on every tensor that the runtime keeps.

    Integers must be equal; floats may differ by 1e-5 (see :data:`quantref.difference.FLOAT_TOLERANCE`).

    Parameters
    ----------
    model
        Path, bytes, or a model.
    runtime
        What to compare with: ``"litert-reference"``, ``"litert-optimized"``, ``"xnnpack"``, or these with
        ``-arm64`` behind (see :mod:`quantref.runtimes.arm64`). A :class:`quantref.runtimes.LiteRT` is left running,
        which spares its start (seconds, in an emulator) where many models are compared; an executor starts its own.
    profile
        The arithmetic that quantref uses; by default the one that the runtime should follow.
    samples, seed
        How many random samples, and from which seed (see :func:`quantref.samples.random_samples`).
    inputs
        Instead of these: arrays by input name, or the path of an ``.npz`` file of them, samples on axis 0.
    executor
        Any :class:`concurrent.futures.Executor` to spread samples over; the result does not depend on it. Models
        with state between invocations are not spread.
    timeout
        Seconds that the runtime has for each sample.
    progress
        Called with the number of samples done and of all.

    Raises
    ------
    RuntimeUnavailableError
        The runtime is not installed.
    InputError, ModelError, UnsupportedError
        The inputs do not fit, or the model cannot be read. What quantref cannot run is part of the result.

    """
    if not 0 < timeout <= LONGEST:
        raise InputError(f"expected a timeout of more than 0 and at most {LONGEST:g} seconds, found {timeout}")
    running = runtime if isinstance(runtime, LiteRT) else None
    runtime = runtime.runtime if isinstance(runtime, LiteRT) else find_runtime(runtime)
    if running is None:
        LiteRT(runtime).close()  # says at once if it is not installed
    loaded = load(model)
    columns = _samples(loaded, samples, seed, inputs)
    task = Task(_source(model, portable=executor is not None), runtime, profile or runtime.profile, columns, timeout)
    task = replace(task, running=running if executor is None else None)
    findings = Findings.none(loaded)
    for part in _parts(loaded, task, executor, progress):
        findings = findings + part
    death = None
    if findings.failure is not None:
        death = examine(loaded, runtime, findings.failure, columns, timeout)
    return _result(loaded, task, findings, None if inputs is not None else seed, death)


def _samples(
    model: fbs.Model, count: int, seed: int, inputs: Mapping[str, Array] | str | os.PathLike[str] | None
) -> list[list[Array]]:
    if inputs is None:
        if count == 0:
            raise InputError("expected at least one sample, found 0")
        return random_samples(model, count, seed)
    if not isinstance(inputs, Mapping | str | os.PathLike):
        raise InputError(f"expected a dict of arrays by name or the path of an .npz, found a {type(inputs).__name__}")
    return samples_from(model, inputs if isinstance(inputs, Mapping) else load_npz(inputs))


def _source(model: str | os.PathLike[str] | bytes | fbs.Model, *, portable: bool) -> str | bytes:
    """Return the model in a form that another process can have: bytes if it may run on another machine."""
    if isinstance(model, fbs.Model):
        return fbs.write(model)
    if isinstance(model, bytes):
        return model
    return Path(model).read_bytes() if portable else str(Path(model).resolve())


def _parts(
    model: fbs.Model, task: Task, executor: Executor | None, progress: Callable[[int, int], None] | None
) -> Iterator[Findings]:
    """Yield the findings of consecutive portions of the samples."""
    count = len(task.samples)
    report = None if progress is None else partial(_report, progress, count)
    if executor is None or _keeps_state(model):
        yield compare(task, report)
        return
    size = max(1, min(PORTION, -(-count // 8)))
    starts = range(0, count, size)
    portions = [replace(task, samples=task.samples[start : start + size], first=start) for start in starts]
    for start, future in zip(starts, [executor.submit(compare, portion) for portion in portions], strict=True):
        yield future.result()
        if report is not None:
            report(min(start + size, count))


def _keeps_state(model: fbs.Model) -> bool:
    """Whether one invocation can leave something to the next: in a variable tensor, or behind a handle."""
    return any(
        any(tensor.is_variable for tensor in graph.tensors) or any(op.name == "VAR_HANDLE" for op in graph.operators)
        for graph in model.subgraphs
    )


def _report(progress: Callable[[int, int], None], count: int, done: int) -> None:
    progress(done, count)


def _result(model: fbs.Model, task: Task, findings: Findings, seed: int | None, death: Death | None) -> VerifyResult:
    graph = model.subgraphs[0]
    ops = []
    for index, operator in enumerate(graph.operators):
        written = [graph.tensors[number] for number in operator.outputs if number >= 0]
        types = ", ".join(dict.fromkeys(tensor.dtype.name.lower() for tensor in written))
        names = tuple(tensor.name for tensor in written)
        ops.append(OpReport(index, operator.name, types, names, findings.ops[index], findings.not_compared[index]))
    outputs = [
        OutputReport(number, graph.tensors[number].name, found)
        for number, found in zip(graph.outputs, findings.outputs, strict=True)
    ]
    return VerifyResult(
        model=model.path.name if model.path else "model",
        runtime=task.runtime.name,
        runtime_version=findings.version,
        profile=task.profile,
        samples=len(task.samples),
        seed=seed,
        ops=tuple(ops),
        outputs=tuple(outputs),
        death=death,
        refusal=findings.refusal,
    )
