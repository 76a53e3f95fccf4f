"""Fused activations: what an op clamps its output to."""

from __future__ import annotations

import enum
from collections.abc import Callable

import numpy as np

from kernels.engine import eigen
from kernels.engine.contract import expect, scale_of, zero_point_of
from kernels.engine.types import TensorView
from kernels.profiles import LITERT_REFERENCE, XNNPACK, Profile, Rules
from qmath.rounding import round_half_away_from_zero
from qmath.stages import Note, silent
from qmath.types import ActivationRange, Array


class Activation(enum.Enum):
    """The schema's fused activation functions."""

    NONE = 0
    RELU = 1
    RELU_N1_TO_1 = 2
    RELU6 = 3
    TANH = 4
    SIGN_BIT = 5

    @property
    def bounds(self) -> tuple[float | None, float | None]:
        """Real values that the activation clamps to; TANH and SIGN_BIT are ignored, as the runtime does."""
        return _BOUNDS.get(self, (None, None))


_BOUNDS: dict[Activation, tuple[float | None, float | None]] = {
    Activation.RELU: (0.0, None),
    Activation.RELU_N1_TO_1: (-1.0, 1.0),
    Activation.RELU6: (0.0, 6.0),
}


def quantized_range(activation: Activation, output: TensorView, profile: Profile | None = None) -> ActivationRange:
    """Return the activation in codes of ``output``: ``zero_point + round_half_away(bound / scale)`` in float32.

    XNNPACK adds the zero point before it rounds, half to even.

    Source: ``tflite/kernels/kernel_util.cc`` (CalculateActivationRangeQuantized); XNNPACK
    ``src/xnnpack/requantization.h`` (xnn_qs8_quantize).

    Raises
    ------
    ModelError
        ``output`` is not quantized, or a bound does not fit 32 bits.

    """
    code = BOUND[profile or LITERT_REFERENCE]
    lowest, highest = output.dtype.min, output.dtype.max
    lower, upper = activation.bounds
    if lower is not None:
        lowest = max(lowest, code(lower, output))
    if upper is not None:
        highest = min(highest, code(upper, output))
    return ActivationRange(lowest, highest)


def half_away_plus_zero_point(bound: float, output: TensorView) -> int:
    """Return the code of a bound: steps rounded half away from zero, plus the zero point."""
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        real_steps = np.asarray(np.float32(bound) / np.float32(scale_of(output)), np.float32)
    steps = round_half_away_from_zero(real_steps)
    # The comparison with int32's ends is made in float32, where 2**31 - 1 is 2**31.
    expect(bool(np.abs(steps) <= 2.0**31), f"{bound} / scale of {output.name!r} to fit 32 bits, found {steps}")
    return zero_point_of(output) + int(steps)


def half_even_with_zero_point(bound: float, output: TensorView) -> int:
    """Return the code of a bound: steps and zero point added in float32, clamped to the type, rounded half to even."""
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        steps = np.float32(bound) / np.float32(scale_of(output)) + np.float32(zero_point_of(output))
    return int(np.rint(np.clip(steps, output.dtype.min, output.dtype.max)))


BOUND: Rules[Callable[[float, TensorView], int]] = Rules(
    "fused activations", {LITERT_REFERENCE: half_away_plus_zero_point, XNNPACK: half_even_with_zero_point}
)


def float_range(activation: Activation, *, finite: bool = True) -> tuple[np.float32, np.float32]:
    """Return the ends that float32 values are clamped to: by default no farther than the finite numbers.

    Source: ``tflite/kernels/kernel_util.h`` (CalculateActivationRange).
    """
    lower, upper = activation.bounds
    limit = np.finfo(np.float32).max if finite else np.float32(np.inf)
    return np.float32(-limit if lower is None else lower), np.float32(limit if upper is None else upper)


def clamp_float(values: Array, activation: Activation, *, finite: bool = True) -> Array:
    """Apply the activation to float32 values in place and return them; infinities become finite even without one."""
    if finite or activation.bounds != (None, None):
        low, high = float_range(activation, finite=finite)
        np.clip(values, low, high, out=values)
    return values


def activate_float(values: Array, activation: Activation, note: Note = silent, *, keeps_nan: bool = False) -> Array:
    """Apply any activation to float32 values, in place where it clamps, and return them: hybrid and recurrent ops.

    A NaN that is clamped becomes the lower bound, unless it is kept.

    Source: ``tflite/kernels/internal/tensor_utils.h`` (ApplyActivationToVector).
    """
    if activation is Activation.TANH:
        return note("activated", eigen.tanh(values), "~ tanh(x)", x=values)
    if activation is Activation.SIGN_BIT:
        return np.signbit(values).astype(np.float32)
    if activation.bounds == (None, None):
        return values
    low, high = float_range(activation, finite=False)
    before = values if note is silent else values.copy()
    if not keeps_nan:
        np.fmax(values, low, out=values)
    np.clip(values, low, high, out=values)
    ends = {name: np.asarray(end) for name, end in (("low", low), ("high", high)) if np.isfinite(end)}
    rule = "clamp(x, low, high)" if len(ends) > 1 else "max(x, low)"
    return note("activated", values, rule, x=before, **ends)
