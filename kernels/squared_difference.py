"""SQUARED_DIFFERENCE: the square of the difference of two tensors.

Source: ``tflite/kernels/squared_difference.cc``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np

from kernels.engine import delegate, elementwise
from kernels.engine.contract import expect_count, expect_dtype, input_tensor, output_tensor, unsupported, zero_point_of
from kernels.engine.elementwise import (
    PlainBinary,
    expect_broadcast,
    expect_right_shift,
    expect_same_types,
    expect_zero_points_in_range,
    float32_scale,
)
from kernels.engine.registry import Kernel
from kernels.engine.scaling import InputScaling, to_common_scale, twice_larger_scale
from kernels.engine.types import Inputs, OpView, Outputs, Prepared, Runner, given
from kernels.profiles import LITERT_REFERENCE, TFLM, XNNPACK, Profile, Rules
from qmath.fixed_point import wrap_int32
from qmath.multiplier import quantize_multiplier
from qmath.requantize import DOUBLE_ROUNDING, Regime, Requantize
from qmath.stages import Note, silent, under
from qmath.types import ActivationRange, Array, DType

REGIME: Rules[Regime] = Rules("SQUARED_DIFFERENCE", {LITERT_REFERENCE: DOUBLE_ROUNDING})

#: Bits by which inputs are shifted left, by type of codes; their square is then shifted by twice as many.
LEFT_SHIFT: Rules[Mapping[DType, int]] = Rules(
    "SQUARED_DIFFERENCE", {LITERT_REFERENCE: {DType.INT8: 7}, TFLM: {DType.INT8: 7, DType.INT16: 0}}
)


@dataclass(frozen=True, slots=True)
class SquaredDifference(Prepared):
    """A prepared SQUARED_DIFFERENCE of int8."""

    first: InputScaling
    second: InputScaling
    requantize: Requantize

    def evaluate(self, inputs: Inputs, note: Note) -> Outputs:
        """Evaluate :func:`squared_difference`."""
        return (squared_difference(given(inputs, 0), given(inputs, 1), self, note),)

    def compile(self, constants: Inputs) -> Runner:
        """Tabulate all pairs of codes."""
        codes = self.requantize.dtype
        if codes.bits > 8:
            return lambda inputs: self.evaluate(inputs, silent)
        return elementwise.binary(partial(squared_difference, op=self), codes, codes, constants)


def squared_difference(x1: Array, x2: Array, op: SquaredDifference, note: Note = silent) -> Array:
    """Square the difference of codes of different scales.

    Parameters
    ----------
    x1, x2
        int8, shapes that broadcast: quantized.
    op
        The prepared op.
    note
        Receives the stages.

    Returns
    -------
    int8 codes, the broadcast shape.

    Notes
    -----
    1. Each input: subtract its zero point, shift left by 7 bits, multiply by its scale over twice the larger of both.
    2. difference.
    3. accumulator: its square; int32.
    4. Requantize with the square of twice the larger scale over (``2**14`` times the output's).

    """
    first, second = op.first(x1, under(note, "input 1")), op.second(x2, under(note, "input 2"))
    difference = wrap_int32(first - second)
    note("difference", difference, "wrap(first - second)", first=first, second=second)
    accumulator = wrap_int32(difference * difference)
    note("accumulator", accumulator, "wrap(difference * difference)", difference=difference)
    return op.requantize(accumulator, note)


def plain_squared_difference(x1: Array, x2: Array) -> Array:
    """Square the difference of floats or plain integers, which wrap."""
    return np.asarray(np.square(x1 - x2))


def prepare(op: OpView, profile: Profile) -> Prepared:
    """Check the contract of SQUARED_DIFFERENCE and derive multipliers.

    Raises
    ------
    ModelError
        The op breaks its contract.
    UnsupportedError
        The type is not covered.

    """
    expect_count(op, {2})
    dtype, y = expect_same_types(op), output_tensor(op)
    expect_broadcast(op)
    expect_dtype(y, dtype)
    if dtype in {DType.FLOAT32, DType.INT32}:
        return PlainBinary(plain_squared_difference)
    if dtype not in LEFT_SHIFT[profile]:
        raise unsupported(op, "; ".join(KERNELS[0].covers))
    expect_zero_points_in_range(input_tensor(op, 0), input_tensor(op, 1), y)
    left_shift = LEFT_SHIFT[profile][dtype]
    first, second = to_common_scale(op, left_shift, REGIME[profile])
    with np.errstate(over="ignore"):
        unit = np.asarray(np.float32(1 << 2 * left_shift) * float32_scale(y)).astype(np.float64)
    real_multiplier = np.asarray(np.square(twice_larger_scale(op)) / unit)
    expect_right_shift(quantize_multiplier(real_multiplier), "the scale of the square over the output's")
    everything = ActivationRange(dtype.min, dtype.max)
    output = Requantize(REGIME[profile], real_multiplier, zero_point_of(y), everything, dtype)
    return SquaredDifference(first, second, output)


KERNELS = (
    Kernel(
        "SQUARED_DIFFERENCE",
        prepare,
        covers=("int8", "int32", "float32"),
        refusal={XNNPACK: delegate.binary(delegate.FLOATS)},
    ),
)
