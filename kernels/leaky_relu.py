"""LEAKY_RELU: negative values times a constant slope.

Source: ``tflite/kernels/activations.cc``, ``tflite/kernels/internal/reference/leaky_relu.h``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

import numpy as np

from kernels.engine import delegate, elementwise, micro
from kernels.engine.contract import (
    expect,
    expect_count,
    expect_dtype,
    input_tensor,
    option,
    output_tensor,
    unsupported,
    zero_point_of,
)
from kernels.engine.elementwise import expect_zero_points_of_zero, float32_scale, less_zero_point
from kernels.engine.registry import Kernel
from kernels.engine.types import Inputs, OpView, Outputs, Prepared, Runner, given
from kernels.profiles import LITERT_REFERENCE, TFLM, XNNPACK, Profile, Rules
from qmath.requantize import DOUBLE_ROUNDING, Factor, Regime, to_codes
from qmath.requantize_vector import EIGHT_BIT_MULTIPLIER
from qmath.stages import Note, silent, under
from qmath.types import ActivationRange, Array, DType, Float32Array

REGIME: Rules[Regime] = Rules("LEAKY_RELU", {LITERT_REFERENCE: DOUBLE_ROUNDING, XNNPACK: EIGHT_BIT_MULTIPLIER})

#: From input scale, alpha and output scale to the multiplier of negative values and a sign to apply afterwards.
Slope: TypeAlias = Callable[[Float32Array, Float32Array, Float32Array], tuple[Float32Array, int]]


def magnitude_and_sign(x: Float32Array, alpha: Float32Array, y: Float32Array) -> tuple[Float32Array, int]:
    """Multiply the input scale by the magnitude of alpha first; negate after rounding."""
    return np.asarray(x * np.abs(alpha) / y), -1 if alpha < 0 else 1


def signed_slope(x: Float32Array, alpha: Float32Array, y: Float32Array) -> tuple[Float32Array, int]:
    """Multiply the quotient of the scales by alpha, sign and all."""
    return np.asarray(np.asarray(x / y) * alpha), 1


SLOPE: Rules[Slope] = Rules("LEAKY_RELU", {LITERT_REFERENCE: magnitude_and_sign, XNNPACK: signed_slope})


@dataclass(frozen=True, slots=True)
class LeakyRelu(Prepared):
    """A prepared integer LEAKY_RELU.

    Attributes
    ----------
    regime
        How products round.
    identity
        ``input_scale / output_scale``, for values from zero up.
    slope
        ``input_scale * |alpha| / output_scale``, for negative values.
    slope_sign
        The sign of alpha.
    input_zero_point, output_zero_point
        The codes of 0.
    dtype
        Of input and output.

    """

    regime: Regime
    identity: Factor
    slope: Factor
    slope_sign: int
    input_zero_point: int
    output_zero_point: int
    dtype: DType

    def evaluate(self, inputs: Inputs, note: Note) -> Outputs:
        """Evaluate :func:`leaky_relu`."""
        return (leaky_relu(given(inputs, 0), self, note),)

    def compile(self, constants: Inputs) -> Runner:
        """Tabulate every code."""
        del constants
        return elementwise.unary(partial(leaky_relu, op=self), self.dtype)


def leaky_relu(x: Array, op: LeakyRelu, note: Note = silent) -> Array:
    """Scale codes, negative ones by the slope too.

    Parameters
    ----------
    x
        int8, uint8 or int16, any shape: quantized.
    op
        The prepared op.
    note
        Receives the stages.

    Returns
    -------
    Codes of the same type and shape.

    Notes
    -----
    1. accumulator: ``x - input_zero_point``.
    2. scaled: by the regime with ``input_scale / output_scale``, negative values with that times the slope; the
       multipliers are computed in float32. A negative slope multiplies by its magnitude, then negates.
    3. Add the output's zero point; clamp to the range of the type.

    """
    accumulator = less_zero_point(x, op.input_zero_point, note)
    positive = op.regime.apply(accumulator, op.identity, under(note, "if positive"))
    negative = op.slope_sign * op.regime.apply(accumulator, op.slope, under(note, "if negative"))
    scaled = np.where(accumulator >= 0, positive, negative)
    rule = "positive if accumulator >= 0 else negative"
    note("scaled", scaled, rule, accumulator=accumulator, positive=positive, negative=negative)
    return to_codes(scaled, op.output_zero_point, ActivationRange.of(op.dtype), op.dtype, note)


@dataclass(frozen=True, slots=True)
class FloatLeakyRelu(Prepared):
    """A prepared float32 LEAKY_RELU."""

    alpha: Float32Array

    def evaluate(self, inputs: Inputs, note: Note) -> Outputs:
        """Multiply negative values by alpha."""
        del note
        x = given(inputs, 0)
        with np.errstate(all="ignore"):
            return (np.where(x > 0, x, x * self.alpha),)


def prepare(op: OpView, profile: Profile) -> Prepared:
    """Check the contract of LEAKY_RELU and derive multipliers.

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
    alpha = np.asarray(option(op, "alpha"), np.float32)
    if x.dtype is DType.FLOAT32:
        return FloatLeakyRelu(alpha)
    if x.dtype not in {DType.INT8, DType.UINT8, DType.INT16}:
        raise unsupported(op, "; ".join(KERNELS[0].covers))
    if x.dtype is DType.INT16:
        expect_zero_points_of_zero(x, y)
    expect(bool(np.isfinite(alpha)), f"a finite alpha, found {alpha}")
    with np.errstate(over="ignore"):
        identity = np.asarray(float32_scale(x) / float32_scale(y))
        slope, sign = SLOPE[profile](float32_scale(x), alpha, float32_scale(y))
    regime = REGIME[profile]
    factors = regime.encode(identity.astype(np.float64)), regime.encode(slope.astype(np.float64))
    return LeakyRelu(regime, *factors, sign, zero_point_of(x), zero_point_of(y), x.dtype)


def _left(op: OpView) -> str | None:
    """Return why XNNPACK leaves a LEAKY_RELU: 8-bit multipliers hold ratios of scales from 2**-8 to 2**7."""
    ratio, alpha = delegate.ratio_of(op), float(np.float32(op.options.get("alpha", 0)))
    if not np.isfinite(alpha) or abs(alpha) < np.finfo(np.float32).tiny:
        return f"XNNPACK expects a normal number as alpha, found {alpha}"
    if ratio is None:
        return None
    negative = float(np.float32(ratio) * np.float32(alpha))
    if abs(negative) < 2.0**-8:
        return f"XNNPACK expects alpha times input scale over output scale of at least 1/256, found {negative:g}"
    return delegate.outside(ratio, 2.0**-8, 2.0**7) or delegate.outside(negative, -127.99609375, 2.0**7)


KERNELS = (
    Kernel(
        "LEAKY_RELU",
        prepare,
        covers=("int8", "uint8", "int16", "float32"),
        refusal={TFLM: micro.no_uint8, XNNPACK: delegate.all_of(delegate.unary(delegate.NUMBERS), _left)},
    ),
)
