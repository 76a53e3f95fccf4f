"""Functions of one quantized tensor that the runtime tabulates with floating-point arithmetic when it prepares the op.

Source: ``tflite/kernels/internal/common.h`` (LUTPopulate, LUTLookup).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

import numpy as np

from kernels.engine import elementwise
from kernels.engine.contract import zero_point_of
from kernels.engine.elementwise import float32_scale
from kernels.engine.types import Inputs, Outputs, Prepared, Runner, TensorView, given
from kernels.profiles import LITERT_REFERENCE, Rules
from qmath.lookup import AffineMap, RealFunction, interpolate, interpolation_table
from qmath.rounding import round_half_away_from_zero
from qmath.stages import Note, silent
from qmath.types import Array, DType, Float32Array, Int16Array

#: From function values, the inverse of the output scale and the zero point to codes in float32, not clamped yet.
ToCodes: TypeAlias = Callable[[Float32Array, Float32Array, int], Float32Array]


def half_away_then_zero_point(value: Float32Array, inverse_scale: Float32Array, zero_point: int) -> Float32Array:
    """Round half away from zero, then add the zero point."""
    steps = round_half_away_from_zero(np.asarray(value * inverse_scale))
    return np.asarray(steps + np.float32(zero_point))


TO_CODES: Rules[ToCodes] = Rules("tabulated functions", {LITERT_REFERENCE: half_away_then_zero_point})


@dataclass(frozen=True, slots=True)
class EightBitFunction(Prepared):
    """A real function of int8 or uint8 codes.

    Attributes
    ----------
    function
        From real values to real values; the result is rounded once to float32.
    input_scale, output_scale
        float32, shape ().
    input_zero_point, output_zero_point
        The codes of 0.
    dtype
        Of input and output.
    to_codes
        How values become codes.

    """

    function: RealFunction
    input_scale: Float32Array
    input_zero_point: int
    output_scale: Float32Array
    output_zero_point: int
    dtype: DType
    to_codes: ToCodes

    def evaluate(self, inputs: Inputs, note: Note) -> Outputs:
        """Evaluate :func:`eight_bit_function`."""
        return (eight_bit_function(given(inputs, 0), self, note),)

    def compile(self, constants: Inputs) -> Runner:
        """Tabulate every code, as the runtime does."""
        del constants
        return elementwise.unary(partial(eight_bit_function, op=self), self.dtype)


def eight_bit_function(x: Array, op: EightBitFunction, note: Note = silent) -> Array:
    """Compute a real function of codes, all in float32.

    Parameters
    ----------
    x
        int8 or uint8, any shape: quantized.
    op
        The prepared op.
    note
        Receives the stages.

    Returns
    -------
    Codes of the same type and shape.

    Notes
    -----
    1. real input: ``scale * (code - zero_point)``.
    2. function value.
    3. code: the value times the inverse of the output scale, rounded, plus the zero point. Clamp to the range of the
       type; NaN becomes 0.

    """
    centred = (x.astype(np.int64) - op.input_zero_point).astype(np.float32)
    with np.errstate(all="ignore"):
        real = note("real input", np.asarray(op.input_scale * centred))
        value = note("function value", np.asarray(op.function(real.astype(np.float64))).astype(np.float32))
        inverse_scale = np.asarray(np.float32(1) / op.output_scale)
        code = note("code", op.to_codes(value, inverse_scale, op.output_zero_point))
    clamped = np.clip(np.nan_to_num(code, nan=0.0), op.dtype.min, op.dtype.max)
    return np.asarray(clamped).astype(op.dtype.storage)


@dataclass(frozen=True, slots=True)
class SixteenBitFunction(Prepared):
    """A real function of int16 codes by a table of 513 entries and straight lines between them."""

    table: Int16Array

    def evaluate(self, inputs: Inputs, note: Note) -> Outputs:
        """Look up; see :func:`qmath.lookup.interpolate`."""
        del note
        return (interpolate(given(inputs, 0), self.table),)

    def compile(self, constants: Inputs) -> Runner:
        """Tabulate every code, once it pays."""
        del constants
        return elementwise.unary(lambda x: interpolate(x, self.table), DType.INT16)


def eight_bit(function: RealFunction, x: TensorView, y: TensorView, to_codes: ToCodes) -> EightBitFunction:
    """Prepare a function of an int8 or uint8 tensor."""
    return EightBitFunction(
        function, float32_scale(x), zero_point_of(x), float32_scale(y), zero_point_of(y), y.dtype, to_codes
    )


def sixteen_bit(function: RealFunction, x: TensorView, y: TensorView) -> SixteenBitFunction:
    """Prepare a function of an int16 tensor; the table is computed in float32."""
    source = AffineMap(float(float32_scale(x)), zero_point_of(x))
    target = AffineMap(float(float32_scale(y)), zero_point_of(y))
    with np.errstate(all="ignore"):
        return SixteenBitFunction(interpolation_table(function, source, target))
