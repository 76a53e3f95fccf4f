"""How a sequence of vectors lies in memory."""

from __future__ import annotations

import enum

import numpy as np

from qmath.types import Array


class Order(enum.Enum):
    """How a sequence lies in memory."""

    #: (batch, features): one step.
    SINGLE = "single"
    #: (time, batch, features).
    TIME_MAJOR = "time major"
    #: (batch, time, features).
    BATCH_MAJOR = "batch major"

    def steps(self, x: Array) -> Array:
        """Return a sequence as (time, batch, features)."""
        if self is Order.SINGLE:
            return x[None]
        return x if self is Order.TIME_MAJOR else x.swapaxes(0, 1)

    def joined(self, steps: Array) -> Array:
        """Return (time, batch, features) in this order."""
        if self is Order.SINGLE:
            return np.ascontiguousarray(steps[0])
        return np.ascontiguousarray(steps if self is Order.TIME_MAJOR else steps.swapaxes(0, 1))

    def batch(self, shape: tuple[int, ...]) -> int:
        """Return the batch size of a sequence's shape."""
        return shape[1] if self is Order.TIME_MAJOR else shape[0]
