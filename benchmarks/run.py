"""A run of the benchmarks: which part measures which models."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import TypeVar

import click

from benchmarks import curves
from benchmarks.calibration import calibrate
from benchmarks.engines import engines
from benchmarks.footprint import memory, start
from benchmarks.machine import describe
from benchmarks.models import BenchmarkModel
from benchmarks.ops import op_times
from benchmarks.results import Calibration, Case, Memory, Point, Results, Start
from benchmarks.speed import Effort, measure
from qmath.errors import QuantrefError

T = TypeVar("T")

#: Models whose start, memory and ops are looked at.
CLOSER_LOOK = ("mobilenet_v2_224_int8", "mobilenet_v2_224_16x8", "digits_int8")
#: Batch sizes at which float32 models are calibrated.
CALIBRATION_BATCHES = (1, 8)
PARTS = ("speed", "start", "memory", "ops", "calibration", "curves")


def run(
    parts: Iterable[str],
    models: Sequence[BenchmarkModel],
    batches: Sequence[int],
    threads: Sequence[int],
    effort: Effort,
) -> Results:
    """Measure what is asked for, saying on stderr where it is; what fails is said, and left out.

    Parameters
    ----------
    parts
        Some of :data:`PARTS`.
    models
        To measure; the curves have their own.
    batches, threads
        Every combination is a case.
    effort
        How long to measure.

    """
    wanted = set(parts)
    closer = [model for model in models if model.name in CLOSER_LOOK] or models[:1]
    floats = [model for model in models if model.name.endswith("float32")]
    return Results(
        describe(),
        cases=_speed(models, batches, threads, effort) if "speed" in wanted else (),
        starts=_starts(closer, effort) if "start" in wanted else (),
        memory=_memory(closer) if "memory" in wanted else (),
        ops=_each({f"ops of {model.name}": partial(op_times, model) for model in closer}) if "ops" in wanted else (),
        calibration=_calibration(floats, effort) if "calibration" in wanted else (),
        curves=_curves(effort) if "curves" in wanted else (),
    )


def _speed(
    models: Sequence[BenchmarkModel], batches: Sequence[int], threads: Sequence[int], effort: Effort
) -> tuple[Case, ...]:
    """Measure every case; quantref's other profiles at batch 1 on one thread."""
    return _each(
        {
            f"speed of {model.name}, batch {batch}, {count} threads": partial(
                measure, model, batch, count, engines(all_profiles=batch == count == 1), effort
            )
            for model in models
            for batch in batches
            for count in threads
        }
    )


def _starts(models: Sequence[BenchmarkModel], effort: Effort) -> tuple[Start, ...]:
    return _each(
        {
            f"start of {model.name}, {engine.name}": partial(start, model, engine, effort)
            for model in models
            for engine in engines()
        }
    )


def _memory(models: Sequence[BenchmarkModel]) -> tuple[Memory, ...]:
    return _each(
        {
            f"memory of {model.name}, {engine.name}": partial(memory, model, engine)
            for model in models
            for engine in engines()
        }
    )


def _calibration(models: Sequence[BenchmarkModel], effort: Effort) -> tuple[Calibration, ...]:
    return _each(
        {
            f"calibration of {model.name}, batch {batch}": partial(calibrate, model, batch, effort)
            for model in models
            for batch in CALIBRATION_BATCHES
        }
    )


def _curves(effort: Effort) -> tuple[Point, ...]:
    return _each(
        {
            f"{point.curve}: width {point.width:g}, resolution {point.resolution}, batch {point.batch}": partial(
                curves.measure_point, point, engines(), effort
            )
            for point in curves.points()
        }
    )


def _each(tasks: Mapping[str, Callable[[], T]]) -> tuple[T, ...]:
    """Measure one after the other; what fails is said and left out."""
    found = []
    for number, (name, task) in enumerate(tasks.items(), 1):
        click.echo(f"{number}/{len(tasks)} {name}", err=True)
        result = _tried(task)
        if result is not None:
            found.append(result)
    return tuple(found)


def _tried(task: Callable[[], T]) -> T | None:
    try:
        return task()
    except QuantrefError as error:
        click.echo(f"  not measured: {str(error)[:200]}", err=True)
        return None
