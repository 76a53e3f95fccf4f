"""Which products one output element sums: what an explanation lists, element by element.

A kernel that sums says for one output element which input elements it reads. The explanation computes the products
itself, from the op's own inputs, and holds their sum against the stage that the definition noted.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from kernels.engine.geometry import Span, Window
from qmath.types import Array, Int64Array


class Fold(enum.Enum):
    """What becomes of the products."""

    SUM = "sum"
    LARGEST = "largest"


@dataclass(frozen=True, slots=True)
class Reads:
    """One factor of each product: elements of an input or of an earlier stage, less a zero point.

    Attributes
    ----------
    source
        Input slot of the op, or name of a stage.
    index
        int64, shape (products, rank): where in it.
    zero_point
        Subtracted from each element.

    """

    source: int | str
    index: Int64Array
    zero_point: int = 0


@dataclass(frozen=True, slots=True)
class Products:
    """The products that make one element of a stage.

    Attributes
    ----------
    factors
        What is multiplied; one factor alone for ops that add up elements.
    padding
        How many products are left out because they lie in the padding and contribute nothing.
    stage
        Name of the stage that they make.
    fold
        How they make it.
    inner
        What makes an element of a stage that a factor reads, if that is a sum too.

    """

    factors: tuple[Reads, ...]
    padding: int = 0
    stage: str = "sum"
    fold: Fold = Fold.SUM
    inner: Inner | None = None


@dataclass(frozen=True, slots=True)
class Inner:
    """The products behind an element of a stage on the way: an example of all such elements.

    Attributes
    ----------
    products
        They make one element of their stage.
    index
        Which one. All stages of the same part, up to ``": "`` in their names, have that element.

    """

    products: Products
    index: tuple[int, ...]


def grid(*axes: int | Iterable[int] | Int64Array) -> Int64Array:
    """Return every index made of one entry an axis, the last axis fastest: shape (indices, axes)."""
    arrays = [np.atleast_1d(np.asarray(axis if isinstance(axis, int) else list(axis), np.int64)) for axis in axes]
    mesh = np.meshgrid(*arrays, indexing="ij")
    return np.stack([axis.ravel() for axis in mesh], axis=1)


def inside(along: Span, position: int) -> tuple[Int64Array, Int64Array]:
    """Return the taps of the window at ``position`` that lie in the input, and the input elements under them."""
    taps = np.arange(along.kernel)
    elements = position * along.stride - along.before + taps * along.dilation
    valid = (elements >= 0) & (elements < along.size)
    return taps[valid], elements[valid]


def over_window(window: Window, row: int, column: int) -> tuple[Int64Array, Int64Array, int]:
    """Return taps and pixels under the window at (row, column), each (count, 2), and how many lie in the padding."""
    (tap_rows, rows), (tap_columns, columns) = inside(window.height, row), inside(window.width, column)
    taps, pixels = grid(tap_rows, tap_columns), grid(rows, columns)
    return taps, pixels, window.height.kernel * window.width.kernel - len(taps)


def of_convolution(
    window: Window, groups: int, filter_shape: tuple[int, ...], index: tuple[int, ...]
) -> tuple[Int64Array, Int64Array, int]:
    """Return what one output of a convolution reads: in the NHWC input, in the OHWI filter, and what is padding."""
    image, at_row, at_column, channel = index
    taps, pixels, padding = over_window(window, at_row, at_column)
    out_c, *_, each = filter_shape
    first = channel // (out_c // groups) * each
    depth = np.tile(np.arange(each), len(taps))
    taps, pixels = np.repeat(taps, each, axis=0), np.repeat(pixels, each, axis=0)
    return indices(image, *pixels.T, first + depth), indices(channel, *taps.T, depth), padding * each


def of_depthwise(window: Window, multiplier: int, index: tuple[int, ...]) -> tuple[Int64Array, Int64Array, int]:
    """Return what one output of a depthwise convolution reads: in the input, in the filter, and what is padding."""
    image, at_row, at_column, channel = index
    taps, pixels, padding = over_window(window, at_row, at_column)
    return indices(image, *pixels.T, channel // multiplier), indices(0, *taps.T, channel), padding


def under_spreading(along: Span, position: int) -> tuple[Int64Array, Int64Array]:
    """Return taps and windows that meet at ``position``: a transposed convolution's view of an axis."""
    taps = np.arange(along.kernel)
    starts = position + along.before - taps * along.dilation
    windows = starts // along.stride
    valid = (starts % along.stride == 0) & (windows >= 0) & (windows < along.output)
    return taps[valid], windows[valid]


def indices(*columns: int | Int64Array) -> Int64Array:
    """Return indices whose entries are columns of the same length, or one number for all: shape (indices, axes)."""
    return np.stack(np.broadcast_arrays(*(np.asarray(column, np.int64) for column in columns)), axis=-1)


def unravelled(flat: Int64Array, shape: tuple[int, ...]) -> Int64Array:
    """Return the index of each flat position in an array of the given shape: shape (positions, rank)."""
    return np.stack(np.unravel_index(flat, shape), axis=-1) if shape else np.zeros((len(flat), 0), np.int64)


def row(index: tuple[int, ...], length: int) -> Int64Array:
    """Return the indices of all elements of the row, along the last axis, that an index lies in."""
    return indices(*index[:-1], np.arange(length))


def values(array: Array, reads: Reads) -> Array:
    """Return the elements that a factor reads, less its zero point."""
    picked = array[tuple(reads.index.T)] if reads.index.shape[1] else np.repeat(array.reshape(-1), len(reads.index))
    return picked.astype(np.int64) - reads.zero_point if picked.dtype.kind in "iu" else picked
