"""Functions of one quantized tensor that the runtime tabulates with floating-point arithmetic when it prepares the op.

Source: ``tflite/kernels/internal/common.h`` (LUTPopulate, LUTLookup).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

import numpy as np

from kernels.engine import elementwise
from kernels.engine.contract import zero_point_of
from kernels.engine.elementwise import float32_scale
from kernels.engine.types import Inputs, Outputs, Prepared, Runner, TensorView, given
from kernels.profiles import LITERT_OPTIMIZED_ARM64, LITERT_REFERENCE, XNNPACK, XNNPACK_ARM64, Profile, Rules
from qmath.lookup import AffineMap, RealFunction, interpolate, interpolation_table
from qmath.rounding import round_half_away_from_zero
from qmath.stages import Note, Ruled, ruled, silent
from qmath.types import ActivationRange, Array, DType, Float32Array, Float64Array, Int16Array

#: From function values, the inverse of the output scale and the zero point to codes in float32, not clamped yet.
ToCodes: TypeAlias = Ruled[[Float32Array, Float32Array, int], Float32Array]


@ruled("half_away(float32(value * inverse_scale)) + zero_point")
def half_away_then_zero_point(value: Float32Array, inverse_scale: Float32Array, zero_point: int) -> Float32Array:
    """Round half away from zero, then add the zero point."""
    steps = round_half_away_from_zero(np.asarray(value * inverse_scale))
    return np.asarray(steps + np.float32(zero_point))


@ruled("half_even(float32(float32(value * inverse_scale) + zero_point))")
def zero_point_then_half_even(value: Float32Array, inverse_scale: Float32Array, zero_point: int) -> Float32Array:
    """Add the zero point to the product, both in float32, then round half to even."""
    return np.asarray(np.rint(np.asarray(value * inverse_scale) + np.float32(zero_point)))


@ruled("half_even(float32(value * inverse_scale + zero_point))")
def fused_then_half_even(value: Float32Array, inverse_scale: Float32Array, zero_point: int) -> Float32Array:
    """Multiply and add with one rounding to float32, then round half to even."""
    exact = value.astype(np.float64) * inverse_scale.astype(np.float64) + float(zero_point)
    return np.asarray(np.rint(exact.astype(np.float32)))


TO_CODES: Rules[ToCodes] = Rules(
    "tabulated functions",
    {
        LITERT_REFERENCE: half_away_then_zero_point,
        XNNPACK: zero_point_then_half_even,
        XNNPACK_ARM64: fused_then_half_even,
    },
)

#: A real function with its rule in ``x``.
Tabulated: TypeAlias = Ruled[[Float64Array], Float64Array]


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
    activation
        The codes that are written.

    """

    function: Tabulated
    input_scale: Float32Array
    input_zero_point: int
    output_scale: Float32Array
    output_zero_point: int
    dtype: DType
    to_codes: ToCodes
    activation: ActivationRange

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
       type, or of the fused activation; NaN becomes 0.

    """
    centred = (x.astype(np.int64) - op.input_zero_point).astype(np.float32)
    with np.errstate(all="ignore"):
        real = np.asarray(op.input_scale * centred)
        rule = "float32(scale * (x - zero_point))"
        note("real input", real, rule, scale=op.input_scale, x=x, zero_point=op.input_zero_point)
        value = np.asarray(op.function(real.astype(np.float64))).astype(np.float32)
        note("function value", value, op.function.rule, x=real)
        inverse_scale = np.asarray(np.float32(1) / op.output_scale)
        note("inverse scale", inverse_scale, "float32(1 / output_scale)", output_scale=op.output_scale)
        code = op.to_codes(value, inverse_scale, op.output_zero_point)
        terms = {"value": value, "inverse_scale": inverse_scale}
        note("code", code, op.to_codes.rule, zero_point=op.output_zero_point, **terms)
    low, high = op.activation.min, op.activation.max
    clamped = np.asarray(np.clip(np.nan_to_num(code, nan=0.0), low, high))
    note("clamped", clamped, "clamp(code, low, high)", code=code, low=low, high=high)
    return clamped.astype(op.dtype.storage)


@dataclass(frozen=True, slots=True)
class SixteenBitFunction(Prepared):
    """A real function of int16 codes by a table of 513 entries and straight lines between them."""

    table: Int16Array

    def evaluate(self, inputs: Inputs, note: Note) -> Outputs:
        """Look up; see :func:`qmath.lookup.interpolate`."""
        return (look_up(given(inputs, 0), self.table, note),)

    def compile(self, constants: Inputs) -> Runner:
        """Tabulate every code, once it pays."""
        del constants
        return elementwise.unary(lambda x: interpolate(x, self.table), DType.INT16)


def look_up(x: Array, table: Int16Array, note: Note) -> Int16Array:
    """Interpolate, naming the two entries and the place between them."""
    place = x.astype(np.int64) + (1 << 15)
    entry = note("entry", table[place >> 7].astype(np.int64))
    following = note("next entry", table[(place >> 7) + 1].astype(np.int64))
    offset = note("offset", place & 127, "(x + 2**15) % 128", x=x)
    rule = "wrap(entry + half_up(wrap(following - entry, 16) * offset / 2**7), 16)"
    return note("interpolated", interpolate(x, table), rule, entry=entry, following=following, offset=offset)


def eight_bit(
    function: Tabulated,
    x: TensorView,
    y: TensorView,
    to_codes: ToCodes,
    activation: ActivationRange | None = None,
) -> EightBitFunction:
    """Prepare a function of an int8 or uint8 tensor; without an activation it gives every code."""
    written = activation or ActivationRange.of(y.dtype)
    scales = float32_scale(x), zero_point_of(x), float32_scale(y), zero_point_of(y)
    return EightBitFunction(function, *scales, y.dtype, to_codes, written)


#: Whether the steps that make a table of 16-bit codes fuse products and sums.
FUSED: Rules[bool] = Rules("tables of int16", {LITERT_REFERENCE: False, LITERT_OPTIMIZED_ARM64: True})


def sixteen_bit(function: RealFunction, x: TensorView, y: TensorView, profile: Profile) -> SixteenBitFunction:
    """Prepare a function of an int16 tensor; the table is computed in float32."""
    source = AffineMap(float(float32_scale(x)), zero_point_of(x))
    target = AffineMap(float(float32_scale(y)), zero_point_of(y))
    with np.errstate(all="ignore"):
        return SixteenBitFunction(interpolation_table(function, source, target, fused=FUSED[profile]))
