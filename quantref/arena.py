"""Fixed memory for the tensors of a graph that runs often, and its ops laid out on it as one list of calls.

The codes of an activation are small integers, which a float holds as well as a byte does. So between ops that sum
products, they stay in the type and in the place where the next op sums them, padding and all; nobody converts or moves
them. Whoever asks for such a tensor gets its codes in their own type (:meth:`quantref.execution.Graph.value`).

Tensors that are not needed at the same time share memory, until somebody asks for one whose memory has been used again.
Then all get memory of their own, and what ops of the arena made is calculated once more, from what it was given.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from kernels.engine import memory
from kernels.engine.planes import Plane, PlaneSum, UncertainPlane
from kernels.engine.plans import Room, Scratch
from kernels.engine.program import Program, run
from kernels.engine.requantized import PRODUCTS_AN_ELEMENT, Cut, RequantizedSum, Reshaped, Work
from kernels.engine.types import given
from qmath.types import Array
from quantref.lifetimes import Lifetime, lifetimes_placed
from quantref.teamwork import WHOLE, Place, Sharing, Together, grouped

if TYPE_CHECKING:
    from kernels.engine.threads import Team
    from quantref.execution import Graph, Step

#: From a tensor to its shape.
ShapeOf: TypeAlias = Callable[[int], tuple[int, ...]]
#: Ops that give the same elements another shape.
VIEWS = frozenset({"RESHAPE", "SQUEEZE", "EXPAND_DIMS"})
#: Tensors above so many bytes as floats are kept in their own type: they would not stay in the caches anyway.
RESIDENT = 6 << 20
#: Bytes that tensors must save by sharing memory: fewer stay in the caches anyway.
WORTH_SAVING = 1 << 22


class MovedError(Exception):
    """A tensor has come to another shape than the arena was made for.

    Attributes
    ----------
    op
        The op that was to read it: it and those that follow have not run.

    """

    def __init__(self, op: int) -> None:
        super().__init__(f"op {op}")
        self.op = op


@dataclass(frozen=True, slots=True)
class SumOp:
    """An op that sums products and requantizes, with the shapes that its runner sees."""

    index: int
    runner: RequantizedSum
    x: int
    y: int
    shape: tuple[int, ...]
    output_shape: tuple[int, ...]

    @property
    def reads(self) -> tuple[int, ...]:
        """Return the tensors that it reads."""
        return (self.x,)


@dataclass(frozen=True, slots=True)
class PlaneOp:
    """An op that adds two tensors of one shape."""

    index: int
    plane: Plane | UncertainPlane
    reads: tuple[int, int]
    y: int


@dataclass
class Arena:
    """See the module.

    Attributes
    ----------
    programs
        What each op of the graph does, in order, on one thread or, where threads share a single op, on several.
    program
        All of it.
    homes
        Where the codes of a tensor lie, in its shape.
    hidden
        Those that nobody has asked for by the end of a run.
    lost
        Tensors whose memory has been used again by then.
    loaded
        Tensors that the arena does not make.
    paddings
        What must be written anew around a tensor before it is made.
    works
        What its own ops do: all of them, once ``loaded`` lie there.

    """

    programs: list[Program] = field(default_factory=list)
    program: Program = field(default_factory=list)
    homes: dict[int, Array] = field(default_factory=dict)
    hidden: dict[int, Array] = field(default_factory=dict)
    lost: frozenset[int] = frozenset()
    loaded: set[int] = field(default_factory=set)
    paddings: dict[int, Program] = field(default_factory=dict)
    works: Program = field(default_factory=list)

    def calculate_from(self, other: Arena) -> None:
        """Make all tensors from what an arena of the same graph was given last."""
        for number in self.loaded:
            self.homes[number][...] = other.homes[number]
        run(self.works)


def arena(graph: Graph, steps: list[Step | None], instead_of: Arena | None = None) -> Arena | None:
    """Lay a graph out for the values that it has, or return None if none of its ops can be.

    Parameters
    ----------
    graph
        Has run.
    steps
        Its ops as they are prepared; None for those that run subgraphs.
    instead_of
        An arena of the same graph that this one is to replace, with memory of its own for each tensor.

    """
    shape_of = partial(_shape, graph, {} if instead_of is None else instead_of.homes)
    found = Arena()
    ops = {op.index: op for op in _laid_out(graph, steps)}
    if not ops:
        return None
    for op in ops.values():
        if isinstance(op, SumOp):
            op.runner.forget()
    roots = _roots(graph, steps, ops, shape_of)
    places = _places(graph, ops, roots, shape_of)
    lives = {} if instead_of is not None else _lives(graph, roots, places)
    rooms = _settle(graph, ops, roots, shape_of, lives, found)
    _lay_out(graph, ops, roots, rooms, places, found)
    found.lost = frozenset(number for number, root in roots.items() if root in found.paddings) & found.hidden.keys()
    for number in found.lost:
        del found.hidden[number]
    return found


def _laid_out(graph: Graph, steps: list[Step | None]) -> Iterator[SumOp | PlaneOp]:
    for index, (operator, step) in enumerate(zip(graph.subgraph.operators, steps, strict=True)):
        if step is None or step.kept or step.prepared.updates or len(operator.outputs) != 1:
            continue
        shapes = [None if value is None else value.shape for value in step.arrays]
        changing = {slot: number for slot, number, _ in step.changing}
        y = operator.outputs[0]
        if any(graph.subgraph.tensors[number].is_variable for number in (*changing.values(), y)):
            continue
        runner, shape = step.run, shapes[0]
        if isinstance(runner, Reshaped) and shape is not None:
            shape, runner = runner.inner_shape(shape), runner.inner
        if isinstance(runner, RequantizedSum) and runner.settled and set(changing) == {0} and shape and 0 not in shape:
            yield SumOp(index, runner, changing[0], y, shape, runner.output_shape(shape))
        elif isinstance(runner, PlaneSum) and set(changing) == {0, 1} and shapes[0] == shapes[1] and runner.plane:
            yield PlaneOp(index, runner.plane, (changing[0], changing[1]), y)


def _shape(graph: Graph, homes: dict[int, Array], number: int) -> tuple[int, ...]:
    return homes[number].shape if number in homes else graph.shape(number)


def _roots(
    graph: Graph, steps: list[Step | None], ops: dict[int, SumOp | PlaneOp], shape_of: ShapeOf
) -> dict[int, int]:
    """Return, for each tensor that an op of the arena makes, or that is such a tensor in another shape, whose codes."""
    roots: dict[int, int] = {}
    for index, (operator, step) in enumerate(zip(graph.subgraph.operators, steps, strict=True)):
        if index in ops:
            roots[ops[index].y] = ops[index].y
        elif operator.name in VIEWS and step is not None and [slot for slot, _, _ in step.changing] == [0]:
            x, y = operator.inputs[0], operator.outputs[0]
            if x in roots and 0 not in shape_of(y):
                roots[y] = roots[x]
    return roots


def _places(
    graph: Graph, ops: dict[int, SumOp | PlaneOp], roots: dict[int, int], shape_of: ShapeOf
) -> dict[int, Place]:
    """Return where each op stands: those that are not laid out, and views, which take no time, too."""
    team, views = graph.session.team, {}
    seen: list[int] = []
    sharing: list[Sharing] = []
    for index, operator in enumerate(graph.subgraph.operators):
        if index not in ops and operator.outputs and operator.outputs[0] in roots:
            views[index] = len(seen) - 1  # of a tensor that an op before it makes
            continue
        seen.append(index)
        sharing.append(WHOLE if index not in ops or team is None else _sharing(ops[index], roots, shape_of, team))
    found = grouped(sharing)
    places = dict(zip(seen, found, strict=True))
    return places | {index: found[before] for index, before in views.items()}


def _sharing(op: SumOp | PlaneOp, roots: dict[int, int], shape_of: ShapeOf, team: Team) -> Sharing:
    reads = tuple(roots.get(number, number) for number in op.reads)
    if isinstance(op, SumOp):
        shape, keeps_rows = op.output_shape, op.runner.keeps_rows
        cut, work = op.runner.cut(shape, team), op.runner.work(shape)
    else:
        shape, keeps_rows = shape_of(op.y), True
        cut, work = Cut.of(shape, team, has_rows=len(shape) > 1), math.prod(shape) * PRODUCTS_AN_ELEMENT
    count = 0 if cut is Cut.WHOLE else shape[cut.value]
    return Sharing(cut, count, reads, roots[op.y], keeps_rows, work)


def _lives(graph: Graph, roots: dict[int, int], places: dict[int, Place]) -> dict[int, tuple[int, int]]:
    """Return from which group of ops on and up to which a tensor of the arena is needed; none that is given away."""
    used: dict[int, list[int]] = defaultdict(list)
    for index, operator in enumerate(graph.subgraph.operators):
        for number in (*operator.inputs, *operator.outputs):
            if number in roots:
                used[roots[number]].append(places[index].group)
    given_away = {roots[number] for number in graph.subgraph.outputs if number in roots}
    return {root: (min(indices), max(indices)) for root, indices in used.items() if root not in given_away}


def _settle(
    graph: Graph,
    ops: dict[int, SumOp | PlaneOp],
    roots: dict[int, int],
    shape_of: ShapeOf,
    lives: dict[int, tuple[int, int]],
    found: Arena,
) -> dict[tuple[int, int], Room]:
    """Choose where each tensor lies, and return in which room an op finds what it reads (by op and tensor)."""
    readers: dict[int, list[tuple[SumOp | PlaneOp, int]]] = defaultdict(list)
    members: dict[int, list[int]] = defaultdict(list)
    for number, root in roots.items():
        members[root].append(number)
        readers[root] += []
    for op in ops.values():
        for number in op.reads:
            readers[roots.get(number, number)].append((op, number))
    rooms: dict[int, Room] = {}
    served: dict[tuple[int, int], int] = {}
    for root, reading in readers.items():
        shapes = {number: shape_of(number) for number in members.get(root) or [root]}
        owner, room = _room(ops, root, reading, shapes)
        if room is None:
            resident = reading and math.prod(shapes[root]) * 4 <= RESIDENT
            dtype = np.float32 if resident else graph.subgraph.tensors[root].dtype.storage
            rooms[root] = Room(memory.empty(shapes[root], dtype))
            continue
        rooms[root] = room
        for op, number in reading:
            if isinstance(op, SumOp) and (op is owner or _serves(room, op)):
                served[op.index, number] = root
    shared = _share_memory(rooms, lives)
    for root, room in rooms.items():
        for number in members.get(root) or [root]:
            found.homes[number] = given([room.inside], 0).reshape(shape_of(number))
        if root in shared:
            found.paddings[root] = room.padding
        else:
            run(room.padding)
    return {read: rooms[root] for read, root in served.items()}


def _share_memory(rooms: dict[int, Room], lives: dict[int, tuple[int, int]]) -> set[int]:
    """Move the rooms of what lives for a time to one block of memory, and return which: none if it saves little."""
    lifetimes = [Lifetime(*lives[root], rooms[root].array.nbytes) for root in lives]
    starts, size = lifetimes_placed(lifetimes)
    if sum(lifetime.size for lifetime in lifetimes) - size < WORTH_SAVING:
        return set()
    block = memory.block(size)
    for root, start, lifetime in zip(lives, starts, lifetimes, strict=True):
        rooms[root] = rooms[root].at(block[start : start + lifetime.size])
    return set(lives)


def _room(
    ops: dict[int, SumOp | PlaneOp],
    root: int,
    reading: list[tuple[SumOp | PlaneOp, int]],
    shapes: dict[int, tuple[int, ...]],
) -> tuple[SumOp | None, Room | None]:
    """Return the reader that needs the most room, and that room, if all others can do with it."""
    made = [op for op in ops.values() if op.y == root and isinstance(op, SumOp)]
    in_one_piece = len(shapes) > 1 or any(op.output_shape != shapes[root] for op in made)
    owner: SumOp | None = None
    best: Room | None = None
    for op, number in reading:
        if isinstance(op, PlaneOp):
            continue
        in_one_piece |= op.shape != shapes[number]
        room = op.runner.room(op.shape)
        if room is None or room.inside is None or room.array.nbytes > RESIDENT:
            continue
        if best is None or room.array.size > best.array.size:
            owner, best = op, room
    if best is not None and best.inside is not None and in_one_piece and not best.inside.flags.c_contiguous:
        return None, None
    return owner, best


def _serves(room: Room, op: SumOp) -> bool:
    """Whether an op can sum what lies in a room that may have been made for another."""
    own = op.runner.room(op.shape)
    return own is not None and own.is_like(room)


def _lay_out(
    graph: Graph,
    ops: dict[int, SumOp | PlaneOp],
    roots: dict[int, int],
    rooms: dict[tuple[int, int], Room],
    places: dict[int, Place],
    found: Arena,
) -> None:
    scratch, team = Scratch(), graph.session.team
    shown: set[int] = set()
    together = Together(team, found.program)
    for index, operator in enumerate(graph.subgraph.operators):
        op = ops.get(index)
        loads: Program = []
        if op is None:
            if operator.outputs and operator.outputs[0] in roots:
                found.programs.append([])
                continue
            homed = [number for number in operator.inputs if number in found.homes and number in roots]
            shown.update(homed)
            alone: Program = [(graph.show, (number, found.homes[number])) for number in homed]
            alone.append((graph.run_step if team is None else graph.run_alone, (index,)))
            together.alone(alone)
            found.programs.append(alone)
            continue
        for number in op.reads:
            if number not in roots and number not in found.loaded:
                found.loaded.add(number)
                loads.append((partial(_load, graph), (index, number, found.homes[number])))
        before = [*loads, *found.paddings.get(op.y, [])]
        work = _work(op, rooms, found, places[index].cut, team, scratch)
        together.add(before, work, places[index].group)
        found.programs.append([*before, *work.calls(team)])
        found.works += work.calls(team)
    together.end()
    found.hidden = {number: home for number, home in found.homes.items() if number in roots and number not in shown}


def _work(
    op: SumOp | PlaneOp,
    rooms: dict[tuple[int, int], Room],
    found: Arena,
    cut: Cut,
    team: Team | None,
    scratch: Scratch,
) -> Work:
    codes = found.homes[op.y]
    if isinstance(op, SumOp):
        room = rooms.get((op.index, op.x))
        images = found.homes[op.x].reshape(op.shape) if room is None else room
        return op.runner.lay_out(images, op.shape, codes.reshape(op.output_shape), scratch, team, cut)
    first, second = (found.homes[number] for number in op.reads)
    if team is None or cut is Cut.WHOLE:
        return Work([op.plane.lay_out(first, second, codes, scratch)])
    shares = [(slice(None),) * cut.value + (part,) for part in team.parts(codes.shape[cut.value])]
    return Work(
        [
            op.plane.lay_out(first[share], second[share], codes[share], memory)
            for share, memory in zip(shares, team.scratch, strict=True)
        ]
    )


def _load(graph: Graph, op: int, number: int, home: Array) -> None:
    """Bring in a tensor that the arena does not make."""
    value = graph.value(number)
    if value.shape != home.shape:
        raise MovedError(op)
    home[...] = value
