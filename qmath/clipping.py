"""Where to clip: ranges that trade the error of clipped values against the resolution of all others."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from qmath.histogram import BINS, Histogram
from qmath.types import Float64Array, Int64Array

#: Ranges that are tried between nothing and everything.
_CANDIDATES = 100
#: Ends are moved together, then each alone; that as often as this.
_ROUNDS = 2
#: Width, in bins, of a bin that holds a single value.
_POINT = 1e-3
#: Least probability of a value that the codes can tell, in the divergence.
_UNLIKELY = 1e-9


def least_squared_error(histogram: Histogram, minimum: float, maximum: float, levels: int) -> tuple[float, float]:
    """Return the range whose asymmetric codes have the least squared error.

    1. Try hundredths of the whole range, 0 included, both ends shrunk alike; keep the best.
    2. Try hundredths for the upper end, then for the lower; keep the best. Again.

    Of ranges that are equally good the widest is taken.

    Parameters
    ----------
    histogram
        Of the values; those of a bin are taken to be spread evenly in it. Zeros, which have a code, are left out.
    minimum, maximum
        Of the values.
    levels
        How many codes there are.

    """
    begins, ends, counts = _filled(histogram, minimum, maximum)
    low, high = min(minimum, 0.0), max(maximum, 0.0)
    if counts.size == 0:
        return minimum, maximum
    shares = np.arange(_CANDIDATES, 0, -1) / _CANDIDATES

    def best(lows: Float64Array, highs: Float64Array) -> tuple[float, float]:
        index = int(np.argmin(squared_errors(begins, ends, counts, lows, highs, levels)))
        return float(lows[index]), float(highs[index])

    chosen = best(low * shares, high * shares)
    for _ in range(_ROUNDS):
        chosen = best(np.full(_CANDIDATES, chosen[0]), high * shares)
        chosen = best(low * shares, np.full(_CANDIDATES, chosen[1]))
    return chosen


def _filled(histogram: Histogram, minimum: float, maximum: float) -> tuple[Float64Array, Float64Array, Int64Array]:
    """Return where the bins begin and end that are not empty, no farther than the values go, and their counts."""
    counts = histogram.without_zeros
    filled = np.flatnonzero(counts)
    begins = np.maximum(histogram.edges[filled], minimum)
    ends = np.minimum(histogram.edges[filled + 1], maximum)
    return begins, np.maximum(ends, begins + _POINT * 2.0**histogram.exponent), counts[filled]


def squared_errors(
    begins: Float64Array, ends: Float64Array, counts: Int64Array, lows: Float64Array, highs: Float64Array, levels: int
) -> Float64Array:
    """Return the sum of squared errors of asymmetric codes for each of several ranges.

    In steps, a number ``u`` has the code ``r``, the nearest integer that is a code, and the error ``u - r``. Its
    square's integral from 0 is ``r / 12 + (u - r)**3 / 3``, for clipped numbers too.

    Parameters
    ----------
    begins, ends, counts
        Shape (n,): bins, and how many numbers are spread evenly in each.
    lows, highs
        Shape (m,): ranges that include 0; one of nothing but 0 has an infinite error.
    levels
        How many codes there are.

    Returns
    -------
    Float64Array
        Shape (m,).

    """
    scale = ((highs - lows) / (levels - 1))[:, None]
    scale = np.where(scale > 0, scale, np.nan)
    lowest = -np.rint(-lows[:, None] / scale)

    def integral(values: Float64Array) -> Float64Array:
        steps = values / scale
        codes = np.clip(np.rint(steps), lowest, lowest + (levels - 1))
        error = steps - codes
        return np.asarray(codes / 12 + error * error * error / 3)

    means = (integral(ends) - integral(begins)) * scale / (ends - begins)
    errors = np.square(scale[:, 0]) * (means @ counts)
    return np.where(np.isnan(errors), np.inf, errors)


def least_divergence(histogram: Histogram, minimum: float, maximum: float, levels: int) -> tuple[float, float]:
    """Return the range whose codes lose the least information on how the values are distributed.

    The range is ``[-t, t]`` where values lie; for each ``t`` the distribution of the values, clipped ones at the
    ends, is compared with what ``levels`` codes tell of it, by the Kullback-Leibler divergence. Zeros, which have a
    code, are left out. Of thresholds that are equally good the largest is taken.

    Parameters
    ----------
    histogram
        Of the values.
    minimum, maximum
        Of the values.
    levels
        How many codes there are.

    """
    counts = histogram.without_zeros
    filled = np.flatnonzero(counts)
    if filled.size == 0:
        return minimum, maximum
    first, end = int(filled[0]), int(filled[-1]) + 1
    widest = max(BINS - first, end - BINS)
    divergences = [
        (divergence(counts, max(BINS - reach, first), min(BINS + reach, end), levels), -reach)
        for reach in _reaches(widest, levels)
    ]
    reach = -min(divergences)[1]
    if reach == widest:
        return minimum, maximum
    threshold = reach * 2.0**histogram.exponent
    return max(minimum, -threshold), min(maximum, threshold)


def _reaches(widest: int, levels: int) -> list[int]:
    """Return the thresholds to try, in bins: down to half as many bins as there are codes."""
    least = min(widest, levels // 2)
    return sorted({int(reach) for reach in np.linspace(least, widest, _CANDIDATES)})


def divergence(counts: Int64Array, first: int, end: int, levels: int) -> float:
    """Return how far what codes tell of a distribution is from the distribution, in nats.

    1. The distribution is ``counts[first:end]``, with what lies outside added to the bin at that end.
    2. Each code stands for as many neighbouring bins as the others, and tells their sum: it is spread evenly over
       those of them that are not empty.
    3. The divergence is ``sum(p * log(p / q))`` over the bins that are not empty.

    Parameters
    ----------
    counts
        How many values are in each bin.
    first, end
        Bins that the range covers.
    levels
        How many codes there are.

    """
    inside = counts[first:end].astype(np.float64)
    if not inside.any():
        return np.inf
    reference = inside.copy()
    reference[0] += counts[:first].sum()
    reference[-1] += counts[end:].sum()
    told = _told(inside, levels)
    p, q = reference / reference.sum(), np.maximum(told / told.sum(), _UNLIKELY)
    filled = p > 0
    return float((p[filled] * np.log(p[filled] / q[filled])).sum())


def _told(inside: Float64Array, levels: int) -> Float64Array:
    """Return what ``levels`` codes tell of bins: the mean of each code's filled bins, in these."""
    codes: npt.NDArray[np.int64] = np.arange(inside.size) * min(levels, inside.size) // inside.size
    sums = np.bincount(codes, inside)
    filled = np.bincount(codes, inside > 0)
    return np.where(inside > 0, (sums / np.maximum(filled, 1))[codes], 0.0)
