"""DIV: the quotient of two tensors.

Source: ``tflite/kernels/div.cc``, ``tflite/kernels/internal/reference/div.h``, ``tflite/kernels/internal/common.h``
(GetReciprocal, CountLeadingSignBits), gemmlowp ``fixedpoint/fixedpoint.h`` (RoundingDivideByPOT).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

import numpy as np

from kernels.engine import delegate, elementwise, micro
from kernels.engine.activation import Activation, quantized_range
from kernels.engine.contract import (
    choice,
    expect_count,
    expect_dtype,
    input_tensor,
    output_tensor,
    unsupported,
    zero_point_of,
)
from kernels.engine.elementwise import (
    FINITE,
    PlainBinary,
    clamp_plain,
    expect_broadcast,
    expect_same_types,
    float32_scale,
    less_zero_point,
)
from kernels.engine.registry import Kernel
from kernels.engine.shifts import divide_by_power_of_two_x86
from kernels.engine.types import Inputs, OpView, Outputs, Prepared, Runner, given
from kernels.profiles import LITERT_REFERENCE, TFLM, XNNPACK, Profile, Rules
from qmath.errors import ModelError
from qmath.fixed_point import (
    count_leading_zeros,
    reciprocal,
    saturating_rounding_doubling_high_mul,
    wrap_int32,
)
from qmath.multiplier import quantize_multiplier
from qmath.requantize import to_codes
from qmath.rounding import divide_toward_zero
from qmath.stages import Note, silent, under
from qmath.types import ActivationRange, Array, DType, FixedPointMultiplier, Int64Array

#: Divides by two to the power of an exponent that need not lie between 0 and 31.
Divide: TypeAlias = Callable[[Int64Array, Int64Array], Int64Array]

DIVIDE: Rules[Divide] = Rules("DIV", {LITERT_REFERENCE: divide_by_power_of_two_x86})

_QUANTIZED = (DType.INT8, DType.UINT8, DType.INT16)


@dataclass(frozen=True, slots=True)
class Div(Prepared):
    """A prepared DIV of int8, uint8 or int16."""

    zero_points: tuple[int, int, int]
    factor: FixedPointMultiplier
    divide: Divide
    activation: ActivationRange
    dtype: DType

    def evaluate(self, inputs: Inputs, note: Note) -> Outputs:
        """Evaluate :func:`div`."""
        self._expect_no_zero(given(inputs, 1))
        return (div(given(inputs, 0), given(inputs, 1), self, note),)

    def compile(self, constants: Inputs) -> Runner:
        """Tabulate all pairs of 8-bit codes."""
        if self.dtype.bits > 8:
            return lambda inputs: self.evaluate(inputs, silent)
        look_up = elementwise.binary(partial(div, op=self), self.dtype, self.dtype, constants)

        def run(inputs: Inputs) -> Outputs:
            self._expect_no_zero(given(inputs, 1))
            return look_up(inputs)

        return run

    def _expect_no_zero(self, divisor: Array) -> None:
        if (divisor == self.zero_points[1]).any():
            raise ModelError("expected divisors other than 0, found 0")


def div(x1: Array, x2: Array, op: Div, note: Note = silent) -> Array:
    """Divide codes.

    Parameters
    ----------
    x1, x2
        int8, uint8 or int16, shapes that broadcast: quantized. A divisor of 0 counts as 1 here.
    op
        The prepared op.
    note
        Receives the stages.

    Returns
    -------
    Codes of the same type, the broadcast shape.

    Notes
    -----
    1. dividend, divisor: the codes less their zero points; both change their sign if the divisor is negative.
    2. reciprocal: of the divisor, as a fraction and a power of two; see :func:`qmath.fixed_point.reciprocal`.
    3. quotient: the dividend, shifted left by its redundant sign bits, times the fraction; ties up.
    4. scaled: times the multiplier of ``input1_scale / (input2_scale * output_scale)`` in float32 (ties up), divided
       by all powers of two together, ties away from zero.
    5. Add the zero point; clamp to the fused activation.

    Quirk: DIV of quantized tensors shifts right by more than 31 bits where a quotient is tiny or 0; x86 shifts modulo
    32 then, which gives wrong, often saturated codes.

    """
    dividend = less_zero_point(x1, op.zero_points[0], under(note, "input 1"), "centred")
    divisor = less_zero_point(x2, op.zero_points[1], under(note, "input 2"), "centred")
    first, second = dividend, divisor
    dividend = np.where(divisor < 0, wrap_int32(-dividend), dividend)
    note("dividend", dividend, "wrap(-1 * first) if second < 0 else first", first=first, second=second)
    divisor = note("divisor", np.maximum(np.abs(divisor), 1), "max(abs(second), 1)", second=second)
    fraction, bits_over_unit = reciprocal(divisor, 31)
    note("bits over unit", bits_over_unit)
    rule = "~ 2**31 * 2**bits_over_unit / divisor"
    note("reciprocal", fraction, rule, divisor=divisor, bits_over_unit=bits_over_unit)
    headroom = note("headroom", redundant_sign_bits(dividend))
    quotient = saturating_rounding_doubling_high_mul(wrap_int32(dividend << headroom), fraction)
    rule = "half_up(wrap(dividend * 2**headroom) * fraction / 2**31)"
    note("quotient", quotient, rule, dividend=dividend, headroom=headroom, fraction=fraction)
    product = saturating_rounding_doubling_high_mul(quotient, op.factor.multiplier)
    rule = "half_up(quotient * multiplier / 2**31)"
    note("high multiply", product, rule, quotient=quotient, multiplier=op.factor.multiplier)
    right = bits_over_unit + headroom - op.factor.shift
    scaled = op.divide(product, right)
    note("shifted right", scaled, "half_away(product / 2**right)", product=product, right=right)
    return to_codes(scaled, op.zero_points[2], op.activation, op.dtype, note)


def redundant_sign_bits(x: Int64Array) -> Int64Array:
    """Count the bits below the sign bit of an int32 that repeat it."""
    return count_leading_zeros(np.where(x < 0, ~x, x)) - 1


@dataclass(frozen=True, slots=True)
class IntegerDiv(Prepared):
    """A prepared DIV of int32 without quantization; the one quotient that does not fit becomes the highest int32."""

    activation: Activation

    def evaluate(self, inputs: Inputs, note: Note) -> Outputs:
        """Divide toward zero and clamp."""
        x1, x2 = given(inputs, 0), given(inputs, 1)
        if not x2.all():
            raise ModelError("expected divisors other than 0, found 0")
        quotient = note("quotient", np.minimum(divide_toward_zero(x1, x2), DType.INT32.max))
        return (clamp_plain(quotient.astype(np.int32), self.activation),)


def prepare(op: OpView, profile: Profile) -> Prepared:
    """Check the contract of DIV and derive multiplier and range.

    Raises
    ------
    ModelError
        The op breaks its contract.
    UnsupportedError
        The type is not covered.

    """
    expect_count(op, {2})
    dtype, y = expect_same_types(op), output_tensor(op)
    expect_broadcast(op)
    expect_dtype(y, dtype)
    activation = choice(op, "fused_activation_function", Activation)
    if dtype is DType.FLOAT32:
        return PlainBinary(np.divide, activation, finite=FINITE[profile])
    if dtype is DType.INT32:
        return IntegerDiv(activation)
    if dtype not in _QUANTIZED:
        raise unsupported(op, "; ".join(KERNELS[0].covers))
    x1, x2 = input_tensor(op, 0), input_tensor(op, 1)
    with np.errstate(over="ignore", divide="ignore"):
        real_multiplier = np.asarray(float32_scale(x1) / (float32_scale(x2) * float32_scale(y))).astype(np.float64)
    factor = quantize_multiplier(real_multiplier)
    zero_points = zero_point_of(x1), zero_point_of(x2), zero_point_of(y)
    return Div(zero_points, factor, DIVIDE[profile], quantized_range(activation, y), dtype)


KERNELS = (
    Kernel(
        "DIV",
        prepare,
        covers=("int8", "uint8", "int16", "int32", "float32"),
        refusal={TFLM: micro.no_uint8, XNNPACK: delegate.binary(delegate.FLOATS)},
    ),
)
