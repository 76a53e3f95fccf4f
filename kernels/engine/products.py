"""Products of float32 rows with a matrix, as the recurrent ops take them: in float32, or quantized on the fly."""

from __future__ import annotations

import abc
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np

from kernels.engine.float_sums import matmul_in_lanes
from kernels.engine.hybrid import QuantizedRows, QuantizeRows
from kernels.engine.hybrid_matmul import IntegerMatrix
from qmath.types import Array, Float32Array

#: Rows ready to be multiplied: as they are, quantized, or None where all of them are zero.
Operand: TypeAlias = Float32Array | QuantizedRows | None


def operand(x: Float32Array, quantize: QuantizeRows | None, *, separate: bool = False) -> Operand:
    """Make rows ready, once for all the matrices that they are multiplied with.

    Parameters
    ----------
    x
        float32, shape (batch, depth).
    quantize
        How rows are quantized; None for float32 weights.
    separate
        Whether the runtime computes each row on its own, and so leaves out the product of a row that is zero. It gets
        the scale -0 here: adding its product changes nothing then, not even the sign of a zero.

    """
    if quantize is None:
        return x
    if not x.any():
        return None
    rows = quantize(x)
    if not separate:
        return rows
    return replace(rows, scale=np.where(x.any(axis=1), rows.scale, np.float32(-0.0)))


class Matrix(abc.ABC):
    """A matrix that rows are multiplied with."""

    @abc.abstractmethod
    def add_to(self, total: Float32Array, rows: Operand) -> Float32Array:
        """Return ``total`` (batch, units) plus the product of ``rows`` with the matrix."""


@dataclass(frozen=True)
class FloatMatrix(Matrix):
    """Float32 weights, summed in any order: the runtime's order depends on the processor.

    Attributes
    ----------
    taps
        float32, shape (depth, units).

    """

    taps: Float32Array

    def add_to(self, total: Float32Array, rows: Operand) -> Float32Array:
        """Multiply by BLAS."""
        return np.asarray(total + np.matmul(np.asarray(rows), self.taps), np.float32)


@dataclass(frozen=True)
class LaneMatrix(Matrix):
    """Float32 weights, summed in the order of the runtime's vector code.

    Attributes
    ----------
    taps
        float32, shape (depth, units).

    """

    taps: Float32Array

    def add_to(self, total: Float32Array, rows: Operand) -> Float32Array:
        """Multiply by :func:`~kernels.engine.float_sums.matmul_in_lanes`."""
        return matmul_in_lanes(total, np.asarray(rows), self.taps)


@dataclass(frozen=True)
class ScaledMatrix(Matrix):
    """Integer weights.

    Attributes
    ----------
    codes
        Laid out for exact sums.
    scale
        Of the weights.

    """

    codes: IntegerMatrix
    scale: np.float32

    def add_to(self, total: Float32Array, rows: Operand) -> Float32Array:
        """Add the exact sum times (row scale times weights scale), in float32; nothing where all rows are zero."""
        if not isinstance(rows, QuantizedRows):
            return total
        scale = rows.scale * self.scale
        return np.asarray(total + self.codes.sums(rows).astype(np.float32) * scale[:, None], np.float32)


def float_matrix(weights: Array) -> FloatMatrix:
    """Lay out float32 weights (units, depth)."""
    return FloatMatrix(np.ascontiguousarray(weights.T))


def lane_matrix(weights: Array) -> LaneMatrix:
    """Lay out float32 weights (units, depth) whose sums follow the vector code."""
    return LaneMatrix(np.ascontiguousarray(weights.T))


def scaled_matrix(weights: Array, scale: float, *, misreads: bool = True) -> ScaledMatrix:
    """Lay out int8 weights (units, depth), or uint8 ones that are read as int8."""
    return ScaledMatrix(IntegerMatrix.of(weights, misreads=misreads, in_pairs=not misreads), np.float32(scale))
