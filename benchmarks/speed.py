"""How fast: engines take turns in one process on the same inputs, so that what the machine does meets them all.

A round gives every engine a turn of some calls in a row, which it begins with cold caches and goes on with warm ones,
as in repeated use. The order turns from round to round. Minimum and median are over all rounds.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

from benchmarks.engines import OURS, REFERENCE, Engine, Process
from benchmarks.models import BenchmarkModel
from benchmarks.results import Case, Timing
from qmath.errors import InputError, QuantrefError
from qmath.types import Array
from quantref.difference import Difference, difference
from quantref.runtimes import RuntimeCrashed, RuntimeFailure, RuntimeTimedOut


@dataclass(frozen=True, slots=True)
class Effort:
    """How long to measure.

    Attributes
    ----------
    rounds
        Turns that an engine has at most.
    turn
        Seconds of a turn; at least one call is made.
    budget
        Seconds for the turns of one engine in one case, as long as it has had the fewest.
    processes
        How often to repeat what takes a process of its own each time.
    points
        Points of each scaling curve, the smallest first.

    """

    rounds: int
    turn: float
    budget: float
    processes: int
    points: int


FULL = Effort(rounds=12, turn=0.06, budget=0.8, processes=3, points=7)
QUICK = Effort(rounds=3, turn=0.02, budget=0.1, processes=1, points=2)
#: Rounds that there are, however slow the engines; of an engine that takes a second a call, the warm-up counts as one.
FEWEST, SLOW = 2, 1.0
#: Seconds between turns in which the threads of the last engine stop looking for work.
PAUSE = 0.01

#: Seconds that each call took, in all and of ``invoke`` alone.
Calls = list[tuple[float, float]]


@dataclass
class _Running:
    """Engines that are loaded and warm, in one process.

    Attributes
    ----------
    calls
        By engine, the calls that count so far: those of the warm-up where they are slow.
    failures
        By the name of an engine that is not running, why.

    """

    process: Process
    calls: dict[Engine, Calls] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)


def measure(model: BenchmarkModel, batch: int, threads: int, engines: Sequence[Engine], effort: Effort) -> Case:
    """Measure one case; an engine that fails has a reason instead of a timing."""
    try:
        inputs = model.inputs(batch)
    except QuantrefError as error:
        return Case(model.name, batch, threads, failures={engine.name: str(error) for engine in engines})
    with ExitStack() as stack:
        running = _get_ready(stack, model, inputs, threads, engines)
        _take_turns(running, effort)
        outputs = {engine.name: running.process.outputs(engine) for engine in running.calls}
    timings = {engine.name: Timing.of(calls) for engine, calls in running.calls.items()}
    return Case(model.name, batch, threads, timings, running.failures, _equal(outputs))


def _get_ready(
    stack: ExitStack, model: BenchmarkModel, inputs: Sequence[Array], threads: int, engines: Sequence[Engine]
) -> _Running:
    """Load engines and warm them up; an engine that takes the process with it is left out of the next one."""
    failures: dict[str, str] = {}
    while True:
        running = _Running(stack.enter_context(Process()), failures=failures)
        try:
            for engine in engines:
                if engine.name not in failures:
                    _load(running, engine, model, inputs, threads)
        except (RuntimeCrashed, RuntimeTimedOut):
            continue
        return running


def _load(running: _Running, engine: Engine, model: BenchmarkModel, inputs: Sequence[Array], threads: int) -> None:
    try:
        running.process.open(engine, model.path, inputs, threads)
        warm_up = running.process.warm_up(engine)
    except RuntimeFailure as failure:
        running.failures[engine.name] = str(failure)
        if isinstance(failure, RuntimeCrashed | RuntimeTimedOut):
            raise
        return
    running.calls[engine] = warm_up[-1:] if warm_up[-1][0] >= SLOW else []


def _take_turns(running: _Running, effort: Effort) -> None:
    """Add what each call of each engine took."""
    engines = list(running.calls)
    spent = dict.fromkeys(engines, 0.0)
    for number in range(effort.rounds):
        first = number % max(1, len(engines))
        for engine in (*engines[first:], *engines[:first]):
            calls = running.calls[engine]
            if len(calls) < FEWEST or spent[engine] < effort.budget:
                time.sleep(PAUSE)
                start = time.perf_counter()
                calls += running.process.calls(engine, seconds=effort.turn)
                spent[engine] += time.perf_counter() - start


def _equal(outputs: Mapping[str, Sequence[Array]]) -> bool | None:
    if not {OURS, REFERENCE} <= set(outputs):
        return None
    total = Difference()
    for theirs, mine in zip(outputs[REFERENCE], outputs[OURS], strict=True):
        total += difference(theirs, mine, sample=0)
    if not total.elements:
        raise InputError("expected outputs to compare, found none")
    return not total.mismatches
