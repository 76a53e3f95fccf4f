"""What quantized binary ops share: bringing an input to a scale where it can be compared, added or subtracted."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from kernels.engine.contract import expect, input_tensor, zero_point_of
from kernels.engine.elementwise import expect_right_shift, float32_scale
from kernels.engine.types import OpView, TensorView
from qmath.fixed_point import wrap_int32
from qmath.multiplier import quantize_multiplier
from qmath.requantize import Regime
from qmath.stages import Note, silent
from qmath.types import Array, FixedPointMultiplier, Float64Array, Int64Array


@dataclass(frozen=True, slots=True)
class InputScaling:
    """Subtract the zero point, shift left to keep precision, multiply by a factor of at most 1.

    Attributes
    ----------
    zero_point
        Of the input.
    left_shift
        Bits; a negative number shifts right and drops the fraction.
    factor
        Multiplier and shift; the shift is not positive.
    regime
        How the multiplication rounds.

    """

    zero_point: int
    left_shift: int
    factor: FixedPointMultiplier
    regime: Regime

    @property
    def real_multiplier(self) -> float:
        """What a step of the input becomes, but for rounding."""
        return math.ldexp(float(self.factor.multiplier), int(self.factor.shift) - 31 + self.left_shift)

    def __call__(self, x: Array, note: Note = silent) -> Int64Array:
        """Scale codes; int32, wrapping."""
        centred = x.astype(np.int64) - self.zero_point
        note("zero point subtracted", centred, "x - zero_point", x=x, zero_point=self.zero_point)
        raised = centred << self.left_shift if self.left_shift >= 0 else centred >> -self.left_shift
        shifted = wrap_int32(raised)
        note("shifted", shifted, "wrap(floor(centred * 2**left_shift))", centred=centred, left_shift=self.left_shift)
        return self.regime.apply(shifted, self.factor, note)


def twice_larger_scale(op: OpView) -> Float64Array:
    """Return twice the larger scale of both inputs: a float32 product held in float64.

    Raises
    ------
    ModelError
        An input has no positive scale, or the product does not fit float32.

    """
    first, second = (float32_scale(input_tensor(op, slot)) for slot in (0, 1))
    with np.errstate(over="ignore"):
        twice = np.asarray(np.float32(2) * np.maximum(first, second)).astype(np.float64)
    expect(bool(np.isfinite(twice)), f"smaller input scales, found {first} and {second}")
    return twice


def to_common_scale(
    op: OpView, left_shift: int, regime: Regime, *, float32: bool = False
) -> tuple[InputScaling, InputScaling]:
    """Prepare both inputs to be brought to twice the larger of their scales; quotients of scales are float64 or 32."""
    common = twice_larger_scale(op)

    def scaling(x: TensorView) -> InputScaling:
        ratio = np.asarray(float32_scale(x).astype(np.float64) / common)
        factor = quantize_multiplier(ratio.astype(np.float32) if float32 else ratio)
        return InputScaling(zero_point_of(x), left_shift, expect_right_shift(factor, "an input scale"), regime)

    return scaling(input_tensor(op, 0)), scaling(input_tensor(op, 1))
