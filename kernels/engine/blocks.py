"""Elementwise integer arithmetic that is too wide for a table: in place, a block of the processor's cache at a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from kernels.engine.types import Inputs, Outputs, Runner, given
from qmath.requantize import DoubleRounding, Requantize
from qmath.types import Array, DType, FixedPointMultiplier, Int64Array

#: Elements of a block: as int64 they fill a quarter of a mebibyte.
BLOCK = 1 << 15


def binary_blocks(function: Callable[[Array, Array], Array], dtype: DType) -> Runner:
    """Run an elementwise function of two inputs that broadcast, a block at a time.

    Parameters
    ----------
    function
        From two one-dimensional arrays to one.
    dtype
        Of the result.

    """

    def run(inputs: Inputs) -> Outputs:
        x1, x2 = np.broadcast_arrays(given(inputs, 0), given(inputs, 1))
        if x1.size <= BLOCK:
            return (function(x1.reshape(-1), x2.reshape(-1)).reshape(x1.shape),)
        out, flat = np.empty(x1.shape, dtype.storage), [x1.reshape(-1), x2.reshape(-1)]
        codes = out.reshape(-1)
        for start in range(0, codes.size, BLOCK):
            block = slice(start, start + BLOCK)
            codes[block] = function(flat[0][block], flat[1][block])
        return (out,)

    return run


@dataclass(frozen=True, slots=True)
class InPlaceRequantize:
    """:class:`~qmath.requantize.DoubleRounding` of int64 accumulators with as few passes as it takes.

    Equal to the definition as long as the accumulator, shifted left, and with the zero point, stays below 2**31 in
    magnitude: then nothing wraps or saturates, and

    - the high multiply, ties up, is ``(a * m + 2**30) >> 31``;
    - the division by ``2**n``, ties away from zero, is ``(p + 2**(n - 1) - (p < 0)) >> n``: of two neighbours it takes
      the upper one from a tie on, for a negative number from just above a tie on.
    """

    requantize: Requantize
    multiplier: int
    left: int
    right: int

    def __call__(self, accumulator: Int64Array) -> Array:
        """Return codes; the accumulator is overwritten."""
        t = accumulator
        t *= self.multiplier << self.left
        t += 1 << 30
        t >>= 31
        if self.right:
            t += t >> 63
            t += 1 << (self.right - 1)
            t >>= self.right
        t += self.requantize.zero_point
        np.clip(t, self.requantize.activation.min, self.requantize.activation.max, out=t)
        return t.astype(self.requantize.dtype.storage)


def in_place(requantize: Requantize, largest: int) -> Callable[[Int64Array], Array]:
    """Return a form of a requantization for accumulators up to ``largest`` in magnitude; it may overwrite them.

    The definition itself, where no quicker form is known to equal it.
    """
    factor = requantize.factor
    if not isinstance(requantize.regime, DoubleRounding) or not isinstance(factor, FixedPointMultiplier):
        return requantize
    multiplier, shift = int(factor.multiplier), int(factor.shift)
    left, right = max(shift, 0), max(-shift, 0)
    if multiplier < 0 or (largest << left) + abs(requantize.zero_point) >= 1 << 31:
        return requantize
    return InPlaceRequantize(requantize, multiplier, left, right)
