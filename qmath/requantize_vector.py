"""Requantization regimes of vector kernels: what some processors' instructions round differently.

They are regimes as those of :mod:`qmath.requantize`, met in LiteRT's optimized kernels and in XNNPACK.

Source: ``tflite/kernels/internal/optimized/`` (depthwiseconv, neon_tensor_utils), ``ruy/kernel_arm64.cc``, XNNPACK
``src/qu8-gemm/*-rndnu-*``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from qmath.arguments import as_real
from qmath.errors import SpecError
from qmath.fixed_point import saturate, saturating_rounding_doubling_high_mul, wrap, wrap_int32
from qmath.multiplier import quantize_multiplier, real_value, reduced_multiplier
from qmath.requantize import (
    DOUBLE_ROUNDING,
    DOUBLE_ROUNDING_HALF_UP,
    FAR,
    Factor,
    FixedPointRegime,
    Float32HalfEven,
    Float64HalfAway,
    RealForm,
    Reduced64,
    Regime,
    Requantize,
    SingleRounding,
    finite,
    fixed_point,
)
from qmath.rounding import round_half_away_from_zero, shift_right_half_up
from qmath.stages import Note, silent, under
from qmath.types import Array, FixedPointMultiplier, Float64Array, Int64Array


@dataclass(frozen=True, slots=True)
class FloorThenHalfUp(FixedPointRegime):
    """Arm's matrix kernels: a high multiply that floors, then a rounding shift of at least one bit, ties up.

    A floor followed by a rounding shift is one rounding, so it equals :class:`~qmath.requantize.SingleRounding` as
    long as the accumulator, shifted left, fits 32 bits. What is left over wraps.

    1. Shift right at the end by ``right = max(1, -shift)`` bits, so shift left first by ``left = shift + right``;
       32 bits, wrapping.
    2. Take the high half of twice the product with the significand, cut off.
    3. Divide by ``2**right``, ties up.
    """

    def apply(self, accumulator: Array, factor: Factor, note: Note = silent) -> Int64Array:
        """Multiply by the fixed-point ``factor`` and round once."""
        fixed = fixed_point(factor)
        right = np.maximum(1, -fixed.shift)
        left = fixed.shift + right
        shifted = self._shift_left(np.asarray(accumulator, np.int64), left, note)
        product = (shifted * fixed.multiplier) >> 31
        rule = "floor(shifted * multiplier / 2**31)"
        note("high multiply", product, rule, shifted=shifted, multiplier=fixed.multiplier)
        rounded = shift_right_half_up(product, right)
        return note("shifted right", rounded, "half_up(product / 2**right)", product=product, right=right)

    def _shift_left(self, accumulator: Int64Array, left: Array, note: Note) -> Int64Array:
        shifted = wrap_int32(accumulator << left)
        return note("shifted left", shifted, "wrap(accumulator * 2**left)", accumulator=accumulator, left=left)

    def limit(self, factor: Factor) -> Float64Array:
        """Keep the accumulator, shifted left, within 32 bits."""
        fixed = fixed_point(factor)
        left = np.maximum(fixed.shift + 1, 0).astype(np.int32)
        return np.where(fixed.multiplier < 0, -1.0, np.ldexp(2.0**31 - 2, -left))

    def real_form(self, factor: Factor) -> RealForm:
        """One rounding, half up."""
        fixed = fixed_point(factor)
        return RealForm(real_value(fixed), np.full(fixed.shift.shape, 0.5), np.zeros(fixed.shift.shape))


@dataclass(frozen=True, slots=True)
class FloorThenHalfUpFloat32(FloorThenHalfUp):
    """The same with a multiplier of 24 bits: depthwise convolution of uint8 by XNNPACK on Arm."""

    def encode(self, real_multiplier: Float64Array) -> FixedPointMultiplier:
        """Round the real multiplier to float32, then encode it without loss."""
        return FixedPointRegime.encode(self, as_real(real_multiplier, np.float32).astype(np.float64))


@dataclass(frozen=True, slots=True)
class FloorThenHalfUpSaturating(FloorThenHalfUpFloat32):
    """The same where shifting left saturates: matrix products of uint8 by XNNPACK on Arm."""

    def _shift_left(self, accumulator: Int64Array, left: Array, note: Note) -> Int64Array:
        shifted = saturate(accumulator << left)
        rule = "clamp(accumulator * 2**left, -2**31, 2**31 - 1)"
        return note("shifted left", shifted, rule, accumulator=accumulator, left=left)


@dataclass(frozen=True, slots=True)
class SingleRoundingFloat32(SingleRounding):
    """One rounding, half up, by a multiplier of 24 bits: the float32 scale of XNNPACK's integer kernels on Arm."""

    def encode(self, real_multiplier: Float64Array) -> FixedPointMultiplier:
        """Round the real multiplier to float32, then encode it without loss."""
        return quantize_multiplier(as_real(real_multiplier, np.float32).astype(np.float64))


@dataclass(frozen=True, slots=True)
class Float32HalfEvenSaturating(Float32HalfEven):
    """Float32, rounds once: ties to even, and saturates: XNNPACK on Arm, and its depthwise kernel everywhere.

    Elsewhere on x86-64 a product below 32 bits becomes the lowest integer, and adding a negative zero point wraps.
    """

    def apply(self, accumulator: Array, factor: Factor, note: Note = silent) -> Int64Array:
        """Multiply in float32 and round once; what is far outside any code stays there."""
        real = np.asarray(factor)
        with np.errstate(over="ignore"):
            product = np.asarray(accumulator, np.int64).astype(np.float32) * real
        note("product", product, "float32(float32(accumulator) * factor)", accumulator=accumulator, factor=real)
        if (np.abs(product) > FAR).any():
            bounded = np.clip(product, np.float32(-FAR), np.float32(FAR))
            product = note("bounded", bounded, "clamp(product, -far, far)", product=product, far=np.asarray(FAR))
        return note("rounded", np.rint(product).astype(np.int64), "half_even(product)", product=product)


@dataclass(frozen=True, slots=True)
class Float64HalfAwaySaturating(Float64HalfAway):
    """A float64 product that saturates where it is converted: what the reference kernels make of it on Arm."""

    def apply(self, accumulator: Array, factor: Factor, note: Note = silent) -> Int64Array:
        """Multiply in float64 and round once."""
        real = np.asarray(factor)
        with np.errstate(over="ignore"):
            product = np.asarray(accumulator, np.float64) * real
        note("product", product, "float64(float64(accumulator) * factor)", accumulator=accumulator, factor=real)
        rounded = np.clip(round_half_away_from_zero(product), -(2.0**31), 2.0**31 - 1).astype(np.int64)
        return note("rounded", rounded, "clamp(half_away(product), -2**31, 2**31 - 1)", product=product)


@dataclass(frozen=True, slots=True)
class Reduced64CutEarly(Reduced64):
    """CMSIS-NN's regime of 64-bit accumulators: cut to 32 bits one bit before the end, then rounded, ties up.

    It equals :class:`~qmath.requantize.Reduced64` as long as the result fits 31 bits. Measured on CONV_2D; the other
    kernels that call the same function were read.

    Source: CMSIS-NN ``Include/arm_nnsupportfunctions.h`` (arm_nn_requantize_s64) at commit 99f736a6.
    """

    def apply(self, accumulator: Array, factor: Factor, note: Note = silent) -> Int64Array:
        """Multiply by the reduced ``factor``, cut, and round once."""
        fixed = fixed_point(factor)
        reduced, right = reduced_multiplier(fixed.multiplier), 14 - fixed.shift
        note("reduced multiplier", reduced, "min(half_up(multiplier / 2**16), 32767)", multiplier=fixed.multiplier)
        product = np.asarray(accumulator, np.int64) * reduced
        note("product", product, "accumulator * multiplier", accumulator=accumulator, multiplier=reduced)
        cut = wrap_int32(product >> right)
        note("cut to 32 bits", cut, "wrap(floor(product / 2**right))", product=product, right=right)
        rounded = wrap_int32(cut + 1) >> 1
        return note("shifted right", rounded, "floor(wrap(cut + 1) / 2)", cut=cut)

    def limit(self, factor: Factor) -> Float64Array:
        """Keep the 64-bit product and the 32-bit number before the last shift from wrapping."""
        fixed = fixed_point(factor)
        bits = np.minimum(47, 29 - fixed.shift).astype(np.int32)
        return np.where(fixed.multiplier < 0, -1.0, np.ldexp(1.0, bits))


@dataclass(frozen=True, slots=True)
class HalfUpThenFloor(FixedPointRegime):
    """A high multiply that rounds half up, then a shift right that drops the fraction."""

    def apply(self, accumulator: Array, factor: Factor, note: Note = silent) -> Int64Array:
        """Multiply by the fixed-point ``factor``, which is at most 1, and cut off."""
        fixed = fixed_point(factor)
        product = saturating_rounding_doubling_high_mul(accumulator, fixed.multiplier)
        rule = "half_up(accumulator * multiplier / 2**31)"
        note("high multiply", product, rule, accumulator=accumulator, multiplier=fixed.multiplier)
        right = -fixed.shift
        return note("shifted right", product >> right, "floor(product / 2**right)", product=product, right=right)


@dataclass(frozen=True, slots=True)
class EightBitMultiplier(Regime):
    """A multiplier in steps of 1/256, one rounding, ties up: XNNPACK's conversions between 8-bit scales."""

    def encode(self, real_multiplier: Float64Array) -> FixedPointMultiplier:
        """Round 256 times the real multiplier, a float32 number, half to even."""
        real = finite(as_real(real_multiplier, np.float32))
        if (np.abs(real) >= 1 << 23).any():
            raise SpecError(f"expected real multipliers below 2**23, found {np.max(np.abs(real)):g}")
        multiplier = np.rint(256 * real.astype(np.float64)).astype(np.int64)
        return FixedPointMultiplier(multiplier, np.full(multiplier.shape, 31 - 8, np.int64))

    def apply(self, accumulator: Array, factor: Factor, note: Note = silent) -> Int64Array:
        """Multiply and shift right by 8 bits."""
        multiplier = fixed_point(factor).multiplier
        product = np.asarray(accumulator, np.int64) * multiplier
        note("product", product, "accumulator * multiplier", accumulator=accumulator, multiplier=multiplier)
        return note("shifted right", shift_right_half_up(product, 8), "half_up(product / 2**8)", product=product)

    def explain(self, real_multiplier: Float64Array, factor: Factor, note: Note) -> None:
        """Name the multiplier."""
        multiplier = fixed_point(factor).multiplier
        rule = "half_even(256 * float32(real_multiplier))"
        note("multiplier", multiplier, rule, real_multiplier=real_multiplier)

    def limit(self, factor: Factor) -> Float64Array:
        """Keep the product exact."""
        return np.where(fixed_point(factor).multiplier < 0, -1.0, 2.0**31)


@dataclass(frozen=True)
class RequantizeIn16Bits(Requantize):
    """A requantization whose results pass through 16 bits.

    Attributes
    ----------
    saturates
        Whether what does not fit 16 bits saturates, or wraps; the zero point is then added, wrapping.

    """

    saturates: bool = False

    def __call__(self, accumulator: Array, note: Note = silent) -> Array:
        """Return output codes of type ``dtype``, same shape as ``accumulator``."""
        note("real multiplier", self.real_multiplier)
        self.regime.explain(self.real_multiplier, self.factor, note)
        scaled = self.regime.apply(accumulator, self.factor, note)
        rule = "clamp(scaled, -2**15, 2**15 - 1)" if self.saturates else "wrap(scaled, 16)"
        cut = note("in 16 bits", (saturate if self.saturates else wrap)(scaled, 16), rule, scaled=scaled)
        shifted = wrap(cut + self.zero_point, 16)
        note("zero point added", shifted, "wrap(cut + zero_point, 16)", cut=cut, zero_point=self.zero_point)
        low, high = self.activation.min, self.activation.max
        clamped = np.clip(shifted, low, high)
        note("clamped", clamped, "clamp(shifted, low, high)", shifted=shifted, low=low, high=high)
        return clamped.astype(self.dtype.storage)


@dataclass(frozen=True, slots=True)
class InBlocks(FixedPointRegime):
    """One regime for whole blocks of channels, another for the channels left over: vector code and its tail.

    Attributes
    ----------
    size
        Channels of a block, counted from channel 0.
    blocks, rest
        The regimes; both take the same fixed-point multiplier.
    picked
        Which channels lie in blocks, where they are picked out of more; None where they are all there, in order.

    """

    size: int
    blocks: Regime
    rest: Regime
    picked: tuple[bool, ...] | None = None

    def at(self, channels: Int64Array, count: int) -> InBlocks:
        """Remember which of the channels lie in blocks."""
        return replace(self, picked=tuple(bool(inside) for inside in self._in_blocks(count)[channels]))

    def apply(self, accumulator: Array, factor: Factor, note: Note = silent) -> Int64Array:
        """Multiply by the fixed-point ``factor``, the last axis being channels."""
        in_blocks = self._in_blocks(np.atleast_1d(accumulator).shape[-1])
        if in_blocks.all() or not in_blocks.any():
            chosen = self.blocks if in_blocks.all() else self.rest
            return chosen.apply(accumulator, factor, note)
        whole = self.blocks.apply(accumulator, factor, under(note, "in blocks"))
        left_over = self.rest.apply(accumulator, factor, under(note, "left over"))
        rounded = np.where(in_blocks, whole, left_over)
        rule = "in_blocks if is_in_block else left_over"
        return note("rounded", rounded, rule, in_blocks=whole, left_over=left_over, is_in_block=in_blocks)

    def _in_blocks(self, channels: int) -> Array:
        if self.picked is not None:
            return np.array(self.picked)
        return np.arange(channels) < channels // self.size * self.size

    def limit(self, factor: Factor) -> Float64Array:
        """Stay within both."""
        return np.minimum(self.blocks.limit(factor), self.rest.limit(factor))

    def real_form(self, factor: Factor) -> RealForm | None:
        """Put the forms of both together."""
        whole, left_over = self.blocks.real_form(factor), self.rest.real_form(factor)
        if whole is None or left_over is None or whole.scale.ndim == 0:
            return None
        in_blocks = self._in_blocks(len(whole.scale))
        return RealForm(
            whole.scale, np.where(in_blocks, whole.up, left_over.up), np.where(in_blocks, whole.away, left_over.away)
        )


HALF_UP_THEN_FLOOR = HalfUpThenFloor()
REDUCED_64_CUT_EARLY = Reduced64CutEarly()
EIGHT_BIT_MULTIPLIER = EightBitMultiplier()
FLOOR_THEN_HALF_UP = FloorThenHalfUp()
FLOOR_THEN_HALF_UP_FLOAT32 = FloorThenHalfUpFloat32()
FLOOR_THEN_HALF_UP_SATURATING = FloorThenHalfUpSaturating()
SINGLE_ROUNDING_FLOAT32 = SingleRoundingFloat32()
FLOAT64_HALF_AWAY_SATURATING = Float64HalfAwaySaturating()
FLOAT32_HALF_EVEN_SATURATING = Float32HalfEvenSaturating()
#: Depthwise and transposed convolution in LiteRT's optimized kernels.
HALF_UP_IN_BLOCKS_OF_8 = InBlocks(8, DOUBLE_ROUNDING_HALF_UP, DOUBLE_ROUNDING)
