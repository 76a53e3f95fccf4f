"""A sum and its requantization as a runner: planned, in blocks, on as many threads as there are."""

from __future__ import annotations

import enum
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from threading import get_ident
from typing import Any

import numpy as np

from kernels.engine.exact import LinearSum
from kernels.engine.fitting import proven_form
from kernels.engine.plans import Plan, Room, Scratch
from kernels.engine.program import Program, run
from kernels.engine.steps import StepForm
from kernels.engine.threads import MOST_PLANS, THREAD, Team
from kernels.engine.types import Inputs, Outputs, Runner, given
from qmath.requantize import Requantize
from qmath.types import Array, Int64Array

#: Runs after which an op is taken for one that runs often.
RUNS_UNTIL_SETTLED = 4
#: Accumulators requantized at once: large enough to hide call overhead, small enough for the outer caches.
BLOCK = 1 << 20
#: Accumulators of one image above which it is worked on in bands of rows, so that they stay in the inner caches.
BAND = 3 << 17
#: Products, and passes over elements, that are worth handing half of to another thread.
WORTH_SHARING = 3 << 20
#: What requantizing an element costs, in products.
PRODUCTS_AN_ELEMENT = 20


class Cut(enum.Enum):
    """How work is shared among threads: not at all, or along an axis of the output."""

    WHOLE = None
    IMAGES = 0
    ROWS = 1

    @classmethod
    def of(cls, output_shape: tuple[int, ...], team: Team, *, has_rows: bool) -> Cut:
        """Return how an op can be shared: by images if there are enough, else by the rows of a single one."""
        if output_shape and output_shape[0] >= team.size:
            return cls.IMAGES
        rows = has_rows and output_shape[0] == 1 and output_shape[1] >= team.size
        return cls.ROWS if rows else cls.WHOLE


@dataclass(frozen=True, slots=True)
class Work:
    """A sum and its requantization, laid out on fixed memory.

    Attributes
    ----------
    shares
        What each thread does; one if it is not shared.

    """

    shares: list[Program]

    def calls(self, team: Team | None) -> Program:
        """Return the work as calls for the thread that leads the team."""
        if team is None or len(self.shares) == 1:
            return [call for share in self.shares for call in share]
        return [(team.run, ([partial(run, share) for share in self.shares],))]


@dataclass(frozen=True, slots=True)
class Part:
    """Some images, or some rows of the output of one image.

    Attributes
    ----------
    images, rows
        Which; None for all rows.

    """

    images: slice
    rows: tuple[int, int] | None = None


class RequantizedSum:
    """Sum exactly, add a constant per channel, requantize: a runner that gets faster when it runs often.

    The first runs take a form that costs nothing to derive; a runner that keeps running is worth the search for the
    fitted form. Both are exact, so when it happens shows in nothing but time.

    Parameters
    ----------
    sums, offset, requantize, definition
        As for :func:`kernels.engine.compile.requantized_sum`.
    quick
        The form for the first runs.

    """

    def __init__(
        self, sums: LinearSum, offset: Int64Array, requantize: Requantize, definition: Runner, quick: StepForm
    ) -> None:
        self._sums = sums
        self._offset = offset
        self._requantize = requantize
        self._definition = definition
        self._step = quick
        self._runs_until_settled = RUNS_UNTIL_SETTLED
        self._elements_per_image = 0
        self._summed_in = "any type"
        #: By thread, team and shape of the input: what is bound shares memory within a thread.
        self._bound: dict[tuple[int, Team | None, tuple[int, ...]], _Bound] = {}

    @property
    def settled(self) -> bool:
        """Whether it has the form that it will keep."""
        return not self._runs_until_settled

    @property
    def words(self) -> str:
        """How it sums and requantizes now, in a few words."""
        kind = "searching for a quicker one" if self._runs_until_settled else "settled"
        return f"sums in {self._summed_in}; requantized in {self._step.words}; {kind}"

    def settle(self) -> None:
        """Search for the fitted form now."""
        self._runs_until_settled = 0
        proven = proven_form(self._requantize, self._offset, self._sums.reach, self._elements_per_image)
        if proven is not None:
            self._step = proven
            self._bound.clear()

    def stay_quick(self) -> None:
        """Never search."""
        self._runs_until_settled = 0

    def __call__(self, inputs: Inputs) -> Outputs:
        """Return the codes of the output for the codes in input slot 0."""
        images = given(inputs, 0)
        if self._runs_until_settled:
            self._count_run()
        team = THREAD.team
        bound = self._bound.get((get_ident(), team, images.shape))
        if bound is None:
            if images.size == 0:
                return self._definition(inputs)
            bound = self._bind(images.shape, images.dtype, team)
        bound.images[...] = images
        run(bound.program)
        return (bound.codes.copy(),)

    def room(self, shape: tuple[int, ...]) -> Room | None:
        """Return memory for inputs of a shape that :meth:`lay_out` can read without a copy, or None."""
        return self._sums.room(shape, self._plan_one(shape).sums.dtype)

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of the output for an input's."""
        return shape[0], *self._plan_one(shape).sums.shape[1:]

    def forget(self) -> None:
        """Give back the memory that calls on this thread and others have bound."""
        self._bound.clear()
        THREAD.scratch.forget()

    def work(self, output_shape: tuple[int, ...]) -> int:
        """Return how many products an output takes, passes over elements counted as some."""
        return math.prod(output_shape) * (self._sums.products + PRODUCTS_AN_ELEMENT)

    @property
    def keeps_rows(self) -> bool:
        """Whether a row of the output takes the same row of the input, and no other."""
        window = self._sums.sliding
        return window is not None and (window.height.kernel, window.height.stride, window.height.before) == (1, 1, 0)

    def cut(self, output_shape: tuple[int, ...], team: Team) -> Cut:
        """Return how the op can be shared."""
        return Cut.of(output_shape, team, has_rows=self._sums.sliding is not None)

    def lay_out(
        self,
        images: Array | Room,
        shape: tuple[int, ...],
        codes: Array,
        scratch: Scratch,
        team: Team | None = None,
        cut: Cut = Cut.WHOLE,
    ) -> Work:
        """Bind the op to its input and output.

        Parameters
        ----------
        images
            What holds the input when the work is done: an array of codes in any type, or a room of :meth:`room`.
        shape
            Of the input.
        codes
            Where the output belongs: of its shape, in any type that holds its codes, with any strides.
        scratch
            Memory that nothing else uses while the work is done; threads have their own.
        team, cut
            Who shares the work, and how: one of :meth:`cut`.

        """
        self._elements_per_image = math.prod(codes.shape[1:])
        memories: tuple[Scratch, ...] = (scratch,)
        parts = [self._images(0, len(codes))]
        if team is not None and cut is not Cut.WHOLE:
            parts, memories = self._parts(codes.shape, team, cut), team.scratch
        shares = [
            [call for part in share for call in self._calls(part, images, shape, codes, memory)]
            for share, memory in zip(parts, memories, strict=True)
        ]
        return Work(shares)

    def _count_run(self) -> None:
        """Settle when it is time: never before the first run, which tells how large images are."""
        if self._elements_per_image:
            self._runs_until_settled -= 1
            if not self._runs_until_settled:
                self.settle()

    def _bind(self, shape: tuple[int, ...], dtype: np.dtype[Any], team: Team | None) -> _Bound:
        images = THREAD.scratch.take("images", shape, dtype)
        codes = THREAD.scratch.take("codes", self.output_shape(shape), self._requantize.dtype.storage)
        cut = Cut.WHOLE if team is None else self.cut(codes.shape, team)
        if cut is Cut.ROWS and self.work(codes.shape) < WORTH_SHARING:
            cut = Cut.WHOLE
        bound = _Bound(images, codes, self.lay_out(images, shape, codes, THREAD.scratch, team, cut).calls(team))
        if len(self._bound) >= MOST_PLANS:
            self._bound.clear()
        self._bound[get_ident(), team, shape] = bound
        return bound

    def _plan_one(self, shape: tuple[int, ...]) -> Plan:
        return self._sums.plan((1, *shape[1:]), Scratch())

    def _calls(
        self, part: Part, images: Array | Room, shape: tuple[int, ...], codes: Array, scratch: Scratch
    ) -> Program:
        """Lay out a part: sum what lies in a room already, or copy it to one first."""
        window, read = self._sums.sliding, slice(None)
        size = shape[1:]
        if part.rows is None or window is None:
            window = None
        elif isinstance(images, Room):
            read, window = window.padded_band(*part.rows)
        else:
            read, window = window.band(*part.rows)
            size = read.stop - read.start, *shape[2:]
        count = part.images.stop - part.images.start
        if isinstance(images, Room):
            plan = self._sums.plan((count, *size), scratch, window, images.part(part.images, read))
            program = plan.work
        else:
            plan = self._sums.plan((count, *size), scratch, window)
            codes_read = images[part.images] if window is None else images[part.images, read]
            program = [(plan.take, (codes_read,)), *plan.work]
        self._summed_in = str(plan.sums.dtype)
        written = codes[part.images] if part.rows is None else codes[part.images, slice(*part.rows)]
        return [*program, *self._step.bind(plan.sums, written, scratch)]

    def _parts(self, output_shape: tuple[int, ...], team: Team, cut: Cut) -> list[list[Part]]:
        """Cut the work into parts that suit the caches, for each thread."""
        if cut is Cut.IMAGES:
            return [self._images(part.start, part.stop) for part in team.parts(output_shape[0])]
        height = output_shape[1]
        most = max(1, height * BAND // max(1, self._elements_per_image))
        return [
            [
                Part(slice(0, 1), (first, min(first + most, share.stop)))
                for first in range(share.start, share.stop, most)
            ]
            for share in team.parts(height)
        ]

    def _images(self, first: int, last: int) -> list[Part]:
        """Cut a range of images: several at a time if they are small, in bands of rows if they are large."""
        window, elements = self._sums.sliding, max(1, self._elements_per_image)
        if window is not None and elements > BAND:
            height = max(1, window.height.output * BAND // elements)
            ends = [*range(0, window.height.output, height), window.height.output]
            return [Part(slice(i, i + 1), rows) for i in range(first, last) for rows in pairwise(ends)]
        many = max(1, BLOCK // elements)
        return [Part(slice(start, min(start + many, last))) for start in range(first, last, many)]


@dataclass(frozen=True, slots=True)
class Reshaped:
    """A runner for an op that cuts its input to another shape first.

    Attributes
    ----------
    inner
        Runs the op on inputs of the shape that it takes.
    run
        Runs it on any.
    inner_shape
        Which shape a shape is cut to, or None where elements are left over.

    """

    inner: Runner
    run: Runner
    inner_shape: Callable[[tuple[int, ...]], tuple[int, ...] | None]

    def __call__(self, inputs: Inputs) -> Outputs:
        """Run the op."""
        return self.run(inputs)


@dataclass(frozen=True, slots=True)
class _Bound:
    """A sum and its step, bound to memory for inputs of one shape."""

    images: Array
    codes: Array
    program: Program
