"""RESIZE_BILINEAR, RESIZE_NEAREST_NEIGHBOR: images of another height and width.

Both place each output row ``i`` at a coordinate of the input: ``i * scale``, or with half_pixel_centers
``(i + 1/2) * scale - 1/2``, where ``scale = in / out``, or with align_corners ``(in - 1) / (out - 1)``. So are columns.

Source: ``tflite/kernels/resize_bilinear.cc``, ``resize_nearest_neighbor.cc``,
``internal/reference/resize_bilinear.h``, ``internal/reference/resize_nearest_neighbor.h``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from kernels.engine import delegate
from kernels.engine.contract import (
    checked_shape,
    expect,
    expect_count,
    expect_dtype,
    expect_rank,
    input_tensor,
    option,
    unsupported,
)
from kernels.engine.movement import COPIED, expect_covered, in_words, integers
from kernels.engine.registry import Kernel
from kernels.engine.types import Inputs, OpView, Outputs, Prepared, Runner, given
from kernels.profiles import LITERT_OPTIMIZED, LITERT_REFERENCE, XNNPACK, Profile, Rules
from qmath.errors import UnsupportedError
from qmath.fixed_point import wrap_int32
from qmath.rounding import divide_toward_zero, round_half_away_from_zero, shift_right_half_away, shift_right_half_up
from qmath.stages import Note, Ruled, silent
from qmath.types import Array, DType, Int64Array

#: How an integer is divided by a power of two, given its exponent.
Division: TypeAlias = Ruled[[npt.ArrayLike, npt.ArrayLike], Int64Array]

HALF_AWAY: Division = Ruled("half_away(interpolated / 2**exponent)", shift_right_half_away)

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


def float_neighbours(size: int, wanted: int, grid: Grid) -> Neighbours:
    """Place rows in float32."""
    spans, parts = (size - 1, wanted - 1) if grid.align_corners and wanted > 1 else (size, wanted)
    scale = np.float32(spans) / np.float32(parts)
    coordinate = np.arange(wanted, dtype=np.float32)
    if grid.half_pixel_centers:
        coordinate = (coordinate + np.float32(0.5)) * scale - np.float32(0.5)
    else:
        coordinate = coordinate * scale
    lower = np.maximum(np.floor(coordinate).astype(np.int64), 0)
    upper = np.minimum(np.ceil(coordinate).astype(np.int64), size - 1)
    return Neighbours(_within(lower, size), upper, coordinate - lower.astype(np.float32))


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


@dataclass(frozen=True, slots=True)
class NearestNeighbor(Prepared):
    """A prepared RESIZE_NEAREST_NEIGHBOR."""

    grid: Grid

    def evaluate(self, inputs: Inputs, note: Note) -> Outputs:
        """Copy the nearest pixel."""
        del note
        x = given(inputs, 0)
        height, width = output_size(x, given(inputs, 1), least=0)
        rows, columns = nearest(x.shape[1], height, self.grid), nearest(x.shape[2], width, self.grid)
        return (x.take(rows, 1).take(columns, 2),)


@dataclass(frozen=True, slots=True)
class IntegerBilinear(Prepared):
    """A prepared RESIZE_BILINEAR of int8 or int16 codes, which keep their quantization."""

    grid: Grid
    divide: Division

    def place(self, inputs: Inputs) -> tuple[Array, Neighbours, Neighbours]:
        """Return the image, and where the rows and columns of the output lie on it."""
        return placed(inputs, self.grid, fixed_point_neighbours)

    def evaluate(self, inputs: Inputs, note: Note) -> Outputs:
        """Evaluate :func:`resize_codes`."""
        return (resize_codes(*self.place(inputs), self.divide, note),)

    def compile(self, constants: Inputs) -> Runner:
        """Interpolate down the columns first, then along the rows: the same integers with fewer products."""
        del constants

        def run(inputs: Inputs) -> Outputs:
            x, rows, columns = self.place(inputs)
            return (in_blocks(x, rows, columns, lambda part: resize_codes_fast(x, part, columns, self.divide)),)

        return run


def resize_codes(x: Array, rows: Neighbours, columns: Neighbours, divide: Division, note: Note) -> Array:
    """Interpolate between the four codes around each output pixel.

    Notes
    -----
    1. rows, columns: see :func:`fixed_point_neighbours`.
    2. interpolated: the sum of the four codes, each times the distances to the row and column across from it;
       in units of ``2**-20``.
    3. divided: by ``2**20``, ties away from code 0; the lowest bits are kept.

    """
    interpolated = weighed(x, rows, columns, np.int64(UNIT), note)
    divided = divide(interpolated, 2 * FRACTION_BITS)
    note("divided", divided, divide.rule, interpolated=interpolated, exponent=2 * FRACTION_BITS)
    return divided.astype(x.dtype)


def resize_codes_fast(x: Array, rows: Neighbours, columns: Neighbours, divide: Division) -> Array:
    """Weigh upper and lower neighbours, then the left and right of the results; equal as products are exact."""
    # Codes of 8 bits weigh at most 2**29: 32 bits hold them.
    wide = np.dtype(np.int32 if x.dtype == np.int8 else np.int64)
    one = wide.type(UNIT)
    above, below = x.take(rows.lower, 1).astype(wide), x.take(rows.upper, 1).astype(wide)
    down = rows.distance.astype(wide)[:, None, None]
    right = columns.distance.astype(wide)[:, None]
    between = above * (one - down) + below * down
    interpolated = between.take(columns.lower, 2) * (one - right) + between.take(columns.upper, 2) * right
    return divide(interpolated, 2 * FRACTION_BITS).astype(x.dtype)


@dataclass(frozen=True, slots=True)
class FloatBilinear(Prepared):
    """A prepared RESIZE_BILINEAR of float32 numbers, or of uint8 codes by way of float32."""

    grid: Grid

    def evaluate(self, inputs: Inputs, note: Note) -> Outputs:
        """Evaluate :func:`resize_floats`."""
        return (resize_floats(*placed(inputs, self.grid, float_neighbours), note),)

    def compile(self, constants: Inputs) -> Runner:
        """Evaluate it in blocks of rows."""
        del constants

        def run(inputs: Inputs) -> Outputs:
            x, rows, columns = placed(inputs, self.grid, float_neighbours)
            return (in_blocks(x, rows, columns, lambda part: resize_floats(x, part, columns, silent)),)

        return run


def resize_floats(x: Array, rows: Neighbours, columns: Neighbours, note: Note) -> Array:
    """Interpolate between the four values around each output pixel, in float32.

    Quirk: RESIZE_BILINEAR of uint8 interpolates in float32, adds 1/2 and drops the fraction.
    """
    interpolated = weighed(x, rows, columns, np.float32(1), note)
    if x.dtype != np.uint8:
        return interpolated
    rounded = np.trunc(interpolated + np.float32(0.5))
    note("rounded", rounded, "toward_zero(float32(interpolated + 0.5))", interpolated=interpolated)
    return rounded.astype(np.uint8)


@dataclass(frozen=True, slots=True)
class WeighedBilinear(Prepared):
    """A prepared RESIZE_BILINEAR of uint8 codes whose weights are multiplied out first: LiteRT's optimized kernel."""

    grid: Grid

    def evaluate(self, inputs: Inputs, note: Note) -> Outputs:
        """Evaluate :func:`resize_weighed`."""
        return (resize_weighed(given(inputs, 0), given(inputs, 1), self.grid, note),)


def resize_weighed(x: Array, size: Array, grid: Grid, note: Note) -> Array:
    """Interpolate between the four codes around each output pixel, in float32.

    1. weights: of upper left, upper right, lower left and lower right, each a product of two distances.
    2. interpolated: the weighed codes added in that order, and 1/2.
    3. The fraction is dropped.

    Known difference: optimized uint8 RESIZE_BILINEAR of half_pixel_centers to 8 times the size, the number of channels
    a multiple of 8, has a kernel in 16-bit fixed point that is not reproduced; quantref refuses it.

    """
    height, width = output_size(x, size)
    if grid.half_pixel_centers and x.shape[3] % 8 == 0 and (height, width) == (8 * x.shape[1], 8 * x.shape[2]):
        raise UnsupportedError("RESIZE_BILINEAR of uint8 to 8 times the size, by 8 channels, is not covered there")
    rows, columns = float_neighbours(x.shape[1], height, grid), float_neighbours(x.shape[2], width, grid)
    one, values = np.float32(1), x.astype(np.float32)
    down, right = rows.distance[:, None, None], columns.distance[:, None]
    above, below = values.take(rows.lower, 1), values.take(rows.upper, 1)
    a, b = above.take(columns.lower, 2), above.take(columns.upper, 2)
    c, d = below.take(columns.lower, 2), below.take(columns.upper, 2)
    total = a * ((one - down) * (one - right))
    total = total + b * ((one - down) * right)
    total = total + c * (down * (one - right))
    total = np.asarray(total + d * (down * right) + np.float32(0.5))
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
        return (resize_short(given(inputs, 0), given(inputs, 1), self.grid, note),)

    def compile(self, constants: Inputs) -> Runner:
        """Interpolate down the columns first, then along the rows: the same integers with fewer products."""
        del constants
        return lambda inputs: (resize_short(given(inputs, 0), given(inputs, 1), self.grid, interpolate=_in_two_passes),)


def resize_short(
    x: Array, size: Array, grid: Grid, note: Note = silent, interpolate: Interpolation | None = None
) -> Array:
    """Interpolate between the four codes around each output pixel, with 11 bits for each distance.

    Notes
    -----
    1. Place rows and columns in float32 (:func:`short_neighbours`).
    2. interpolated: the sum of the four codes, each times the distances to the row and column across from it; in
       units of ``2**-22``.
    3. divided: by ``2**22``, ties up.

    """
    height, width = output_size(x, size)
    rows, columns = short_neighbours(x.shape[1], height, grid), short_neighbours(x.shape[2], width, grid)
    literal = partial(_at_once, note=note)
    interpolated = (interpolate or literal)(x.astype(np.int64), rows, columns, np.int64(1 << SHORT_BITS))
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


#: From the placement of rows and columns to the prepared op.
Bilinear: TypeAlias = Callable[[Grid], Prepared]

SIGNED: Rules[Bilinear] = Rules(
    "RESIZE_BILINEAR", {LITERT_REFERENCE: partial(IntegerBilinear, divide=HALF_AWAY), XNNPACK: ShortBilinear}
)
UINT8: Rules[Bilinear] = Rules(
    "RESIZE_BILINEAR", {LITERT_REFERENCE: FloatBilinear, LITERT_OPTIMIZED: WeighedBilinear, XNNPACK: ShortBilinear}
)


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


def _grid(op: OpView) -> Grid:
    """Check what both ops demand and return the placement of rows and columns."""
    expect_count(op, {2})
    x, size = input_tensor(op, 0), input_tensor(op, 1)
    expect_rank(x, 4)
    expect_dtype(size, DType.INT32)
    expect(size.shape == (2,), f"height and width, found shape {size.shape}")
    return Grid(bool(option(op, "align_corners")), bool(option(op, "half_pixel_centers")))


def prepare_bilinear(op: OpView, profile: Profile) -> Prepared:
    """Check the contract of RESIZE_BILINEAR.

    Raises
    ------
    ModelError
        The op breaks its contract.
    UnsupportedError
        The element type is not covered.

    """
    grid, x = _grid(op), input_tensor(op, 0)
    both = grid.align_corners and grid.half_pixel_centers
    # Like the runtime, which checks it only where it knows the output's size beforehand.
    expect(not both or input_tensor(op, 1).data is None, "align_corners or half_pixel_centers, found both")
    if x.dtype is DType.FLOAT32:
        return FloatBilinear(grid)
    if x.dtype in {DType.INT8, DType.UINT8, DType.INT16}:
        return (UINT8 if x.dtype is DType.UINT8 else SIGNED)[profile](grid)
    raise unsupported(op, "int8, uint8, int16, float32")


def prepare_nearest(op: OpView, profile: Profile) -> Prepared:
    """Check the contract of RESIZE_NEAREST_NEIGHBOR.

    Raises
    ------
    ModelError
        The op breaks its contract.
    UnsupportedError
        The element type is not covered.

    """
    del profile
    grid = _grid(op)
    expect_covered(op, input_tensor(op, 0), CHOSEN)
    return NearestNeighbor(grid)


CHOSEN = tuple(dtype for dtype in COPIED if dtype.bits <= 32)

KERNELS = (
    Kernel(
        "RESIZE_BILINEAR",
        prepare_bilinear,
        covers=("int8", "uint8", "int16", "float32"),
        refusal={XNNPACK: delegate.resizing},
        demands={XNNPACK: delegate.same_scale_and_zero_point},
    ),
    Kernel("RESIZE_NEAREST_NEIGHBOR", prepare_nearest, covers=in_words(CHOSEN)),
)
