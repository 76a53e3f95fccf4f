"""LOGISTIC and TANH of int8 in fixed point: TFLite Micro.

Source: tflite-micro ``tensorflow/lite/kernels/internal/reference/integer_ops/logistic.h``, ``tanh.h``,
``tensorflow/lite/micro/kernels/logistic_common.cc``, ``tanh.cc``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial

import numpy as np

from kernels.engine import elementwise
from kernels.engine.contract import zero_point_of
from kernels.engine.elementwise import float32_scale, less_zero_point
from kernels.engine.types import Inputs, Outputs, Prepared, Runner, TensorView, given
from qmath import fixed_point
from qmath.fixed_point import rounding_divide_by_power_of_two
from qmath.multiplier import quantize_multiplier
from qmath.requantize import DOUBLE_ROUNDING
from qmath.stages import Note, silent
from qmath.types import Array, DType, FixedPointMultiplier

#: Integer bits of the argument.
INTEGER_BITS = 4


@dataclass(frozen=True, slots=True)
class EightBitSigmoid(Prepared):
    """A prepared LOGISTIC or TANH of int8.

    Attributes
    ----------
    is_logistic
        Whether it is LOGISTIC.
    zero_point
        Of the input.
    factor
        ``input_scale * 2**27``.
    radius
        Codes that far from the zero point, or farther, give the ends of the range.

    """

    is_logistic: bool
    zero_point: int
    factor: FixedPointMultiplier
    radius: int

    def evaluate(self, inputs: Inputs, note: Note) -> Outputs:
        """Evaluate :func:`eight_bit_fixed_point`."""
        return (eight_bit_fixed_point(given(inputs, 0), self, note),)

    def compile(self, constants: Inputs) -> Runner:
        """Tabulate every code."""
        del constants
        return elementwise.unary(partial(eight_bit_fixed_point, op=self), DType.INT8)


def eight_bit_fixed_point(x: Array, op: EightBitSigmoid, note: Note = silent) -> Array:
    """Compute LOGISTIC or TANH of int8 codes in 32-bit fixed point.

    Notes
    -----
    1. accumulator: ``x - zero_point``.
    2. argument: times ``input_scale`` with 4 integer bits, rounded twice; 0 for what reaches the radius.
    3. function value: with 0 integer bits; see :func:`qmath.fixed_point.logistic`, :func:`qmath.fixed_point.tanh`.
    4. Divide by ``2**23`` (TANH: ``2**24``), ties away from zero; LOGISTIC: less 128; clamp. What reaches the radius
       gives the lowest or highest code.

    """
    accumulator = less_zero_point(x, op.zero_point, note)
    inside = np.abs(accumulator) < op.radius
    within = np.where(inside, accumulator, 0)
    rule = "accumulator if abs(accumulator) < radius else 0"
    note("within the radius", within, rule, accumulator=accumulator, radius=op.radius)
    argument = DOUBLE_ROUNDING.apply(within, op.factor, note)
    function = fixed_point.logistic if op.is_logistic else fixed_point.tanh
    value = function(argument, INTEGER_BITS)
    of_real = "1 / (1 + exp(-argument / 2**27))" if op.is_logistic else "tanh(argument / 2**27)"
    note("function value", value, f"~ 2**31 * {of_real}", argument=argument)
    right, offset = (23, -128) if op.is_logistic else (24, 0)
    shifted = rounding_divide_by_power_of_two(value, right)
    note("shifted right", shifted, f"half_away(value / 2**{right})", value=value)
    low, high = DType.INT8.min, DType.INT8.max
    codes = np.where(inside, np.clip(shifted + offset, low, high), np.where(accumulator < 0, low, high))
    rule = "clamp(shifted + offset, low, high) if abs(accumulator) < radius else low if accumulator < 0 else high"
    ends = {"low": np.asarray(low), "high": np.asarray(high), "offset": np.asarray(offset)}
    note("clamped", codes, rule, shifted=shifted, accumulator=accumulator, radius=op.radius, **ends)
    return codes.astype(np.int8)


def eight_bit_sigmoid(name: str, x: TensorView, y: TensorView) -> EightBitSigmoid:
    """Prepare :class:`EightBitSigmoid`."""
    del y
    factor = quantize_multiplier(float(float32_scale(x)) * 2.0 ** (31 - INTEGER_BITS))
    radius = math.floor((2**INTEGER_BITS - 1) * 2.0 ** (31 - INTEGER_BITS) / 2.0 ** int(factor.shift))
    return EightBitSigmoid(name == "LOGISTIC", zero_point_of(x), factor, radius)
