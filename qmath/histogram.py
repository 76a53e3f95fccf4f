"""Histograms of a stream of numbers whose range nobody knows beforehand: of fixed size, and the same in any order."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from qmath.types import Float32Array, Float64Array, Int64Array

#: Bins on either side of zero.
BINS = 2048
#: Numbers that are counted at once: their intermediate results stay in the processor's cache.
_BLOCK = 1 << 15
#: Power of two above the magnitude of the smallest float32, and of 0.
_LOWEST = -148


@dataclass(frozen=True, slots=True, eq=False)
class Histogram:
    """How many of the numbers seen lie where.

    Bin ``i`` holds the numbers of ``[(i - BINS) * w, (i - BINS + 1) * w)`` with ``w = 2**exponent``, the least power
    of two with which all numbers find a bin. A wider histogram's bins are unions of a narrower one's. So what comes
    out depends on the numbers alone, not on their order nor on how they were spread over histograms that were merged.

    Attributes
    ----------
    exponent
        Of the bins' width.
    counts
        int64, shape ``(2 * BINS,)``.
    zeros
        How many of the numbers are exactly 0; they are counted in their bin as well.

    """

    exponent: int
    counts: Int64Array
    zeros: int

    @classmethod
    def of(cls, values: Float32Array) -> Histogram:
        """Count numbers; all must be finite."""
        flat = values.reshape(-1)
        largest = max(abs(float(flat.min())), abs(float(flat.max()))) if flat.size else 0.0
        exponent = _power_above(largest) - _power_above(BINS // 2)
        counts = np.zeros(2 * BINS, np.int64)
        for start in range(0, flat.size, _BLOCK):
            # In float64 dividing by a power of two is exact for every float32, and so is the floor.
            bins = np.floor(np.multiply(flat[start : start + _BLOCK], 2.0**-exponent, dtype=np.float64))
            counts += np.bincount(bins.astype(np.int64) + BINS, minlength=2 * BINS)
        return cls(exponent, counts, flat.size - int(np.count_nonzero(flat)))

    def __add__(self, other: Histogram) -> Histogram:
        """Return the histogram of the numbers of both."""
        exponent = max(self.exponent, other.exponent)
        counts = self.widened(exponent).counts + other.widened(exponent).counts
        return Histogram(exponent, counts, self.zeros + other.zeros)

    def widened(self, exponent: int) -> Histogram:
        """Return the histogram with bins of width ``2**exponent``, which is not below the present width."""
        if exponent == self.exponent:
            return self
        counts = np.zeros(2 * BINS, np.int64)
        shift = min(exponent - self.exponent, 62)
        np.add.at(counts, ((np.arange(2 * BINS) - BINS) >> shift) + BINS, self.counts)
        return Histogram(exponent, counts, self.zeros)

    @property
    def total(self) -> int:
        """How many numbers were seen."""
        return int(self.counts.sum())

    @property
    def edges(self) -> Float64Array:
        """Where the bins begin, and the last one's end; shape ``(2 * BINS + 1,)``."""
        return np.arange(-BINS, BINS + 1, dtype=np.float64) * 2.0**self.exponent

    @property
    def without_zeros(self) -> Int64Array:
        """The counts without the numbers that are exactly 0."""
        counts = self.counts.copy()
        counts[BINS] -= self.zeros
        return counts

    def quantile(self, share: float) -> float:
        """Return the number that ``share`` of the numbers lie below, as if those of a bin were spread evenly in it."""
        reached = np.cumsum(self.counts)
        wanted = share * reached[-1]
        index = min(int(np.searchsorted(reached, wanted)), 2 * BINS - 1)
        before = reached[index] - self.counts[index]
        within = (wanted - before) / max(int(self.counts[index]), 1)
        return float((index - BINS + within) * 2.0**self.exponent)


def _power_above(magnitude: float) -> int:
    """Return the least power of two above a magnitude, by its exponent."""
    return max(int(np.frexp(magnitude)[1]), _LOWEST) if magnitude else _LOWEST
