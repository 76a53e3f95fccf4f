"""Threads that share the work of an op.

Every element of an output is computed by one thread, from start to end, so how many threads there are shows in
nothing but time. NumPy's loops and BLAS leave Python's lock to others while they run.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Sequence
from itertools import pairwise
from queue import SimpleQueue
from typing import TypeAlias

import numpy as np

from kernels.engine.plans import Plan, Scratch

#: Something to do.
Task: TypeAlias = Callable[[], None]
#: Shapes and threads that one op keeps plans for.
MOST_PLANS = 8


class Team:
    """Threads that work on one op at a time: the one that calls, and others that wait for it.

    An executor would do, but handing a task to it and back takes as long as a small op itself.

    Parameters
    ----------
    size
        How many threads; at least 2.

    """

    def __init__(self, size: int) -> None:
        self.size = size
        #: Memory of each share of the work, whichever thread takes it.
        self.scratch = tuple(Scratch() for _ in range(size))
        self._given: tuple[SimpleQueue[Task | None], ...] = tuple(SimpleQueue() for _ in range(size - 1))
        self._done: SimpleQueue[BaseException | None] = SimpleQueue()
        self._started = False
        weakref.finalize(self, _dismiss, self._given)

    def parts(self, count: int) -> list[slice]:
        """Return which of so many images each thread works on."""
        ends = np.linspace(0, count, self.size + 1).astype(int).tolist()
        return [slice(first, last) for first, last in pairwise(ends)]

    def run(self, tasks: Sequence[Task]) -> None:
        """Run tasks, at most one a thread, and return when all have ended; the first error is raised then."""
        self._start()
        others = tasks[1:]
        for given, task in zip(self._given, others, strict=False):
            given.put(task)
        try:
            tasks[0]()
        finally:
            errors = [self._done.get() for _ in others]
        for error in errors:
            if error is not None:
                raise error

    def _start(self) -> None:
        if not self._started:
            self._started = True
            for number, given in enumerate(self._given):
                threading.Thread(
                    target=_serve, args=(given, self._done), name=f"quantref_{number}", daemon=True
                ).start()


def _serve(given: SimpleQueue[Task | None], done: SimpleQueue[BaseException | None]) -> None:
    """Run tasks until there is none; each thread has its own floating-point error state."""
    with np.errstate(all="ignore"):
        while (task := given.get()) is not None:
            try:
                task()
            except BaseException as error:  # noqa: BLE001 - whoever waits for the task raises it
                done.put(error)
            else:
                done.put(None)
            del task  # holds memory of a team that may be gone


def _dismiss(given: Sequence[SimpleQueue[Task | None]]) -> None:
    for queue in given:
        queue.put(None)


class _Thread(threading.local):
    """What belongs to each thread: memory for passing results, and the team that it works for."""

    def __init__(self) -> None:
        self.scratch = Scratch()
        self.team: Team | None = None


THREAD = _Thread()


def per_thread(planner: Callable[[tuple[int, ...], Scratch], Plan]) -> Callable[[tuple[int, ...]], Plan]:
    """Return a function that gives the plan for a shape: made once for each thread, in the thread's memory.

    What a plan leaves is overwritten by the next that runs on the thread.
    """
    plans: dict[tuple[int, tuple[int, ...]], Plan] = {}

    def plan(shape: tuple[int, ...]) -> Plan:
        key = threading.get_ident(), shape
        found = plans.get(key)
        if found is None:
            if len(plans) >= MOST_PLANS:
                plans.clear()
            found = plans[key] = planner(shape, THREAD.scratch)
        return found

    return plan


class working_as:  # noqa: N801 - used like a function
    """A context in which ops that run on this thread share their work among a team, or among nobody."""

    __slots__ = ("_before", "_team")

    def __init__(self, team: Team | None) -> None:
        self._team = team
        self._before: Team | None = None

    def __enter__(self) -> None:
        """Join the team."""
        self._before, THREAD.team = THREAD.team, self._team

    def __exit__(self, *raised: object) -> None:
        """Go back to the team of before."""
        THREAD.team = self._before
