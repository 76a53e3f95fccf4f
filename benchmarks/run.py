"""A run of the benchmarks: which part measures which models, and how a run that was broken off goes on."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import click

from benchmarks import curves
from benchmarks.calibration import calibrate
from benchmarks.engines import engines
from benchmarks.footprint import memory, start
from benchmarks.machine import describe
from benchmarks.models import BenchmarkModel
from benchmarks.ops import op_times
from benchmarks.results import Results
from benchmarks.speed import Effort, measure
from qmath.errors import InputError, QuantrefError

#: Models whose start, memory and ops are looked at.
CLOSER_LOOK = ("mobilenet_v2_224_int8", "mobilenet_v2_224_16x8", "mobilenet_v2_224_float32", "digits_int8")
#: Batch sizes at which float32 models are calibrated.
CALIBRATION_BATCHES = (1, 8)
#: What of the machine must be the same where a run goes on.
SAME = ("commit", "processor", "cores", "python", "numpy", "ai-edge-litert", "blas")


@dataclass(frozen=True, slots=True)
class Asked:
    """What a run shall measure.

    Attributes
    ----------
    models
        To measure; the curves have their own.
    batches, threads
        Every combination is a case.
    effort
        How long to measure.
    all_profiles
        Whether quantref's other profiles are measured in every case, and not only at batch 1 on one thread.

    """

    models: Sequence[BenchmarkModel]
    batches: Sequence[int]
    threads: Sequence[int]
    effort: Effort
    all_profiles: bool = False

    @property
    def closer(self) -> Sequence[BenchmarkModel]:
        """Models whose start, memory and ops are looked at; if none of those is asked for, the first."""
        return [model for model in self.models if model.name in CLOSER_LOOK] or self.models[:1]


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a run.

    Attributes
    ----------
    field
        Of :class:`Results` that it fills.
    key
        From an entry of that field to what it is of.
    tasks
        What measures each, by the same keys.

    """

    field: str
    key: Callable[[Any], Hashable]
    tasks: Callable[[Asked], Mapping[Hashable, Callable[[], Any]]]


def run(parts: Iterable[str], asked: Asked, known: Results | None, keep: Callable[[Results], None]) -> Results:
    """Measure what is asked for, saying on stderr where it is; what fails is said, and left out.

    Parameters
    ----------
    parts
        Some of :data:`PARTS`.
    asked
        What to measure.
    known
        What an earlier run has measured already, or None.
    keep
        Called with the results after each measurement.

    Raises
    ------
    InputError
        The earlier run was made on another machine, at another commit or with other versions.

    """
    machine = describe()
    results = Results(machine) if known is None else known
    changed = [f"{name} {results.machine.get(name)}" for name in SAME if results.machine.get(name) != machine.get(name)]
    if changed:
        raise InputError(f"expected to go on where the earlier run was made, with {', '.join(changed)}; found others")
    for name in parts:
        part = PARTS[name]
        done = {part.key(entry) for entry in getattr(results, part.field)}
        tasks = {key: task for key, task in part.tasks(asked).items() if key not in done}
        for number, (key, task) in enumerate(tasks.items(), 1):
            click.echo(f"{name} {number}/{len(tasks)}: {_words(key)}", err=True)
            try:
                found = task()
            except QuantrefError as error:
                click.echo(f"  not measured: {str(error)[:200]}", err=True)
                continue
            results = dataclasses.replace(results, **{part.field: (*getattr(results, part.field), found)})
            keep(results)
    return results


def _words(key: Hashable) -> str:
    return " ".join(str(part) for part in key) if isinstance(key, tuple) else str(key)


def _speed(asked: Asked) -> Mapping[Hashable, Callable[[], Any]]:
    return {
        (model.name, "batch", batch, "threads", threads): partial(
            measure,
            model,
            batch,
            threads,
            engines(all_profiles=asked.all_profiles or batch == threads == 1),
            asked.effort,
        )
        for model in asked.models
        for batch in asked.batches
        for threads in asked.threads
    }


def _starts(asked: Asked) -> Mapping[Hashable, Callable[[], Any]]:
    return {
        (model.name, engine.name): partial(start, model, engine, asked.effort)
        for model in asked.closer
        for engine in engines()
    }


def _memory(asked: Asked) -> Mapping[Hashable, Callable[[], Any]]:
    return {(model.name, engine.name): partial(memory, model, engine) for model in asked.closer for engine in engines()}


def _ops(asked: Asked) -> Mapping[Hashable, Callable[[], Any]]:
    return {model.name: partial(op_times, model, asked.effort) for model in asked.closer}


def _calibration(asked: Asked) -> Mapping[Hashable, Callable[[], Any]]:
    return {
        (model.name, "batch", batch): partial(calibrate, model, batch, asked.effort)
        for model in asked.models
        if model.name.endswith("float32")
        for batch in CALIBRATION_BATCHES
    }


def _curves(asked: Asked) -> Mapping[Hashable, Callable[[], Any]]:
    return {(point.curve, point.value): task for point, task in curves.measurements(engines(), asked.effort).items()}


PARTS: Mapping[str, Part] = {
    "speed": Part("cases", lambda case: (case.model, "batch", case.batch, "threads", case.threads), _speed),
    "start": Part("starts", lambda start: (start.model, start.engine), _starts),
    "memory": Part("memory", lambda memory: (memory.model, memory.engine), _memory),
    "ops": Part("ops", lambda ops: ops.model, _ops),
    "calibration": Part("calibration", lambda rate: (rate.model, "batch", rate.batch), _calibration),
    "curves": Part("curves", lambda point: (point.curve, point.value), _curves),
}
