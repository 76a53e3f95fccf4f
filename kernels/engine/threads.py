"""Threads that share the work of an op.

Every element of an output is computed by one thread, from start to end, so how many threads there are shows in
nothing but time. NumPy's loops and BLAS leave Python's lock to others while they run.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from itertools import pairwise

import numpy as np

from kernels.engine.plans import Plan, Scratch

#: Shapes and threads that one op keeps plans for.
MOST_PLANS = 8


class Team:
    """Threads that work on one op at a time: the one that calls, and some of a pool.

    Parameters
    ----------
    size
        How many threads; at least 2.

    """

    def __init__(self, size: int) -> None:
        self.size = size
        #: Memory of each share of the work, whichever thread takes it.
        self.scratch = tuple(Scratch() for _ in range(size))
        self._pool = ThreadPoolExecutor(size - 1, thread_name_prefix="quantref")

    def parts(self, count: int) -> list[slice]:
        """Return which of so many images each thread works on."""
        ends = np.linspace(0, count, self.size + 1).astype(int).tolist()
        return [slice(first, last) for first, last in pairwise(ends)]

    def run(self, tasks: Sequence[Callable[[], None]]) -> None:
        """Run tasks, at most one a thread, and return when all have ended; the first error is raised then."""
        others = [self._pool.submit(_quietly, task) for task in tasks[1:]]
        try:
            tasks[0]()
        finally:
            wait(others)
        for other in others:
            other.result()


def _quietly(task: Callable[[], None]) -> None:
    """Run a task as the calling thread runs its own: each thread has its own floating-point error state."""
    with np.errstate(all="ignore"):
        task()


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
