"""Inputs of fake quantization on which a wrong rule shows: codes, ties, range ends, and their neighbours."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from qmath import fake_quant as fq

TINY = float(np.finfo(np.float32).smallest_normal)
#: Ordinary, one-sided, empty, inverted, of a single number, short, denormal, and nearly too wide for float32.
RANGES = (
    *((-1, 1), (-6, 6), (0, 6), (-0.1, 0.7), (-1, 0), (-1e-3, 1e3), (-1e3, 1e-3), (-0.3337, 1.7101), (1.5, 2.25)),
    *((1, 3), (-3, -1), (0, 0), (-0.0, 0.0), (1, 1), (-2, -2), (1, -1), (6, -2), (0, -4), (3, 0), (-1e-30, 2e-30)),
    *((-1e-37, 1e-37), (-1e-40, 1e-40), (1e-40, 1e-39), (0, 1e-45), (-3e38, 3e38), (0, 3e38), (-1e38, 2e38)),
    *((-TINY, 255 * TINY), (0, 100 * TINY), (TINY, 2 * TINY), (2 * TINY, 0), (1, 1 + 2.0**-23)),
)


@dataclass(frozen=True)
class Case:
    """One call of an op: the range, the codes, inputs ``x`` and the gradients ``g`` of the outputs, float32."""

    low: np.float32
    high: np.float32
    bits: int
    narrow: bool
    x: np.ndarray
    g: np.ndarray


def random_ranges(rng: np.random.Generator, count: int) -> list[tuple[float, float]]:
    """Draw ranges of all magnitudes, half of them as training has them, around 0; some one-sided, some inverted."""
    bounds = rng.normal(size=(count, 2)) * 2.0 ** rng.integers(-140, 120, size=(count, 1))
    bounds[::2] = np.stack([-np.abs(bounds[::2, 0]), np.abs(bounds[::2, 1])], axis=1)
    return [(float(low), float(high)) for low, high in bounds]


def values(rng: np.random.Generator, bounds: tuple[float, float], bits: int, narrow: bool, count: int) -> np.ndarray:
    """Draw finite inputs: three quarters codes, ties and ends; half of all moved to the next number up or down."""
    low, high = (np.float32(bound) for bound in bounds)
    with np.errstate(all="ignore"):
        nudged = fq.nudge(np.asarray(low), np.asarray(high), int(narrow), 2**bits - 1)
        codes = rng.integers(-3, 2**bits + 3, size=count) + rng.integers(0, 2, size=count) / 2
        at = ((codes.astype(np.float32) - nudged.zero_point) * nudged.scale).astype(np.float32)
        ends = np.array([nudged.minimum, nudged.maximum, low, high, 0, -0.0, TINY, -TINY, TINY / 2, 1e-45], np.float32)
        chosen = rng.integers(0, 8, size=count)
        at = np.where(chosen == 0, rng.choice(ends, size=count), at)
        around = np.maximum(abs(low), abs(high)) * rng.normal(size=count).astype(np.float32) * np.float32(1.2)
        at = np.where(chosen > 5, around, at).astype(np.float32)
        neighbour = np.nextafter(at, rng.choice(np.array([-np.inf, np.inf], np.float32), size=count))
        at = np.where(rng.integers(0, 2, size=count) == 0, at, neighbour)
    return np.where(np.isfinite(at), at, np.float32(0)).astype(np.float32)


def gradients(rng: np.random.Generator, count: int) -> np.ndarray:
    """Draw gradients of an output, a few of them 0 or denormal."""
    g = rng.normal(size=count).astype(np.float32)
    g[::17] *= np.float32(1e-38)
    g[5::31] = 0
    return g


def cases(
    rng: np.random.Generator,
    ranges: tuple[tuple[float, float], ...] | list[tuple[float, float]],
    kinds: tuple[tuple[int, bool], ...],
    count: int,
) -> Iterator[Case]:
    """Yield a case for each kind, which is bits and narrow, and each range."""
    for bits, narrow in kinds:
        for low, high in ranges:
            x = values(rng, (low, high), bits, narrow, count)
            yield Case(np.float32(low), np.float32(high), bits, narrow, x, gradients(rng, count))


def long_terms(count: int, seed: int) -> np.ndarray:
    """Return terms of a sum, by integer arithmetic, so that they are the same everywhere: float32 from -4 to 4."""
    index = np.arange(count, dtype=np.int64)
    return ((index * (40503 + 2 * seed) + 977 * seed) % 65521 / 8190 - 4).astype(np.float32)
