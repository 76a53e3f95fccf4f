"""What Arm's vector code makes of the integer LSTM: ties rounded up in whole blocks, sums of squares that wrap around.

The sums of the gates are requantized as elsewhere.

Source: ``tflite/kernels/internal/optimized/neon_tensor_utils.cc`` (NeonMatrixBatchVectorAccumulateImpl, NeonCwiseMul,
NeonApplyLayerNorm).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kernels.engine.pairs import AT_ONCE, Pairs
from qmath.fixed_point import wrap_int32
from qmath.requantize import Regime
from qmath.rounding import divide_toward_zero
from qmath.stages import Note, silent
from qmath.types import Array, DType, FixedPointMultiplier, Int64Array

#: Elements that vector code takes at once: of a projection's sums, of rows to be multiplied, and to be normalized.
PROJECTED, PRODUCTS, NORMALIZED = 16, 8, 16
#: Squares that are added in 32 bits, and values that are squared at once.
ADDED, SQUARED = 4, 8
PAIRS = Pairs(DType.INT8.min)


@dataclass(frozen=True, slots=True)
class Blocks:
    """How numbers are requantized, by place.

    Attributes
    ----------
    regime
        Of scalar code.
    vector
        Of whole blocks in vector code; None if there is none.

    """

    regime: Regime
    vector: Regime | None = None

    def apply(
        self, numbers: Int64Array, factor: FixedPointMultiplier, block: int, together: int = 1, note: Note = silent
    ) -> Int64Array:
        """Requantize (rows, length); so many rows lie ``together`` for blocks to be counted off."""
        alone = self.regime.apply(numbers, factor, note if self.vector is None else silent)
        if self.vector is None:
            return alone
        run = np.arange(numbers.size) % max(together * numbers.shape[1], 1)
        whole = run < together * numbers.shape[1] // block * block
        return np.where(whole.reshape(numbers.shape), self.vector.apply(numbers, factor), alone)

    def lost(self, x: Array, weights: Array) -> Int64Array | int:
        """Return what a matrix product of int8 comes out too small by; ``weights`` are (depth, units)."""
        cut = len(weights) // AT_ONCE * AT_ONCE
        if self.vector is None or not (weights[:cut] == PAIRS.lowest).any():
            return 0
        return (PAIRS.of_inputs(x[:, :cut]) @ PAIRS.of_weights(weights[:cut].T).T) << 16

    def squares(self, gate: Int64Array) -> Int64Array:
        """Return the sum of squares of each row, (rows, 1); vector code adds four in 32 bits."""
        cut = gate.shape[1] // SQUARED * SQUARED if self.vector is not None else 0
        squares = gate * gate
        by_four = wrap_int32(squares[:, :cut].reshape(len(gate), -1, ADDED).sum(axis=2))
        total: Int64Array = by_four.sum(axis=1, keepdims=True) + squares[:, cut:].sum(axis=1, keepdims=True)
        return total

    def scaled(
        self, centred: Int64Array, inverse: FixedPointMultiplier, coefficients: Array, bias: Array
    ) -> Int64Array:
        """Return ``(centred * inverse * coefficients + bias) / 2**10``, rounded.

        Where there is vector code, the numerator has 64 bits, and whole blocks round ties up.
        """
        total = self.regime.apply(centred, inverse) * coefficients + bias
        if self.vector is None:
            total = wrap_int32(total)
        alone = divide_toward_zero(np.where(total > 0, total + 512, total - 512), 1024)
        if self.vector is None:
            return alone
        cut = centred.shape[1] // NORMALIZED * NORMALIZED
        in_blocks = (self.vector.apply(centred, inverse) * coefficients + bias + 512) >> 10
        return wrap_int32(np.where(np.arange(centred.shape[1]) < cut, in_blocks, alone))
