"""Vector code: whole blocks of elements go through instructions that round otherwise than the scalar code after them.

Which elements form a block follows from the innermost loop: for an op on one tensor that is the whole tensor, for one
on two tensors it follows from how their shapes broadcast.

Source: ``tflite/kernels/internal/optimized/optimized_ops.h`` (BinaryBroadcastFiveFold),
``internal/reference/process_broadcast_shapes.h``.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from kernels.engine.types import Inputs, Outputs, Prepared, Runner, given
from qmath.stages import Note, silent, under
from qmath.types import Array, BoolArray


class Inner(enum.Enum):
    """What the innermost loop of an elementwise op runs over."""

    ELEMENTS = enum.auto()
    """Two arrays, element by element."""
    SCALAR = enum.auto()
    """One element of one input with an array of the other."""
    GENERIC = enum.auto()
    """Single elements: the shapes do not broadcast in five loops."""


@dataclass(frozen=True, slots=True)
class Run:
    """The innermost loop: what it runs over, and how many elements of the output it makes."""

    inner: Inner
    length: int


def innermost(first: Sequence[int], second: Sequence[int]) -> Run:
    """Return the innermost loop for two shapes that broadcast.

    The dimensions, from the last to the first, fall into five groups: equal ones, ones that the first shape
    broadcasts (its sizes being 1), equal ones, ones that the other shape broadcasts, equal ones. If the last group has
    one element, the loop runs over the next.
    """
    rank = max(len(first), len(second))
    shapes = [(1,) * (rank - len(shape)) + tuple(shape) for shape in (first, second)]
    if shapes[0] == shapes[1]:
        return Run(Inner.ELEMENTS, math.prod(shapes[0]))
    pairs = list(zip(*shapes, strict=True))[::-1]
    if next(pair for pair in pairs if pair[0] != pair[1])[0] != 1:
        pairs = [(second_size, first_size) for first_size, second_size in pairs]
    groups = []
    for fits in (_equal, _broadcast_by_first, _equal, _broadcast_by_second, _equal):
        count = next((i for i, pair in enumerate(pairs) if not fits(pair)), len(pairs))
        groups.append(math.prod(max(pair) if 0 not in pair else 0 for pair in pairs[:count]))
        pairs = pairs[count:]
    if pairs:
        return Run(Inner.GENERIC, 1)
    return Run(Inner.ELEMENTS, groups[0]) if groups[0] > 1 else Run(Inner.SCALAR, groups[1])


def _equal(pair: tuple[int, int]) -> bool:
    return pair[0] == pair[1]


def _broadcast_by_first(pair: tuple[int, int]) -> bool:
    return pair[0] == 1


def _broadcast_by_second(pair: tuple[int, int]) -> bool:
    return pair[1] == 1


@dataclass(frozen=True, slots=True)
class VectorCode:
    """Vector instructions for one kind of loop: how many elements they take at once, and the op as they compute it."""

    block: int
    op: Prepared


@dataclass(frozen=True, slots=True)
class InBlocksUnary(Prepared):
    """An elementwise op of one tensor.

    Attributes
    ----------
    block
        Elements that vector instructions take at once.
    vector, rest
        The op as they compute it, and as scalar code computes it.

    """

    block: int
    vector: Prepared
    rest: Prepared

    def evaluate(self, inputs: Inputs, note: Note) -> Outputs:
        """Evaluate the vector form in whole blocks of the flattened tensor, the scalar one after them."""
        size = given(inputs, 0).size
        cut = size // self.block * self.block
        if cut in {0, size}:
            return (self.vector if cut else self.rest).evaluate(inputs, note)
        (in_blocks,) = self.vector.evaluate(inputs, under(note, "in blocks"))
        (left_over,) = self.rest.evaluate(inputs, under(note, "left over"))
        return (choose(in_blocks, left_over, np.arange(size) < cut, note),)

    def compile(self, constants: Inputs) -> Runner:
        """Compile the vector form; run scalar code again on what is left over."""
        vector = self.vector.compile(constants)

        def run(inputs: Inputs) -> Outputs:
            x = given(inputs, 0)
            cut = x.size // self.block * self.block
            (codes,) = vector(inputs)
            if cut < x.size:
                codes = np.ascontiguousarray(codes).reshape(-1)
                (codes[cut:],) = self.rest.evaluate([x.reshape(-1)[cut:]], silent)
            return (codes.reshape(x.shape),)

        return run


@dataclass(frozen=True, slots=True)
class InBlocksBinary(Prepared):
    """An elementwise op of two tensors.

    Attributes
    ----------
    vector
        By what the innermost loop runs over.
    rest
        The op as scalar code computes it.

    """

    vector: Mapping[Inner, VectorCode]
    rest: Prepared

    def evaluate(self, inputs: Inputs, note: Note) -> Outputs:
        """Evaluate the vector form in whole blocks from the start of each innermost loop, the scalar one after them."""
        loop = innermost(given(inputs, 0).shape, given(inputs, 1).shape)
        cut = self._cut(loop)
        if cut in {0, loop.length}:
            return (self.vector[loop.inner].op if cut else self.rest).evaluate(inputs, note)
        (in_blocks,) = self.vector[loop.inner].op.evaluate(inputs, under(note, "in blocks"))
        (left_over,) = self.rest.evaluate(inputs, under(note, "left over"))
        return (choose(in_blocks, left_over, np.arange(in_blocks.size) % loop.length < cut, note),)

    def compile(self, constants: Inputs) -> Runner:
        """Compile every form; run one on everything, then scalar code again on what is left over."""
        vector = {inner: code.op.compile(constants) for inner, code in self.vector.items()}
        rest = self.rest.compile(constants)

        def run(inputs: Inputs) -> Outputs:
            x1, x2 = given(inputs, 0), given(inputs, 1)
            loop = innermost(x1.shape, x2.shape)
            cut = self._cut(loop)
            if cut == 0:
                return rest(inputs)
            (codes,) = vector[loop.inner](inputs)
            if cut < loop.length:
                rows = np.ascontiguousarray(codes).reshape(-1, loop.length)
                ends = [np.broadcast_to(x, codes.shape).reshape(rows.shape)[:, cut:] for x in (x1, x2)]
                (rows[:, cut:],) = self.rest.evaluate(ends, silent)
                codes = rows.reshape(codes.shape)
            return (codes,)

        return run

    def _cut(self, loop: Run) -> int:
        """Return how many elements of each innermost loop whole blocks take."""
        code = self.vector.get(loop.inner)
        return 0 if code is None else loop.length // code.block * code.block


def choose(in_blocks: Array, left_over: Array, is_in_block: BoolArray, note: Note) -> Array:
    """Choose by place and name the choice."""
    chosen = is_in_block.reshape(in_blocks.shape)
    rule = "in_blocks if is_in_block else left_over"
    codes = np.where(chosen, in_blocks, left_over)
    return note("in place", codes, rule, in_blocks=in_blocks, left_over=left_over, is_in_block=chosen)
