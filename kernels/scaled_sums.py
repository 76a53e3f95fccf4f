"""CUMSUM and ADD_N of int8: TFLite Micro alone has them.

Source: tflite-micro ``tensorflow/lite/micro/kernels/cumsum.cc``, ``add_n.cc`` and ``tensorflow/lite/kernels/internal/
reference/cumsum.h``, ``add_n.h``.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce

import numpy as np

from kernels.engine.contract import zero_point_of
from kernels.engine.elementwise import expect_right_shift, float32_scale
from kernels.engine.movement import one_integer, resolve_axis
from kernels.engine.scaling import InputScaling
from kernels.engine.types import Inputs, Outputs, Prepared, TensorView, given
from qmath.fixed_point import wrap_int32
from qmath.multiplier import quantize_multiplier
from qmath.requantize import DOUBLE_ROUNDING, Requantize
from qmath.stages import Note, silent, under
from qmath.types import ActivationRange, Array, DType, Int64Array

#: Bits by which codes are shifted left before they are halved.
LEFT_SHIFT = 20


@dataclass(frozen=True, slots=True)
class ScaledSum:
    """What the sums of both ops share.

    Attributes
    ----------
    scaling
        Of each code: less its zero point, shifted left, halved.
    requantize
        Of a sum, with twice the input scale over ``2**20`` output scales.

    """

    scaling: InputScaling
    requantize: Requantize

    @classmethod
    def of(cls, x: TensorView, y: TensorView) -> ScaledSum:
        """Derive multipliers."""
        half = quantize_multiplier(0.5)
        twice, unit = 2 * float(float32_scale(x)), float(1 << LEFT_SHIFT) * float(float32_scale(y))
        real = np.asarray(twice / unit)
        expect_right_shift(quantize_multiplier(real), "the scale of the sum over the output's")
        full_range = ActivationRange.of(DType.INT8)
        output = Requantize(DOUBLE_ROUNDING, real, zero_point_of(y), full_range, DType.INT8)
        return cls(InputScaling(zero_point_of(x), LEFT_SHIFT, half, DOUBLE_ROUNDING), output)

    @property
    def start(self) -> Int64Array:
        """What a sum starts from: code 0, scaled as any other, where 0 would be right."""
        return self.scaling(np.zeros((), np.int64))


@dataclass(frozen=True, slots=True)
class ScaledCumsum(Prepared):
    """A prepared CUMSUM of int8."""

    sum: ScaledSum
    exclusive: bool
    reverse: bool

    def evaluate(self, inputs: Inputs, note: Note) -> Outputs:
        """Evaluate :func:`scaled_cumsum`."""
        return (scaled_cumsum(given(inputs, 0), given(inputs, 1), self, note),)


def scaled_cumsum(x: Array, axis: Array, op: ScaledCumsum, note: Note = silent) -> Array:
    """Sum codes up to each place along an axis.

    Notes
    -----
    1. scaled: each code less its zero point, shifted left by 20 bits, halved.
    2. accumulator: from what code 0 gives, scaled likewise, add the codes before, and the place's own unless
       ``exclusive``; from the end if ``reverse``; int32, wrapping.
    3. Requantize.

    For instance codes 3 and 5 of zero point 1 are 2 and 4 steps. Their running sums are 2 and 6 steps, codes 3 and 7;
    from code 0, which is -1 step, they are 1 and 5 steps, and the runtime gives the codes 2 and 6.

    Quirk: CUMSUM and ADD_N of int8 in TFLite Micro start their sums from the scaled value of code 0, so that results
    are off by minus the zero point.

    """
    place = resolve_axis(one_integer(axis), x.ndim)
    front = np.moveaxis(op.sum.scaling(x, note), place, 0)
    walked = front[::-1] if op.reverse else front
    totals = np.add.accumulate(walked, axis=0) - (walked if op.exclusive else 0) + op.sum.start
    ordered = totals[::-1] if op.reverse else totals
    accumulator = note("accumulator", wrap_int32(np.moveaxis(ordered, 0, place)))
    return op.sum.requantize(accumulator, note)


@dataclass(frozen=True, slots=True)
class ScaledAddN(Prepared):
    """A prepared ADD_N of int8."""

    sum: ScaledSum
    count: int

    def evaluate(self, inputs: Inputs, note: Note) -> Outputs:
        """Evaluate :func:`scaled_add_n`."""
        return (scaled_add_n([given(inputs, slot) for slot in range(self.count)], self, note),)


def scaled_add_n(arrays: list[Array], op: ScaledAddN, note: Note = silent) -> Array:
    """Add codes of one scale and zero point.

    Notes
    -----
    1. scaled: each code less the zero point, shifted left by 20 bits, halved.
    2. accumulator: their sum, from what code 0 gives, scaled likewise; int32, wrapping.
    3. Requantize.

    For instance code 3 of zero point 1, added to itself, is 2 + 2 - 1 = 3 steps, code 4.

    """
    scaled = [op.sum.scaling(x, under(note, f"input {number}")) for number, x in enumerate(arrays, 1)]
    accumulator = note("accumulator", wrap_int32(reduce(np.add, scaled, op.sum.start)))
    return op.sum.requantize(accumulator, note)
