"""The requantization regimes: from an integer accumulator to a quantized value.

"TensorFlow Lite rounding" is several arithmetics. Each is a regime here, a small frozen value that knows how to
encode a real multiplier and the few literal steps that apply it. They differ on ties and in the last bit of the
product, hence by one code now and then.

Source: ``tflite/kernels/internal/common.cc`` (MultiplyByQuantizedMultiplier), gemmlowp ``fixedpoint/fixedpoint.h``,
``ruy/apply_multiplier.cc``, XNNPACK ``src/qs8-qc8w-gemm/`` and ``src/qu8-gemm/`` (``*-minmax-fp32-*``).
"""

from __future__ import annotations

import abc
from dataclasses import dataclass, field, replace
from typing import ClassVar, TypeAlias

import numpy as np

from qmath.arguments import as_real
from qmath.errors import SpecError
from qmath.fixed_point import rounding_divide_by_power_of_two, saturating_rounding_doubling_high_mul, wrap_int32
from qmath.multiplier import quantize_multiplier, real_value, reduced_multiplier
from qmath.rounding import round_half_away_from_zero, shift_right_half_up
from qmath.stages import Note, silent
from qmath.types import ActivationRange, Array, DType, FixedPointMultiplier, Float32Array, Float64Array, Int64Array

#: What a regime multiplies by: integers, or the real multiplier in the regime's own precision.
Factor: TypeAlias = FixedPointMultiplier | Float64Array | Float32Array

#: Largest left shift of a 32-bit accumulator that C defines.
MAX_SHIFT = 30
#: Where float32 products are cut off above: far outside any code, and a zero point more still fits 32 bits.
FAR = 2.0**30


@dataclass(frozen=True, slots=True)
class RealForm:
    """A regime as a function of real numbers: ``floor(a * scale + up + copysign(away, a * scale))``.

    Nested floors are one floor: for an integer ``n > 0``, ``floor(floor(x) / n) = floor(x / n)``. So a regime that
    rounds twice, to units of ``2**shift`` and then to integers, is one floor with the ties moved by half such a unit.
    The identity holds for real numbers; in a float type it holds as far as products and sums are exact.

    Attributes
    ----------
    scale
        float64: the real multiplier as the integers encode it.
    up
        float64: one half, and what moves ties toward plus infinity.
    away
        float64: what moves ties away from zero.

    """

    scale: Float64Array
    up: Float64Array
    away: Float64Array


class Regime(abc.ABC):
    """How an accumulator is multiplied by a real number and rounded to an integer.

    Attributes
    ----------
    upper_end_first
        Whether the upper end of an activation is applied before the zero point is added, and only the lower one after.
        It makes a difference where the addition wraps around.

    """

    upper_end_first: ClassVar[bool] = False

    @abc.abstractmethod
    def encode(self, real_multiplier: Float64Array) -> Factor:
        """Return the form of the real multipliers that :meth:`apply` takes.

        Raises
        ------
        SpecError
            A multiplier is not finite, or too large for the form.

        """

    @abc.abstractmethod
    def apply(self, accumulator: Array, factor: Factor, note: Note = silent) -> Int64Array:
        """Multiply and round; ``factor`` broadcasts along the last axis of ``accumulator``."""

    def at(self, channels: Int64Array, count: int) -> Regime:
        """Return the regime for an array of some channels, picked by index out of ``count``; most do not care."""
        del channels, count
        return self

    def explain(self, real_multiplier: Float64Array, factor: Factor, note: Note) -> None:
        """Name the numbers that stand for the real multiplier, as stages."""
        note("factor", np.asarray(_real(factor)), "real_multiplier", real_multiplier=real_multiplier)

    @abc.abstractmethod
    def limit(self, factor: Factor) -> Float64Array:
        """Return the largest magnitude of an accumulator up to which :meth:`apply` is monotone, per factor.

        Beyond it a shift or a conversion would wrap or saturate; a negative multiplier gives -1.
        """

    def real_form(self, factor: Factor) -> RealForm | None:
        """Return the regime as one floor of a real number, or None where it has no such form."""
        del factor
        return None


class FixedPointRegime(Regime):
    """A regime whose multiplier is a Q0.31 significand and a shift."""

    def encode(self, real_multiplier: Float64Array) -> FixedPointMultiplier:
        """Encode by :func:`~qmath.multiplier.quantize_multiplier`."""
        factor = quantize_multiplier(real_multiplier)
        if (factor.shift > MAX_SHIFT).any():
            raise SpecError(f"expected real multipliers below 2**{MAX_SHIFT}, found {np.max(real_multiplier):g}")
        return factor

    def explain(self, real_multiplier: Float64Array, factor: Factor, note: Note) -> None:
        """Name significand, multiplier and shift."""
        fixed = fixed_point(factor)
        shift = note("shift", fixed.shift)
        fraction = np.ldexp(real_multiplier, -shift.astype(np.int32))
        note("significand", fraction, "real_multiplier / 2**shift", real_multiplier=real_multiplier, shift=shift)
        note("multiplier", fixed.multiplier, "half_away(significand * 2**31)", significand=fraction)

    def limit(self, factor: Factor) -> Float64Array:
        """Keep the accumulator, shifted left, and the result within 32 bits."""
        fixed = fixed_point(factor)
        return np.where(fixed.multiplier < 0, -1.0, np.ldexp(2.0**31 - 2, -np.maximum(fixed.shift, 0).astype(np.int32)))


@dataclass(frozen=True, slots=True)
class DoubleRounding(FixedPointRegime):
    """gemmlowp's two roundings: ties up in the high multiply, then ties away from zero in the shift.

    LiteRT's reference kernels, TFLite Micro and CMSIS-NN.

    1. Shift the accumulator left by ``max(shift, 0)``; 32 bits, wrapping.
    2. Take the high half of twice the product with the significand, ties toward plus infinity.
    3. Divide by ``2**max(-shift, 0)``, ties away from zero.
    """

    def apply(self, accumulator: Array, factor: Factor, note: Note = silent) -> Int64Array:
        """Multiply by the fixed-point ``factor`` and round twice."""
        fixed = fixed_point(factor)
        product = _high_multiply(accumulator, fixed, note)
        right = np.maximum(-fixed.shift, 0)
        rounded = rounding_divide_by_power_of_two(product, right)
        return note("shifted right", rounded, "half_away(product / 2**right)", product=product, right=right)

    def real_form(self, factor: Factor) -> RealForm:
        """Ties of the second rounding move away from zero by half a unit of the first."""
        fixed = fixed_point(factor)
        return RealForm(real_value(fixed), np.full(fixed.shift.shape, 0.5), _half_unit(fixed))


@dataclass(frozen=True, slots=True)
class DoubleRoundingHalfUp(FixedPointRegime):
    """Two roundings, both with ties toward plus infinity: ruy's vector kernels.

    It differs from :class:`DoubleRounding` on exact ties of negative values in the second step alone.
    """

    def apply(self, accumulator: Array, factor: Factor, note: Note = silent) -> Int64Array:
        """Multiply by the fixed-point ``factor`` and round twice."""
        fixed = fixed_point(factor)
        product = _high_multiply(accumulator, fixed, note)
        right = np.maximum(-fixed.shift, 0)
        rounded = shift_right_half_up(product, right)
        return note("shifted right", rounded, "half_up(product / 2**right)", product=product, right=right)

    def real_form(self, factor: Factor) -> RealForm:
        """Ties of the second rounding move up by half a unit of the first."""
        fixed = fixed_point(factor)
        return RealForm(real_value(fixed), 0.5 + _half_unit(fixed), np.zeros(fixed.shift.shape))


@dataclass(frozen=True, slots=True)
class SingleRounding(FixedPointRegime):
    """One 64-bit product and one shift, ties toward plus infinity (``TFLITE_SINGLE_ROUNDING=1``)."""

    def apply(self, accumulator: Array, factor: Factor, note: Note = silent) -> Int64Array:
        """Multiply by the fixed-point ``factor`` and round once."""
        fixed = fixed_point(factor)
        product = _product(accumulator, fixed.multiplier, note)
        right = 31 - fixed.shift
        rounded = wrap_int32(shift_right_half_up(product, right))
        return note("shifted right", rounded, "wrap(half_up(product / 2**right))", product=product, right=right)

    def real_form(self, factor: Factor) -> RealForm:
        """One rounding, half up."""
        fixed = fixed_point(factor)
        return RealForm(real_value(fixed), np.full(fixed.shift.shape, 0.5), np.zeros(fixed.shift.shape))


@dataclass(frozen=True, slots=True)
class Reduced64(FixedPointRegime):
    """The regime of 64-bit accumulators: a 16-bit significand, one product, one shift with ties up."""

    def encode(self, real_multiplier: Float64Array) -> FixedPointMultiplier:
        """Encode by :func:`~qmath.multiplier.quantize_multiplier`; a shift of 15 or more leaves nothing to shift by."""
        factor = quantize_multiplier(real_multiplier)
        if (factor.shift > 14).any():
            raise SpecError(f"expected real multipliers below 2**14, found {np.max(real_multiplier):g}")
        return factor

    def apply(self, accumulator: Array, factor: Factor, note: Note = silent) -> Int64Array:
        """Multiply by the reduced ``factor`` and round once; the result is cut to 32 bits."""
        fixed = fixed_point(factor)
        reduced, right = reduced_multiplier(fixed.multiplier), 15 - fixed.shift
        note("reduced multiplier", reduced, "min(half_up(multiplier / 2**16), 32767)", multiplier=fixed.multiplier)
        product = _product(accumulator, reduced, note)
        rounded = wrap_int32(shift_right_half_up(product, right))
        return note("shifted right", rounded, "wrap(half_up(product / 2**right))", product=product, right=right)

    def real_form(self, factor: Factor) -> RealForm:
        """One rounding, half up, of the 16-bit significand."""
        fixed = fixed_point(factor)
        reduced = FixedPointMultiplier(reduced_multiplier(fixed.multiplier) << 16, fixed.shift)
        return RealForm(real_value(reduced), np.full(fixed.shift.shape, 0.5), np.zeros(fixed.shift.shape))

    def limit(self, factor: Factor) -> Float64Array:
        """Keep the 64-bit product and the 32-bit result from wrapping."""
        fixed = fixed_point(factor)
        bits = np.minimum(47, 30 - fixed.shift).astype(np.int32)
        return np.where(fixed.multiplier < 0, -1.0, np.ldexp(1.0, bits))


@dataclass(frozen=True, slots=True)
class Float64HalfAway(Regime):
    """A float64 product, rounded half away from zero: FULLY_CONNECTED in LiteRT's reference kernels."""

    def encode(self, real_multiplier: Float64Array) -> Float64Array:
        """Keep the real multiplier as it is."""
        return finite(as_real(real_multiplier, np.float64))

    def apply(self, accumulator: Array, factor: Factor, note: Note = silent) -> Int64Array:
        """Multiply in float64 and round once."""
        real = _real(factor)
        with np.errstate(over="ignore"):
            product = np.asarray(accumulator, np.float64) * real
        note("product", product, "float64(float64(accumulator) * factor)", accumulator=accumulator, factor=real)
        rounded = _to_int32(round_half_away_from_zero(product))
        return note("rounded", rounded, "half_away(product)", product=product)

    def limit(self, factor: Factor) -> Float64Array:
        """Keep the product within int32 and the accumulator exact in float64."""
        return _float_limit(factor)


@dataclass(frozen=True, slots=True)
class Float32HalfEven(Regime):
    """A float32 product of the accumulator rounded to float32, rounded half to even: XNNPACK on x86-64.

    A product far above every code stays there. One below 32 bits becomes the lowest integer, to which a negative zero
    point is added in 32 bits: the result is the highest code, also where a fused activation ends lower, since its upper
    end was applied to the product.
    """

    upper_end_first: ClassVar[bool] = True

    def encode(self, real_multiplier: Float64Array) -> Float32Array:
        """Round the real multiplier to float32."""
        return finite(as_real(real_multiplier, np.float32))

    def apply(self, accumulator: Array, factor: Factor, note: Note = silent) -> Int64Array:
        """Multiply in float32 and round once."""
        real = _real(factor)
        with np.errstate(over="ignore"):
            product = np.asarray(accumulator, np.int64).astype(np.float32) * real
        note("product", product, "float32(float32(accumulator) * factor)", accumulator=accumulator, factor=real)
        if (product > FAR).any():
            bounded = np.minimum(product, np.float32(FAR))
            product = note("bounded", bounded, "min(product, far)", product=product, far=np.asarray(FAR))
        return note("rounded", _to_int32(np.rint(product)), "half_even(product)", product=product)

    def explain(self, real_multiplier: Float64Array, factor: Factor, note: Note) -> None:
        """Name the multiplier in float32."""
        note("factor", np.asarray(_real(factor)), "float32(real_multiplier)", real_multiplier=real_multiplier)

    def limit(self, factor: Factor) -> Float64Array:
        """Keep the product within int32."""
        return _float_limit(factor)


DOUBLE_ROUNDING = DoubleRounding()
DOUBLE_ROUNDING_HALF_UP = DoubleRoundingHalfUp()
SINGLE_ROUNDING = SingleRounding()
REDUCED_64 = Reduced64()
FLOAT64_HALF_AWAY = Float64HalfAway()
FLOAT32_HALF_EVEN = Float32HalfEven()


@dataclass(frozen=True)
class Requantize:
    """From accumulator to output code: multiply, round, add the zero point, clamp.

    Attributes
    ----------
    regime
        The arithmetic of the multiplication.
    real_multiplier
        float64, shape ``()`` or ``(channels,)`` along the accumulator's last axis.
    zero_point
        Of the output.
    activation
        The fused activation, in output codes.
    dtype
        Of the output.
    factor
        ``real_multiplier`` in the form of the regime.

    Raises
    ------
    SpecError
        The regime cannot encode the multiplier.

    """

    regime: Regime
    real_multiplier: Float64Array
    zero_point: int
    activation: ActivationRange
    dtype: DType
    factor: Factor = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Encode the multiplier once."""
        object.__setattr__(self, "factor", self.regime.encode(self.real_multiplier))

    def __call__(self, accumulator: Array, note: Note = silent) -> Array:
        """Return output codes of type ``dtype``, same shape as ``accumulator``."""
        note("real multiplier", self.real_multiplier)
        self.regime.explain(self.real_multiplier, self.factor, note)
        scaled = self.regime.apply(accumulator, self.factor, note)
        if self.regime.upper_end_first and (scaled < DType.INT32.min - self.zero_point).any():
            last = np.asarray(self.activation.max - self.zero_point)
            scaled = note("upper end", np.minimum(scaled, last), "min(scaled, last)", scaled=scaled, last=last)
            return to_codes(scaled, self.zero_point, replace(self.activation, max=self.dtype.max), self.dtype, note)
        return to_codes(scaled, self.zero_point, self.activation, self.dtype, note)


def to_codes(
    scaled: Array, zero_point: int | Int64Array, activation: ActivationRange, dtype: DType, note: Note = silent
) -> Array:
    """Return the codes of integers in units of the output's scale: add the zero point, in 32 bits, and clamp."""
    shifted = wrap_int32(scaled + zero_point)
    note("zero point added", shifted, "wrap(scaled + zero_point)", scaled=scaled, zero_point=zero_point)
    low, high = activation.min, activation.max
    clamped = np.clip(shifted, low, high)
    note("clamped", clamped, "clamp(shifted, low, high)", shifted=shifted, low=low, high=high)
    return clamped.astype(dtype.storage)


def fixed_point(factor: Factor) -> FixedPointMultiplier:
    """Return a factor that must be a fixed-point multiplier.

    Raises
    ------
    SpecError
        It is a real number.

    """
    if not isinstance(factor, FixedPointMultiplier):
        raise SpecError(f"expected a fixed-point multiplier, found {type(factor).__name__}")
    return factor


def _half_unit(fixed: FixedPointMultiplier) -> Float64Array:
    """Return half the unit that a first rounding leaves, where a second rounding follows: ``2**(shift - 1)``."""
    return np.where(fixed.shift < 0, np.ldexp(0.5, np.minimum(fixed.shift, 0).astype(np.int32)), 0.0)


def _high_multiply(accumulator: Array, fixed: FixedPointMultiplier, note: Note) -> Int64Array:
    """Shift left by ``max(shift, 0)`` bits; multiply with the significand as fractions of 2**31, ties up."""
    left = np.maximum(fixed.shift, 0)
    shifted = wrap_int32(np.asarray(accumulator, np.int64) << left)
    note("shifted left", shifted, "wrap(accumulator * 2**left)", accumulator=accumulator, left=left)
    product = saturating_rounding_doubling_high_mul(shifted, fixed.multiplier)
    rule = "half_up(shifted * multiplier / 2**31)"
    return note("high multiply", product, rule, shifted=shifted, multiplier=fixed.multiplier)


def _product(accumulator: Array, multiplier: Int64Array, note: Note) -> Int64Array:
    product = np.asarray(accumulator, np.int64) * multiplier
    return note("product", product, "accumulator * multiplier", accumulator=accumulator, multiplier=multiplier)


def _real(factor: Factor) -> Array:
    if isinstance(factor, FixedPointMultiplier):
        raise SpecError("expected a real multiplier, found a fixed-point one")
    return factor


def _float_limit(factor: Factor) -> Float64Array:
    real = np.asarray(_real(factor), np.float64)
    with np.errstate(divide="ignore"):
        return np.where(real < 0, -1.0, np.minimum(2.0**53, (2.0**31 - 2048) / real))


def finite(real_multiplier: Array) -> Array:
    """Return real multipliers that must be finite.

    Raises
    ------
    SpecError
        One is not.

    """
    if not np.isfinite(real_multiplier).all():
        raise SpecError(f"expected finite real multipliers, found {real_multiplier}")
    return real_multiplier


def _to_int32(rounded: Array) -> Int64Array:
    """Convert to int32 as x86-64 does: what does not fit becomes the lowest int32."""
    fits = np.abs(rounded) < 2.0**31
    return np.where(fits, rounded, -(2.0**31)).astype(np.int64)
