"""Rows quantized on the fly times a matrix of integer weights, as LiteRT's vector code multiplies on x86-64.

Source: ``tflite/kernels/internal/optimized/sse_tensor_utils.cc`` (SseMatrixBatchVectorMultiplyAccumulateImpl,
SseReductionSumVector).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from kernels.engine import blas, exact
from kernels.engine.hybrid import QuantizedRows
from kernels.engine.pairs import Pairs
from kernels.engine.types import Inputs, Outputs, Runner
from kernels.profiles import LITERT_OPTIMIZED_ARM64, LITERT_REFERENCE, Rules
from qmath.errors import UnsupportedError
from qmath.stages import Note, silent
from qmath.types import Array, Int64Array

#: Whether vector code misreads weights of -128, which it does on x86-64 alone.
MISREADS: Rules[bool] = Rules("hybrid LSTM, RNN and SVDF", {LITERT_REFERENCE: True, LITERT_OPTIMIZED_ARM64: False})
PAIRS = Pairs(-128)
#: The vector code takes columns in groups of this many; what is left over is multiplied by other instructions.
GROUP = 16
#: Lanes of 16 bits that the vector code sums weights in; a group adds two weights to each.
LANES = 8
#: No lane overflows within this many columns: 128 groups of two times -128 are -2**15.
SAFE_DEPTH = 2048


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
    lost
        int64, shape ``(units,)``: by how much the runtime finds ``row_sums`` too small (:func:`lost_in_lanes`). None if
        it finds all of them.

    """

    taps: Array
    row_sums: Int64Array
    misread: Array | None
    pairs: Int64Array | None = None
    lost: Int64Array | None = None

    @property
    def is_plain(self) -> bool:
        """Whether sums are those of the products: no weight is misread, and no sum of weights."""
        return self.misread is None and self.pairs is None and self.lost is None

    @classmethod
    def of(cls, weights: Array, *, misreads: bool = True, in_pairs: bool = False) -> IntegerMatrix:
        """Lay out weights: (units, depth), int8, or uint8 read as int8.

        ``misreads`` says whether -128 is misread and long sums of weights wrap around, as by x86-64's vector code,
        ``in_pairs`` whether products join 16-bit lanes.
        """
        codes = np.ascontiguousarray(weights).view(np.int8)
        depth = codes.shape[1]
        misread = codes == np.iinfo(np.int8).min
        misread[:, depth // GROUP * GROUP :] = False
        # A code less its zero point is at most 255; a misread weight adds 256 times a code of at most 128.
        reach = 255 * np.abs(codes.astype(np.int64)).sum(axis=1) + misreads * (256 * 128) * misread.sum(axis=1)
        lost = lost_in_lanes(codes) if misreads else None
        if lost is not None:
            reach = reach + 256 * np.abs(lost)
        dtype = np.float32 if reach.max(initial=0) < exact.EXACT_FLOAT32 else np.float64
        pairs = PAIRS.of_weights(codes[:, : depth // GROUP * GROUP]).T if in_pairs else np.zeros(0, np.int64)
        return cls(
            np.ascontiguousarray(codes.T, dtype),
            codes.sum(axis=1, dtype=np.int64),
            np.ascontiguousarray(misread.T, dtype) * 256 if misreads and misread.any() else None,
            pairs if pairs.any() else None,
            lost,
        )

    def sums(self, rows: QuantizedRows, note: Note = silent) -> Int64Array:
        """Sum ``weight * (code - zero_point)`` over the depth.

        Hybrid FULLY_CONNECTED, LSTM and RNN kernels on x86-64 take the product of a weight -128 and a negative
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

        What the zero points make is taken away as ``zero_point * row_sum``, with the row sums of :func:`lost_in_lanes`.

        """
        sums, excess = self._sums_and_excess(rows)
        if excess is None:
            return note("accumulator", np.asarray(sums, np.int64))
        total = np.asarray(sums + excess, np.int64)
        terms = {"sum": note("sum", np.asarray(sums, np.int64)), "excess": np.asarray(excess, np.int64)}
        note(self._excess_in_words(), terms["excess"])
        return note("accumulator", total, "sum + excess", **terms)

    def _excess_in_words(self) -> str:
        parts = []
        if self.misread is not None:
            parts.append("256 times the negative codes that meet a weight of -128")
        if self.pairs is not None:
            parts.append("2**16 times the pairs lost by a weight of -128")
        if self.lost is not None:
            parts.append("zero_point times what 16-bit lanes lose of the sum of the weights")
        return " and ".join(parts)

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
            zero_point = rows.zero_point[:, None].astype(sums.dtype)
            sums -= zero_point * self.row_sums.astype(sums.dtype)
            if self.lost is not None:
                excess = zero_point * self.lost.astype(sums.dtype) + (0 if excess is None else excess)
        return sums, excess


def lost_in_lanes(codes: Array) -> Int64Array | None:
    """Return by how much x86-64's vector code finds sums of many weights too small, or None if it finds all of them.

    Hybrid kernels on x86-64 that quantize their inputs asymmetrically sum the weights of a unit in eight 16-bit
    lanes. Beyond 2,048 columns a lane may wrap around, which makes the sum wrong by a multiple of 2**16.

    Parameters
    ----------
    codes
        int8, shape (units, depth).

    Returns
    -------
    int64, shape ``(units,)``, or None.

    Notes
    -----
    Of each whole group of 16 columns a lane takes two neighbors; of eight columns that are left over, one. The last
    columns, fewer than eight, are added in 32 bits.

    """
    units, depth = codes.shape
    if depth <= SAFE_DEPTH:
        return None
    whole = depth // GROUP * GROUP
    lanes = codes[:, :whole].reshape(units, whole // GROUP, LANES, 2).sum(axis=(1, 3), dtype=np.int64)
    if depth - whole >= LANES:
        lanes += codes[:, whole : whole + LANES]
    lost = np.asarray((lanes - lanes.astype(np.int16)).sum(axis=1), np.int64)
    return lost if lost.any() else None


def refuses_other_sums(run: Runner, sums: Callable[[Inputs], Int64Array], operands: str) -> Runner:
    """Return a form that runs as long as the sums of the weights stay what they were at first.

    FULLY_CONNECTED and BATCH_MATMUL with float32 inputs quantized asymmetrically sum their int8 weights in the
    first invocation alone. Weights that are no constant and change later meet the sums of the first ones; quantref
    refuses them.

    Parameters
    ----------
    run
        The form.
    sums
        Gives the sums of the weights among the inputs.
    operands
        The weights in the words of a message.

    """
    first: list[Int64Array] = []

    def guarded(inputs: Inputs) -> Outputs:
        now = sums(inputs)
        if not first:
            first.append(now)
        elif not np.array_equal(first[0], now):
            msg = (
                f"expected {operands} whose sums stay those of the first run, found others: the runtime keeps the first"
            )
            raise UnsupportedError(msg)
        return run(inputs)

    return guarded
