"""EMBEDDING_LOOKUP: rows of a table, by index; integer tables become real numbers on the way.

Source: ``tflite/kernels/embedding_lookup.cc``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from kernels.engine.contract import (
    checked_shape,
    expect,
    expect_count,
    expect_dtype,
    expect_rank,
    input_tensor,
    output_tensor,
    quant_of,
    unsupported,
)
from kernels.engine.registry import Kernel
from kernels.engine.types import Inputs, OpView, Outputs, Prepared, TensorView, given
from kernels.profiles import Profile
from qmath.errors import ModelError
from qmath.stages import Note
from qmath.types import Array, DType, Float32Array, Int64Array

#: Types of integer tables.
CODES = (DType.INT8, DType.UINT8, DType.INT4, DType.INT2)
#: Types of real numbers that codes become.
REALS = (DType.FLOAT32, DType.FLOAT16)


@dataclass(frozen=True, slots=True)
class CopyRows(Prepared):
    """EMBEDDING_LOOKUP of a table whose elements are copied as they are."""

    def evaluate(self, inputs: Inputs, note: Note) -> Outputs:
        """Copy rows."""
        table = given(inputs, 1)
        rows = _rows(given(inputs, 0), len(table))
        return (note("rows", table[rows]),)


@dataclass(frozen=True, slots=True)
class DequantizeRows(Prepared):
    """EMBEDDING_LOOKUP of an integer table, giving real numbers.

    Attributes
    ----------
    codes
        Type of the table.
    scale
        float32, shape ``(1,)``, or one a row.
    output
        FLOAT32 or FLOAT16.

    """

    codes: DType
    scale: Float32Array
    output: DType

    def evaluate(self, inputs: Inputs, note: Note) -> Outputs:
        """Evaluate :func:`dequantize_rows`."""
        return (dequantize_rows(given(inputs, 0), given(inputs, 1), self, note),)


def dequantize_rows(lookup: Array, table: Array, op: DequantizeRows, note: Note) -> Array:
    """Look rows up and dequantize them.

    Quirk: EMBEDDING_LOOKUP reads UINT8 tables as INT8.

    Quirk: EMBEDDING_LOOKUP starts a row of an INT4 or INT2 table at the byte that its first element lies in, with the
    byte's first element; so rows that do not fill whole bytes come out shifted.

    Parameters
    ----------
    lookup
        int32, shape (lookups,): indices of rows.
    table
        int8 or uint8, shape (rows, ...): quantized, zero point 0; sub-byte codes one a byte.
    op
        The prepared op.
    note
        Receives the stages.

    Returns
    -------
    float32 or float16, shape (lookups, ...).

    Notes
    -----
    1. Take the codes of each row.
    2. Shift codes of ``bits`` bits left by ``8 - bits``, and divide the row's scale by the same power of two.
    3. Multiply in float32; round to the output's type.

    """
    rows = _rows(lookup, len(table))
    width = math.prod(table.shape[1:])
    shape = checked_shape((len(rows), *table.shape[1:]))
    per_byte = 8 // op.codes.bits
    starts = rows * width // per_byte * per_byte
    flat = np.ascontiguousarray(table).reshape(-1).view(np.int8)
    codes = note("codes", flat[starts[:, None] + np.arange(width)])
    power = 1 << (8 - op.codes.bits)
    scale = np.broadcast_to(op.scale, (len(table),))[rows] / np.float32(power)
    real = (codes.astype(np.float32) * np.float32(power)) * scale[:, None]
    dequantized = real.astype(op.output.storage)
    rule = "float32(float32(code * power) * scale)" if op.output is DType.FLOAT32 else ""
    note("dequantized", dequantized, rule, code=codes, power=power, scale=scale[:, None])
    return dequantized.reshape(shape)


def _rows(lookup: Array, count: int) -> Int64Array:
    rows = lookup.astype(np.int64)
    wrong = rows[(rows < 0) | (rows >= count)]
    if wrong.size:
        raise ModelError(f"expected indices of {count} rows, found {wrong[0]}")
    return rows


def prepare(op: OpView, profile: Profile) -> Prepared:
    """Check the contract of EMBEDDING_LOOKUP.

    Raises
    ------
    ModelError
        The op breaks its contract.
    UnsupportedError
        The combination of types is not covered.

    """
    del profile
    expect_count(op, {2})
    lookup, table, y = input_tensor(op, 0), input_tensor(op, 1), output_tensor(op)
    expect_rank(lookup, 1)
    expect_dtype(lookup, DType.INT32)
    expect(len(table.shape) > 1, f"a table of two or more dimensions, found shape {table.shape}")
    if table.dtype in CODES and y.dtype in REALS:
        return DequantizeRows(table.dtype, _scale(table, y), y.dtype)
    row_bits = math.prod(table.shape[1:]) * table.dtype.bits
    if table.dtype is not y.dtype or not table.dtype.bits or row_bits % 8:
        raise unsupported(op, "; ".join(KERNELS[0].covers))
    expect(table.quant is None or not table.quant.per_axis, "one scale of a table that is copied, found several")
    return CopyRows()


def _scale(table: TensorView, y: TensorView) -> Float32Array:
    scaling = quant_of(table)
    if y.dtype is DType.FLOAT32:
        expect(int(scaling.zero_point[0]) == 0, f"a table with zero point 0, found {scaling.zero_point[0]}")
    if scaling.per_axis:
        rows, axis = table.shape[0], scaling.quantized_dimension
        found = f"{scaling.scale.size} along axis {axis}"
        expect(axis == 0 and scaling.scale.size == rows, f"{rows} scales along axis 0, found {found}")
    return scaling.scale


KERNELS = (
    Kernel(
        "EMBEDDING_LOOKUP",
        prepare,
        covers=("int8, uint8, int4 or int2 to float32 or float16, per-tensor and per-axis", "copies of whole bytes"),
    ),
)
