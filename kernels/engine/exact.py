"""Exact integer sums by BLAS.

A float32 sum of integer products is exact, whatever the order of summation and whether or not the processor fuses
multiply and add, as long as no partial sum can reach 2**24; in float64 the bound is 2**53. The bound is the sum of
the magnitudes of a channel's weights times the largest magnitude of an input code, so it is known when the op is
prepared. Sums here are of *raw* codes: ``sum(w * q)``. The zero point enters later as a constant per channel,
because ``sum(w * (q - z)) = sum(w * q) - z * sum(w)``; padding is filled with ``z`` itself.
"""

from __future__ import annotations

import abc
from dataclasses import dataclass, field

import numpy as np

from kernels.engine.geometry import Window, padded, patches
from qmath.types import Array, DType, Int64Array

#: Integers up to these magnitudes are exact in the float types.
EXACT_FLOAT32 = 1 << 24
EXACT_FLOAT64 = 1 << 53


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
    def of(cls, weights: Int64Array, codes: DType) -> Reach:
        """Derive the reach of ``weights`` (taps, channels) on input codes of a type."""
        at_min, at_max = weights * codes.min, weights * codes.max
        magnitude = int(np.abs(weights).sum(axis=0).max(initial=0)) * max(-codes.min, codes.max)
        return cls(np.minimum(at_min, at_max).sum(axis=0), np.maximum(at_min, at_max).sum(axis=0), magnitude)

    @property
    def dtype(self) -> np.dtype[np.float32] | np.dtype[np.float64] | None:
        """The cheapest float type whose sums are exact, or None."""
        if self.magnitude < EXACT_FLOAT32:
            return np.dtype(np.float32)
        return np.dtype(np.float64) if self.magnitude < EXACT_FLOAT64 else None


class LinearSum(abc.ABC):
    """A linear map from input codes to raw sums, exact in ``dtype``."""

    reach: Reach

    @abc.abstractmethod
    def __call__(self, x: Array) -> Array:
        """Return raw sums in the float type of the reach, channels last."""


@dataclass(frozen=True)
class MatMul(LinearSum):
    """``x @ weights``: (..., taps) times (taps, channels)."""

    weights: Int64Array
    codes: DType
    reach: Reach = field(init=False)
    _matrix: Array = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Bound the sums and store the weights in the float type that the bound allows."""
        object.__setattr__(self, "reach", Reach.of(self.weights, self.codes))
        object.__setattr__(self, "_matrix", np.ascontiguousarray(self.weights, self.reach.dtype))

    def __call__(self, x: Array) -> Array:
        """Multiply."""
        sums: Array = np.matmul(x.astype(self._matrix.dtype, copy=False), self._matrix)
        return sums


@dataclass(frozen=True)
class Convolution(LinearSum):
    """A convolution of NHWC codes with an OHWI filter, possibly in groups of channels."""

    filter: Int64Array
    window: Window
    groups: int
    fill: int
    codes: DType
    reach: Reach = field(init=False)
    _matrices: tuple[Array, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Bound the sums and lay the filter out as one (taps, channels) matrix a group."""
        matrix = self.filter.reshape(self.filter.shape[0], -1).T
        reach = Reach.of(matrix, self.codes)
        object.__setattr__(self, "reach", reach)
        halves = np.split(np.ascontiguousarray(matrix, reach.dtype), self.groups, axis=1)
        object.__setattr__(self, "_matrices", tuple(np.ascontiguousarray(half) for half in halves))

    def __call__(self, x: Array) -> Array:
        """Convolve one image after the other as a matrix product of its windows."""
        dtype = self._matrices[0].dtype
        if self.window.is_pointwise and self.groups == 1:
            sums: Array = np.matmul(x.astype(dtype, copy=False), self._matrices[0])
            return sums
        views = patches(padded(x, self.window, self.fill, dtype), self.window)
        out = np.empty((*views.shape[:3], self.filter.shape[0]), dtype)
        each = views.shape[-1] // self.groups
        wide = self.filter.shape[0] // self.groups
        for image, result in zip(views, out, strict=True):
            for group, matrix in enumerate(self._matrices):
                taps = image[..., group * each : (group + 1) * each].reshape(-1, matrix.shape[0])
                result[..., group * wide : (group + 1) * wide] = (taps @ matrix).reshape(*result.shape[:2], wide)
        return out


@dataclass(frozen=True)
class DepthwiseConvolution(LinearSum):
    """A depthwise convolution of NHWC codes; output channel ``c * multiplier + m`` reads input channel ``c``."""

    filter: Int64Array  # (kernel_h, kernel_w, channels * multiplier)
    window: Window
    multiplier: int
    fill: int
    codes: DType
    reach: Reach = field(init=False)
    _taps: Array = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Bound the sums and store the taps in the float type that the bound allows."""
        reach = Reach.of(self.filter.reshape(-1, self.filter.shape[-1]), self.codes)
        object.__setattr__(self, "reach", reach)
        object.__setattr__(self, "_taps", np.ascontiguousarray(self.filter, reach.dtype))

    def __call__(self, x: Array) -> Array:
        """Multiply and add over the taps in one pass, with the longest inner run of memory that the strides allow."""
        x = padded(x, self.window, self.fill, self._taps.dtype)
        if self.multiplier > 1:
            x = np.repeat(x, self.multiplier, axis=-1)
        if self.window.height.stride == self.window.width.stride == 1:
            return self._in_runs(x)
        views = patches(x, self.window)
        sums: Array = np.einsum("nhwijc,ijc->nhwc", views, self._taps, optimize=False)
        return sums

    def _in_runs(self, x: Array) -> Array:
        """With stride 1, a whole padded row of windows is one run of memory; the columns past the edge are dropped."""
        n, _, width, channels = x.shape
        high, wide = self.window.height, self.window.width
        used = (wide.output - 1) * channels + channels
        run = width * channels
        flat = np.ascontiguousarray(x).reshape(n, -1)
        taps = np.tile(self._taps, (1, 1, wide.output))
        item = flat.itemsize
        views = np.lib.stride_tricks.as_strided(
            flat,
            (n, high.output, high.kernel, wide.kernel, used),
            (flat.strides[0], run * item, high.dilation * run * item, wide.dilation * channels * item, item),
            writeable=False,
        )
        out = np.empty((n, high.output, used), flat.dtype)
        for image, result in zip(views, out, strict=True):
            np.einsum("hijc,ijc->hc", image, taps, out=result, optimize=False)
        return out.reshape(n, high.output, wide.output, channels)


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
