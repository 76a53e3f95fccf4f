"""RESIZE_BILINEAR of 8-bit codes by LiteRT's optimized kernel (uint8) and by XNNPACK (int8 and uint8).

Source: ``tflite/kernels/internal/optimized/resize_bilinear.h``; XNNPACK ``src/indirection.c``
(xnn_indirection_init_resize_bilinear2d_hwc_q11), ``src/s8-ibilinear/scalar.c.in``.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np

from kernels.engine.types import Inputs, Outputs, Prepared, Runner
from kernels.resize_grid import Grid, Neighbours, float_neighbours, in_blocks, placed, weighed
from qmath.errors import UnsupportedError
from qmath.rounding import shift_right_half_up
from qmath.stages import Note, silent
from qmath.types import Array


@dataclass(frozen=True, slots=True)
class WeighedBilinear(Prepared):
    """A prepared RESIZE_BILINEAR of uint8 codes whose weights are multiplied out first: LiteRT's optimized kernel."""

    grid: Grid
    fused: bool = False

    def evaluate(self, inputs: Inputs, note: Note) -> Outputs:
        """Evaluate :func:`resize_weighed`."""
        return (resize_weighed(*self._place(inputs), note, fused=self.fused),)

    def compile(self, constants: Inputs) -> Runner:
        """Evaluate it in blocks of rows."""
        del constants

        def run(inputs: Inputs) -> Outputs:
            x, rows, columns = self._place(inputs)
            return (
                in_blocks(x, rows, columns, lambda part: resize_weighed(x, part, columns, silent, fused=self.fused)),
            )

        return run

    def _place(self, inputs: Inputs) -> tuple[Array, Neighbours, Neighbours]:
        x, rows, columns = placed(inputs, self.grid, partial(float_neighbours, fused=self.fused))
        eightfold = (len(rows.lower), len(columns.lower)) == (8 * x.shape[1], 8 * x.shape[2])
        if self.grid.half_pixel_centers and x.shape[3] % 8 == 0 and eightfold:
            raise UnsupportedError("RESIZE_BILINEAR of uint8 to 8 times the size, by 8 channels, is not covered there")
        return x, rows, columns


def resize_weighed(x: Array, rows: Neighbours, columns: Neighbours, note: Note, *, fused: bool) -> Array:
    """Interpolate between the four codes around each output pixel, in float32.

    1. weights: of upper left, upper right, lower left and lower right, each a product of two distances.
    2. interpolated: the weighed codes added in that order, and 1/2. On Arm products and sums are fused: the upper
       right one is multiplied first, each of the others is multiplied and added with one rounding.
    3. The fraction is dropped.

    Known difference: optimized uint8 RESIZE_BILINEAR of half_pixel_centers to 8 times the size, the number of channels
    a multiple of 8, has a kernel in 16-bit fixed point that is not reproduced; quantref refuses it.

    """
    one = np.float32(1)
    down, right = rows.distance[:, None, None], columns.distance[:, None]
    above, below = (x.take(lines, 1).astype(np.float32) for lines in (rows.lower, rows.upper))
    a, b = above.take(columns.lower, 2), above.take(columns.upper, 2)
    c, d = below.take(columns.lower, 2), below.take(columns.upper, 2)
    weights = (one - down) * (one - right), (one - down) * right, down * (one - right), down * right
    if fused:
        total: Array = b * weights[1]
        others: tuple[tuple[Array, Array], ...] = ((a, weights[0]), (c, weights[2]), (d, weights[3]))
        for code, weight in others:
            total = (code.astype(np.float64) * weight.astype(np.float64) + total).astype(np.float32)
    else:
        total = a * weights[0] + b * weights[1] + c * weights[2] + d * weights[3]
    total = np.asarray(total + np.float32(0.5))
    rule = "~ a * (1 - down) * (1 - right) + b * (1 - down) * right + c * down * (1 - right) + d * down * right + 0.5"
    note("interpolated", total, rule, a=a, b=b, c=c, d=d, down=down, right=right)
    return note("rounded", np.trunc(total), "toward_zero(total)", total=total).astype(np.uint8)


#: Bits behind the point of the distances that XNNPACK uses.
SHORT_BITS = 11


@dataclass(frozen=True, slots=True)
class ShortBilinear(Prepared):
    """A prepared RESIZE_BILINEAR of int8 or uint8 codes with distances in units of 1/2048: XNNPACK."""

    grid: Grid

    def evaluate(self, inputs: Inputs, note: Note) -> Outputs:
        """Evaluate :func:`resize_short`."""
        return (resize_short(*placed(inputs, self.grid, short_neighbours), note),)

    def compile(self, constants: Inputs) -> Runner:
        """Evaluate it in blocks of rows."""
        del constants

        def run(inputs: Inputs) -> Outputs:
            x, rows, columns = placed(inputs, self.grid, short_neighbours)
            return (in_blocks(x, rows, columns, lambda part: resize_short(x, part, columns, silent)),)

        return run


def resize_short(x: Array, rows: Neighbours, columns: Neighbours, note: Note) -> Array:
    """Interpolate between the four codes around each output pixel, with 11 bits for each distance.

    Notes
    -----
    1. rows, columns: see :func:`short_neighbours`.
    2. interpolated: the sum of the four codes, each times the distances to the row and column across from it; in
       units of ``2**-22``.
    3. divided: by ``2**22``, ties up.

    """
    interpolated = weighed(x, rows, columns, np.int64(1 << SHORT_BITS), note)
    divided = shift_right_half_up(interpolated, 2 * SHORT_BITS)
    note("divided", divided, f"half_up(interpolated / 2**{2 * SHORT_BITS})", interpolated=interpolated)
    return divided.astype(x.dtype)


def short_neighbours(size: int, wanted: int, grid: Grid) -> Neighbours:
    """Place rows in float32; distances in units of 1/2048, rounded half to even.

    Source: XNNPACK ``src/indirection.c`` (xnn_indirection_init_resize_bilinear2d_hwc_q11).
    """
    inner = int(grid.align_corners and wanted != 1)
    scale = np.float32(size - inner) / np.float32(wanted - inner)
    coordinate = np.arange(wanted, dtype=np.float32) * scale
    if grid.half_pixel_centers and not grid.align_corners:
        coordinate = np.maximum(coordinate + (np.float32(0.5) * scale - np.float32(0.5)), np.float32(0))
    coordinate = np.minimum(coordinate, np.float32(size - 1))
    lower = coordinate.astype(np.int64)
    distance = np.rint((coordinate - lower.astype(np.float32)) * np.float32(1 << SHORT_BITS)).astype(np.int64)
    return Neighbours(lower, np.minimum(lower + 1, size - 1), distance)
