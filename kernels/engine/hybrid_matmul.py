"""Rows quantized on the fly times a matrix of integer weights, as LiteRT's vector code multiplies on x86-64.

Source: ``tflite/kernels/internal/optimized/sse_tensor_utils.cc`` (SseMatrixBatchVectorMultiplyAccumulateImpl).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kernels.engine import blas, exact
from kernels.engine.hybrid import QuantizedRows
from kernels.engine.pairs import Pairs
from kernels.profiles import LITERT_OPTIMIZED_ARM64, LITERT_REFERENCE, Rules
from qmath.stages import Note, silent
from qmath.types import Array, Int64Array

#: Whether vector code misreads weights of -128, which it does on x86-64 alone.
MISREADS: Rules[bool] = Rules("hybrid LSTM, RNN and SVDF", {LITERT_REFERENCE: True, LITERT_OPTIMIZED_ARM64: False})
PAIRS = Pairs(-128)
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
    pairs
        Of whole groups, which pairs of weights are both -128, shape (pairs, units): on Arm their products with two
        codes of -128 join a 16-bit lane and wrap around (:mod:`kernels.engine.pairs`). None if that never happens.

    """

    taps: Array
    row_sums: Int64Array
    misread: Array | None
    pairs: Int64Array | None = None

    @classmethod
    def of(cls, weights: Array, *, misreads: bool = True, in_pairs: bool = False) -> IntegerMatrix:
        """Lay out weights: (units, depth), int8, or uint8 read as int8.

        ``misreads`` says whether -128 is misread, ``in_pairs`` whether products join 16-bit lanes.
        """
        codes = np.ascontiguousarray(weights).view(np.int8)
        depth = codes.shape[1]
        misread = codes == np.iinfo(np.int8).min
        misread[:, depth // GROUP * GROUP :] = False
        # A code less its zero point is at most 255; a misread weight adds 256 times a code of at most 128.
        reach = 255 * np.abs(codes.astype(np.int64)).sum(axis=1) + misreads * (256 * 128) * misread.sum(axis=1)
        dtype = np.float32 if reach.max(initial=0) < exact.EXACT_FLOAT32 else np.float64
        pairs = PAIRS.of_weights(codes[:, : depth // GROUP * GROUP]).T if in_pairs else np.zeros(0, np.int64)
        return cls(
            np.ascontiguousarray(codes.T, dtype),
            codes.sum(axis=1, dtype=np.int64),
            np.ascontiguousarray(misread.T, dtype) * 256 if misreads and misread.any() else None,
            pairs if pairs.any() else None,
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
        sums, excess = self._sums_and_excess(rows)
        if excess is None:
            return note("accumulator", np.asarray(sums, np.int64))
        total = np.asarray(sums + excess, np.int64)
        terms = {"sum": note("sum", np.asarray(sums, np.int64)), "excess": np.asarray(excess, np.int64)}
        what = "256 times the negative codes that meet" if self.pairs is None else "2**16 times the pairs lost by"
        note(f"{what} a weight of -128", terms["excess"])
        return note("accumulator", total, "sum + excess", **terms)

    def float_sums(self, rows: QuantizedRows) -> Array:
        """Return :meth:`sums` in a float type that holds them exactly."""
        sums, excess = self._sums_and_excess(rows)
        return sums if excess is None else np.asarray(sums + excess)

    def _sums_and_excess(self, rows: QuantizedRows) -> tuple[Array, Array | None]:
        """Return the sums, and what weights of -128 that are misread, or whose pairs are lost, add to them, if any."""
        codes = rows.codes.astype(self.taps.dtype)
        sums = np.empty((len(codes), self.taps.shape[1]), codes.dtype)
        blas.multiply(codes, self.taps, sums)
        excess = None if self.misread is None else np.matmul(np.minimum(codes, 0), self.misread)
        if self.pairs is not None:
            groups = len(self.taps) // GROUP * GROUP
            excess = (PAIRS.of_inputs(rows.codes[:, :groups]) @ self.pairs) * -(2.0**16)
        if rows.zero_point.any():
            sums -= rows.zero_point[:, None].astype(sums.dtype) * self.row_sums.astype(sums.dtype)
        return sums, excess
