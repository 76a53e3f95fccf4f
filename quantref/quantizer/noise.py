"""Quantization noise: how far arrays of reals are from others, collected sample by sample."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from qmath.types import Array, Float64Array


@dataclass(frozen=True, slots=True)
class Error:
    """How far an array of reals is from another.

    Attributes
    ----------
    sqnr
        Signal to quantization noise ratio in decibels; infinite if there is no error.
    mean, stddev, max_abs, mean_squared
        Of the differences, quantized minus float, in the tensor's unit; each of a sample, then averaged over the
        samples, as in the QuantizationDebugger.
    rmse
        Root of the mean squared difference over all samples.
    largest
        Largest absolute difference in all samples.

    """

    sqnr: float
    mean: float
    stddev: float
    max_abs: float
    mean_squared: float
    rmse: float
    largest: float

    def to_json(self) -> dict[str, Any]:
        """Return plain values; infinite ones are strings."""
        return {name: plain(getattr(self, name)) for name in self.__slots__}


@dataclass
class Tally:
    """Collects the differences of one tensor, sample by sample, in constant memory."""

    samples: int = 0
    elements: int = 0
    signal: float = 0.0
    noise: float = 0.0
    largest: float = 0.0
    sums: Float64Array = field(default_factory=lambda: np.zeros(4))

    def add(self, reference: Array, found: Array) -> None:
        """Add the differences of a sample."""
        wide = reference.astype(np.float64)
        with np.errstate(invalid="ignore"):
            difference = found.astype(np.float64) - wide
        finite = np.isfinite(difference)
        if not finite.all():  # what overflowed in the float model has no error
            difference, wide = difference[finite], wide[finite]
        self.samples += 1
        if difference.size == 0:
            return
        squared = np.square(difference)
        largest = float(np.abs(difference).max())
        self.elements += difference.size
        self.signal += float(np.square(wide).sum())
        self.noise += float(squared.sum())
        self.largest = max(self.largest, largest)
        self.sums += (difference.mean(), difference.std(), largest, squared.mean())

    def error(self) -> Error:
        """Return what was collected."""
        mean, stddev, max_abs, mean_squared = (float(total) / max(self.samples, 1) for total in self.sums)
        rmse = math.sqrt(self.noise / max(self.elements, 1))
        return Error(decibels(self.signal, self.noise), mean, stddev, max_abs, mean_squared, rmse, self.largest)


def decibels(signal: float, noise: float) -> float:
    """Return the ratio of two sums of squares in decibels; infinite without noise, minus that without signal alone."""
    if noise == 0:
        return math.inf
    return 10 * math.log10(signal / noise) if signal else -math.inf


def plain(value: float) -> float | str:
    """Return what JSON can hold: a number, or the name of one that is not finite."""
    return value if math.isfinite(value) else str(value)
