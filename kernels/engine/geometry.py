"""Where windows lie: padding, strides, dilation."""

from __future__ import annotations

import enum
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import as_strided

from kernels.engine.contract import checked_shape, expect
from qmath.types import Array


class Padding(enum.Enum):
    """The schema's padding schemes."""

    SAME = 0
    VALID = 1


@dataclass(frozen=True, slots=True)
class Span:
    """One spatial axis of a sliding window.

    Attributes
    ----------
    size
        Of the input along the axis.
    kernel, stride, dilation
        Taps, step between windows, step between taps.
    output
        Number of windows.
    before, after
        Padding elements at either end; a negative number cuts elements off.

    """

    size: int
    kernel: int
    stride: int
    dilation: int
    output: int
    before: int
    after: int

    @property
    def padded(self) -> int:
        """Size of the input with its padding."""
        return self.before + self.size + self.after


@dataclass(frozen=True, slots=True)
class Window:
    """A window that slides over height and width."""

    height: Span
    width: Span

    @property
    def is_pointwise(self) -> bool:
        """Whether every window is the input pixel at its own place: a 1x1 convolution with stride 1."""
        return not self.pads and all(s.kernel == s.stride == 1 for s in (self.height, self.width))

    @property
    def pads(self) -> bool:
        """Whether any window reaches over an edge."""
        return any(s.before or s.after for s in (self.height, self.width))

    def band(self, first: int, last: int) -> tuple[slice, Window]:
        """Cut out the windows of some rows of the output, from ``first`` to before ``last``.

        Returns
        -------
        slice
            The rows of the input that they meet; at least one. All, if no tap is left that meets any.
        Window
            The windows on those rows.

        """
        high = self.height
        if not high.kernel:
            return self._all_rows(first, last)
        top = first * high.stride - high.before
        bottom = (last - 1) * high.stride + (high.kernel - 1) * high.dilation + 1 - high.before
        start = min(max(top, 0), high.size - 1)
        end = max(min(bottom, high.size), start + 1)
        part = Span(
            end - start, high.kernel, high.stride, high.dilation, last - first, before=start - top, after=bottom - end
        )
        return slice(start, end), Window(part, self.width)

    def padded_band(self, first: int, last: int) -> tuple[slice, Window]:
        """Cut out the same windows where the input lies in memory with its padding, and return which rows those are."""
        high = self.height
        if not high.kernel:
            return self._all_rows(first, last)
        start = first * high.stride
        end = (last - 1) * high.stride + (high.kernel - 1) * high.dilation + 1
        part = Span(end - start, high.kernel, high.stride, high.dilation, last - first, before=0, after=0)
        return slice(start, end), Window(part, self.width)

    def _all_rows(self, first: int, last: int) -> tuple[slice, Window]:
        return slice(0, self.height.size), Window(replace(self.height, output=last - first), self.width)


def span(size: int, kernel: int, stride: int, padding: Padding, dilation: int = 1) -> Span:
    """Lay windows along one axis.

    Source: ``tflite/kernels/padding.h``. SAME gives ``ceil(size / stride)`` windows and puts an odd
    padding element at the end; VALID keeps windows inside. An input that is too small by at most two strides has
    no window at all, which is allowed.

    Raises
    ------
    ModelError
        A size is not positive, or the window is larger than the input by two strides or more.

    """
    expect(size > 0 and kernel > 0, f"positive sizes, found input {size} and kernel {kernel}")
    expect(stride > 0 and dilation > 0, f"positive stride and dilation, found {stride} and {dilation}")
    reach = (kernel - 1) * dilation + 1
    room = size + (stride - 1 if padding is Padding.SAME else stride - reach)
    expect(room > -stride, f"a window of reach {reach} to fit an input of {size} with {padding.name} padding")
    output = max(room, 0) // stride
    total = max((output - 1) * stride + reach - size, 0) if output else 0
    return Span(size, kernel, stride, dilation, output, total // 2, total - total // 2)


def reachable(window: Window) -> tuple[Window, tuple[slice, slice]]:
    """Leave out the taps that meet nothing but padding, wherever the window stands: a wide dilation has such taps.

    Returns
    -------
    Window
        With the taps that are left; its padding is at most twice the size of the image.
    tuple of slice
        Which rows and columns of the kernel they are.

    """
    high, rows = _within_reach(window.height)
    wide, columns = _within_reach(window.width)
    return Window(high, wide), (rows, columns)


def _within_reach(along: Span) -> tuple[Span, slice]:
    travel = (along.output - 1) * along.stride
    first = max(-((travel - along.before) // along.dilation), 0)
    end = min(-(-(along.size + along.before) // along.dilation), along.kernel)
    if along.output == 0 or (first, end) == (0, along.kernel):
        return along, slice(None)
    taps = max(end - first, 0)
    before = along.before - first * along.dilation if taps else 0
    after = travel + (taps - 1) * along.dilation + 1 - along.size - before if taps else 0
    span_left = Span(along.size, taps, along.stride, along.dilation, along.output, before, after)
    return span_left, slice(first, first + taps)


def padded(x: Array, window: Window, fill: float, dtype: npt.DTypeLike | None = None) -> Array:
    """Return ``x`` (NHWC) with the window's padding filled with ``fill``, as ``dtype``; a copy only where needed."""
    dtype = x.dtype if dtype is None else np.dtype(dtype)
    if not window.pads:
        return np.ascontiguousarray(x, dtype)
    high, wide = window.height, window.width
    x = x[:, max(-high.before, 0) : high.size - max(-high.after, 0)]
    x = x[:, :, max(-wide.before, 0) : wide.size - max(-wide.after, 0)]
    n, h, w, c = x.shape
    top, left = max(high.before, 0), max(wide.before, 0)
    out = np.empty(checked_shape((n, high.padded, wide.padded, c)), dtype)
    out[:, :top] = fill
    out[:, top + h :] = fill
    out[:, top : top + h, :left] = fill
    out[:, top : top + h, left + w :] = fill
    out[:, top : top + h, left : left + w] = x
    return out


def patches(x: Array, window: Window) -> Array:
    """View a padded NHWC array as windows: (batch, out_h, out_w, kernel_h, kernel_w, channels), read-only."""
    n, _, _, c = x.shape
    s_n, s_h, s_w, s_c = x.strides
    high, wide = window.height, window.width
    return as_strided(
        x,
        (n, high.output, wide.output, high.kernel, wide.kernel, c),
        (s_n, s_h * high.stride, s_w * wide.stride, s_h * high.dilation, s_w * wide.dilation, s_c),
        writeable=False,
    )
