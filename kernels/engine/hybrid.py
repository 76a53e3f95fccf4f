"""Hybrid ops: float32 activations are quantized on the fly, multiplied with integer weights, and scaled back.

Each row of a batch (one image, one vector) gets a scale of its own, and a zero point where the rule is asymmetric.

Source: ``tflite/kernels/internal/optimized/neon_tensor_utils.cc`` (NeonSymmetricQuantizeFloats,
NeonAsymmetricQuantizeFloats, RoundToNearest). On x86-64 LiteRT compiles this Arm vector code through an emulation
header, for its reference kernels too; ``internal/reference/portable_tensor_utils.cc`` rounds differently and is not
what runs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from kernels.engine import row_ends
from kernels.engine.row_ends import Ends
from kernels.profiles import LITERT_OPTIMIZED_ARM64, LITERT_REFERENCE, Rules
from qmath.fixed_point import wrap_int32
from qmath.rounding import float_to_int32_saturating, float_to_int32_x86, round_half_away_from_zero
from qmath.stages import Note, silent, under
from qmath.types import ActivationRange, Array, Float32Array, Float64Array, Int8Array, Int64Array

#: The vector code takes values in groups of this many; what is left over at the end of a row goes one by one.
GROUP = 8
#: The vector code multiplies columns in groups of this many.
COLUMNS = 16
#: The stage that holds the codes of an input that is quantized on the fly.
CODES = "quantized input"
#: What a code less its zero point can be.
STEPS = ActivationRange(-255, 255)


@dataclass(frozen=True, slots=True)
class QuantizedRows:
    """Rows quantized on the fly: ``real = scale * (code - zero_point)``.

    Attributes
    ----------
    codes
        int8, the shape of the real values.
    scale
        float32, shape ``(rows,)``.
    zero_point
        int64, shape ``(rows,)``.

    """

    codes: Int8Array
    scale: Float32Array
    zero_point: Int64Array

    def per_row(self, values: Array) -> Array:
        """Reshape one value a row so that it broadcasts against the codes."""
        return values.reshape(-1, *(1,) * (self.codes.ndim - 1))

    def steps(self, dtype: npt.DTypeLike) -> Array:
        """Return ``code - zero_point`` as ``dtype``: integers in [-255, 255]."""
        steps = self.codes.astype(dtype)
        if self.zero_point.any():
            steps -= self.per_row(self.zero_point).astype(dtype)
        return steps


class QuantizeRows(Protocol):
    """From real values, rows on the first axis, to codes; the note receives the stages."""

    def __call__(self, real: Float32Array, note: Note = silent, /) -> QuantizedRows:
        """Quantize each row."""


@dataclass(frozen=True, slots=True)
class ScaleBack:
    """In which order an accumulator is multiplied by the scale of its weights and that of its row, all float32.

    Attributes
    ----------
    rule
        In terms of ``accumulator``, ``weights_scale`` and ``row_scale``; see :mod:`qmath.stages`.
    multiply
        The same on arrays that broadcast.

    """

    rule: str
    multiply: Callable[[Float32Array, Float32Array, Float32Array], Float32Array]


SCALE_BACK_BY_PRODUCT = ScaleBack(
    "float32(float32(accumulator) * float32(weights_scale * row_scale))",
    lambda accumulator, weights_scale, row_scale: accumulator * (weights_scale * row_scale),
)
SCALE_BACK_IN_TURN = ScaleBack(
    "float32(float32(float32(accumulator) * weights_scale) * row_scale)",
    lambda accumulator, weights_scale, row_scale: (accumulator * weights_scale) * row_scale,
)


@dataclass(frozen=True, slots=True)
class HybridArithmetic:
    """How a runtime computes an op on float32 activations with integer weights."""

    quantize: QuantizeRows
    scale_back: ScaleBack

    def real_values(
        self, accumulator: Array, weights_scale: Float32Array, rows: QuantizedRows, note: Note = silent
    ) -> Float32Array:
        """Return real values, float32, for accumulators of the same number of dimensions as the codes."""
        row_scale = rows.per_row(rows.scale)
        real = self.scale_back.multiply(accumulator.astype(np.float32, copy=False), weights_scale, row_scale)
        terms = {"accumulator": accumulator, "weights_scale": weights_scale, "row_scale": row_scale}
        note("scaled back", real, self.scale_back.rule, **terms)
        return real

    def with_bias(
        self,
        accumulator: Array,
        weights_scale: Float32Array,
        rows: QuantizedRows,
        bias: Array | None,
        note: Note = silent,
    ) -> Float32Array:
        """Return real values plus the bias, one an output channel, if there is one."""
        real = self.real_values(accumulator, weights_scale, rows, note)
        if bias is None:
            return real
        total = np.asarray(real + bias.reshape(-1))
        return note("bias added", total, "float32(real + bias)", real=real, bias=bias.reshape(-1))


def misread_weights(weights: Int8Array) -> Array | None:
    """Return 256 where the vector code misreads a weight and 0 elsewhere; None if it misreads none.

    For 16 columns at a time it multiplies magnitudes, after it moved the sign of the code to the weight; but -(-128)
    is -128 in int8. So a weight -128 gives ``128 * code`` for a negative code, instead of ``-128 * code``: it is
    256 * code too much. Columns that do not fill a group of 16 are multiplied by other instructions.

    Source: ``tflite/kernels/internal/optimized/sse_tensor_utils.cc`` (SseMatrixBatchVectorMultiplyAccumulateImpl).

    Parameters
    ----------
    weights
        int8, shape (units, depth).

    """
    misread = weights == np.iinfo(np.int8).min
    misread[:, weights.shape[1] // COLUMNS * COLUMNS :] = False
    return misread * np.int64(256) if misread.any() else None


@dataclass(frozen=True, slots=True)
class RowRounding:
    """How a processor rounds steps to integers, and what it makes of those that no int32 holds.

    A row that is all but zero has such steps: 127 by its range is then infinite. So has a row with infinite ends.

    Attributes
    ----------
    rounded
        Rounds steps of shape (rows, values), in float32.
    rule
        The same in terms of ``steps``, ``half`` and ``in_group``; see :mod:`qmath.stages`.
    to_int32
        Converts what is rounded in whole groups of values.
    alone_symmetric, alone_asymmetric
        Convert what is left over at the end of a row.
    ends
        Finds the lowest and the highest number of each row, and 0.

    """

    rounded: Callable[[Float32Array], Float32Array]
    rule: str
    to_int32: Callable[[Float32Array], Int64Array]
    alone_symmetric: Callable[[Float32Array], Int64Array]
    alone_asymmetric: Callable[[Float32Array], Int64Array]
    ends: Ends

    def codes(self, steps: Float32Array, zero_point: Int64Array | None, *, bounded: bool) -> Int8Array:
        """Round steps, add each row's zero point and clamp to int8, without -128 if there are no zero points.

        Parameters
        ----------
        steps
            float32, shape (rows, values).
        zero_point
            int64, shape (rows,), or None where the rule is symmetric.
        bounded
            Whether steps are known to be small numbers, of which float32 holds every sum.

        """
        whole = self.rounded(steps)
        lowest = -127 if zero_point is None else -128
        if not bounded:
            return np.clip(self._integers(whole, zero_point), lowest, 127).astype(np.int8)
        if zero_point is not None:
            whole += zero_point[:, None].astype(np.float32)
        np.clip(whole, np.float32(lowest), np.float32(127), out=whole)
        return whole.astype(np.int8)

    def _integers(self, whole: Float32Array, zero_point: Int64Array | None) -> Int64Array:
        """Add zero points to int32 in whole groups, wrapping around, and to float32 in what is left over."""
        grouped = whole.shape[1] // GROUP * GROUP
        in_groups, alone = self.to_int32(whole[:, :grouped]), whole[:, grouped:]
        if zero_point is None:
            return np.concatenate((in_groups, self.alone_symmetric(alone)), axis=1)
        shifted = alone + zero_point[:, None].astype(np.float32)
        return np.concatenate((wrap_int32(in_groups + zero_point[:, None]), self.alone_asymmetric(shifted)), axis=1)


def round_in_groups(steps: Float32Array) -> Float32Array:
    """Round each row to integers, ties away from zero, the way the emulated vector code does.

    Whole groups of eight add one half, with the sign of the value, and drop the fraction. The sum is rounded to
    float32, so the largest number below one half becomes 1. What is left at the end of a row is rounded rightly.

    Parameters
    ----------
    steps
        float32, shape (rows, values).

    """
    grouped = steps.shape[1] // GROUP * GROUP
    rounded: Float32Array = np.copysign(np.float32(0.5), steps)
    rounded += steps
    np.trunc(rounded, out=rounded)
    rounded[:, grouped:] = round_half_away_from_zero(steps[:, grouped:])
    return rounded


def _emulated_to_int32(x: Float32Array) -> Int64Array:
    """Convert to int32 as the emulation header does: saturating, but NaN is the lowest int32."""
    return np.where(np.isnan(x), np.int64(-(2**31)), float_to_int32_saturating(x))


#: Arm's vector code, emulated. What is left over is converted as the compiler chose.
ROUND_ON_X86 = RowRounding(
    rounded=round_in_groups,
    rule="(toward_zero(float32(steps + half)) if in_group else half_away(steps))",
    to_int32=_emulated_to_int32,
    alone_symmetric=float_to_int32_x86,
    alone_asymmetric=float_to_int32_saturating,
    ends=Ends(row_ends.later_if_nan),
)
#: Arm's instructions themselves, which round the largest number below one half rightly.
ROUND_ON_ARM = RowRounding(
    rounded=round_half_away_from_zero,
    rule="half_away(steps)",
    to_int32=float_to_int32_saturating,
    alone_symmetric=float_to_int32_saturating,
    alone_asymmetric=float_to_int32_saturating,
    ends=Ends(row_ends.nan_if_any),
)


def quantize_symmetric(
    real: Float32Array, note: Note = silent, /, rounding: RowRounding = ROUND_ON_X86
) -> QuantizedRows:
    """Quantize each row to [-127, 127] with zero point 0.

    1. ``range``: the largest magnitude of the row. A row of zeros has the codes 0 and the scale 1.
    2. ``scale = range / 127``, in float32.
    3. ``code = round(real * (127 / range))``, in float32; see :class:`RowRounding`.

    Parameters
    ----------
    real
        float32, shape (rows, ...): real values.
    note
        Receives the stages: the codes as ``"quantized input"``, what leads there as parts of it.
    rounding
        How the processor rounds.

    """
    rows = _rows(real)
    span, has_nan = row_ends.largest_magnitude(rows)
    zero = span == 0
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        inverse = np.where(zero, np.float32(0), np.float32(127) / span)
        steps = rows * inverse[:, None]
        codes = rounding.codes(steps, None, bounded=not has_nan and _are_finite(span, inverse))
    codes[zero] = 0
    scale = np.where(zero, np.float32(1), span / np.float32(127))
    quantized = QuantizedRows(codes.reshape(real.shape), scale, np.zeros(len(rows), np.int64))
    inside, largest = under(note, CODES), quantized.per_row(span)
    inside("largest magnitude of the row", largest)
    inside("row scale", quantized.per_row(scale), "float32(largest / 127) if largest > 0 else 1", largest=largest)
    rule = "float32(127 / largest) if largest > 0 else 0"
    inside("inverse", quantized.per_row(inverse), rule, largest=largest)
    _note_codes(real, steps.reshape(real.shape), inverse, quantized, rounding, note)
    return quantized


def _note_codes(
    real: Float32Array,
    steps: Float32Array,
    inverse: Float32Array,
    quantized: QuantizedRows,
    rounding: RowRounding,
    note: Note,
) -> None:
    """Name the codes, and what is rounded to them; see :class:`RowRounding`."""
    if note is silent:
        return
    under(note, CODES)("steps", steps, "float32(x * inverse)", x=real, inverse=quantized.per_row(inverse))
    size = real[0].size if len(real) else 0
    in_group = (np.arange(size) < size // GROUP * GROUP).reshape(1, *real.shape[1:])
    lowest = -128 if quantized.zero_point.any() else -127
    terms = {"zero_point": quantized.per_row(quantized.zero_point), "half": np.copysign(np.float32(0.5), steps)}
    rule = f"clamp({rounding.rule} + zero_point, {lowest}, 127)"
    note(CODES, quantized.codes, rule, steps=steps, in_group=in_group, **terms)


def quantize_asymmetric(
    real: Float32Array, note: Note = silent, /, rounding: RowRounding = ROUND_ON_X86
) -> QuantizedRows:
    """Quantize each row to [-128, 127] with a zero point of its own.

    1. ``low = min(0, smallest)``, ``high = max(0, largest)``. If they are equal, the codes and the zero point are 0
       and the scale is 1.
    2. ``scale = (high - low) / 255``: the difference in float32, the quotient in float64. It is kept as float32.
    3. The zero point that would put ``low`` at -128, or the one that would put ``high`` at 127: the one computed from
       the end nearer to zero, where float64 errs less. Rounded half away from zero, clamped to int8.
    4. ``code = round(real * (1 / scale)) + zero_point``, the product in float32; see :class:`RowRounding`.

    Parameters
    ----------
    real
        float32, shape (rows, ...): real values.
    note
        Receives the stages, as in :func:`quantize_symmetric`.
    rounding
        How the processor rounds.

    """
    rows = _rows(real)
    low, high, has_nan = rounding.ends.of(rows)
    flat = low == high
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        exact_scale = np.where(flat, 1.0, (high - low).astype(np.float64) / 255.0)
        zero_point = np.where(flat, 0, _nudged_zero_point(low, high, exact_scale)).astype(np.int64)
        scale = exact_scale.astype(np.float32)
        inverse = np.where(scale == 0, np.float32(0), np.float32(1) / scale)
        steps = rows * inverse[:, None]
        codes = rounding.codes(steps, zero_point, bounded=not has_nan and _are_finite(low, high, inverse))
    codes[flat] = 0
    quantized = QuantizedRows(codes.reshape(real.shape), scale, zero_point)
    _note_ends(low, high, exact_scale, quantized, under(note, CODES))
    inverse_rule = "0 if scale == 0 else float32(1 / scale)"
    under(note, CODES)("inverse", quantized.per_row(inverse), inverse_rule, scale=quantized.per_row(scale))
    _note_codes(real, steps.reshape(real.shape), inverse, quantized, rounding, note)
    return quantized


def _note_ends(
    low: Float32Array, high: Float32Array, exact_scale: Float64Array, quantized: QuantizedRows, note: Note
) -> None:
    """Name the ends of each row, and what scale and zero point follow from them."""
    ends = {"low": quantized.per_row(low), "high": quantized.per_row(high)}
    for name, value in ends.items():
        note(f"{name} end of the row, or 0", value)
    s = quantized.per_row(exact_scale)
    note("quotient", s, "float64(float32(high - low) / 255) if high > low else 1", **ends)
    note("row scale", quantized.per_row(quantized.scale), "float32(quotient)", quotient=s)
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        steps = {f"{name}_steps": np.asarray(value / s) for name, value in ends.items()}
    for name in ends:
        note(f"{name} end in steps", steps[f"{name}_steps"], f"float64({name} / quotient)", quotient=s, **ends)
    nearer = "float64(128 + abs(low_steps)) < float64(127 + abs(high_steps))"
    nudged = f"float64(-128 - low_steps) if {nearer} else float64(127 - high_steps)"
    rule = f"half_away(clamp({nudged}, -128, 127)) if high > low else 0"
    note("row zero point", quantized.per_row(quantized.zero_point), rule, **ends, **steps)


def _rows(real: Float32Array) -> Float32Array:
    count = real.shape[0]
    return np.ascontiguousarray(real, np.float32).reshape(count, real.size // max(count, 1))


def _are_finite(*of_each_row: Float32Array) -> bool:
    """Whether ends and inverse scales of all rows are finite; steps are then what they should be: small numbers."""
    return all(bool(np.isfinite(values).all()) for values in of_each_row)


def _nudged_zero_point(low: Float32Array, high: Float32Array, scale: Float64Array) -> Float64Array:
    low_steps, high_steps = low / scale, high / scale
    low_is_nearer = 128.0 + np.abs(low_steps) < 127.0 + np.abs(high_steps)
    zero_point: Float64Array = np.where(low_is_nearer, -128.0 - low_steps, 127.0 - high_steps)
    zero_point = np.nan_to_num(zero_point)  # infinity by infinity: x86 converts what is not a number to 0 here
    return round_half_away_from_zero(np.clip(zero_point, -128, 127))


def quantize_symmetric_on_arm(real: Float32Array, note: Note = silent, /) -> QuantizedRows:
    """Quantize each row by :func:`quantize_symmetric`, rounding as Arm's instructions do."""
    return quantize_symmetric(real, note, ROUND_ON_ARM)


def quantize_asymmetric_on_arm(real: Float32Array, note: Note = silent, /) -> QuantizedRows:
    """Quantize each row by :func:`quantize_asymmetric`, rounding as Arm's instructions do."""
    return quantize_asymmetric(real, note, ROUND_ON_ARM)


#: How rows are quantized symmetrically, and with a zero point of their own.
SYMMETRIC: Rules[QuantizeRows] = Rules(
    "float32 activations with integer weights",
    {LITERT_REFERENCE: quantize_symmetric, LITERT_OPTIMIZED_ARM64: quantize_symmetric_on_arm},
)
ASYMMETRIC: Rules[QuantizeRows] = Rules(
    "float32 activations with integer weights",
    {LITERT_REFERENCE: quantize_asymmetric, LITERT_OPTIMIZED_ARM64: quantize_asymmetric_on_arm},
)
