"""A sum and its requantization as a runner: planned, in blocks, on as many threads as there are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from threading import get_ident
from typing import Any, TypeAlias

import numpy as np

from kernels.engine.exact import LinearSum
from kernels.engine.fitting import proven_form
from kernels.engine.geometry import Window
from kernels.engine.plans import Plan, Scratch
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
BAND = 3 << 16
#: Products, and passes over elements, that are worth handing half of to another thread.
WORTH_SHARING = 1 << 24
#: What requantizing an element costs, in products.
PRODUCTS_AN_ELEMENT = 20

#: Which part of the input is read and of the output written; what sums it, and what writes codes of the sums.
Block: TypeAlias = tuple[tuple[slice, ...], tuple[slice, ...], Plan, Callable[[Array], None]]


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
            bound = self._bind(images.shape, team)
        codes = np.empty(bound.shape, bound.dtype)
        if bound.only is not None:
            plan, write = bound.only
            plan(images)
            write(codes)
        elif team is None or len(bound.shares) == 1:
            _run(bound.shares[0], images, codes)
        else:
            team.run([partial(_run, share, images, codes) for share in bound.shares])
        return (codes,)

    def _count_run(self) -> None:
        """Settle when it is time: never before the first run, which tells how large images are."""
        if self._elements_per_image:
            self._runs_until_settled -= 1
            if not self._runs_until_settled:
                self.settle()

    def _bind(self, shape: tuple[int, ...], team: Team | None) -> _Bound:
        sums = self._sums.plan((1, *shape[1:]), Scratch()).sums
        images, image, self._summed_in = shape[0], sums.shape[1:], str(sums.dtype)
        self._elements_per_image = elements = int(np.prod(image))
        work = images * elements * (self._sums.products + PRODUCTS_AN_ELEMENT)
        if team is None or work < WORTH_SHARING:
            shares = [self._images(shape, 0, images, THREAD.scratch)]
        elif images >= team.size:
            ends = np.linspace(0, images, team.size + 1).astype(int).tolist()
            parts = zip(ends, ends[1:], team.scratch, strict=False)
            shares = [self._images(shape, first, last, scratch) for first, last, scratch in parts]
        else:
            shares = self._bands(shape, team) or [self._images(shape, 0, images, THREAD.scratch)]
        if len(self._bound) >= MOST_PLANS:
            self._bound.clear()
        bound = _Bound.of((images, *image), self._requantize.dtype.storage, shares)
        self._bound[get_ident(), team, shape] = bound
        return bound

    def _images(self, shape: tuple[int, ...], first: int, last: int, scratch: Scratch) -> list[Block]:
        """Plan a range of images: several at a time if they are small, in bands of rows if they are large."""
        window, elements = self._sums.sliding, max(1, self._elements_per_image)
        if window is not None and elements > BAND:
            height = max(1, window.height.output * BAND // elements)
            ends = [*range(0, window.height.output, height), window.height.output]
            return [
                self._band(shape, window, (image, image + 1), rows, scratch)
                for image in range(first, last)
                for rows in pairwise(ends)
            ]
        many = max(1, BLOCK // elements)
        plans: dict[int, tuple[Plan, Callable[[Array], None]]] = {}
        blocks: list[Block] = []
        for start in range(first, last, many):
            count = min(many, last - start)
            if count not in plans:
                plan = self._sums.plan((count, *shape[1:]), scratch)
                plans[count] = plan, self._step.bind(plan.sums)
            part = (slice(start, start + count),)
            blocks.append((part, part, *plans[count]))
        return blocks

    def _bands(self, shape: tuple[int, ...], team: Team) -> list[list[Block]]:
        """Plan one image in bands of rows, some for each thread; none where the sum has no rows to share."""
        window = self._sums.sliding
        if window is None or shape[0] != 1 or window.height.output < team.size:
            return []
        each = min(window.height.output // team.size, max(1, window.height.output * BAND // self._elements_per_image))
        count = -(-window.height.output // each)
        count += -count % team.size
        ends = np.linspace(0, window.height.output, count + 1).astype(int).tolist()
        shares: list[list[Block]] = [[] for _ in team.scratch]
        for number, rows in enumerate(pairwise(ends)):
            share = number * team.size // count
            if rows[0] < rows[1]:
                shares[share].append(self._band(shape, window, (0, 1), rows, team.scratch[share]))
        return shares

    def _band(
        self, shape: tuple[int, ...], window: Window, images: tuple[int, int], rows: tuple[int, int], scratch: Scratch
    ) -> Block:
        read, part = window.band(*rows)
        plan = self._sums.plan((1, read.stop - read.start, *shape[2:]), scratch, part)
        image = slice(*images)
        return (image, read), (image, slice(*rows)), plan, self._step.bind(plan.sums)


@dataclass(frozen=True, slots=True)
class Reshaped:
    """A runner for an op that cuts its input to another shape first.

    Attributes
    ----------
    inner
        Runs the op on inputs of the shape that it takes.
    run
        Runs it on any.

    """

    inner: Runner
    run: Runner

    def __call__(self, inputs: Inputs) -> Outputs:
        """Run the op."""
        return self.run(inputs)


def _run(blocks: list[Block], images: Array, codes: Array) -> None:
    for reads, writes, plan, write in blocks:
        plan(images[reads])
        write(codes[writes])


@dataclass(frozen=True, slots=True)
class _Bound:
    """A sum and its step, bound to inputs of one shape.

    Attributes
    ----------
    shape, dtype
        Of the output.
    shares
        What each thread does.
    only
        The plan and the writing of the only block, where there is one.

    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    shares: list[list[Block]]
    only: tuple[Plan, Callable[[Array], None]] | None

    @classmethod
    def of(cls, shape: tuple[int, ...], dtype: np.dtype[Any], shares: list[list[Block]]) -> _Bound:
        """Look for the common case of one block."""
        only = shares[0][0][2:] if len(shares) == len(shares[0]) == 1 else None
        return cls(shape, dtype, shares, only)
