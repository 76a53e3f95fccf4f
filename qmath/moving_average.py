"""Ranges that follow the activations of a network while it trains, as TensorFlow moves them.

A range tracked with a slow average forgets the outliers of single batches. TensorFlow's quantization-aware training
uses a decay of 0.999 and no debiasing, and extends each batch's range to 0 first.

Not to be confused with :class:`qmath.calibration.MovingAverage`, the AI Edge Quantizer's rule: equal in exact
arithmetic, not in float32.

Source: ``tensorflow/python/training/moving_averages.py`` (assign_moving_average, _zero_debias).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from qmath.arguments import as_real
from qmath.errors import InputError
from qmath.types import Float32Array

#: The decay of TensorFlow's quantization-aware training.
DECAY = 0.999


def move_average(average: npt.ArrayLike, value: npt.ArrayLike, decay: float = DECAY) -> Float32Array:
    """Move an average towards a value: ``average - (average - value) * float32(1 - decay)``, each step in float32.

    Parameters
    ----------
    average, value
        float32, same shape.
    decay
        0 (the average becomes the value) to 1 (it stays).

    Raises
    ------
    InputError
        The decay is another one, or what it is applied to no real numbers.

    """
    if not 0 <= decay <= 1:
        raise InputError(f"expected a decay from 0 to 1, found {decay}")
    before = as_real(average, np.float32)
    return np.asarray(before - (before - as_real(value, np.float32)) * np.float32(1.0 - decay))


@dataclass(frozen=True, slots=True, eq=False)
class DebiasedAverage:
    """A moving average that starts at 0 and is then divided by the share of values that it has seen.

    TensorFlow computes the power in step 2 in float32, at times one unit in the last place off; here it is rounded
    once.

    Attributes
    ----------
    biased
        The average that started at 0, float32.
    steps
        How many values it has seen.

    """

    biased: Float32Array = field(default_factory=lambda: np.zeros((), np.float32))
    steps: int = 0

    def moved(self, value: npt.ArrayLike, decay: float = DECAY) -> DebiasedAverage:
        """Return the average after one value more."""
        return DebiasedAverage(move_average(self.biased, value, decay), self.steps + 1)

    def value(self, decay: float = DECAY) -> Float32Array:
        """Return the average without the bias to 0.

        1. ``kept = 1 - float32(1 - decay)``, in float32.
        2. ``biased / (1 - kept ** steps)``, in float32.

        Raises
        ------
        InputError
            It has not seen any value.

        """
        if self.steps == 0:
            raise InputError("expected an average of at least one value, found none")
        kept = np.float32(1) - np.float32(1.0 - decay)
        return np.asarray(self.biased / (np.float32(1) - np.float32(np.float64(kept) ** self.steps)))


@dataclass(frozen=True, slots=True, eq=False)
class TrackedRange:
    """The range of a tensor, or of each of its channels, as training has seen it.

    Attributes
    ----------
    minimum, maximum
        float32, shape ``()`` or ``(channels,)``; None until the first batch.

    """

    minimum: Float32Array | None = None
    maximum: Float32Array | None = None

    def moved(self, x: npt.ArrayLike, decay: float = DECAY, *, per_channel: bool = False) -> TrackedRange:
        """Return the range after one batch more: that of the first batch, later moved towards each batch's own.

        Parameters
        ----------
        x
            float32, shape ``(..., channels)``. Its range is extended to 0.
        decay
            See :func:`move_average`.
        per_channel
            Whether each index of the last axis has a range of its own.

        Raises
        ------
        InputError
            The batch holds no real numbers.

        """
        batch = as_real(x, np.float32)
        if batch.size == 0:
            raise InputError(f"expected a batch of real numbers, found shape {batch.shape}")
        axes = tuple(range(batch.ndim - 1)) if per_channel else None
        zero = np.float32(0)
        low, high = np.asarray(np.minimum(batch.min(axes), zero)), np.asarray(np.maximum(batch.max(axes), zero))
        if self.minimum is None or self.maximum is None:
            return TrackedRange(low, high)
        return TrackedRange(move_average(self.minimum, low, decay), move_average(self.maximum, high, decay))
