"""RESIZE_BILINEAR, RESIZE_NEAREST_NEIGHBOR: images of another height and width.

Both place each output row ``i`` at a coordinate of the input: ``i * scale``, or with half_pixel_centers
``(i + 1/2) * scale - 1/2``, where ``scale = in / out``, or with align_corners ``(in - 1) / (out - 1)``. So are columns.

Source: ``tflite/kernels/resize_bilinear.cc``, ``resize_nearest_neighbor.cc``,
``internal/reference/resize_bilinear.h``, ``internal/reference/resize_nearest_neighbor.h``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from kernels.engine import delegate, micro
from kernels.engine.contract import (
    expect,
    expect_count,
    expect_dtype,
    expect_rank,
    input_tensor,
    option,
    unsupported,
)
from kernels.engine.movement import COPIED, expect_covered, in_words
from kernels.engine.registry import Kernel
from kernels.engine.types import Inputs, OpView, Outputs, Prepared, Runner, given
from kernels.profiles import LITERT_OPTIMIZED, LITERT_OPTIMIZED_ARM64, LITERT_REFERENCE, TFLM, XNNPACK, Profile, Rules
from kernels.resize_grid import (
    FRACTION_BITS,
    UNIT,
    Grid,
    Neighbours,
    fixed_point_neighbours,
    float_neighbours,
    in_blocks,
    nearest,
    output_size,
    placed,
    weighed,
)
from kernels.resize_short import ShortBilinear, WeighedBilinear
from qmath.rounding import shift_right_half_away
from qmath.stages import Note, Ruled, silent
from qmath.types import Array, DType, Int64Array

#: How an integer is divided by a power of two, given its exponent.
Division: TypeAlias = Ruled[[npt.ArrayLike, npt.ArrayLike], Int64Array]

HALF_AWAY: Division = Ruled("half_away(interpolated / 2**exponent)", shift_right_half_away)


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


#: From the placement of rows and columns to the prepared op.
Bilinear: TypeAlias = Callable[[Grid], Prepared]

SIGNED: Rules[Bilinear] = Rules(
    "RESIZE_BILINEAR", {LITERT_REFERENCE: partial(IntegerBilinear, divide=HALF_AWAY), XNNPACK: ShortBilinear}
)
UINT8: Rules[Bilinear] = Rules(
    "RESIZE_BILINEAR",
    {
        LITERT_REFERENCE: FloatBilinear,
        LITERT_OPTIMIZED: WeighedBilinear,
        LITERT_OPTIMIZED_ARM64: partial(WeighedBilinear, fused=True),
        XNNPACK: ShortBilinear,
    },
)


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
        refusal={TFLM: micro.no_int16, XNNPACK: delegate.resizing},
        demands={XNNPACK: delegate.same_scale_and_zero_point},
    ),
    Kernel("RESIZE_NEAREST_NEIGHBOR", prepare_nearest, covers=in_words(CHOSEN), refusal={TFLM: micro.no_uint8}),
)
