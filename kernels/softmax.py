"""SOFTMAX: e to the power of each element over the sum of those powers, along the last axis.

Source: ``tflite/kernels/activations.cc``, ``tflite/kernels/internal/reference/softmax.h``,
``tflite/kernels/internal/quantization_util.cc`` (PreprocessSoftmaxScaling, CalculateInputRadius).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import TypeAlias

import numpy as np

from kernels.engine import delegate, elementwise, micro
from kernels.engine.contract import (
    expect,
    expect_count,
    input_tensor,
    option,
    output_tensor,
    scale_of,
    unsupported,
    zero_point_of,
)
from kernels.engine.elementwise import expect_zero_points_of_zero, float32_scale
from kernels.engine.registry import Kernel
from kernels.engine.taps import Products, Reads, row
from kernels.engine.types import Inputs, OpView, Outputs, Prepared, Runner, TensorView, given
from kernels.profiles import LITERT_OPTIMIZED, LITERT_OPTIMIZED_ARM64, LITERT_REFERENCE, TFLM, XNNPACK, Profile, Rules
from kernels.softmax_curves import CODES, LITERT_TABLES, MICRO_TABLES, TablePrecision, exp_table, reciprocal_table
from kernels.softmax_float import IN_ORDER, FloatSoftmax
from kernels.softmax_tables import float_table, short_table_to_8_bits
from qmath.errors import UnsupportedError
from qmath.fixed_point import (
    count_leading_zeros,
    exp_on_negative_values,
    reciprocal,
    rounding_divide_by_power_of_two,
    saturate,
    saturating_rounding_doubling_high_mul,
    wrap_int32,
)
from qmath.lookup import interpolate
from qmath.multiplier import quantize_multiplier
from qmath.requantize import DOUBLE_ROUNDING, Factor, Regime
from qmath.rounding import shift_right_half_up
from qmath.stages import Note, silent
from qmath.types import Array, DType, FixedPointMultiplier, Float64Array, Int16Array, Int64Array

#: Integer bits of scaled differences and of the sum of their powers.
DIFFERENCE_BITS = 5
SUM_BITS = 12
#: Sums of powers from which on the definition decides: it refuses 512 or more.
MOST_OF_SUM = 1 << (31 - SUM_BITS + 9)
#: No fewer terms make such a sum.
TERMS_OF_MOST = 512
#: What fixed point errs by at most, relative to a share. The last of Newton's steps leaves less than 2**-27 of the
#: reciprocal: it rounds three products, in units of 2**-29 and, before a shift, 2**-27. This is eight times as much.
SHARE_ERROR = 2.0**-24


# --- 8 bits in: fixed point ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ScaledDifferences:
    """How differences of codes become the argument of e**x, with 5 integer bits.

    Attributes
    ----------
    factor
        ``beta * input_scale * 2**26``, at most ``2**31 - 1``.
    lowest
        Differences below it count for nothing: they would not fit 5 integer bits.

    """

    factor: FixedPointMultiplier
    lowest: int

    @classmethod
    def of(cls, beta: float, input_scale: float) -> ScaledDifferences:
        """Derive the multiplier.

        Raises
        ------
        ModelError
            ``beta * input_scale`` does not exceed 2**-26; the runtime would abort the process.

        """
        real = min(beta * input_scale * 2.0 ** (31 - DIFFERENCE_BITS), 2.0**31 - 1)
        expect(real > 1, f"beta times the input scale to exceed 2**-26, found {beta} * {input_scale}")
        factor = quantize_multiplier(real)
        radius = (2**DIFFERENCE_BITS - 1) * 2 ** (31 - DIFFERENCE_BITS) / 2.0 ** int(factor.shift)
        return cls(factor, -math.floor(radius))

    def __call__(self, difference: Int64Array) -> Int64Array:
        """Scale differences that are not below the lowest."""
        shifted = wrap_int32(difference << self.factor.shift)
        return saturating_rounding_doubling_high_mul(shifted, self.factor.multiplier)


@dataclass(frozen=True, slots=True)
class FixedPointSoftmax(Prepared):
    """A prepared SOFTMAX of int8 or uint8 to the same type or int16."""

    scaling: ScaledDifferences
    codes: DType
    dtype: DType

    def evaluate(self, inputs: Inputs, note: Note) -> Outputs:
        """Evaluate :func:`fixed_point_softmax`."""
        return (fixed_point_softmax(given(inputs, 0), self, note),)

    def products(self, inputs: Inputs, index: tuple[int, ...]) -> Products:
        """Return the terms of the sum of powers."""
        return Products((Reads("term", row(index, given(inputs, 0).shape[-1])),), stage="sum of powers")

    def compile(self, constants: Inputs) -> Runner:
        """Tabulate steps 2 and 3, and divide in float64; rows with a share too close to a tie take the definition.

        Fixed point errs by less than ``SHARE_ERROR`` of a share and one unit of the product, of which a code has
        ``2**(31 - bits)`` or more. Where the share in real numbers, less and more by that, rounds to the same code, so
        does the definition.
        """
        del constants
        tables = cache(self._tables)
        low, high = self.dtype.min, np.array(float(self.dtype.max))
        one, unit = np.array(float(1 << (31 - SUM_BITS))), 2.0 ** (self.dtype.bits - 31)
        widest = 2.0**self.dtype.bits * SHARE_ERROR + unit
        narrow = self.dtype.bits == 8  # codes have so few bits that the widest error will do for all
        down, up = np.array(low + 0.5 - widest), np.array(2 * widest)

        def run(inputs: Inputs) -> Outputs:
            x = given(inputs, 0)
            if x.size == 0:
                return self.evaluate(inputs, silent)
            below = (np.maximum.reduce(x, axis=-1, keepdims=True) - x).view(np.uint8).astype(np.intp)
            shares_of_one, terms = tables()
            total = np.add.reduce(terms.take(below), axis=-1, keepdims=True)
            share = shares_of_one.take(below)
            share *= one / total
            error = None if narrow else share * SHARE_ERROR + unit
            share += down if error is None else low + 0.5 - error
            code = np.floor(share)
            share += up if error is None else 2 * error
            np.floor(share, share)
            if np.count_nonzero(share != code) or (x.shape[-1] >= TERMS_OF_MOST and total.max() >= MOST_OF_SUM):
                return self.evaluate(inputs, silent)
            return (np.minimum(code, high, out=code).astype(self.dtype.storage),)

        return run

    def _tables(self) -> tuple[Float64Array, Float64Array]:
        """Return powers in codes of the output, and terms of the sum, by how far a code lies below the largest."""
        powers, terms = powers_and_terms(-np.arange(256), self.scaling)
        return np.ldexp(powers.astype(np.float64), self.dtype.bits - 31), terms.astype(np.float64)


def fixed_point_softmax(x: Array, op: FixedPointSoftmax, note: Note = silent) -> Array:
    """Compute SOFTMAX in fixed point.

    Parameters
    ----------
    x
        int8 or uint8, any shape of at least one dimension: quantized.
    op
        The prepared op.
    note
        Receives the stages.

    Returns
    -------
    Codes of ``op.dtype``, the shape of ``x``; the scale is 1 over the number of codes, the lowest code is 0.

    Notes
    -----
    1. difference: each code less the largest of its row.
    2. power: e**(beta * scale * difference) with 0 integer bits, the argument with 5; see
       :func:`qmath.fixed_point.exp_on_negative_values`. Differences below a bound are left out.
    3. sum of powers: over the row, each with 12 integer bits, ties away from zero; int32.
    4. reciprocal: 1 / sum as a fraction and a power of two; see :func:`qmath.fixed_point.reciprocal`.
    5. share: power times fraction, divided by what is left of the power of two, ties away from zero.
    6. The lowest code is added; clamp. What was left out gives the lowest code.

    Quirk: SOFTMAX from 8 bits to 8 bits aborts the process if a row's sum reaches 512, as in 512 equal elements.

    """
    difference = below_maximum(x, note)
    powers, terms = powers_and_terms(difference, op.scaling, note)
    return shares(difference, powers, terms, op, note)


def below_maximum(x: Array, note: Note = silent) -> Int64Array:
    """Return each code less the largest of its row (step 1 of :func:`fixed_point_softmax`)."""
    largest = note("largest of the row", x.max(axis=-1, keepdims=True, initial=np.iinfo(x.dtype).min))
    difference = np.asarray(x.astype(np.int64) - largest)
    return note("difference", difference, "x - largest", x=x, largest=largest)


def powers_and_terms(
    difference: Int64Array, scaling: ScaledDifferences, note: Note = silent
) -> tuple[Int64Array, Int64Array]:
    """Return e**difference and what it adds to the sum (steps 2 and 3 of :func:`fixed_point_softmax`)."""
    counts = difference >= scaling.lowest
    scaled = scaling(np.where(counts, difference, 0))
    terms = {"shift": scaling.factor.shift, "multiplier": scaling.factor.multiplier}
    rule = "half_up((difference if difference >= lowest else 0) * 2**shift * multiplier / 2**31)"
    note("scaled difference", scaled, rule, difference=difference, lowest=scaling.lowest, **terms)
    powers = np.where(counts, exp_on_negative_values(scaled, DIFFERENCE_BITS), 0)
    rule = f"~ 2**31 * exp(scaled / 2**{31 - DIFFERENCE_BITS}) if difference >= lowest else 0"
    note("power", powers, rule, difference=difference, lowest=scaling.lowest, scaled=scaled)
    shares_of_sum = rounding_divide_by_power_of_two(powers, SUM_BITS)
    note("term", shares_of_sum, f"half_away(power / 2**{SUM_BITS})", power=powers)
    return powers, shares_of_sum


def shares(
    difference: Int64Array, powers: Int64Array, terms: Int64Array, op: FixedPointSoftmax, note: Note = silent
) -> Array:
    """Divide powers by their sum (steps 3 to 6 of :func:`fixed_point_softmax`)."""
    # As an unsigned word the sum reaches twice as far; the runtime reads it so.
    total = note("sum of powers", terms.sum(axis=-1, keepdims=True) & 0xFFFFFFFF)
    fraction, bits_over_unit = reciprocal(total, SUM_BITS)
    note("bits over unit", bits_over_unit, f"floor(log(total + 0.5) / log(2)) - {31 - SUM_BITS}", total=total)
    rule = f"~ 2**31 * 2**({31 - SUM_BITS} + bits_over_unit) / total"
    note("reciprocal", fraction, rule, bits_over_unit=bits_over_unit, total=total)
    exponent = bits_over_unit + 31 - op.dtype.bits
    note("exponent", exponent, f"bits_over_unit + 31 - {op.dtype.bits}", bits_over_unit=bits_over_unit)
    if difference.size and (exponent.max() > 31 or total.min() == 0):
        raise UnsupportedError(
            f"SOFTMAX to {op.dtype.name} is not covered where powers sum up to 512 or more (or, in 32 bits, to 0), "
            f"found {int(total.max()) / 2 ** (31 - SUM_BITS):g}: the runtime aborts"
        )
    product = saturating_rounding_doubling_high_mul(fraction, powers)
    note("product", product, "half_up(reciprocal * power / 2**31)", reciprocal=fraction, power=powers)
    right = np.maximum(exponent, 0)
    share = rounding_divide_by_power_of_two(product, right)
    note("share", share, "half_away(product / 2**exponent)", product=product, exponent=right)
    low, high = op.dtype.min, op.dtype.max
    codes = np.clip(np.where(difference >= op.scaling.lowest, share + low, low), low, high)
    rule = "clamp(share + low if difference >= lowest else low, low, high)"
    note("clamped", codes, rule, share=share, difference=difference, lowest=op.scaling.lowest, low=low, high=high)
    return codes.astype(op.dtype.storage)


# --- 16 bits in: tables -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class TableSoftmax(Prepared):
    """A prepared SOFTMAX of int16."""

    regime: Regime
    factor: Factor
    precision: TablePrecision = LITERT_TABLES

    def evaluate(self, inputs: Inputs, note: Note) -> Outputs:
        """Evaluate :func:`table_softmax`."""
        return (table_softmax(given(inputs, 0), self, note),)

    def products(self, inputs: Inputs, index: tuple[int, ...]) -> Products:
        """Return the terms of the sum of powers."""
        return Products((Reads("power", row(index, given(inputs, 0).shape[-1])),), stage="sum of powers")

    def compile(self, constants: Inputs) -> Runner:
        """Tabulate step 2 for the 65,536 differences that int16 codes can have, once it pays."""
        del constants
        below = DType.INT16.max
        powers_of = elementwise.unary(lambda codes: _power(codes.astype(np.int64) - below, self), DType.INT16)

        def run(inputs: Inputs) -> Outputs:
            difference = below_maximum(given(inputs, 0))
            (powers,) = powers_of([(difference + below).astype(np.int16)])
            return (_normalized(powers, self),)

        return run


def table_softmax(x: Int16Array, op: TableSoftmax, note: Note = silent) -> Int16Array:
    """Compute SOFTMAX of int16 codes by two tables of 513 entries with straight lines between them.

    Returns
    -------
    int16, the shape of ``x``; scale 1/32768.

    Notes
    -----
    1. difference: each code less the largest of its row.
    2. power: the difference times ``beta * scale`` in units of 10/65535, by the regime; plus 32767, saturated to
       int16; looked up in the table of e**x.
    3. sum of powers: over the row; int32.
    4. reciprocal: the sum, shifted left so that it lies between 1 and 2, less 1, in units of 1/65536, saturated to
       int16; looked up in the table of 1 / (1 + x).
    5. share: power times reciprocal, shifted right, ties up; clamp to 0 ... 32767.

    """
    return _normalized(_power(below_maximum(x, note), op, note), op, note)


def _power(difference: Int64Array, op: TableSoftmax, note: Note = silent) -> Int16Array:
    scaled = op.regime.apply(difference, op.factor, note)
    code = saturate(wrap_int32(scaled + DType.INT16.max), 16)
    note("place in the table", code, "clamp(scaled + 32767, -32768, 32767)", scaled=scaled)
    powers = interpolate(code, exp_table(op.precision.tables))
    return note("power", powers, f"~ 32767 * exp((code - 32767) * 10 / {CODES:.0f})", code=code)


def _normalized(powers: Int16Array, op: TableSoftmax, note: Note = silent) -> Int16Array:
    """Divide powers by their sum (steps 3 to 5 of :func:`table_softmax`)."""
    wide = powers.astype(np.int64)
    total = note("sum of powers", wrap_int32(wide.sum(axis=-1, keepdims=True)))
    rule = "31 - floor_log2(total % 2**32) if total != 0 else 32"
    headroom = note("headroom", count_leading_zeros(total & 0xFFFFFFFF), rule, total=total)
    one_up_to_two = ((total << np.maximum(headroom - 1, 0)) + (1 << 13)) >> 14
    fraction = interpolate(saturate(one_up_to_two - (1 << 15) - (1 << 16), 16), reciprocal_table(op.precision.tables))
    note("reciprocal", fraction, "~ 32767 * 2**(31 - headroom) / total", headroom=headroom, total=total)
    share = shift_right_half_up(wide * fraction, np.maximum(31 - headroom, 0))
    rule = "half_up(power * reciprocal / 2**max(31 - headroom, 0))"
    note("share", share, rule, power=wide, reciprocal=fraction, headroom=headroom)
    clamped = np.clip(wrap_int32(share), 0, DType.INT16.max)
    return note("clamped", clamped, "clamp(wrap(share), 0, 32767)", share=share).astype(np.int16)


# --- Preparation --------------------------------------------------------------------------------------------------

#: From input, output and beta to a prepared SOFTMAX of 8-bit codes.
EightBit: TypeAlias = Callable[[TensorView, TensorView, float], Prepared]


def fixed_point(x: TensorView, y: TensorView, beta: float) -> Prepared:
    """Prepare :class:`FixedPointSoftmax`."""
    return FixedPointSoftmax(ScaledDifferences.of(beta, float(float32_scale(x))), x.dtype, y.dtype)


EIGHT_BIT: Rules[EightBit] = Rules(
    "SOFTMAX",
    {
        LITERT_REFERENCE: fixed_point,
        LITERT_OPTIMIZED: float_table,
        LITERT_OPTIMIZED_ARM64: short_table_to_8_bits,
    },
)
#: The precision of the tables of int16 SOFTMAX, and of the product of scale and beta.
PRECISION: Rules[TablePrecision] = Rules("SOFTMAX of int16", {LITERT_REFERENCE: LITERT_TABLES, TFLM: MICRO_TABLES})
REGIME: Rules[Regime] = Rules("SOFTMAX", {LITERT_REFERENCE: DOUBLE_ROUNDING})

_EIGHT_BIT_PAIRS = {
    (DType.INT8, DType.INT8),
    (DType.UINT8, DType.UINT8),
    (DType.INT8, DType.INT16),
    (DType.UINT8, DType.INT16),
}


def prepare(op: OpView, profile: Profile) -> Prepared:
    """Check the contract of SOFTMAX and derive what its arithmetic needs.

    Raises
    ------
    ModelError
        The op breaks its contract.
    UnsupportedError
        The combination of types is not covered.

    """
    expect_count(op, {1})
    x, y = input_tensor(op, 0), output_tensor(op)
    expect(len(x.shape) >= 1, f"tensor {x.name!r} to have dimensions, found shape {x.shape}")
    beta = float(option(op, "beta"))
    expect(math.isfinite(beta), f"a finite beta, found {beta}")
    types = x.dtype, y.dtype
    if x.dtype is y.dtype and x.dtype in {DType.FLOAT32, DType.FLOAT16}:
        return FloatSoftmax(beta, IN_ORDER[profile])
    if types in _EIGHT_BIT_PAIRS:
        if types == (DType.INT8, DType.INT8):
            _expect_output(y, -128, 1 / 256)
        return EIGHT_BIT[profile](x, y, beta)
    if types == (DType.INT16, DType.INT16):
        _expect_output(y, 0, 1 / 32768)
        expect_zero_points_of_zero(x, y)
        regime, precision = REGIME[profile], PRECISION[profile]
        with np.errstate(over="ignore"):
            real = np.float64(precision.product.value(float32_scale(x)) * precision.product.value(beta)) / (10 / CODES)
        return TableSoftmax(regime, regime.encode(np.asarray(real)), precision)
    raise unsupported(op, "; ".join(KERNELS[0].covers))


def _expect_output(y: TensorView, zero_point: int, scale: float) -> None:
    found = zero_point_of(y), scale_of(y)
    close = abs(np.float32(found[1]) - np.float32(scale)) <= np.float32(0.001) * np.float32(scale)
    expect(found[0] == zero_point and bool(close), f"zero point {zero_point} and scale {scale}, found {found}")


KERNELS = (
    Kernel(
        "SOFTMAX",
        prepare,
        covers=("int8 to int8 and int16", "uint8 to uint8 and int16", "int16", "float32", "float16"),
        refusal={
            TFLM: micro.no_uint8,
            XNNPACK: delegate.all_of(
                delegate.options("beta", lambda beta: beta == 1, "1"), delegate.unary(delegate.FLOATS)
            ),
        },
    ),
)
