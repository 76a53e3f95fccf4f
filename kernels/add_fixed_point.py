"""ADD and SUB by XNNPACK: one sum of products with integer multipliers of 21 bits, one rounding.

Source: ``XNNPACK/src/microparams-init.c`` (xnn_init_qs8_add_minmax_scalar_params),
``XNNPACK/src/qs8-vadd/scalar.c.in``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial

import numpy as np

from kernels.engine import elementwise
from kernels.engine.contract import input_tensor, output_tensor, zero_point_of
from kernels.engine.elementwise import float32_scale, less_zero_point
from kernels.engine.planes import PlaneSum, fitted_plane
from kernels.engine.types import Inputs, OpView, Outputs, Prepared, Runner, given
from qmath.fixed_point import wrap_int32
from qmath.requantize import to_codes
from qmath.rounding import shift_right_half_up
from qmath.stages import Note, silent, under
from qmath.types import ActivationRange, Array, DType

#: Bits of the larger multiplier, its leading one not counted.
MULTIPLIER_BITS = 20


@dataclass(frozen=True, slots=True)
class FixedPointAdd(Prepared):
    """A prepared ADD or SUB of int8 or uint8.

    Attributes
    ----------
    multipliers
        ``input_scale / output_scale * 2**shift`` of each input, rounded; of SUB's second input negated.
    shift
        What the sum is shifted right by: 12 to 30.
    input_zero_points, output_zero_point
        The codes of 0.
    activation
        The fused activation, in output codes.
    dtype
        Of inputs and output.

    """

    multipliers: tuple[int, int]
    shift: int
    input_zero_points: tuple[int, int]
    output_zero_point: int
    activation: ActivationRange
    dtype: DType

    def evaluate(self, inputs: Inputs, note: Note) -> Outputs:
        """Evaluate :func:`fixed_point_sum`."""
        return (fixed_point_sum(given(inputs, 0), given(inputs, 1), self, note),)

    def compile(self, constants: Inputs) -> Runner:
        """Tabulate all pairs of codes."""
        definition = partial(fixed_point_sum, op=self)
        by_table = elementwise.binary(definition, self.dtype, self.dtype, constants)
        first, second = (math.ldexp(multiplier, -self.shift) for multiplier in self.multipliers)
        return PlaneSum(by_table, partial(fitted_plane, definition, self.dtype, (first, second)))


def fixed_point_sum(x1: Array, x2: Array, op: FixedPointAdd, note: Note = silent) -> Array:
    """Add or subtract codes of different scales with one rounding.

    Parameters
    ----------
    x1, x2
        int8 or uint8, shapes that broadcast: quantized.
    op
        The prepared op.
    note
        Receives the stages.

    Returns
    -------
    Codes of the same type, the broadcast shape.

    Notes
    -----
    1. accumulator: the sum of both inputs, less their zero points, times their multipliers; int32.
    2. shifted right: by ``2**shift``, ties up.
    3. Add the zero point; clamp to the fused activation.

    """
    first = less_zero_point(x1, op.input_zero_points[0], under(note, "input 1"), "zero point subtracted")
    second = less_zero_point(x2, op.input_zero_points[1], under(note, "input 2"), "zero point subtracted")
    m1, m2 = op.multipliers
    accumulator = wrap_int32(first * m1 + second * m2)
    rule = "wrap(first * multiplier_1 + second * multiplier_2)"
    note("accumulator", accumulator, rule, first=first, second=second, multiplier_1=m1, multiplier_2=m2)
    rounded = shift_right_half_up(accumulator, op.shift)
    note("shifted right", rounded, "half_up(accumulator / 2**right)", accumulator=accumulator, right=op.shift)
    return to_codes(rounded, op.output_zero_point, op.activation, op.dtype, note)


def fixed_point_add(op: OpView, activation: ActivationRange) -> FixedPointAdd:
    """Prepare :class:`FixedPointAdd`: the larger multiplier has 21 bits."""
    x1, x2, y = input_tensor(op, 0), input_tensor(op, 1), output_tensor(op)
    ratios = [np.asarray(float32_scale(x) / float32_scale(y)) for x in (x1, x2)]
    _, exponent = np.frexp(max(ratios))
    shift = MULTIPLIER_BITS - (int(exponent) - 1)
    first, second = (int(np.rint(np.ldexp(ratio.astype(np.float64), shift))) for ratio in ratios)
    zero_points = zero_point_of(x1), zero_point_of(x2)
    multipliers = first, -second if op.name == "SUB" else second
    return FixedPointAdd(multipliers, shift, zero_points, zero_point_of(y), activation, y.dtype)
