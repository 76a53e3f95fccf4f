"""Hybrid ops in XNNPACK: float32 activations quantized on the fly ("qd8"), asymmetrically, in float32 throughout.

Source: XNNPACK ``src/xnnpack/quantization.h``, ``src/f32-qs8-vcvt``, ``src/qd8-f32-qc8w-gemm``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kernels.engine.hybrid import CODES, SCALE_BACK_IN_TURN, HybridArithmetic, QuantizedRows
from kernels.engine.ufuncs import clip
from qmath.rounding import fused_multiply_add
from qmath.stages import Note, silent, under
from qmath.types import Array, Float32Array


@dataclass(frozen=True, slots=True)
class FusedArithmetic(HybridArithmetic):
    """XNNPACK's: the row's scale first, then the weights' scale and the bias with one rounding."""

    def with_bias(
        self,
        accumulator: Array,
        weights_scale: Float32Array,
        rows: QuantizedRows,
        bias: Array | None,
        note: Note = silent,
    ) -> Float32Array:
        """Return real values plus the bias, one an output channel, if there is one."""
        row_scale = rows.per_row(rows.scale)
        scaled = np.asarray(accumulator.astype(np.float32, copy=False) * row_scale)
        rule = "float32(float32(accumulator) * row_scale)"
        note("scaled by the row", scaled, rule, accumulator=accumulator, row_scale=row_scale)
        added = np.zeros(1, np.float32) if bias is None else bias.reshape(-1)
        real = fused_multiply_add(scaled, weights_scale, added)
        rule = "float32(scaled * weights_scale + bias)"
        return note("scaled back", real, rule, scaled=scaled, weights_scale=weights_scale, bias=added)


def quantize_in_float32(real: Float32Array, note: Note = silent) -> QuantizedRows:
    """Quantize each row to [-128, 127] with a zero point of its own.

    Quirk: XNNPACK quantizes the float32 input of hybrid ops asymmetrically, whatever ``asymmetric_quantize_inputs``
    says.

    1. ``low = min(0, smallest)``, ``high = max(0, largest)``; ``inverse = 255 / (high - low)``, or 1 if they are equal.
    2. The zero point that would put ``low`` at -128, or the one that would put ``high`` at 127: the first if
       ``(-128 + low * inverse) + (127 + high * inverse)`` is above 0. Clamped to int8, rounded half to even.
    3. ``code = half_even(real * inverse) + zero_point``, clamped to int8. The row's scale is ``1 / inverse``.

    Every step is in float32.

    Parameters
    ----------
    real
        float32, shape (rows, ...): finite real values.
    note
        Receives the stages: the codes as ``"quantized input"``, what leads there as parts of it.

    """
    count = real.shape[0]
    rows = np.ascontiguousarray(real, np.float32).reshape(count, real.size // max(count, 1))
    low, high = _ends(rows)
    lowest, highest = np.float32(-128), np.float32(127)
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        inverse = np.where(low == high, np.float32(1), (highest - lowest) / (high - low)).astype(np.float32)
        low_steps, high_steps = low * inverse, high * inverse
        from_low = (lowest + low_steps) + (highest + high_steps) > 0
        nudged = np.where(from_low, lowest - low_steps, highest - high_steps)
        zero_point = np.rint(np.clip(np.nan_to_num(nudged), lowest, highest))
        # The lower of a number and an integer rounds as the number does, so the last clamp takes in the first.
        codes = np.rint(rows * inverse[:, None])
        if not all(np.isfinite(values).all() for values in (low, high, inverse)):
            np.nan_to_num(np.minimum(codes, (highest - zero_point)[:, None], out=codes), copy=False)
        codes += zero_point[:, None]
        clip(codes, lowest, highest, codes)
        scale = np.asarray(np.float32(1) / inverse)
    quantized = QuantizedRows(codes.astype(np.int8).reshape(real.shape), scale, zero_point.astype(np.int64))
    if note is not silent:
        _note_rows(real, low, high, inverse, quantized, note)
    return quantized


def _ends(rows: Float32Array) -> tuple[Float32Array, Float32Array]:
    """Return the least and the largest number of each row, or 0 if that is farther out."""
    if len(rows) > rows.shape[1]:  # NumPy reduces long columns quicker than short rows
        columns = np.ascontiguousarray(rows.T)
        return columns.min(axis=0, initial=0), columns.max(axis=0, initial=0)
    return rows.min(axis=1, initial=0), rows.max(axis=1, initial=0)


def _note_rows(
    real: Float32Array,
    low: Float32Array,
    high: Float32Array,
    inverse: Float32Array,
    quantized: QuantizedRows,
    note: Note,
) -> None:
    """Name the ends of each row, what follows from them, and the codes."""
    inside = under(note, CODES)
    ends = {"low": quantized.per_row(low), "high": quantized.per_row(high)}
    for name, value in ends.items():
        inside(f"{name} end of the row, or 0", value)
    terms = {"inverse": quantized.per_row(inverse), "zero_point": quantized.per_row(quantized.zero_point)}
    inside("inverse", terms["inverse"], "float32(255 / float32(high - low)) if high > low else 1", **ends)
    inside("row scale", quantized.per_row(quantized.scale), "float32(1 / inverse)", inverse=terms["inverse"])
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        steps = {f"{name}_steps": np.asarray(value * terms["inverse"]) for name, value in ends.items()}
    for name in ends:
        inside(f"{name} end in steps", steps[f"{name}_steps"], f"float32({name} * inverse)", **ends, **terms)
    from_low = "float32(float32(-128 + low_steps) + float32(127 + high_steps)) > 0"
    nudged = f"float32(-128 - low_steps) if {from_low} else float32(127 - high_steps)"
    inside("row zero point", terms["zero_point"], f"half_even(clamp({nudged}, -128, 127))", **steps)
    rule = "clamp(half_even(min(float32(x * inverse), 127 - zero_point)) + zero_point, -128, 127)"
    note(CODES, quantized.codes, rule, x=real, **terms)


#: Of every hybrid op that XNNPACK takes.
XNNPACK_HYBRID = FusedArithmetic(quantize_in_float32, SCALE_BACK_IN_TURN)
