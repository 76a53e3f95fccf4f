"""Scales, zero points, shapes and codes that are rich in ties and edges."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from qmath.types import Array, DType


def scale(rng: np.random.Generator, low: float = -12, high: float = 4) -> np.float32:
    """Choose a scale between 2**low and 2**high: a power of two, a small multiple of one, or any."""
    exponent = rng.uniform(low, high)
    kind = rng.integers(3)
    if kind == 0:
        return np.float32(2.0 ** round(exponent))
    if kind == 1:
        return np.float32(rng.choice([3, 5, 7, 9]) * 2.0 ** round(exponent - 2))
    return np.float32(2.0**exponent)


def related_scale(rng: np.random.Generator, other: np.float32, low: float = -6, high: float = 6) -> np.float32:
    """Choose a scale of ratio 2**low to 2**high to another, often a ratio that gives exact ties."""
    return np.float32(other * scale(rng, low, high))


def zero_point(rng: np.random.Generator, dtype: DType) -> int:
    """Choose a zero point of the type: often 0 or an end of the range."""
    if rng.integers(3) == 0:
        return int(rng.choice([dtype.min, dtype.max, (dtype.min + dtype.max + 1) // 2, 0]))
    return int(rng.integers(dtype.min, dtype.max + 1))


def codes(rng: np.random.Generator, dtype: DType, shape: Sequence[int]) -> Array:
    """Choose codes of the type: any, with the ends of the range more often than chance."""
    values = rng.integers(dtype.min, dtype.max + 1, shape, np.int64)
    ends = rng.integers(dtype.min, dtype.max + 1, 4)
    ends[:2] = dtype.min, dtype.max
    return np.where(rng.random(shape) < 0.1, rng.choice(ends, shape), values).astype(dtype.storage)


def every_code(dtype: DType) -> Array:
    """Return all codes of an 8- or 16-bit type, in order."""
    return np.arange(dtype.min, dtype.max + 1).astype(dtype.storage)


def many_codes(rng: np.random.Generator, dtype: DType) -> Array:
    """Return all codes of an 8-bit type; of a 16-bit type some thousands, now and then all."""
    if dtype.bits == 8 or rng.integers(20) == 0:
        return every_code(dtype)
    return codes(rng, dtype, (4000,))


def floats(rng: np.random.Generator, shape: Sequence[int], spread: float = 4.0) -> Array:
    """Choose float32 values: normal ones, halves of integers, zeros of both signs."""
    values = rng.normal(0, spread, shape)
    kind = rng.integers(8, size=shape)
    values = np.where(kind == 0, np.round(values * 2) / 2, values)
    return np.where(kind == 1, rng.choice([0.0, -0.0, 1.0, -1.0], shape), values).astype(np.float32)


def plain(rng: np.random.Generator, dtype: DType, shape: Sequence[int]) -> Array:
    """Choose values of a type without quantization: floats, or integers of every magnitude."""
    if dtype is DType.COMPLEX64:
        return (floats(rng, shape) + 1j * floats(rng, shape)).astype(np.complex64)
    if dtype is DType.BOOL:
        return rng.random(shape) < 0.5
    if not dtype.is_integer:
        extremes = np.finfo(dtype.storage)
        chosen = rng.choice(np.array([np.inf, -np.inf, np.nan, extremes.max, extremes.min, extremes.tiny]), shape)
        # Few tensors have them: beside the largest numbers any other difference looks small.
        share = 0.05 if rng.integers(5) == 0 else 0.0
        return np.where(rng.random(shape) < share, chosen, floats(rng, shape)).astype(dtype.storage)
    wide = rng.integers(dtype.min, dtype.max, shape, np.int64, endpoint=True)
    return (wide >> rng.integers(0, dtype.bits - 1, shape)).astype(dtype.storage)


def shape(rng: np.random.Generator, rank: int | None = None, most: int = 6) -> tuple[int, ...]:
    """Choose a shape of small dimensions, some of them 1."""
    rank = int(rng.integers(1, 5)) if rank is None else rank
    return tuple(int(rng.choice([1, int(rng.integers(1, most + 1))])) for _ in range(rank))


def stretched(rng: np.random.Generator, shape: tuple[int, ...], most: int = 1500) -> tuple[int, ...]:
    """Make one axis of every other shape 8 to 60 times as long, so that few cases have many elements."""
    if not shape or rng.integers(2):
        return shape
    axis, times = int(rng.integers(len(shape))), int(rng.integers(8, 61))
    times = min(times, max(1, most // max(1, math.prod(shape))))
    return (*shape[:axis], shape[axis] * times, *shape[axis + 1 :])


def broadcast_pair(rng: np.random.Generator, most_rank: int = 5) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Choose two shapes that broadcast against each other: equal, partly 1, or of different rank."""
    full = stretched(rng, tuple(int(rng.integers(1, 6)) for _ in range(int(rng.integers(1, most_rank + 1)))))
    pair = []
    for _ in range(2):
        kept = tuple(1 if rng.integers(4) == 0 else size for size in full)
        pair.append(kept[int(rng.integers(0, len(full))) :] if rng.integers(4) == 0 else kept)
    return pair[0], pair[1]
