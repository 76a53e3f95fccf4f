"""How threads share a graph: each goes on from op to op with images or rows of its own, as far as it need not wait."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from kernels.engine.program import Program
from kernels.engine.requantized import WORTH_SHARING, Cut, Work
from kernels.engine.threads import Team


@dataclass(frozen=True, slots=True)
class Sharing:
    """An op as threads see it.

    Attributes
    ----------
    cut, count
        How it can be shared, and how many images or rows there are to share.
    reads, makes
        Tensors.
    keeps_rows
        Whether a row of what it makes takes the same row of what it reads, and no other.
    work
        Products, passes over elements counted as some.

    """

    cut: Cut
    count: int
    reads: tuple[int, ...]
    makes: int
    keeps_rows: bool
    work: int


@dataclass(frozen=True, slots=True)
class Place:
    """Where an op stands.

    Attributes
    ----------
    group
        Threads wait for each other between groups, which are numbered in order.
    cut
        How the op is shared.

    """

    group: int
    cut: Cut


#: An op that nobody shares.
WHOLE = Sharing(Cut.WHOLE, 0, (), -1, keeps_rows=False, work=0)


def grouped(ops: Iterable[Sharing]) -> list[Place]:
    """Group ops, in order, that threads can run through one after the other without waiting; small ones join others."""
    groups: list[list[Sharing]] = []
    made: dict[int, int] = {}
    for op in ops:
        if not groups or not _joins(op, groups[-1][-1], made):
            groups.append([])
            made = {}
        groups[-1].append(op)
        made[op.makes] = op.count
    places: list[Place] = []
    for group in groups:
        if sum(op.work for op in group) >= WORTH_SHARING and group[0].cut is not Cut.WHOLE:
            places += [Place(len(places), group[0].cut)] * len(group)
        else:
            places += [Place(len(places) + number, Cut.WHOLE) for number in range(len(group))]
    return places


def _joins(op: Sharing, before: Sharing, made: Mapping[int, int]) -> bool:
    """Whether a thread that has made its share of some tensors can make its share of another."""
    if op.cut is Cut.WHOLE or op.cut is not before.cut:
        return False
    if op.cut is Cut.IMAGES:
        return op.count == before.count
    return all(number not in made or (op.keeps_rows and made[number] == op.count) for number in op.reads)


class Together:
    """Collects the work of groups of ops into one program.

    Parameters
    ----------
    team
        Who shares it, or None.
    program
        Where it goes.

    """

    def __init__(self, team: Team | None, program: Program) -> None:
        self._team = team
        self._program = program
        self._group = -1
        self._shares: list[Program] = []

    def add(self, before: Program, work: Work, group: int) -> None:
        """Add an op of a group, and what the leader does before any of the group begins."""
        if self._team is None or len(work.shares) == 1:
            self.alone([*before, *work.calls(self._team)])
            return
        if group != self._group:
            self.end()
            self._group, self._shares = group, [[] for _ in work.shares]
        self._program.extend(before)
        for mine, more in zip(self._shares, work.shares, strict=True):
            mine.extend(more)

    def alone(self, calls: Program) -> None:
        """Add calls that the others must wait for."""
        self.end()
        self._program.extend(calls)

    def end(self) -> None:
        """Finish a group."""
        if self._shares:
            self._program.extend(Work(self._shares).calls(self._team))
        self._group, self._shares = -1, []
