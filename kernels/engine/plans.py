"""Linear maps bound to one input shape: everything that does not depend on the values is done once.

A plan holds the padded input, whose padding is written once, views of the windows in it, and room for what is summed.
Running it fills the input in and multiplies. What an earlier run gave is overwritten by the next.
"""

from __future__ import annotations

import abc
import math
from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import as_strided

from kernels.engine.contract import checked_shape
from kernels.engine.geometry import Window, patches
from kernels.engine.ufuncs import einsum
from qmath.types import Array

#: Window elements laid out as one matrix at once: enough to keep BLAS busy, bounded for large images.
LAID_OUT = 1 << 21
#: Elements that make a run of memory long enough for ``einsum`` to be at its best.
LONG_RUN = 384
#: Padded inputs up to this many bytes are kept between runs.
KEPT = 1 << 21

#: ``multiply(a, b, out)`` writes the product of two matrices to ``out``.
Multiply: TypeAlias = Callable[[Array, Array, Array], object]


class Scratch:
    """Memory for what is needed for a moment, used again by whatever is planned with it: one thread's at a time."""

    def __init__(self) -> None:
        self._blocks: dict[str, Array] = {}

    def take(self, name: str, shape: tuple[int, ...], dtype: npt.DTypeLike) -> Array:
        """Return uninitialized memory; who takes the same name later gets the same."""
        dtype = np.dtype(dtype)
        size = math.prod(checked_shape(shape)) * dtype.itemsize
        block = self._blocks.get(name)
        if block is None or block.nbytes < size:
            block = self._blocks[name] = np.empty(-(-size // 8), np.float64)
        return block.view(np.uint8)[:size].view(dtype).reshape(shape)


class Plan(abc.ABC):
    """A linear map on inputs of one shape.

    Attributes
    ----------
    sums
        Where a run leaves what it sums, channels last.

    """

    sums: Array

    @abc.abstractmethod
    def __call__(self, x: Array) -> Array:
        """Fill ``sums`` and return it."""


class Unplanned(Plan):
    """A map that starts anew each time."""

    def __init__(self, compute: Callable[[Array], Array], sums: Array) -> None:
        self._compute = compute
        self.sums = sums

    def __call__(self, x: Array) -> Array:
        """Compute and copy."""
        self.sums[...] = self._compute(x)
        return self.sums


class Scaled(Plan):
    """Sums of another plan times a factor a channel, in float64, on long runs."""

    def __init__(self, plan: Plan, factors: Array, fold: int, scratch: Scratch) -> None:
        self._plan = plan
        self.sums = scratch.take("scaled", plan.sums.shape, np.float64)
        self._runs = plan.sums.reshape(-1, fold * len(factors))
        self._scaled_runs = self.sums.reshape(self._runs.shape)
        self._factors = np.tile(factors, fold)

    def __call__(self, x: Array) -> Array:
        """Sum, then multiply."""
        self._plan(x)
        np.multiply(self._runs, self._factors, self._scaled_runs)
        return self.sums


class MatMulPlan(Plan):
    """``x @ matrix``: (..., taps) times (taps, channels)."""

    def __init__(self, shape: tuple[int, ...], matrix: Array, scratch: Scratch) -> None:
        self._x = scratch.take("input", shape, matrix.dtype)
        self._rows = self._x.reshape(math.prod(shape[:-1]), shape[-1])
        self._matrix = matrix
        self.sums = scratch.take("sums", (*shape[:-1], matrix.shape[1]), matrix.dtype)
        self._product = self.sums.reshape(len(self._rows), matrix.shape[1])

    def __call__(self, x: Array) -> Array:
        """Convert and multiply."""
        self._x[...] = x
        self._rows.dot(self._matrix, self._product)
        return self.sums


class PaddedInput:
    """Room for an NHWC input of one shape and its padding, each channel ``repeat`` times."""

    def __init__(
        self, shape: tuple[int, ...], window: Window, fill: float, dtype: npt.DTypeLike, repeat: int, scratch: Scratch
    ) -> None:
        high, wide = window.height, window.width
        n, _, _, channels = shape
        whole = checked_shape((n, high.padded, wide.padded, channels * repeat))
        kept = window.pads and math.prod(whole) * np.dtype(dtype).itemsize <= KEPT
        self.array: Array = np.full(whole, fill, dtype) if kept else scratch.take("input", whole, dtype)
        cut_top, cut_left = max(-high.before, 0), max(-wide.before, 0)
        h = max(high.size - cut_top - max(-high.after, 0), 0)
        w = max(wide.size - cut_left - max(-wide.after, 0), 0)
        top, left = max(high.before, 0), max(wide.before, 0)
        inside = self.array[:, top : top + h, left : left + w]
        self._inside = inside if repeat == 1 else inside.reshape(*inside.shape[:3], channels, repeat)
        self._repeated = repeat != 1
        cuts = slice(cut_top, cut_top + h), slice(cut_left, cut_left + w)
        self._cuts = None if (h, w) == (high.size, wide.size) else cuts
        self._fill = fill
        middle = self.array[:, top : top + h]
        edges = (self.array[:, :top], self.array[:, top + h :], middle[:, :, :left], middle[:, :, left + w :])
        self._edges = () if kept else tuple(edge for edge in edges if edge.size)

    def take(self, x: Array) -> None:
        """Copy an input in; where the room was used for something else meanwhile, write the padding again."""
        for edge in self._edges:
            edge[...] = self._fill
        if self._cuts is not None:
            x = x[:, self._cuts[0], self._cuts[1]]
        self._inside[...] = x[..., None] if self._repeated else x


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
        BLAS, or another product of matrices.

    """

    def __init__(
        self,
        shape: tuple[int, ...],
        matrices: Sequence[Array],
        window: Window,
        fill: float,
        scratch: Scratch,
        multiply: Multiply = np.matmul,
    ) -> None:
        taps, channels = matrices[0].shape
        dtype, high, wide = matrices[0].dtype, window.height.output, window.width.output
        self._input = PaddedInput(shape, window, fill, dtype, 1, scratch)
        self._multiply = multiply
        self.sums = scratch.take("sums", (shape[0], high, wide, channels * len(matrices)), dtype)
        #: Windows, room to lay them out in and the same room as a matrix, filter, and where the product belongs.
        self._steps: list[tuple[Array | None, Array, Array, Array, Array]] = []
        if window.is_pointwise and len(matrices) == 1:
            pixels = shape[0] * high * wide
            rows = self._input.array.reshape(pixels, taps)
            self._steps.append((None, rows, rows, matrices[0], self.sums.reshape(pixels, channels)))
            return
        each = shape[3] // len(matrices)
        height = max(1, LAID_OUT // max(1, wide * taps))
        for image, result in zip(patches(self._input.array, window), self.sums, strict=True):
            for start in range(0, len(image), height):
                part = image[start : start + height]
                pixels = len(part) * wide
                into = result[start : start + height].reshape(pixels, channels * len(matrices))
                for group, matrix in enumerate(matrices):
                    windows = part[..., group * each : (group + 1) * each]
                    room = scratch.take("windows", windows.shape, dtype)
                    columns = slice(group * channels, (group + 1) * channels)
                    self._steps.append((windows, room, room.reshape(pixels, taps), matrix, into[:, columns]))

    def __call__(self, x: Array) -> Array:
        """Lay windows out and multiply."""
        self._input.take(x)
        for windows, room, rows, matrix, out in self._steps:
            if windows is not None:
                room[...] = windows
            self._multiply(rows, matrix, out)
        return self.sums


class DepthwisePlan(Plan):
    """:func:`kernels.engine.linear.depthwise_convolve` in one pass, with the longest runs of memory there are.

    With stride 1, the pixels that one tap meets in a row of windows are neighbours: one run. With a wider stride they
    are neighbours in one of ``stride`` images that each hold every stride-th column, so the taps are summed image by
    image; unless there are so many channels that one pixel's make a run long enough, or taps must be met in order.

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
    ) -> None:
        channels, wide, stride = taps.shape[2], window.width, window.width.stride
        self._input = PaddedInput(shape, window, fill, taps.dtype, channels // shape[3], scratch)
        padded = self._input.array
        self.sums = scratch.take("sums", (shape[0], window.height.output, wide.output, channels), taps.dtype)
        #: Columns to gather first and where to; then what ``einsum`` takes, and where the result belongs.
        self._gathered: list[tuple[Array, Array]] = []
        self._products: list[tuple[str, Array, Array, Array]] = []
        self._added: list[tuple[Array, Array, Array, Array]] = []
        if self.sums.size == 0:
            return
        if stride > 1 and (in_order or channels >= LONG_RUN or wide.dilation > 1 or wide.kernel < stride):
            self._products.append(("nhwijc,ijc->nhwc", patches(padded, window), taps, self.sums))
            return
        results = self.sums.reshape(*self.sums.shape[:2], -1)
        for phase in range(stride):
            columns = padded
            if stride > 1:
                every = padded[:, :, phase::stride]
                columns = scratch.take(f"columns {phase}", every.shape, taps.dtype)
                self._gathered.append((columns, every))
            tiled = np.tile(taps[:, phase::stride], (1, 1, wide.output))
            for image, result in zip(_rows_of_windows(columns, window, tiled.shape[1]), results, strict=True):
                if phase == 0:
                    self._products.append(("hijc,ijc->hc", image, tiled, result))
                else:
                    self._added.append((image, tiled, result, scratch.take("more", result.shape, taps.dtype)))

    def __call__(self, x: Array) -> Array:
        """Multiply and add over the taps."""
        self._input.take(x)
        for columns, every in self._gathered:
            columns[...] = every
        for indices, pixels, taps, out in self._products:
            einsum(indices, pixels, taps, out=out)
        for pixels, taps, out, room in self._added:
            einsum("hijc,ijc->hc", pixels, taps, out=room)
            np.add(out, room, out)
        return self.sums


def _rows_of_windows(x: Array, window: Window, taps: int) -> Array:
    """View padded NHWC, where neighbouring windows start a pixel apart, as (batch, out_h, kernel_h, taps, run).

    A run is the pixels that one tap meets in a row of windows, which lie one after the other.
    """
    n, _, _, channels = x.shape
    high, wide = window.height, window.width
    s_n, s_h, s_w, s_c = x.strides
    return as_strided(
        x,
        (n, high.output, high.kernel, taps, wide.output * channels),
        (s_n, s_h * high.stride, s_h * high.dilation, s_w * wide.dilation, s_c),
        writeable=False,
    )
