"""Fast forms of float32 convolutions: sums in blocks, and the bias and the clamp in long runs of memory.

They give what the definitions give: to the last bit where products are added in the runtime's order, and otherwise up
to the last bits, as BLAS and the runtime's own optimized kernels differ.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from threading import get_ident
from typing import TypeAlias

import numpy as np

from kernels.engine import blas
from kernels.engine.activation import Activation, float_range
from kernels.engine.convolution import optional_array
from kernels.engine.float_sums import matmul_in_order
from kernels.engine.geometry import Window, reachable
from kernels.engine.plans import ConvolutionPlan, DepthwisePlan, Multiply, Scratch
from kernels.engine.program import run as run_program
from kernels.engine.runs import Runs
from kernels.engine.threads import MOST_PLANS, THREAD, Team
from kernels.engine.types import Inputs, Outputs, Runner, given
from kernels.engine.ufuncs import clip
from qmath.types import Array

#: Input slot of the bias.
BIAS = 2
#: Output elements that are worked on at once.
BLOCK = 3 << 16
#: Products, and passes over elements, that are worth handing half of to another thread; and passes an element takes.
WORTH_SHARING, PASSES = 1 << 24, 20
#: From a block of the input to its sums, which the next block may overwrite.
Sum: TypeAlias = Callable[[Array], Array]
#: Which part of the input is read, which of the output is written, and what sums it.
Block: TypeAlias = tuple[tuple[slice, slice], tuple[slice, slice], Sum]
#: ``finish(sums, inputs, out)`` writes what becomes of sums to ``out``, which may be the same memory.
Finish: TypeAlias = Callable[[Array, Inputs, Array], object]


class BiasAndClamp:
    """Adds a bias, one number a channel, and clamps: what a float convolution does with its sums.

    Parameters
    ----------
    constants
        Of the op, an entry an input slot.
    activation
        What to clamp to.
    finite
        Whether infinities are clamped even without an activation.

    """

    def __init__(self, constants: Inputs, activation: Activation, *, finite: bool = True) -> None:
        self._low, self._high = float_range(activation, finite=finite)
        self._constant = optional_array(constants, BIAS)
        #: By the number of elements that the constant bias is added to: how, and the bias repeated.
        self._repeated: dict[int, tuple[Runs, Array]] = {}

    def __call__(self, sums: Array, inputs: Inputs, out: Array) -> Array:
        """Finish sums, channels last and contiguous; write them to ``out``, which may be ``sums``, and return it."""
        bias = optional_array(inputs, BIAS)
        if bias is None or sums.size == 0:
            clip(sums, self._low, self._high, out)
            return out
        runs, run = self._repeat(bias.reshape(-1), sums.size, keep=bias is self._constant)
        run_program(runs.call(np.add, sums, run, out))
        flat = out.reshape(-1)
        clip(flat, self._low, self._high, flat)
        return out

    def _repeat(self, bias: Array, size: int, *, keep: bool) -> tuple[Runs, Array]:
        found = self._repeated.get(size) if keep else None
        if found is None:
            runs = Runs(size // bias.size, bias.size)
            found = runs, runs.repeated(bias)
            if keep:
                self._repeated[size] = found
        return found


class InBlocks:
    """Runs a convolution on blocks that stay in the inner caches: some small images, or rows of a large one.

    Threads of a team take equal shares of the blocks.

    Parameters
    ----------
    window, channels
        Where windows lie, and how many channels come out.
    products
        Multiplications an output element takes.
    planner
        Plans the sums of a block: from the shape of what it reads, its windows and a thread's memory.
    finish
        What becomes of the sums.

    """

    def __init__(
        self,
        window: Window,
        channels: int,
        products: int,
        planner: Callable[[tuple[int, ...], Window, Scratch], Sum],
        finish: Finish,
    ) -> None:
        self._window = window
        self._image = window.height.output, window.width.output, channels
        self._products = products
        self._planner = planner
        self._finish = finish
        #: By thread, team and shape of the input: what each thread of the team does.
        self._bound: dict[tuple[int, Team | None, tuple[int, ...]], list[list[Block]]] = {}

    def __call__(self, inputs: Inputs) -> Outputs:
        """Return the output."""
        x, team = given(inputs, 0), THREAD.team
        out = np.empty((len(x), *self._image), np.float32)
        if out.size == 0:
            return (out,)
        key = get_ident(), team, x.shape
        shares = self._bound.get(key)
        if shares is None:
            if len(self._bound) >= MOST_PLANS:
                self._bound.clear()
            shares = self._bound[key] = self._bind(x.shape, out.size, team)
        tasks = [partial(self._run, share, inputs, out) for share in shares]
        if len(tasks) == 1 or team is None:
            tasks[0]()
        else:
            team.run(tasks)
        return (out,)

    def _run(self, blocks: Sequence[Block], inputs: Inputs, out: Array) -> None:
        x = given(inputs, 0)
        for reads, writes, plan in blocks:
            self._finish(plan(x[reads]), inputs, out[writes])

    def _bind(self, shape: tuple[int, ...], elements: int, team: Team | None) -> list[list[Block]]:
        shared = team is not None and elements * (self._products + PASSES) >= WORTH_SHARING
        memory = team.scratch if team is not None and shared else (THREAD.scratch,)
        parts = self._parts(shape[0], len(memory))
        ends = np.linspace(0, len(parts), len(memory) + 1).astype(int).tolist()
        plans: dict[tuple[int, tuple[int, ...], Window], Sum] = {}

        def block(images: slice, rows: slice, thread: int) -> Block:
            read, window = slice(0, shape[1]), self._window
            if rows.stop - rows.start < self._image[0]:
                read, window = window.band(rows.start, rows.stop)
            reading = images.stop - images.start, read.stop - read.start, *shape[2:]
            key = thread, reading, window
            if key not in plans:
                plans[key] = self._planner(reading, window, memory[thread])
            return (images, read), (images, rows), plans[key]

        return [
            [block(*part, thread) for part in parts[ends[thread] : ends[thread + 1]]] for thread in range(len(memory))
        ]

    def _parts(self, images: int, least: int) -> list[tuple[slice, slice]]:
        """Cut a batch into images and rows, in order; if possible at least as many parts as asked for."""
        height, _, _ = self._image
        elements = math.prod(self._image)
        if self._window.height.kernel and (elements > BLOCK or images < least):
            bands = min(height, max(-(-elements // BLOCK), -(-least // images)))
            ends = np.linspace(0, height, bands + 1).astype(int).tolist()
            return [(slice(i, i + 1), slice(*rows)) for i in range(images) for rows in pairwise(ends)]
        many = max(1, min(BLOCK // elements, images // least))
        return [(slice(i, min(i + many, images)), slice(0, height)) for i in range(0, images, many)]


def convolution(constants: Inputs, window: Window, groups: int, activation: Activation, *, in_order: bool) -> Runner:
    """Return CONV_2D with a constant filter.

    Parameters
    ----------
    constants
        Of the op, an entry an input slot.
    window, groups
        See :func:`kernels.engine.linear.convolve`.
    activation
        What to clamp to.
    in_order
        Whether products are added one after the other, as the runtime's plain loops do, or as BLAS does.

    """
    window, taps = reachable(window)
    filter_ = given(constants, 1)[:, taps[0], taps[1]]
    matrices = [np.ascontiguousarray(block.T) for block in np.split(filter_.reshape(len(filter_), -1), groups)]
    multiply = matmul_in_order if in_order else blas.multiply

    def planner(shape: tuple[int, ...], part: Window, scratch: Scratch) -> Sum:
        if part.is_pointwise and groups == 1:
            return _pointwise(shape, matrices[0], multiply, scratch)
        return ConvolutionPlan(shape, matrices, part, 0, scratch, multiply)

    finish = BiasAndClamp(constants, activation)
    return InBlocks(window, len(filter_), len(matrices[0]), planner, finish)


def _pointwise(shape: tuple[int, ...], matrix: Array, multiply: Multiply, scratch: Scratch) -> Sum:
    """Return the product of each pixel's channels with a matrix: no window needs laying out."""
    sums = scratch.take("sums", (*shape[:3], matrix.shape[1]), np.float32)
    pixels = sums.reshape(math.prod(shape[:3]), matrix.shape[1])

    def run(x: Array) -> Array:
        multiply(x.reshape(len(pixels), len(matrix)), matrix, pixels)
        return sums

    return run


def depthwise_convolution(constants: Inputs, window: Window, activation: Activation, *, in_order: bool) -> Runner:
    """Return DEPTHWISE_CONV_2D with a constant filter; see :func:`convolution`."""
    window, taps = reachable(window)
    filter_ = given(constants, 1)[0][taps]

    def planner(shape: tuple[int, ...], part: Window, scratch: Scratch) -> Sum:
        return DepthwisePlan(shape, filter_, part, 0, scratch, in_order=in_order)

    return InBlocks(
        window, filter_.shape[2], math.prod(filter_.shape[:2]), planner, BiasAndClamp(constants, activation)
    )
