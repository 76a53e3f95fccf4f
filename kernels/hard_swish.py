"""HARD_SWISH: x * relu6(x + 3) / 6.

Source: ``tflite/kernels/activations.cc``, ``tflite/kernels/internal/reference/hard_swish.h``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from kernels.engine import delegate, elementwise, micro
from kernels.engine.contract import (
    expect,
    expect_count,
    expect_dtype,
    input_tensor,
    output_tensor,
    unsupported,
    zero_point_of,
)
from kernels.engine.elementwise import PlainUnary, float32_scale, subnormal_as_zero
from kernels.engine.registry import Kernel
from kernels.engine.shifts import divide_by_power_of_two_16
from kernels.engine.types import Inputs, OpView, Outputs, Prepared, Runner, given
from kernels.engine.vector import InBlocksUnary
from kernels.profiles import LITERT_OPTIMIZED, LITERT_OPTIMIZED_ARM64, LITERT_REFERENCE, TFLM, XNNPACK, Profile, Rules
from qmath.errors import ModelError
from qmath.fixed_point import saturate, saturating_left_shift, saturating_rounding_doubling_high_mul, wrap
from qmath.multiplier import quantize_multiplier
from qmath.rounding import divide_toward_zero, fused_multiply_add, shift_right_half_up
from qmath.stages import Note, Ruled, ruled, silent
from qmath.types import Array, DType, FixedPointMultiplier, Float32Array, Int64Array

#: Bits by which inputs are shifted left to use the 16 bits.
HIRES_BITS = 7


@ruled("half_away(product / 2**right)")
def half_away(product: Int64Array, right: int) -> Int64Array:
    """Divide 16-bit words by a power of two, ties away from zero."""
    return divide_by_power_of_two_16(product, right)


@ruled("half_up(product / 2**right)")
def half_up(product: Int64Array, right: int) -> Int64Array:
    """Divide by a power of two, ties up."""
    return shift_right_half_up(product, right)


@ruled("toward_zero(gate * scaled / 2**15)")
def cut_off(gate: Int64Array, scaled: Int64Array) -> Int64Array:
    """Multiply fractions of 2**15 and drop what is left, toward zero."""
    return divide_toward_zero(gate * scaled, 1 << 15)


@ruled("floor(gate * scaled / 2**15)")
def floored(gate: Int64Array, scaled: Int64Array) -> Int64Array:
    """Multiply fractions of 2**15 and round down."""
    return (gate * scaled) >> 15


@dataclass(frozen=True, slots=True)
class Rounding:
    """How shifts to the right round, and the product of gate and input."""

    shift: Ruled[[Int64Array, int], Int64Array]
    product: Ruled[[Int64Array, Int64Array], Int64Array]


SCALAR = Rounding(half_away, cut_off)
#: Arm's vector instructions, on whole blocks of 8 elements.
ARM_VECTOR = Rounding(half_up, floored)
VECTOR: Rules[Rounding | None] = Rules("HARD_SWISH", {LITERT_REFERENCE: None, LITERT_OPTIMIZED_ARM64: ARM_VECTOR})


@dataclass(frozen=True, slots=True)
class HardSwish(Prepared):
    """A prepared HARD_SWISH of int8 or uint8; multipliers have 16 bits.

    Attributes
    ----------
    input_zero_point, output_zero_point
        The codes of 0.
    output
        ``input_scale / 128 / output_scale``; its shift is not positive.
    reluish
        ``input_scale / 128`` in units of 3/32768.
    dtype
        Of input and output.
    rounding
        Of shifts and of the product.

    """

    input_zero_point: int
    output_zero_point: int
    output: FixedPointMultiplier
    reluish: FixedPointMultiplier
    dtype: DType
    rounding: Rounding = SCALAR

    def evaluate(self, inputs: Inputs, note: Note) -> Outputs:
        """Evaluate :func:`hard_swish`."""
        return (hard_swish(given(inputs, 0), self, note),)

    def compile(self, constants: Inputs) -> Runner:
        """Tabulate every code."""
        del constants
        return elementwise.unary(partial(hard_swish, op=self), self.dtype)


def hard_swish(x: Array, op: HardSwish, note: Note = silent) -> Array:
    """Compute HARD_SWISH in 16-bit fixed point.

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
    1. hires input: ``(x - input_zero_point) * 2**7``.
    2. on output scale: times the output multiplier, not shifted yet; ties up.
    3. reluish: the hires input scaled so that 3 becomes 2**15, saturated: shift left by all but one bit, multiply
       (ties up), shift left by the last bit; or multiply, then divide by a power of two (ties away from zero; up in
       Arm's vector code).
    4. gate: reluish from [-1, 1] to [0, 1], rounded down.
    5. product: gate times step 2, as fractions, toward zero (rounded down in Arm's vector code).
    6. Divide by what is left of the output multiplier's power of two, ties as in step 3; add the zero point; clamp.

    """
    hires = wrap((x.astype(np.int64) - op.input_zero_point) << HIRES_BITS, 16)
    note("hires input", hires, f"wrap((x - zero_point) * 2**{HIRES_BITS}, 16)", x=x, zero_point=op.input_zero_point)
    scaled = saturating_rounding_doubling_high_mul(hires, op.output.multiplier, 16)
    rule = "half_up(hires * multiplier / 2**15)"
    note("on output scale", scaled, rule, hires=hires, multiplier=op.output.multiplier)
    reluish = _reluish(hires, op, note)
    gate = note("gate", (reluish + (1 << 15)) >> 1, "floor((reluish + 2**15) / 2)", reluish=reluish)
    product = op.rounding.product(gate, scaled)
    note("product", product, op.rounding.product.rule, gate=gate, scaled=scaled)
    right = -int(op.output.shift)
    shifted = op.rounding.shift(product, right)
    note("shifted right", shifted, op.rounding.shift.rule, product=product, right=right)
    codes = wrap(shifted + op.output_zero_point, 16)
    terms = {"shifted": shifted, "zero_point": np.asarray(op.output_zero_point)}
    note("zero point added", codes, "wrap(shifted + zero_point, 16)", **terms)
    low, high = op.dtype.min, op.dtype.max
    clamped = note("clamped", np.clip(codes, low, high), "clamp(codes, low, high)", codes=codes, low=low, high=high)
    return clamped.astype(op.dtype.storage)


def _reluish(hires: Int64Array, op: HardSwish, note: Note) -> Int64Array:
    """Scale a hires input so that 3 becomes 2**15 (step 3 of :func:`hard_swish`)."""
    factor = op.reluish
    shift, low, high = int(factor.shift), -(1 << 15), (1 << 15) - 1
    if shift > 0:
        almost = saturating_left_shift(hires, shift - 1, 16)
        rule = "clamp(hires * 2**left, low, high)"
        note("reluish: shifted left", almost, rule, hires=hires, left=shift - 1, low=low, high=high)
        product = saturating_rounding_doubling_high_mul(almost, factor.multiplier, 16)
        rule = "half_up(almost * multiplier / 2**15)"
        note("reluish: high multiply", product, rule, almost=almost, multiplier=factor.multiplier)
        reluish = saturating_left_shift(product, 1, 16)
        return note("reluish", reluish, "clamp(2 * product, low, high)", product=product, low=low, high=high)
    product = saturating_rounding_doubling_high_mul(hires, factor.multiplier, 16)
    rule = "half_up(hires * multiplier / 2**15)"
    note("reluish: high multiply", product, rule, hires=hires, multiplier=factor.multiplier)
    reluish = op.rounding.shift(product, -shift) if shift < 0 else product
    return note("reluish", reluish, op.rounding.shift.rule, product=product, right=-shift)


def float_hard_swish(x: Float32Array) -> Float32Array:
    """Compute x * min(6, max(0, x + 3)) / 6."""
    six = np.float32(6)
    return np.asarray(x * np.minimum(six, np.maximum(np.float32(0), x + np.float32(3))) / six)


def float_hard_swish_in_blocks(x: Float32Array) -> Float32Array:
    """Compute x / 6 * min(6, max(0, x + 3)): the product does not leave float32 before it is divided."""
    gate = np.minimum(np.float32(6), np.maximum(np.float32(0), x + np.float32(3)))
    return np.asarray(x * np.float32(1 / 6) * gate)


def float_hard_swish_of_xnnpack(x: Float32Array) -> Float32Array:
    """Compute x * min(1, max(0, x / 6 + 1/2)), the sum rounded once, and 0 in place of subnormal numbers."""
    gate = fused_multiply_add(x, np.asarray(np.float32(1 / 6)), np.asarray(np.float32(0.5)))
    return subnormal_as_zero(x * np.clip(gate, np.float32(0), np.float32(1)))


_SCALAR_FLOAT = PlainUnary(float_hard_swish)
#: HARD_SWISH of floats; vector instructions take 4 of them at once.
FLOATS: Rules[Prepared] = Rules(
    "HARD_SWISH of float32",
    {
        LITERT_REFERENCE: _SCALAR_FLOAT,
        LITERT_OPTIMIZED: InBlocksUnary(4, PlainUnary(float_hard_swish_in_blocks), _SCALAR_FLOAT),
        XNNPACK: PlainUnary(float_hard_swish_of_xnnpack),
    },
)


def to_16_bits(real: Float32Array) -> FixedPointMultiplier:
    """Encode a multiplier with a significand of 16 bits, rounded half up from 32; at most 32767."""
    if not np.isfinite(real):
        raise ModelError(f"expected scales of a finite ratio, found {real}")
    factor = quantize_multiplier(real.astype(np.float64))
    return FixedPointMultiplier(saturate((factor.multiplier + (1 << 15)) >> 16, 16), factor.shift)


def prepare(op: OpView, profile: Profile) -> Prepared:
    """Check the contract of HARD_SWISH and derive multipliers.

    Raises
    ------
    ModelError
        The op breaks its contract.
    UnsupportedError
        The type is not covered.

    """
    expect_count(op, {1})
    x, y = input_tensor(op, 0), output_tensor(op)
    expect_dtype(y, x.dtype)
    if x.dtype is DType.FLOAT32:
        return FLOATS[profile]
    if x.dtype not in {DType.INT8, DType.UINT8}:
        raise unsupported(op, "; ".join(KERNELS[0].covers))
    with np.errstate(over="ignore"):
        hires_scale = np.asarray(np.float32(1 / 128) * float32_scale(x))
        output = to_16_bits(np.asarray(hires_scale / float32_scale(y)))
        reluish = to_16_bits(np.asarray(hires_scale / (np.float32(3) / np.float32(32768))))
    expect(
        int(output.shift) <= 0, f"the input scale to be below 128 output scales, found {int(output.shift)} bits more"
    )
    expect(int(reluish.shift) <= 31, f"a smaller input scale, found {float32_scale(x)}")
    scalar, vector = HardSwish(zero_point_of(x), zero_point_of(y), output, reluish, x.dtype), VECTOR[profile]
    return scalar if vector is None else InBlocksUnary(8, replace(scalar, rounding=vector), scalar)


KERNELS = (
    Kernel(
        "HARD_SWISH",
        prepare,
        covers=("int8", "uint8", "float32"),
        refusal={TFLM: micro.no_uint8, XNNPACK: delegate.unary(delegate.FLOATS)},
    ),
)
