"""Fast forms derived from literal definitions by exhausting their finite domain.

Elementwise ops on 8- and 16-bit codes become tables; sums of products become exact BLAS sums followed by a step
function (:mod:`kernels.engine.steps`), or, for outputs of 16 bits, with the multiplier folded into the sum
(:mod:`kernels.engine.folded`).
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import get_ident
from typing import Any

import numpy as np

from kernels.engine.exact import LinearSum
from kernels.engine.fitting import proven_form
from kernels.engine.folded import folded
from kernels.engine.plans import Plan, Scratch
from kernels.engine.steps import StepForm, quick_form
from kernels.engine.types import Inputs, Outputs, Runner, given
from qmath.requantize import Requantize
from qmath.types import Array, DType, Int64Array

#: Runs after which an op is taken for one that runs often.
RUNS_UNTIL_SETTLED = 4

#: Accumulators requantized at once: large enough to hide call overhead, small enough for the outer caches.
BLOCK = 1 << 20

#: Input shapes and threads that one op keeps plans for.
MOST_BOUND = 8


def table_of(definition: Callable[[Array], Array], codes: DType) -> Callable[[Array], Array]:
    """Evaluate an elementwise definition on every code of an 8- or 16-bit type and return the lookup."""
    domain = np.arange(codes.min, codes.max + 1).astype(codes.storage)
    table = definition(domain)
    index = np.uint8 if codes.bits == 8 else np.uint16
    # Seen as unsigned, negative codes index the upper half: rotate the table once instead of every input.
    table = np.ascontiguousarray(np.roll(table, codes.min))

    def look_up(x: Array) -> Array:
        return table.take(np.ascontiguousarray(x).view(index))

    return look_up


def table_of_pairs(
    definition: Callable[[Array, Array], Array], first: DType, second: DType
) -> Callable[[Array, Array], Array]:
    """Evaluate a binary elementwise definition on all pairs of 8-bit codes and return the broadcasting lookup."""
    a = np.arange(first.min, first.max + 1).astype(first.storage)
    b = np.arange(second.min, second.max + 1).astype(second.storage)
    table = definition(a[:, None], b[None, :])
    table = np.ascontiguousarray(np.roll(table, (first.min, second.min), (0, 1))).reshape(-1)

    def look_up(x: Array, y: Array) -> Array:
        high = np.ascontiguousarray(x).view(np.uint8).astype(np.uint16) << 8
        return table.take(high | np.ascontiguousarray(y).view(np.uint8))

    return look_up


class RequantizedSum:
    """Sum exactly, add a constant per channel, requantize: a runner that gets faster when it runs often.

    The first runs take a form that costs nothing to derive; a runner that keeps running is worth the search for the
    fitted form. Both are exact, so when it happens shows in nothing but time.

    Parameters
    ----------
    sums, offset, requantize, definition
        As for :func:`requantized_sum`.
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
        #: By thread and shape of the input: plans share memory within a thread.
        self._bound: dict[tuple[int, tuple[int, ...]], _Bound] = {}

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
        """Return the codes of the output for the codes in input slot 0, a block of images at a time."""
        images = given(inputs, 0)
        if self._runs_until_settled:
            self._count_run()
        bound = self._bound.get((get_ident(), images.shape))
        if bound is None:
            if images.size == 0:
                return self._definition(inputs)
            bound = self._bind(images.shape)
        codes = np.empty(bound.shape, bound.dtype)
        if bound.whole:
            bound.plan(images)
            bound.write(codes)
        else:
            for start, end, plan, write in bound.blocks:
                plan(images[start:end])
                write(codes[start:end])
        return (codes,)

    def _count_run(self) -> None:
        """Settle when it is time: never before the first run, which tells how large images are."""
        if self._elements_per_image:
            self._runs_until_settled -= 1
            if not self._runs_until_settled:
                self.settle()

    def _bind(self, shape: tuple[int, ...]) -> _Bound:
        scratch = _MEMORY.scratch
        one = self._sums.plan((1, *shape[1:]), scratch)
        self._elements_per_image = one.sums.size
        many = max(1, BLOCK // max(1, one.sums.size))
        plans: dict[int, tuple[Plan, Callable[[Array], None]]] = {}
        blocks = []
        for start in range(0, shape[0], many):
            end = min(start + many, shape[0])
            if end - start not in plans:
                plan = one if end - start == 1 else self._sums.plan((end - start, *shape[1:]), scratch)
                plans[end - start] = plan, self._step.bind(plan.sums)
            blocks.append((start, end, *plans[end - start]))
        if len(self._bound) >= MOST_BOUND:
            self._bound.clear()
        bound = _Bound((shape[0], *one.sums.shape[1:]), self._requantize.dtype.storage, tuple(blocks))
        self._bound[get_ident(), shape] = bound
        return bound


@dataclass(slots=True)
class _Bound:
    """A sum and its step, bound to inputs of one shape.

    Attributes
    ----------
    shape, dtype
        Of the output.
    blocks
        First and last image, what sums them, and what writes codes of the sums.
    whole
        Whether there is one block.
    plan, write
        Of the first block.

    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    blocks: tuple[tuple[int, int, Plan, Callable[[Array], None]], ...]
    whole: bool = field(init=False)
    plan: Plan = field(init=False)
    write: Callable[[Array], None] = field(init=False)

    def __post_init__(self) -> None:
        """Look the first block up."""
        self.whole = len(self.blocks) == 1
        *_, self.plan, self.write = self.blocks[0]


class _Memory(threading.local):
    """Each thread's memory for passing results."""

    def __init__(self) -> None:
        self.scratch = Scratch()


_MEMORY = _Memory()


def requantized_sum(sums: LinearSum, offset: Int64Array, requantize: Requantize, definition: Runner) -> Runner:
    """Compile "sum exactly, add a constant per channel, requantize" for input slot 0, batch first.

    Parameters
    ----------
    sums
        The raw sums.
    offset
        int64, shape ``(channels,)``: bias and zero-point terms, added to the raw sums.
    requantize
        Of the accumulator.
    definition
        The literal form: what runs where no fast form is proven, and on empty inputs.

    """
    form = folded(sums, offset, requantize)
    computed, quick = form or (sums, quick_form(requantize, offset, sums.reach))
    if quick is None:
        return definition
    return RequantizedSum(computed, offset, requantize, definition, quick)


def unary(definition: Callable[[Array], Array], codes: DType) -> Runner:
    """Compile an elementwise op of one input by its table."""
    look_up = table_of(definition, codes)

    def run(inputs: Inputs) -> Outputs:
        return (look_up(given(inputs, 0)),)

    return run
