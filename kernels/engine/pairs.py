"""Products that Arm's vector instructions add two by two in 16 bits.

Matrix kernels for cores without a dot product multiply 8-bit codes into 16-bit lanes and add a second product to each
lane before they widen it. Of two products of the lowest codes, ``(-128) * (-128)``, the sum is ``2**15`` and wraps
around, so that the accumulator comes out ``2**16`` too small. Converters keep -128 out of int8 weights (0 out of uint8
ones, which the kernels take for int8 128 less), so models that they make do not meet this.

The products of a lane are those of elements 8 apart among each 16 of a row. LiteRT's kernels fill a row up to 16 with
the codes of 0, which are the lowest ones if the zero points are; XNNPACK's end with the row.

Source: ``ruy/kernel_arm64.cc`` (Kernel8bitNeon), ``XNNPACK/src/qs8-gemm/MRxNRc8-neon-mull.c.in``,
``XNNPACK/src/qs8-dwconv/unipass-neon-mul8.c.in``.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from kernels.engine.contract import zero_point_of
from kernels.engine.types import TensorView
from qmath.fixed_point import wrap_int32
from qmath.stages import Note
from qmath.types import Array, DType, Int64Array

#: Elements that are taken at once; those of the second half join lanes with those of the first.
AT_ONCE = 16


class Lanes(enum.Enum):
    """What a runtime's kernels do with the end of a row; the products of a convolution's window are rows, too."""

    FILLED = enum.auto()
    """Fill it up with zero points: LiteRT's kernels, for int8 and uint8, over the whole window."""
    OPEN = enum.auto()
    """End there: XNNPACK's kernels, for int8 alone, tap by tap."""


@dataclass(frozen=True, slots=True)
class Pairs:
    """Which elements join lanes.

    Attributes
    ----------
    lowest
        The code that kernels take for -128.
    filled_inputs, filled_weights
        Whether rows go on, up to a multiple of 16, with the lowest code.

    """

    lowest: int
    filled_inputs: bool = False
    filled_weights: bool = False

    def of_inputs(self, rows: Array) -> Int64Array:
        """Return 1 for each pair of lowest codes in the last axis, else 0: shape (..., pairs)."""
        return self._of(rows, filled=self.filled_inputs)

    def of_weights(self, rows: Array) -> Int64Array:
        """Return the same of weights."""
        return self._of(rows, filled=self.filled_weights)

    def _of(self, rows: Array, *, filled: bool) -> Int64Array:
        *outer, length = rows.shape
        lowest = np.full((*outer, math.ceil(length / AT_ONCE) * AT_ONCE), filled)
        lowest[..., :length] = rows == self.lowest
        lanes = lowest.reshape(*outer, -1, 2, AT_ONCE // 2)
        return (lanes[..., 0, :] & lanes[..., 1, :]).reshape(*outer, -1).astype(np.int64)


def find_pairs(
    lanes: Lanes | None, x: TensorView, weights: TensorView, rows: Callable[[Array], Array], weights_zero_point: int = 0
) -> Pairs | None:
    """Return how products join lanes, or None if that never matters: other types, or no pair in constant weights.

    Parameters
    ----------
    lanes
        Of the runtime's kernel; None if it sums in 32 bits.
    x, weights
        Both inputs.
    rows
        Lays the array of weights out in rows.
    weights_zero_point
        The one that the kernel knows.

    """
    types = {Lanes.FILLED: (DType.INT8, DType.UINT8), Lanes.OPEN: (DType.INT8,)}
    if lanes is None or x.dtype not in types[lanes] or weights.dtype is not x.dtype:
        return None
    filled, lowest = lanes is Lanes.FILLED, x.dtype.min
    pairs = Pairs(lowest, filled and zero_point_of(x) == lowest, filled and weights_zero_point == lowest)
    never = weights.data is not None and not pairs.of_weights(rows(weights.data)).any()
    return None if never else pairs


def wrapped(accumulator: Int64Array, pairs: Int64Array, note: Note) -> Int64Array:
    """Return int32 accumulators less ``2**16`` for each pair of lowest codes that meets another."""
    rule = "wrap(total - 2**16 * pairs)"
    return note("pairs wrapped", wrap_int32(accumulator - (pairs << 16)), rule, total=accumulator, pairs=pairs)
