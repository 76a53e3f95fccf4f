"""The lowest and the highest number of each row, as the code finds them that quantizes rows on the fly.

They are what one expects but for rows with NaN, with which every comparison fails: what is found then depends on the
order in which numbers are compared.

Source: ``tflite/kernels/internal/optimized/neon_tensor_utils.cc`` (NeonMinMax, NeonSymmetricQuantizeFloats).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce

import numpy as np

from qmath.types import Float32Array

#: Numbers that the vector code compares at once.
LANES = 4


def largest_magnitude(rows: Float32Array) -> tuple[Float32Array, bool]:
    """Return the largest magnitude of each row, float32, and whether any row has a NaN; without values it is 0.

    The ends of a row with NaN are those of :func:`minmax_element`; a NaN for the lower end stays, one for the upper is
    lost.
    """
    span = np.maximum(-rows.min(axis=1, initial=0), rows.max(axis=1, initial=0))
    with_nan = np.flatnonzero(np.isnan(span))
    for row in with_nan:
        low, high = (abs(end) for end in minmax_element(rows[row]))
        span[row] = high if low < high else low
    return np.asarray(span, np.float32), with_nan.size > 0


def minmax_element(values: Float32Array) -> tuple[np.float32, np.float32]:
    """Return the lowest and the highest of one number or more, as C++'s ``std::minmax_element`` does.

    The first number stands against the second if their count is even, and then come pairs: their lower is compared
    with the lowest so far, their higher with the highest, and of equals the last is the highest.
    """
    lowest = highest = values[0]
    rest = values[1:]
    if len(values) > 1:
        lowest, highest = (values[1], values[0]) if values[1] < values[0] else (values[0], values[1])
        rest = values[2:]
    for at in range(0, len(rest) - 1, 2):
        first, second = rest[at : at + 2]
        lower, higher = (second, first) if second < first else (first, second)
        lowest = lower if lower < lowest else lowest
        highest = highest if higher < highest else higher
    if len(rest) % 2:
        last = rest[-1]
        if last < lowest:
            lowest = last
        elif not last < highest:
            highest = last
    return lowest, highest


def later_if_nan(so_far: Float32Array, further: Float32Array, *, lower: bool) -> Float32Array:
    """Return the lower or the higher numbers, the further ones where either is NaN: x86's ``minps`` and ``maxps``."""
    return np.where(so_far < further if lower else so_far > further, so_far, further)


def nan_if_any(so_far: Float32Array, further: Float32Array, *, lower: bool) -> Float32Array:
    """Return the lower or the higher numbers, NaN where either is: Arm's ``fmin`` and ``fmax``."""
    return np.minimum(so_far, further) if lower else np.maximum(so_far, further)


@dataclass(frozen=True, slots=True)
class Ends:
    """Finds the lowest and the highest number of each row, and 0.

    Attributes
    ----------
    either
        The instruction that compares lanes.

    """

    either: Callable[..., Float32Array]

    def of(self, rows: Float32Array) -> tuple[Float32Array, Float32Array, bool]:
        """Return the lowest numbers, at most 0, the highest, at least 0, one a row, and whether any row has a NaN."""
        low, high = rows.min(axis=1, initial=0), rows.max(axis=1, initial=0)
        with_nan = np.flatnonzero(np.isnan(low))
        for row in with_nan:
            low[row], high[row] = self._of_row_with_nan(rows[row])
        return low, high, with_nan.size > 0

    def _of_row_with_nan(self, values: Float32Array) -> tuple[np.float32, np.float32]:
        """Compare in lanes, then lanes with each other, then what is left over one by one; a NaN is no end."""
        in_lanes = len(values) // LANES * LANES
        low = high = np.float32(0)
        if in_lanes:
            low, high = self._across(values[:in_lanes], lower=True), self._across(values[:in_lanes], lower=False)
            low, high = low if low < 0 else np.float32(0), high if high > 0 else np.float32(0)
        if in_lanes < len(values):
            lowest, highest = minmax_element(values[in_lanes:])
            low, high = lowest if lowest < low else low, highest if highest > high else high
        return low, high

    def _across(self, values: Float32Array, *, lower: bool) -> np.float32:
        def either(so_far: Float32Array, further: Float32Array) -> Float32Array:
            return self.either(so_far, further, lower=lower)

        lanes = reduce(either, values.reshape(-1, LANES))
        halves = either(lanes[:2], lanes[2:])
        return np.float32(either(halves[1:], halves[:1])[0])
