"""Where the rows and columns of a resized image lie on the input, and how four neighbours are weighed.

Source: ``tflite/kernels/internal/reference/resize_bilinear.h``, ``resize_nearest_neighbor.h``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from kernels.engine.contract import checked_shape, expect
from kernels.engine.movement import integers
from kernels.engine.types import Inputs, given
from qmath.errors import UnsupportedError
from qmath.fixed_point import wrap_int32
from qmath.rounding import divide_toward_zero, round_half_away_from_zero
from qmath.stages import Note
from qmath.types import Array, Int64Array

#: Bits behind the point, and one step of the input, in the fixed-point coordinates of integer images.
FRACTION_BITS = 10
UNIT = 1 << FRACTION_BITS


@dataclass(frozen=True, slots=True)
class Grid:
    """How output rows and columns are placed on the input."""

    align_corners: bool
    half_pixel_centers: bool


@dataclass(frozen=True, slots=True)
class Neighbours:
    """For each output row (or column), the two input rows beside it and how far it is from the first.

    Attributes
    ----------
    lower, upper
        int64, shape ``(out,)``: indices.
    distance
        Shape ``(out,)``: from the lower one, in units of :data:`UNIT` or as float32.

    """

    lower: Int64Array
    upper: Int64Array
    distance: Array

    def part(self, places: slice) -> Neighbours:
        """Return those of some of the output rows."""
        return Neighbours(self.lower[places], self.upper[places], self.distance[places])


def fixed_point_neighbours(size: int, wanted: int, grid: Grid) -> Neighbours:
    """Place rows in fixed point: coordinates in units of 1/1024, the scale rounded to the nearest such unit.

    Quirk: RESIZE_BILINEAR of int8 and int16 reads beyond the image where the rounded scale carries the last rows there,
    as from 10 rows to 280; quantref refuses such sizes.
    """
    spans, parts = (size - 1, wanted - 1) if grid.align_corners and wanted > 1 else (size, wanted)
    scale = (UNIT * spans + parts // 2) // parts
    coordinate = np.arange(wanted, dtype=np.int64) * scale
    if grid.half_pixel_centers:
        coordinate = coordinate + scale // 2 - UNIT // 2
    coordinate = wrap_int32(coordinate)
    lower = np.maximum(divide_toward_zero(coordinate, UNIT), 0)
    upper = np.minimum(divide_toward_zero(coordinate + UNIT - 1, UNIT), size - 1)
    return Neighbours(_within(lower, size), upper, coordinate - UNIT * lower)


def float_neighbours(size: int, wanted: int, grid: Grid, *, fused: bool = False) -> Neighbours:
    """Place rows in float32; ``fused`` rounds half-pixel coordinates once."""
    spans, parts = (size - 1, wanted - 1) if grid.align_corners and wanted > 1 else (size, wanted)
    scale = np.float32(spans) / np.float32(parts)
    coordinate = np.arange(wanted, dtype=np.float32)
    if grid.half_pixel_centers:
        centre = coordinate + np.float32(0.5)
        coordinate = _less_half_at_once(centre, scale) if fused else centre * scale - np.float32(0.5)
    else:
        coordinate = coordinate * scale
    lower = np.maximum(np.floor(coordinate).astype(np.int64), 0)
    upper = np.minimum(np.ceil(coordinate).astype(np.int64), size - 1)
    return Neighbours(_within(lower, size), upper, coordinate - lower.astype(np.float32))


def _less_half_at_once(centre: Array, scale: np.float32) -> Array:
    """Compute ``centre * scale - 1/2`` with one rounding."""
    return np.asarray(centre.astype(np.float64) * np.float64(scale) - 0.5).astype(np.float32)


def _within(lower: Int64Array, size: int) -> Int64Array:
    """Check that no output row begins beyond the input, where rounding the scale may carry the last ones.

    Raises
    ------
    UnsupportedError
        The last rows do.

    """
    if lower[-1] >= size:
        raise UnsupportedError(f"RESIZE_BILINEAR from {size} to {len(lower)} rows or columns: the runtime reads beyond")
    return lower


def nearest(size: int, wanted: int, grid: Grid) -> Int64Array:
    """Choose the input row for each output row, in float32.

    With align_corners the coordinate is rounded, ties away from zero; else its fraction is dropped.

    Quirk: RESIZE_NEAREST_NEIGHBOR with half_pixel_centers adds 1/2 before scaling but does not take it off after.
    """
    spans, parts = (size - 1, wanted - 1) if grid.align_corners and wanted > 1 else (size, max(wanted, 1))
    scale = np.float32(spans) / np.float32(parts)
    offset = np.float32(0.5 if grid.half_pixel_centers else 0.0)
    coordinate = (np.arange(wanted, dtype=np.float32) + offset) * scale
    chosen = round_half_away_from_zero(coordinate) if grid.align_corners else np.floor(coordinate)
    return np.clip(chosen.astype(np.int64), 0, size - 1)


#: Elements of the output that are made at a time: arrays on the way to it are several times its size.
BLOCK = 1 << 16


def in_blocks(x: Array, rows: Neighbours, columns: Neighbours, resize: Callable[[Neighbours], Array]) -> Array:
    """Resize some rows of the output at a time."""
    height, width = len(rows.lower), len(columns.lower)
    y = np.empty((x.shape[0], height, width, x.shape[3]), x.dtype)
    step = max(1, BLOCK * height // max(1, y.size))
    for start in range(0, height, step):
        y[:, start : start + step] = resize(rows.part(slice(start, start + step)))
    return y


#: What weighing four neighbours gives. Floats are rounded after every operation.
_WEIGHED = "a * (one - down) * (one - right) + b * down * (one - right) + c * (one - down) * right + d * down * right"


def weighed(x: Array, rows: Neighbours, columns: Neighbours, one: Any, note: Note) -> Array:
    """Weigh the four neighbours: upper left, lower left, upper right, lower right, summed in that order."""
    down = rows.distance[:, None, None]
    right = columns.distance[:, None]
    above, below = x.take(rows.lower, 1).astype(one.dtype), x.take(rows.upper, 1).astype(one.dtype)
    a, b = above.take(columns.lower, 2), below.take(columns.lower, 2)
    c, d = above.take(columns.upper, 2), below.take(columns.upper, 2)
    total = a * (one - down) * (one - right)
    total = total + b * down * (one - right)
    total = total + c * (one - down) * right
    total = np.asarray(total + d * down * right)
    rule = _WEIGHED if total.dtype.kind == "i" else f"~ {_WEIGHED}"
    return note("interpolated", total, rule, a=a, b=b, c=c, d=d, one=one, down=down, right=right)


def placed(
    inputs: Inputs, grid: Grid, place: Callable[[int, int, Grid], Neighbours]
) -> tuple[Array, Neighbours, Neighbours]:
    """Return the image, and where the rows and columns of the output lie on it."""
    x = given(inputs, 0)
    height, width = output_size(x, given(inputs, 1))
    return x, place(x.shape[1], height, grid), place(x.shape[2], width, grid)


def output_size(x: Array, size: Array, *, least: int = 1) -> tuple[int, int]:
    """Return height and width asked for, if an image of that size may be allocated.

    Raises
    ------
    ModelError
        They are less than ``least``, or the input has no pixels.
    UnsupportedError
        The output would be too large.

    """
    height, width = integers(size)
    expect(min(height, width) >= least, f"height and width of at least {least}, found {height} and {width}")
    expect(x.shape[1] > 0 and x.shape[2] > 0, f"an image with pixels, found shape {x.shape}")
    checked_shape((x.shape[0], max(height, x.shape[1]), max(width, x.shape[2]), x.shape[3]))
    return height, width
