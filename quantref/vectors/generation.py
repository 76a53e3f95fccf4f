"""Make the suite of a plan: here, in processes, or on other machines, with the same bytes."""

from __future__ import annotations

import os
import platform
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future
from itertools import chain, islice
from pathlib import Path
from typing import TypeAlias

import numpy as np

from qmath.errors import InputError
from quantref.vectors.entries import Manifest
from quantref.vectors.items import Item, items
from quantref.vectors.plan import Plan
from quantref.vectors.produce import Made, make
from quantref.vectors.storage import Store
from quantref.vectors.suite import MANIFEST, Suite
from quantref.vectors.totals import Totals

#: Units that are being made or wait to be written: what is in memory at a time.
_IN_FLIGHT = 8
#: Consecutive items.
Unit: TypeAlias = tuple[Item, ...]
Progress: TypeAlias = Callable[[int, int], None]


def generate(
    plan: Plan | str | os.PathLike[str] | None,
    directory: str | os.PathLike[str],
    *,
    executor: Executor | None = None,
    resume: bool = False,
    progress: Progress | None = None,
) -> Suite:
    """Make a suite.

    Every case follows from the plan's seed, its cell and its number alone, so neither the executor nor a break in
    between changes a byte.

    Parameters
    ----------
    plan
        A plan, the path of one, or None for the one that ships.
    directory
        Where to write; it must not exist, be empty, or hold an unfinished suite of the same plan to resume.
    executor
        Makes cases elsewhere: any of :mod:`concurrent.futures`, or ``distributed.Client.get_executor()``.
    resume
        Go on with a suite that was broken off.
    progress
        Called with the number of cases done and of all.

    Raises
    ------
    InputError
        The plan is none, or the folder cannot be written to.

    """
    wanted = plan if isinstance(plan, Plan) else Plan.load(plan)
    root = Path(directory)
    if resume and (root / MANIFEST).exists():
        return _finished(root, wanted)
    units = list(_units(wanted))
    store, totals, done = Store.begin(root, wanted, resume=resume), Totals(), 0
    written = 0
    for number, found in _results(units, wanted, store, executor):
        if isinstance(found, Totals):
            totals.update(found)
        else:
            cases, counted = _accepted(units[number], found, wanted.budget - totals.bytes)
            store.write_unit(number, cases, counted)
            totals.update(counted)
        written, done = number + 1, done + len(units[number])
        if progress is not None:
            progress(done, sum(map(len, units)))
        if totals.full:
            break
    return Suite(root, store.finish(totals, _manifest(wanted, totals), written))


def _units(plan: Plan) -> Iterator[Unit]:
    everything = iter(items(plan))
    first = next(everything, None)
    if first is None:
        raise InputError(f"plan {plan.name}: expected at least one case, found none")
    everything = chain([first], everything)
    while unit := tuple(islice(everything, plan.shard_cases)):
        yield unit


def make_unit(unit: Unit, plan: Plan) -> list[Made | None]:
    """Make the cases of a unit; this is what an executor runs."""
    return [make(item, plan) for item in unit]


def _results(
    units: Sequence[Unit], plan: Plan, store: Store, executor: Executor | None
) -> Iterator[tuple[int, Totals | list[Made | None]]]:
    """Yield for each unit, in order, what it holds, or its totals if it is already written; few are in memory."""
    if executor is None:
        for number, unit in enumerate(units):
            yield number, store.unit(number) or make_unit(unit, plan)
        return
    waiting: deque[Totals | Future[list[Made | None]]] = deque()
    todo = enumerate(units)
    try:
        for number in range(len(units)):
            for ahead, unit in islice(todo, _IN_FLIGHT - len(waiting)):
                waiting.append(store.unit(ahead) or executor.submit(make_unit, unit, plan))
            found = waiting.popleft()
            yield number, found if isinstance(found, Totals) else found.result()
    finally:
        for left in waiting:
            if not isinstance(left, Totals):
                left.cancel()


def _accepted(unit: Unit, cases: Sequence[Made | None], room: int) -> tuple[list[Made], Totals]:
    """Return the cases that fit into what is left of the budget, and their totals."""
    kept, totals = [], Totals()
    for item, made in zip(unit, cases, strict=True):
        if made is None:
            totals.empty[item.cell] += 1
            continue
        if totals.bytes + made.bytes > room:
            totals.full = True
            break
        totals.add(made)
        kept.append(made)
    return kept, totals


def _finished(root: Path, plan: Plan) -> Suite:
    suite = Suite.open(root)
    if suite.manifest.plan_sha256 != plan.sha256:
        raise InputError(f"{root}: expected a suite of this plan, found one of another")
    return suite


def _manifest(plan: Plan, totals: Totals) -> Manifest:
    from quantref import __version__  # noqa: PLC0415 - the package imports this module

    return Manifest(
        plan=plan.name,
        plan_sha256=plan.sha256,
        seed=plan.seed,
        quantref=__version__,
        numpy=np.__version__,
        host=f"{platform.system()} {platform.machine()}",
        layout=plan.layout,
        formats=("npz", *plan.formats),
        profiles=plan.profiles,
        cases=totals.cases,
        bytes=totals.bytes,
        coverage=totals.to_json(),
        index_sha256="",
    )
