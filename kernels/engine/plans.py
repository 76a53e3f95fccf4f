"""Linear maps bound to one input shape: everything that does not depend on the values is done once.

A plan has room for its input, padding included, views of the windows in it, and room for what is summed. Its work is
laid out as calls on that memory; running it fills the input in and makes them. Who makes the input may also write it
into the room directly. What an earlier run gave is overwritten by the next.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import as_strided

from kernels.engine import blas, memory
from kernels.engine.contract import checked_shape
from kernels.engine.geometry import Window, patches
from kernels.engine.program import Call, Program, copy, run
from kernels.engine.runs import Runs
from kernels.engine.ufuncs import einsum
from qmath.types import Array

#: Window elements laid out as one matrix at once: enough to keep BLAS busy, bounded for large images.
LAID_OUT = 1 << 21
#: Elements that make a run of memory long enough for ``einsum`` to be at its best.
LONG_RUN = 384
#: Weights from which on a matrix is kept in its own type, and from which on it is too large for the caches anyway.
LARGE, HUGE = 1 << 17, 1 << 19
#: Rows of windows from which on the first rows of all windows are copied before their second ones.
MANY_ROWS = 1 << 13
#: Padded inputs up to this many bytes are kept between runs.
KEPT = 1 << 21

#: ``multiply(a, b, out)`` writes the product of two matrices to ``out``.
Multiply: TypeAlias = Callable[[Array, Array, Array], object]


class Scratch:
    """Memory for what is needed for a moment, used again by whatever is planned with it: one thread's at a time."""

    def __init__(self) -> None:
        self._blocks: dict[str, Array] = {}

    @classmethod
    def of(cls, block: Array) -> Scratch:
        """Return a block of bytes as memory for the input."""
        scratch = cls()
        scratch._blocks["input"] = block
        return scratch

    def take(self, name: str, shape: tuple[int, ...], dtype: npt.DTypeLike) -> Array:
        """Return uninitialized memory; who takes the same name later gets the same."""
        dtype = np.dtype(dtype)
        size = math.prod(checked_shape(shape)) * dtype.itemsize
        block = self._blocks.get(name)
        if block is None or block.nbytes < size:
            block = self._blocks[name] = memory.block(size)
        return block[:size].view(dtype).reshape(shape)

    def forget(self) -> None:
        """Give the memory back; who holds some of it keeps it."""
        self._blocks.clear()


@dataclass(frozen=True, slots=True)
class Stored:
    """A matrix that is kept in a narrower type than it is multiplied in.

    A large matrix does not stay in the caches from one run to the next. Then reading a fourth or half of the bytes and
    converting them takes less time than reading all.

    Attributes
    ----------
    array
        The elements.
    dtype
        What they are multiplied in.

    """

    array: Array
    dtype: np.dtype[Any]

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the matrix."""
        return self.array.shape


#: A matrix of weights.
Matrix: TypeAlias = Array | Stored


def stored(weights: Array, dtype: np.dtype[Any] | None) -> Matrix:
    """Return a matrix as it is best kept: in the type it is multiplied in if it is small, else in its own."""
    if not LARGE <= weights.size < HUGE or weights.dtype == dtype:
        return np.ascontiguousarray(weights, dtype)
    return Stored(np.ascontiguousarray(weights), np.dtype(dtype))


class Room:
    """Memory for an input of one shape, in the type that the sum computes in.

    Attributes
    ----------
    array
        What is summed: the input, with its padding if it has any.
    inside
        The part of it that inputs are written to, in their shape; None where they must be cut or repeated.
    padding
        Writes the padding: what must be done again where something else has used the memory since.

    """

    array: Array
    inside: Array | None
    padding: Program

    def __init__(self, array: Array) -> None:
        self.array = array
        self.inside = array
        self.padding = []

    def at(self, block: Array) -> Room:
        """Return the same room in a block of bytes that something else may use between inputs."""
        return Room(Scratch.of(block).take("input", self.array.shape, self.array.dtype))

    def is_like(self, other: Room) -> bool:
        """Whether the same inputs lie in the same places of both."""
        return self._layout() == other._layout()

    def _layout(self) -> tuple[object, ...]:
        begins = None if self.inside is None else self.inside.ctypes.data - self.array.ctypes.data
        return self.array.shape, self.array.dtype, begins

    def take(self, x: Array) -> None:
        """Copy an input in."""
        self.array[...] = x

    def part(self, images: slice, rows: slice = slice(None)) -> Room:
        """Return a view of some images and padded rows: to sum, not to write to."""
        return Room(self.array[images, rows] if self.array.ndim > 1 else self.array[images])


class Plan:
    """A linear map on inputs of one shape.

    Attributes
    ----------
    take
        Fills an input in.
    sums
        Where a run leaves what it sums, channels last.
    work
        What is done once the input is in.

    """

    def __init__(self, take: Callable[[Array], object], sums: Array, work: Program) -> None:
        self.take = take
        self.sums = sums
        self.work = work

    def __call__(self, x: Array) -> Array:
        """Fill the input in, then ``sums``, and return it."""
        self.take(x)
        run(self.work)
        return self.sums


class Unplanned(Plan):
    """A map that starts anew each time."""

    def __init__(self, compute: Callable[[Array], Array], sums: Array) -> None:
        super().__init__(lambda x: sums.__setitem__(..., compute(x)), sums, [])


class Scaled(Plan):
    """Sums of another plan times a factor a channel, in float64, on long runs."""

    def __init__(self, plan: Plan, factors: Array, scratch: Scratch) -> None:
        sums = scratch.take("scaled", plan.sums.shape, np.float64)
        runs = Runs(sums.size // len(factors), len(factors))
        # To convert and then to multiply takes less time than to multiply numbers of two types.
        scale = [copy(plan.sums, sums), *runs.call(np.multiply, sums, runs.repeated(factors), sums)]
        super().__init__(plan.take, sums, [*plan.work, *scale])


class MatMulPlan(Plan):
    """``x @ matrix``: (..., taps) times (taps, channels)."""

    def __init__(self, shape: tuple[int, ...], matrix: Matrix, scratch: Scratch, room: Room | None = None) -> None:
        room = room or Room(scratch.take("input", shape, matrix.dtype))
        rows = room.array.reshape(math.prod(shape[:-1]), shape[-1])
        sums = scratch.take("sums", (*shape[:-1], matrix.shape[1]), matrix.dtype)
        super().__init__(room.take, sums, _product(rows, matrix, sums.reshape(len(rows), matrix.shape[1]), scratch))


class PaddedInput(Room):
    """Room for an NHWC input of one shape and its padding, each channel ``repeat`` times.

    Parameters
    ----------
    keeps
        Whether nothing else uses the memory, so that the padding is written once; by default that is so if it is
        small.

    """

    def __init__(
        self,
        shape: tuple[int, ...],
        window: Window,
        fill: float,
        dtype: npt.DTypeLike,
        repeat: int,
        scratch: Scratch,
        *,
        keeps: bool | None = None,
    ) -> None:
        high, wide = window.height, window.width
        self._made = shape, window, fill, repeat
        n, _, _, channels = shape
        whole = checked_shape((n, high.padded, wide.padded, channels * repeat))
        if keeps is None:
            keeps = math.prod(whole) * np.dtype(dtype).itemsize <= KEPT
        kept = window.pads and keeps
        super().__init__(memory.full(whole, fill, dtype) if kept else scratch.take("input", whole, dtype))
        self._kept = kept
        cut_top, cut_left = max(-high.before, 0), max(-wide.before, 0)
        h = max(high.size - cut_top - max(-high.after, 0), 0)
        w = max(wide.size - cut_left - max(-wide.after, 0), 0)
        top, left = max(high.before, 0), max(wide.before, 0)
        inside = self.array[:, top : top + h, left : left + w]
        cuts = slice(cut_top, cut_top + h), slice(cut_left, cut_left + w)
        self._cuts = None if (h, w) == (high.size, wide.size) else cuts
        self._repeated = repeat != 1
        self.inside = inside if self._cuts is None and not self._repeated else None
        self._written = inside if repeat == 1 else inside.reshape(*inside.shape[:3], channels, repeat)
        self.padding = [
            (edge.__setitem__, (..., np.asarray(fill, self.array.dtype)))
            for edge in _edges(self.array, slice(top, top + h), slice(left, left + w))
            if edge.size
        ]

    def at(self, block: Array) -> PaddedInput:
        """Return the same room in a block of bytes that something else may use between inputs."""
        shape, window, fill, repeat = self._made
        return PaddedInput(shape, window, fill, self.array.dtype, repeat, Scratch.of(block), keeps=False)

    def take(self, x: Array) -> None:
        """Copy an input in; where the room was used for something else meanwhile, write the padding again."""
        if not self._kept:
            run(self.padding)
        if self._cuts is not None:
            x = x[:, self._cuts[0], self._cuts[1]]
        self._written[...] = x[..., None] if self._repeated else x


class ConvolutionPlan(Plan):
    """:func:`kernels.engine.linear.convolve` as products of matrices.

    Parameters
    ----------
    shape
        Of the input without padding, (batch, in_h, in_w, in_c).
    matrices
        One a group, (kernel_h * kernel_w * in_c / groups, out_c / groups): float32 or float64.
    window, fill
        Where windows lie, and what padding holds.
    multiply
        Another product of matrices than that of BLAS.
    room
        Where the padded input lies, if not in memory of the plan's own.

    """

    def __init__(
        self,
        shape: tuple[int, ...],
        matrices: Sequence[Matrix],
        window: Window,
        fill: float,
        scratch: Scratch,
        multiply: Multiply | None = None,
        room: Room | None = None,
    ) -> None:
        taps, channels = matrices[0].shape
        dtype, high, wide = matrices[0].dtype, window.height.output, window.width.output
        room = room or PaddedInput(shape, window, fill, dtype, 1, scratch)
        sums = scratch.take("sums", (shape[0], high, wide, channels * len(matrices)), dtype)
        super().__init__(room.take, sums, [])
        if window.is_pointwise and len(matrices) == 1:
            pixels = shape[0] * high * wide
            rows = room.array.reshape(pixels, taps)
            self.work += _product(rows, matrices[0], sums.reshape(pixels, channels), scratch, multiply)
            return
        each = room.array.shape[3] // len(matrices)
        height = max(1, LAID_OUT // max(1, wide * taps))
        for image, result in zip(patches(room.array, window), sums, strict=True):
            for start in range(0, len(image), height):
                part = image[start : start + height]
                pixels = len(part) * wide
                into = result[start : start + height].reshape(pixels, channels * len(matrices))
                for group, matrix in enumerate(matrices):
                    windows = part[..., group * each : (group + 1) * each]
                    laid_out = scratch.take("windows", windows.shape, dtype)
                    columns = slice(group * channels, (group + 1) * channels)
                    self.work += _lay_out(windows, laid_out)
                    self.work += _product(laid_out.reshape(pixels, taps), matrix, into[:, columns], scratch, multiply)


class DepthwisePlan(Plan):
    """:func:`kernels.engine.linear.depthwise_convolve` in one pass, with the longest runs of memory there are.

    With stride 1, the pixels that one tap meets in a row of windows are neighbours: one run. With a wider stride, and a
    kernel of whole strides, this is so for a stride of pixels seen as one with as many channels: the sums of its pixels
    are added at the end. If there are so many channels that one pixel's make a run long enough, or taps must be met in
    order, each window is summed for itself.

    Parameters
    ----------
    shape
        Of the input without padding, (batch, in_h, in_w, in_c).
    taps
        (kernel_h, kernel_w, in_c * multiplier): floats or int32.
    window, fill
        Where windows lie, and what padding holds.
    in_order
        Whether taps must be met row by row.
    room
        Where the padded input lies, if not in memory of the plan's own.

    """

    def __init__(
        self,
        shape: tuple[int, ...],
        taps: Array,
        window: Window,
        fill: float,
        scratch: Scratch,
        *,
        in_order: bool = False,
        room: Room | None = None,
    ) -> None:
        channels = taps.shape[2]
        repeat = channels // shape[3] if shape[3] else 1
        room = room or PaddedInput(shape, window, fill, taps.dtype, repeat, scratch)
        padded = room.array
        sums = scratch.take("sums", (shape[0], window.height.output, window.width.output, channels), taps.dtype)
        super().__init__(room.take, sums, [])
        if sums.size == 0:
            return
        if window.width.padded == 1:  # a column lies in memory as a row does
            padded, sums, taps = (array.swapaxes(-3, -2) for array in (padded, sums, taps))
            window = Window(window.width, window.height)
        wide, stride = window.width, window.width.stride
        if stride > 1 and (in_order or channels >= LONG_RUN or wide.dilation > 1 or wide.kernel % stride):
            self.work.append(_sum_of_products("nhwijc,ijc->nhwc", patches(padded, window), taps, sums))
            return
        run = wide.output * stride * channels
        joined = taps.reshape(len(taps), wide.kernel // stride, 1, stride * channels)
        tiled = memory.empty((*joined.shape[:2], run), taps.dtype)
        tiled.reshape(*joined.shape[:2], wide.output, stride * channels)[...] = joined
        found = sums if stride == 1 else scratch.take("pixels", (*sums.shape[:2], run), taps.dtype)
        for image, result in zip(_rows_of_windows(padded, window, tiled.shape[1], run), found, strict=True):
            self.work.append(_sum_of_products("hijc,ijc->hc", image, tiled, result.reshape(-1, run)))
        pixels = found.reshape(*sums.shape[:3], stride, channels)
        for column in range(1, stride):
            first = pixels[..., 0, :] if column == 1 else sums
            self.work.append((np.add, (first, pixels[..., column, :], sums)))


def _lay_out(windows: Array, to: Array) -> Program:
    """Copy windows of shape (out_h, out_w, kernel_h, kernel_w, channels) to an array of that shape.

    A row of a window that lies in one piece is moved as one element of as many bytes.
    """
    size, (_, _, _, columns, channels) = to.itemsize, to.shape
    if windows.strides[3:] != (channels * size, size) or to.size == 0:
        return [copy(windows, to)]
    whole = np.dtype((np.void, columns * channels * size))
    source, target = (array.reshape(*to.shape[:3], -1).view(whole)[..., 0] for array in (windows, to))
    if target.size < MANY_ROWS:
        return [copy(source, target)]
    return [copy(source[:, :, row], target[:, :, row]) for row in range(to.shape[2])]


def _product(a: Array, b: Matrix, out: Array, scratch: Scratch, multiply: Multiply | None = None) -> Program:
    program: Program = []
    if isinstance(b, Stored):
        wide = scratch.take("weights", b.shape, b.dtype)
        program, b = [copy(b.array, wide)], wide
    return [*program, *(blas.product(a, b, out) if multiply is None else [(multiply, (a, b, out))])]


def _edges(array: Array, rows: slice, columns: slice) -> tuple[Array, ...]:
    """Return what lies around some rows and columns of NHWC; the end of a row and the next one's beginning are one."""
    n, high, wide, channels = array.shape
    pitch = wide * channels
    flat = array.reshape(n, high * pitch)
    if rows.start == rows.stop or columns.start == columns.stop:
        return (flat,)
    first, last = (rows.start * wide + columns.start) * channels, ((rows.stop - 1) * wide + columns.stop) * channels
    more = rows.stop - rows.start - 1
    between = flat[:, first : first + more * pitch].reshape(n, more, pitch)
    return flat[:, :first], between[:, :, (columns.stop - columns.start) * channels :], flat[:, last:]


def _sum_of_products(indices: str, x: Array, taps: Array, out: Array) -> Call:
    return partial(einsum, out=out), (indices, x, taps)


def _rows_of_windows(x: Array, window: Window, taps: int, run: int) -> Array:
    """View padded NHWC as (batch, out_h, kernel_h, taps, run): taps are a stride apart, and so are windows.

    A run is the pixels that one tap meets in a row of windows, with those between them.
    """
    n = len(x)
    high, wide = window.height, window.width
    s_n, s_h, s_w, s_c = x.strides
    return as_strided(
        x,
        (n, high.output, high.kernel, taps, run),
        (s_n, s_h * high.stride, s_h * high.dilation, s_w * wide.stride * wide.dilation, s_c),
        writeable=False,
    )
