"""FAKE_QUANT: floats rounded to the values that a quantized tensor could hold.

The range is nudged as in training (:mod:`qmath.fake_quant`), but steps are rounded half away from zero, where
training rounds half up, and the lowest value is added at the end.

Source: ``tflite/kernels/fake_quant.cc``, ``tflite/kernels/internal/quantization_util.cc`` (NudgeQuantizationRange,
FakeQuantizeArray).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kernels.engine.contract import expect, expect_count, expect_dtype, input_tensor, option, output_tensor, unsupported
from kernels.engine.registry import Kernel
from kernels.engine.types import Inputs, OpView, Outputs, Prepared, given
from kernels.profiles import Profile
from qmath.fake_quant import nudge
from qmath.rounding import round_half_away_from_zero
from qmath.stages import Note, silent
from qmath.types import DType, Float32Array

#: The runtime holds the zero point in 16 bits.
MAX_BITS = 16


@dataclass(frozen=True, slots=True)
class FakeQuant(Prepared):
    """A prepared FAKE_QUANT: the range after its zero point was moved to an integer; float32, shape ()."""

    lowest: Float32Array
    highest: Float32Array
    scale: Float32Array

    def evaluate(self, inputs: Inputs, note: Note) -> Outputs:
        """Evaluate :func:`fake_quant`."""
        return (fake_quant(given(inputs, 0), self, note),)


def fake_quant(x: Float32Array, op: FakeQuant, note: Note = silent) -> Float32Array:
    """Round floats to multiples of the scale above the lowest value, all in float32.

    Notes
    -----
    1. clamped: to the range; NaN becomes the lowest value.
    2. steps: above the lowest, times the inverse of the scale, rounded half away from zero.
    3. Times the scale, plus the lowest.

    """
    with np.errstate(all="ignore"):
        clamped = np.minimum(np.fmax(x, op.lowest), op.highest)
        note("clamped", clamped, "clamp(x, lowest, highest)", x=x, lowest=op.lowest, highest=op.highest)
        inverse = np.asarray(np.float32(1) / op.scale)
        note("inverse scale", inverse, "float32(1 / scale)", scale=op.scale)
        steps = round_half_away_from_zero(np.asarray((clamped - op.lowest) * inverse))
        rule = "half_away(float32(float32(clamped - lowest) * inverse))"
        note("steps", steps, rule, clamped=clamped, lowest=op.lowest, inverse=inverse)
        result = np.asarray(steps * op.scale + op.lowest)
        rule = "float32(float32(steps * scale) + lowest)"
        return note("result", result, rule, steps=steps, scale=op.scale, lowest=op.lowest)


def prepare(op: OpView, profile: Profile) -> Prepared:
    """Check the contract of FAKE_QUANT and nudge its range.

    Quirk: FAKE_QUANT refuses narrow_range.

    Raises
    ------
    ModelError
        The op breaks its contract.
    UnsupportedError
        The type is not covered.

    """
    del profile
    expect_count(op, {1})
    x = input_tensor(op, 0)
    expect_dtype(output_tensor(op), x.dtype)
    if x.dtype is not DType.FLOAT32:
        raise unsupported(op, "float32")
    expect(not option(op, "narrow_range"), "narrow_range to be false, found true")
    bits = int(option(op, "num_bits"))
    expect(1 <= bits <= MAX_BITS, f"num_bits from 1 to {MAX_BITS}, found {bits}")
    low, high = (np.asarray(option(op, name), np.float32) for name in ("min", "max"))
    expect(bool(low < high), f"min below max, found {low} and {high}")
    covered = nudge(low, high, 0, (1 << bits) - 1)
    return FakeQuant(covered.minimum, covered.maximum, covered.scale)


KERNELS = (Kernel("FAKE_QUANT", prepare, covers=("float32",)),)
