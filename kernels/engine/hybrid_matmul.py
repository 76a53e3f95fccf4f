"""Rows quantized on the fly times a matrix of integer weights, as LiteRT's vector code multiplies on x86-64.

Source: ``tflite/kernels/internal/optimized/sse_tensor_utils.cc`` (SseMatrixBatchVectorMultiplyAccumulateImpl).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kernels.engine import exact
from kernels.engine.hybrid import QuantizedRows
from qmath.stages import Note, silent
from qmath.types import Array, Int64Array

#: The vector code takes columns in groups of this many; what is left over is multiplied by other instructions.
GROUP = 16


@dataclass(frozen=True)
class IntegerMatrix:
    """Weights of an op with float32 activations, laid out for exact sums.

    Attributes
    ----------
    taps
        Float type whose sums are exact, shape (depth, units): the weights, transposed.
    row_sums
        int64, shape ``(units,)``: the sum of a unit's weights.
    misread
        Same type and shape as ``taps``: 256 where a weight is misread (see :meth:`sums`); None if none is.

    """

    taps: Array
    row_sums: Int64Array
    misread: Array | None

    @classmethod
    def of(cls, weights: Array, *, misreads: bool = True) -> IntegerMatrix:
        """Lay out weights: (units, depth), int8, or uint8 read as int8; ``misreads`` says whether -128 is misread."""
        codes = np.ascontiguousarray(weights).view(np.int8)
        depth = codes.shape[1]
        dtype = np.float32 if depth << 16 < exact.EXACT_FLOAT32 else np.float64
        misread = codes == np.iinfo(np.int8).min
        misread[:, depth // GROUP * GROUP :] = False
        return cls(
            np.ascontiguousarray(codes.T, dtype),
            codes.sum(axis=1, dtype=np.int64),
            np.ascontiguousarray(misread.T, dtype) * 256 if misreads and misread.any() else None,
        )

    def sums(self, rows: QuantizedRows, note: Note = silent) -> Int64Array:
        """Sum ``weight * (code - zero_point)`` over the depth.

        Quirk: Hybrid FULLY_CONNECTED, LSTM and RNN kernels on x86-64 take the product of a weight -128 and a negative
        code for a negative number, except in the last columns that do not fill a group of 16.

        Parameters
        ----------
        rows
            Codes (rows, depth).
        note
            Receives the stages.

        Returns
        -------
        Int64Array
            Shape (rows, units).

        Notes
        -----
        The vector code multiplies magnitudes, with the code's sign moved to the weight: but -(-128) is -128 in int8.
        So a negative code ``q`` gives ``128 * q`` instead of ``-128 * q``: 256 * q too much.

        """
        codes = rows.codes.astype(self.taps.dtype)
        sums = np.matmul(codes, self.taps)
        misread = None if self.misread is None else np.matmul(np.minimum(codes, 0), self.misread)
        if rows.zero_point.any():
            sums -= rows.zero_point[:, None] * self.row_sums
        if misread is None:
            return note("accumulator", np.asarray(sums, np.int64))
        total = np.asarray(sums + misread, np.int64)
        terms = {"sum": note("sum", np.asarray(sums, np.int64)), "excess": np.asarray(misread, np.int64)}
        note("256 times the negative codes that meet a weight of -128", terms["excess"])
        return note("accumulator", total, "sum + excess", **terms)
