"""The two curves of int16 SOFTMAX, tabulated: e**x from -10 to 0, and 1 / (1 + x) from 0 to 1.

Source: ``tflite/kernels/activations.cc`` (SoftmaxPrepare), ``tflite/kernels/internal/reference/integer_ops/lut.h``.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

from qmath.lookup import AffineMap, interpolation_table
from qmath.types import DType, Float64Array, FloatType, Int16Array

#: Steps between the ends of a table.
CODES = float((1 << 16) - 1)


def _exp(x: Float64Array) -> Float64Array:
    return np.asarray(np.exp(x))


def _one_over_one_plus(x: Float64Array) -> Float64Array:
    return np.asarray(1 / (1 + x))


def _one_over_one_plus_float32(x: Float64Array) -> Float64Array:
    real = np.asarray(x, np.float32)
    return np.asarray(np.float32(1) / (np.float32(1) + real)).astype(np.float64)


@dataclass(frozen=True, slots=True)
class TablePrecision:
    """Types in which int16 SOFTMAX is prepared.

    Attributes
    ----------
    tables
        Of the steps that make both tables.
    product
        Of the input scale times beta.

    """

    tables: FloatType
    product: FloatType


LITERT_TABLES = TablePrecision(FloatType.FLOAT64, FloatType.FLOAT32)
MICRO_TABLES = TablePrecision(FloatType.FLOAT32, FloatType.FLOAT64)


@cache
def exp_table(precision: FloatType = FloatType.FLOAT64) -> Int16Array:
    """Tabulate e**x for x from -10 to 0; 32767 stands for 1."""
    source, target = AffineMap(10 / CODES, DType.INT16.max), AffineMap(2 / CODES, 0)
    return interpolation_table(_exp, source, target, precision.value)


@cache
def reciprocal_table(precision: FloatType = FloatType.FLOAT64) -> Int16Array:
    """Tabulate 1 / (1 + x) for x from 0 to 1; 32767 stands for 1."""
    source, target = AffineMap(1 / CODES, DType.INT16.min), AffineMap(2 / CODES, 0)
    function = _one_over_one_plus_float32 if precision is FloatType.FLOAT32 else _one_over_one_plus
    return interpolation_table(function, source, target, precision.value)
