"""How fast: the engines take turns on the same inputs, so that what the machine does otherwise meets them all.

A round gives every engine a turn of some tens of milliseconds, one process after the other; each keeps its model
loaded and waits while others run. The order turns from round to round. Minimum and median are over all rounds.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from benchmarks.engines import OURS, REFERENCE, Engine, Process
from benchmarks.models import BenchmarkModel
from benchmarks.results import Case, Timing
from qmath.errors import InputError, QuantrefError
from qmath.types import Array
from quantref.difference import Difference, difference
from quantref.runtimes import RuntimeFailure


@dataclass(frozen=True, slots=True)
class Effort:
    """How long to measure.

    Attributes
    ----------
    rounds
        Turns an engine has.
    turn
        Seconds of a turn; at least one call is made.
    longest
        Seconds after which an engine has no more turns, if it had three.
    processes
        How often to repeat what takes a process of its own each time.

    """

    rounds: int
    turn: float
    longest: float
    processes: int


FULL = Effort(rounds=12, turn=0.15, longest=12.0, processes=5)
QUICK = Effort(rounds=3, turn=0.03, longest=1.0, processes=1)
#: Turns that every engine has, however slow.
FEWEST = 3
#: Seconds between turns in which the threads of the last engine stop looking for work.
PAUSE = 0.02


def measure(model: BenchmarkModel, batch: int, threads: int, engines: Sequence[Engine], effort: Effort) -> Case:
    """Measure one case; an engine that fails has a reason instead of a timing."""
    try:
        inputs = model.inputs(batch)
    except QuantrefError as error:
        return Case(model.name, batch, threads, failures={engine.name: str(error) for engine in engines})
    with ExitStack() as stack:
        processes = [stack.enter_context(Process(engine)) for engine in engines]
        failures = {process.engine.name: _get_ready(process, model, inputs, threads) for process in processes}
        running = [process for process in processes if not failures[process.engine.name]]
        found = _take_turns(running, effort)
        outputs = {process.engine.name: process.outputs() for process in running}
    timings = {name: Timing.of(calls) for name, calls in found.items()}
    reasons = {name: reason for name, reason in failures.items() if reason}
    return Case(model.name, batch, threads, timings, reasons, _equal(outputs))


def _get_ready(process: Process, model: BenchmarkModel, inputs: Sequence[Array], threads: int) -> str:
    """Load and warm up; return why that failed, or nothing."""
    try:
        process.open(model.path, inputs, threads)
        process.calls(process.engine.warm_up)
    except RuntimeFailure as failure:
        return str(failure)
    return ""


def _take_turns(processes: Sequence[Process], effort: Effort) -> dict[str, list[tuple[float, float]]]:
    """Return what each call of each engine took."""
    found: dict[str, list[tuple[float, float]]] = {process.engine.name: [] for process in processes}
    for number in range(effort.rounds):
        first = number % max(1, len(processes))
        for process in (*processes[first:], *processes[:first]):
            calls = found[process.engine.name]
            if number < FEWEST or sum(whole for whole, _ in calls) < effort.longest:
                time.sleep(PAUSE)
                calls += process.calls(seconds=effort.turn)
    return found


def _equal(outputs: Mapping[str, Sequence[Array]]) -> bool | None:
    if not {OURS, REFERENCE} <= set(outputs):
        return None
    total = Difference()
    for theirs, mine in zip(outputs[REFERENCE], outputs[OURS], strict=True):
        total += difference(theirs, mine, sample=0)
    if not total.elements:
        raise InputError("expected outputs to compare, found none")
    return not total.mismatches
