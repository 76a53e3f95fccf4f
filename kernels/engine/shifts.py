"""gemmlowp's division by a power of two, with exponents that it was not made for.

It is a right shift, plus one where the bits shifted out exceed a threshold. Exponents below 0 or above 31 leave the
shifts undefined in C; here is what x86's and Arm's instructions make of them. Where a loop divides by a negative power
of two, most elements go through vector instructions and the last ones through scalar ones, which differ; so an op
there is covered on x86 for data on which both give the same, on Arm by the place of an element.

Source: gemmlowp ``fixedpoint/fixedpoint.h`` (RoundingDivideByPOT), ``tflite/kernels/internal/common.h``
(MultiplyByQuantizedMultiplierSmallerThanOneExp).
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kernels.engine.types import Inputs, Outputs, Prepared
from qmath.arguments import as_int64
from qmath.errors import UnsupportedError
from qmath.fixed_point import rounding_divide_by_power_of_two, saturating_rounding_doubling_high_mul, wrap_int32
from qmath.multiplier import quantize_multiplier
from qmath.requantize import Factor, FixedPointRegime
from qmath.stages import Note, silent
from qmath.types import Array, FixedPointMultiplier, Float64Array, Int64Array


def divide_by_power_of_two_16(x: Array, exponent: int) -> Int64Array:
    """Divide 16-bit words by ``2**exponent``, ties away from zero.

    The mask of the bits shifted out has 16 bits too, so from 16 on the result is 1 for 0 and positive numbers and -1
    for negative ones.
    """
    return rounding_divide_by_power_of_two(x, exponent) if exponent < 16 else np.where(x >= 0, 1, -1)


def divide_by_power_of_two_x86(x: Int64Array, exponent: npt.ArrayLike) -> Int64Array:
    """Divide int32 by ``2**exponent``, ties away from zero, with x86's scalar instructions; Arm's give the same.

    They take the exponent modulo 32, for the 64-bit mask modulo 64; the mask is then cut to 32 bits.
    """
    exponent = as_int64(exponent)
    bits = exponent & 63
    mask = np.where(bits < 32, (np.int64(1) << np.minimum(bits, 32)) - 1, -1)
    threshold = (mask >> 1) + (x < 0)
    return (x >> (exponent & 31)) + ((x & mask) > threshold)


class Instructions(enum.Enum):
    """What divides by a power of two."""

    SCALAR = enum.auto()
    """Shifts by a count modulo 32."""
    X86_VECTOR = enum.auto()
    """Shifts that leave the sign alone where the count is negative."""
    ARM_ROUNDING = enum.auto()
    """A rounding shift, to the left where the count is negative; int32, wrapping."""
    ARM_STEPS = enum.auto()
    """Shift, compare and add: to the left where the count is negative, plus one for 0 and positive numbers."""


@dataclass(frozen=True, slots=True)
class NegativeShift(FixedPointRegime):
    """A regime for multipliers below 1 that is given one above.

    The high multiply, then a division by ``2**-shift``: as usual if the shift is not positive; else as the instructions
    do it.
    """

    instructions: Instructions

    def encode(self, real_multiplier: Float64Array) -> FixedPointMultiplier:
        """Encode without a bound on the shift."""
        return quantize_multiplier(real_multiplier)

    def apply(self, accumulator: Array, factor: Factor, note: Note = silent) -> Int64Array:
        """Multiply by the fixed-point ``factor`` and divide."""
        if not isinstance(factor, FixedPointMultiplier):
            raise UnsupportedError(f"expected a fixed-point multiplier, found {type(factor).__name__}")
        product = saturating_rounding_doubling_high_mul(accumulator, factor.multiplier)
        rule = "half_up(accumulator * multiplier / 2**31)"
        note("high multiply", product, rule, accumulator=accumulator, multiplier=factor.multiplier)
        divided = divide_by_power_of_two_x86(product, -factor.shift)
        if self.instructions is Instructions.X86_VECTOR:
            divided = np.where(factor.shift > 0, np.where(product >= 0, 1, -1), divided)
        elif self.instructions is not Instructions.SCALAR:
            step = (product >= 0) & (self.instructions is Instructions.ARM_STEPS)
            divided = np.where(factor.shift > 0, wrap_int32((product << np.maximum(factor.shift, 0)) + step), divided)
        return note("shifted right", divided, "half_away(product / 2**right)", product=product, right=-factor.shift)


SCALAR_SHIFT = NegativeShift(Instructions.SCALAR)
VECTOR_SHIFT = NegativeShift(Instructions.X86_VECTOR)
ARM_ROUNDING_SHIFT = NegativeShift(Instructions.ARM_ROUNDING)
ARM_STEPS_SHIFT = NegativeShift(Instructions.ARM_STEPS)


@dataclass(frozen=True, slots=True)
class EitherWay(Prepared):
    """An op prepared twice: with x86's scalar and with its vector instructions.

    Attributes
    ----------
    scalar, vector
        Both forms.
    why
        What is undefined, for the message.

    """

    scalar: Prepared
    vector: Prepared
    why: str

    def evaluate(self, inputs: Inputs, note: Note) -> Outputs:
        """Evaluate both and return what they agree on.

        Raises
        ------
        UnsupportedError
            They do not agree.

        """
        found = self.scalar.evaluate(inputs, note)
        for one, other in zip(found, self.vector.evaluate(inputs, silent), strict=True):
            if not np.array_equal(one, other):
                raise UnsupportedError(
                    f"{self.why}: the runtime then shifts by a negative count, which C leaves undefined, and on this "
                    "data the result depends on the place of an element"
                )
        return found
