"""Exact integer sums by BLAS.

A float32 sum of integer products is exact, whatever the order of summation and whether or not the processor fuses
multiply and add, as long as no partial sum can reach 2**24; in float64 the bound is 2**53. The bound is the sum of
the magnitudes of a channel's weights times the largest magnitude of an input code, so it is known when the op is
prepared. Sums here are of *raw* codes: ``sum(w * q)``. The zero point enters later as a constant per channel,
because ``sum(w * (q - z)) = sum(w * q) - z * sum(w)``; padding is filled with ``z`` itself.
"""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any, TypeAlias

import numpy as np

from kernels.engine import blas, memory
from kernels.engine.geometry import Window
from kernels.engine.linear import transpose_convolve_fast
from kernels.engine.plans import (
    LONG_RUN,
    ConvolutionPlan,
    DepthwisePlan,
    MatMulPlan,
    Matrix,
    PaddedInput,
    Plan,
    Room,
    Scaled,
    Scratch,
    Unplanned,
    stored,
)
from qmath.types import ActivationRange, Array, DType, Float64Array, Int64Array

#: Integers below these magnitudes are exact in the types.
EXACT_FLOAT32 = 1 << 24
EXACT_INT32 = 1 << 31
EXACT_FLOAT64 = 1 << 53

#: What input codes can be: ``min`` to ``max``.
Codes: TypeAlias = DType | ActivationRange
#: Binds a map to the shape of its input; a window replaces the map's own, and a room holds the input already.
Planner: TypeAlias = Callable[[tuple[int, ...], Scratch, "Window | None", "Room | None"], Plan]


@dataclass(frozen=True, slots=True)
class Reach:
    """What raw sums can be, per output channel, for any input.

    Attributes
    ----------
    lowest, highest
        int64, shape ``(channels,)``.
    magnitude
        Bound on every partial sum's magnitude, over all channels.

    """

    lowest: Int64Array
    highest: Int64Array
    magnitude: int

    @classmethod
    def of(cls, weights: Int64Array, codes: Codes) -> Reach:
        """Derive the reach of ``weights`` (taps, channels) on input codes of a range that holds 0."""
        at_min, at_max = weights * codes.min, weights * codes.max
        magnitude = int(np.abs(weights).sum(axis=0).max(initial=0)) * max(-codes.min, codes.max)
        return cls(np.minimum(at_min, at_max).sum(axis=0), np.maximum(at_min, at_max).sum(axis=0), magnitude)

    def of_channels(self, channels: Int64Array) -> Reach:
        """Return the reach of some channels."""
        return Reach(self.lowest[channels], self.highest[channels], self.magnitude)

    @property
    def dtype(self) -> np.dtype[np.float32] | np.dtype[np.float64] | None:
        """The cheapest float type whose sums are exact, or None."""
        if not blas.is_exact():
            return None
        if self.magnitude < EXACT_FLOAT32:
            return np.dtype(np.float32)
        return np.dtype(np.float64) if self.magnitude < EXACT_FLOAT64 else None


class LinearSum(abc.ABC):
    """A linear map from input codes to raw sums, exact in the type that it computes in.

    Attributes
    ----------
    reach
        What the sums can be.
    products
        How many products make a sum.
    sliding
        Where windows lie on an image that can be cut into bands of rows; None where it can't.

    """

    reach: Reach
    products: int
    sliding: Window | None

    @abc.abstractmethod
    def plan(
        self, shape: tuple[int, ...], scratch: Scratch, window: Window | None = None, room: Room | None = None
    ) -> Plan:
        """Bind the map to inputs of one shape; it leaves raw sums, channels last, in a type that holds them.

        A window replaces ``sliding``: what :meth:`kernels.engine.geometry.Window.band` cuts out of it. A room is one of
        :meth:`room`, or a part of it, with an input written to it already.
        """

    def room(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Room | None:
        """Return memory of its own for inputs of one shape, where whoever makes an input may write it.

        ``dtype`` is that of the sums. Returns None where the map makes something else of its input first.
        """
        del shape, dtype
        return None

    def __call__(self, x: Array) -> Array:
        """Return raw sums, in memory of their own."""
        return self.plan(x.shape, Scratch())(x)

    def scaled(self, scale: Float64Array) -> Planner:
        """Return the map to ``raw sum * scale`` in float64, one scale a channel.

        It is exact where every product of the scale with a sum in reach is; whoever asks has proven that.
        """

        def plan(shape: tuple[int, ...], scratch: Scratch, window: Window | None, room: Room | None) -> Plan:
            return Scaled(self.plan(shape, scratch, window, room), scale, scratch)

        return plan


@dataclass(frozen=True)
class MatMul(LinearSum):
    """``x @ weights``: (..., taps) times (taps, channels)."""

    weights: Array
    codes: Codes
    reach: Reach = field(init=False)
    products: int = field(init=False)
    sliding: Window | None = field(init=False)

    def __post_init__(self) -> None:
        """Bound the sums."""
        object.__setattr__(self, "products", len(self.weights))
        object.__setattr__(self, "sliding", None)
        object.__setattr__(self, "reach", Reach.of(self.weights, self.codes))
        object.__setattr__(self, "weights", _narrowed(self.weights))

    @cached_property
    def _matrix(self) -> Matrix:
        """The weights, multiplied in the float type that the bound allows."""
        return stored(self.weights, self.reach.dtype)

    def plan(
        self, shape: tuple[int, ...], scratch: Scratch, window: Window | None = None, room: Room | None = None
    ) -> Plan:
        """Multiply."""
        del window
        return MatMulPlan(shape, self._matrix, scratch, room)

    def room(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Room:
        """Return rows."""
        return Room(memory.empty(shape, dtype))

    def scaled(self, scale: Float64Array) -> Planner:
        """Fold the scale into the weights."""
        matrix = stored(_narrowed_floats(self.weights * scale), np.dtype(np.float64))
        return lambda shape, scratch, _, room: MatMulPlan(shape, matrix, scratch, room)


@dataclass(frozen=True)
class Convolution(LinearSum):
    """A convolution of NHWC codes with an OHWI filter, possibly in groups of channels; padding holds ``fill``."""

    filter: Array
    window: Window
    groups: int
    fill: int
    codes: Codes
    reach: Reach = field(init=False)
    products: int = field(init=False)
    sliding: Window | None = field(init=False)

    def __post_init__(self) -> None:
        """Bound the sums."""
        object.__setattr__(self, "products", self.filter[:1].size)
        object.__setattr__(self, "sliding", self.window)
        matrix = self.filter.reshape(self.filter.shape[0], -1).T
        object.__setattr__(self, "reach", Reach.of(matrix, self.codes))
        object.__setattr__(self, "filter", _narrowed(self.filter))

    @cached_property
    def _matrices(self) -> tuple[Matrix, ...]:
        """The filter as one (taps, channels) matrix a group, multiplied in the float type that the bound allows."""
        return _blocks(self.filter.reshape(self.filter.shape[0], -1).T, self.groups, self.reach.dtype)

    def plan(
        self, shape: tuple[int, ...], scratch: Scratch, window: Window | None = None, room: Room | None = None
    ) -> Plan:
        """Convolve by matrix products."""
        return ConvolutionPlan(shape, self._matrices, window or self.window, self.fill, scratch, room=room)

    def room(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Room:
        """Return an image with its padding."""
        return PaddedInput(shape, self.window, self.fill, dtype, 1, Scratch(), keeps=False)

    def scaled(self, scale: Float64Array) -> Planner:
        """Fold the scale into the filter."""
        matrix = _narrowed_floats(self.filter.reshape(self.filter.shape[0], -1).T * scale)
        matrices = _blocks(matrix, self.groups, np.dtype(np.float64))
        return lambda shape, scratch, window, room: ConvolutionPlan(
            shape, matrices, window or self.window, self.fill, scratch, room=room
        )


@dataclass(frozen=True)
class DepthwiseConvolution(LinearSum):
    """A depthwise convolution of NHWC codes; output channel ``c * multiplier + m`` reads input channel ``c``.

    ``einsum`` does not need BLAS, so int32 serves where float32 is too narrow, at the same speed.
    """

    filter: Int64Array  # (kernel_h, kernel_w, channels * multiplier)
    window: Window
    fill: int
    codes: Codes
    reach: Reach = field(init=False)
    products: int = field(init=False)
    sliding: Window | None = field(init=False)
    _taps: Array = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Bound the sums and store the taps in the type that the bound allows."""
        object.__setattr__(self, "products", self.filter[:, :, :1].size)
        filter_, window = _in_whole_strides(self.filter, self.window)
        object.__setattr__(self, "window", window)
        object.__setattr__(self, "sliding", window)
        reach = Reach.of(self.filter.reshape(-1, self.filter.shape[-1]), self.codes)
        narrow = EXACT_FLOAT32 <= reach.magnitude < EXACT_INT32
        object.__setattr__(self, "reach", reach)
        object.__setattr__(self, "_taps", np.ascontiguousarray(filter_, np.int32 if narrow else reach.dtype))

    def plan(
        self, shape: tuple[int, ...], scratch: Scratch, window: Window | None = None, room: Room | None = None
    ) -> Plan:
        """Multiply and add over the taps in one pass.

        The scale of :meth:`scaled` is left for a pass of its own: int32 sums and it cost less than float64 sums alone.
        """
        return DepthwisePlan(shape, self._taps, window or self.window, self.fill, scratch, room=room)

    def room(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Room | None:
        """Return an image with its padding, unless its channels must be repeated."""
        del dtype
        repeat = self._taps.shape[2] // shape[3]
        room = PaddedInput(shape, self.window, self.fill, self._taps.dtype, repeat, Scratch(), keeps=False)
        return room if repeat == 1 else None


@dataclass(frozen=True)
class PixelSum(LinearSum):
    """The sum over height and width of NHWC codes, whose two axes stay with size 1 or go."""

    shape: tuple[int, ...]
    keep_dims: bool
    codes: Codes
    reach: Reach = field(init=False)
    products: int = field(init=False)
    sliding: Window | None = field(init=False)

    def __post_init__(self) -> None:
        """Bound the sums."""
        _, high, wide, channels = self.shape
        lowest, highest = (np.full(channels, high * wide * code) for code in (self.codes.min, self.codes.max))
        magnitude = high * wide * max(-self.codes.min, self.codes.max)
        object.__setattr__(self, "products", high * wide)
        object.__setattr__(self, "sliding", None)
        object.__setattr__(self, "reach", Reach(lowest, highest, magnitude))

    def plan(
        self, shape: tuple[int, ...], scratch: Scratch, window: Window | None = None, room: Room | None = None
    ) -> Plan:
        """Add row after row of channels."""
        del window
        dtype = np.dtype(self.reach.dtype)
        room = room or Room(scratch.take("input", shape, dtype))
        n, high, wide, channels = shape
        sums = scratch.take("sums", (n, 1, 1, channels) if self.keep_dims else (n, channels), dtype)
        add = partial(np.add.reduce, axis=1, out=sums.reshape(n, channels))
        return Plan(room.take, sums, [(add, (room.array.reshape(n, high * wide, channels),))])

    def room(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Room:
        """Return an image."""
        return Room(memory.empty(shape, dtype))


@dataclass(frozen=True)
class TransposeConvolution(LinearSum):
    """A transposed convolution of NHWC codes, less ``zero_point``, with an OHWI filter.

    Which taps meet at an output depends on where it lies, so the zero point cannot become a constant per channel.
    """

    filter: Array
    window: Window
    zero_point: int
    codes: Codes
    reach: Reach = field(init=False)
    products: int = field(init=False)
    sliding: Window | None = field(init=False)

    def __post_init__(self) -> None:
        """Bound the sums."""
        object.__setattr__(self, "products", self.filter[:1].size)
        object.__setattr__(self, "sliding", None)
        taps = self.filter.reshape(self.filter.shape[0], -1).T
        shifted = ActivationRange(min(self.codes.min - self.zero_point, 0), max(self.codes.max - self.zero_point, 0))
        object.__setattr__(self, "reach", Reach.of(taps, shifted))
        object.__setattr__(self, "filter", _narrowed(self.filter))

    @cached_property
    def _matrix(self) -> Array:
        """The filter as one (in_c, taps * out_c) matrix."""
        return _spread(self.filter).astype(self.reach.dtype)

    def plan(
        self, shape: tuple[int, ...], scratch: Scratch, window: Window | None = None, room: Room | None = None
    ) -> Plan:
        """Spread every input over its window and add up."""
        del window, room
        return self._plan(shape, scratch, self._matrix)

    def scaled(self, scale: Float64Array) -> Planner:
        """Fold the scale into the filter."""
        matrix = _spread(self.filter * scale[:, None, None, None])
        return lambda shape, scratch, *_: self._plan(shape, scratch, matrix)

    def _plan(self, shape: tuple[int, ...], scratch: Scratch, matrix: Array) -> Plan:
        whole = shape[0], self.window.height.size, self.window.width.size, len(self.filter)
        return Unplanned(lambda x: self._convolve(x, matrix), scratch.take("sums", whole, matrix.dtype))

    def _convolve(self, x: Array, matrix: Array) -> Array:
        real = x.astype(matrix.dtype)
        real -= self.zero_point
        return transpose_convolve_fast(real, matrix, self.window)


def _in_whole_strides(filter_: Int64Array, window: Window) -> tuple[Int64Array, Window]:
    """Add columns of zeros to a depthwise filter until it is whole strides wide: see :class:`DepthwisePlan`."""
    wide = window.width
    more = -wide.kernel % wide.stride
    if more >= wide.kernel or filter_.shape[2] >= LONG_RUN or wide.dilation > 1:
        return filter_, window
    after = dataclasses.replace(wide, kernel=wide.kernel + more, after=wide.after + more)
    return np.pad(filter_, ((0, 0), (0, more), (0, 0))), dataclasses.replace(window, width=after)


def _narrowed(weights: Int64Array) -> Array:
    """Return the same integers in the narrowest type: they are kept only to make matrices of them."""
    ends = int(weights.min(initial=0)), int(weights.max(initial=0))
    for narrow in (np.int8, np.int16, np.int32):
        info = np.iinfo(narrow)
        if info.min <= ends[0] and ends[1] <= info.max:
            return weights.astype(narrow)
    return weights


def _narrowed_floats(weights: Float64Array) -> Array:
    """Return the same numbers in float32 if that holds them all: 8 bits times a multiplier of 16 bits may."""
    narrow = weights.astype(np.float32)
    return narrow if np.array_equal(narrow, weights) else weights


def _blocks(matrix: Array, groups: int, dtype: np.dtype[Any] | None) -> tuple[Matrix, ...]:
    return tuple(stored(block, dtype) for block in np.split(matrix, groups, axis=1))


def _spread(filter_: Array) -> Array:
    """Lay an OHWI filter out as (in_c, kernel_h * kernel_w * out_c)."""
    out_c, kernel_h, kernel_w, in_c = filter_.shape
    return np.ascontiguousarray(filter_.transpose(3, 1, 2, 0)).reshape(in_c, kernel_h * kernel_w * out_c)


def matmul(a: Array, b: Array) -> Int64Array:
    """Multiply integer matrices exactly: by BLAS where the values at hand cannot leave a float's integers.

    Parameters
    ----------
    a, b
        Integers, shapes that ``np.matmul`` takes; every sum of products must fit int64.

    Returns
    -------
    Int64Array
        ``a @ b``.

    """
    largest = _magnitude(a) * _magnitude(b) * a.shape[-1]
    if largest >= EXACT_FLOAT64:
        return np.asarray(np.matmul(a.astype(np.int64, copy=False), b.astype(np.int64, copy=False)))
    dtype = np.float32 if largest < EXACT_FLOAT32 else np.float64
    return np.asarray(np.matmul(a.astype(dtype), b.astype(dtype)), np.int64)


def _magnitude(values: Array) -> int:
    return max(-int(values.min()), int(values.max())) if values.size else 0
