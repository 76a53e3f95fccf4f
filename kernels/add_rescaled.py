"""ADD and SUB of any scales: inputs brought to a common scale, added, requantized; three multiplications.

LiteRT's optimized ADD runs whole blocks of elements through vector instructions, which round the scaled inputs
otherwise, and what is left over through the reference's scalar code (:mod:`kernels.engine.vector`).

Quirk: Optimized ADD rounds an element by its place: whole blocks of a row (16 or 8 elements) go through vector
instructions that scale the inputs without rounding, the rest of the row through scalar code that rounds.

Source: ``tflite/kernels/add.cc``, ``tflite/kernels/sub.cc``, ``tflite/kernels/internal/reference/add.h``, ``sub.h``,
``internal/optimized/integer_ops/add.h``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from kernels.engine import elementwise
from kernels.engine.blocks import binary_blocks, in_place
from kernels.engine.contract import expect, input_tensor, output_tensor, zero_point_of
from kernels.engine.elementwise import expect_right_shift, float32_scale
from kernels.engine.planes import PlaneSum, fitted_plane, uncertain_plane
from kernels.engine.scaling import InputScaling, to_common_scale, twice_larger_scale
from kernels.engine.shifts import ARM_ROUNDING_SHIFT, ARM_STEPS_SHIFT, SCALAR_SHIFT, VECTOR_SHIFT, EitherWay
from kernels.engine.types import Inputs, OpView, Outputs, Prepared, Runner, given
from kernels.engine.vector import InBlocksBinary, Inner, VectorCode, innermost
from qmath.fixed_point import wrap_int32
from qmath.multiplier import quantize_multiplier
from qmath.requantize import DOUBLE_ROUNDING, Regime, Requantize
from qmath.requantize_vector import HALF_UP_THEN_FLOOR, RequantizeIn16Bits
from qmath.stages import Note, silent, under
from qmath.types import ActivationRange, Array, DType, FixedPointMultiplier, Float64Array

#: Bits by which inputs are shifted left before they are scaled, so that the sum keeps precision.
LEFT_SHIFT = {DType.INT8: 20, DType.UINT8: 20, DType.INT16: 15}


@dataclass(frozen=True, slots=True)
class RescaledAdd(Prepared):
    """A prepared ADD (``sign`` 1) or SUB (``sign`` -1) of int8, uint8 or int16."""

    first: InputScaling
    second: InputScaling
    sign: int
    requantize: Requantize
    codes: DType

    def evaluate(self, inputs: Inputs, note: Note) -> Outputs:
        """Evaluate :func:`rescaled_add`."""
        return (rescaled_add(given(inputs, 0), given(inputs, 1), self, note),)

    def compile(self, constants: Inputs) -> Runner:
        """Tabulate all pairs of 8-bit codes; of 16-bit ones both scalings."""
        definition = partial(rescaled_add, op=self)
        if self.codes.bits == 8:
            by_table = elementwise.binary(definition, self.codes, self.codes, constants)
            output = float(self.requantize.real_multiplier)
            slopes = self.first.real_multiplier * output, self.sign * self.second.real_multiplier * output
            return PlaneSum(by_table, partial(fitted_plane, definition, self.codes, slopes))
        scalings = self.first, lambda x: self.sign * self.second(x)
        make = partial(uncertain_plane, definition, self.codes, scalings, self.requantize)
        return PlaneSum(self._with_tables_of_inputs(), make)

    def _with_tables_of_inputs(self) -> Runner:
        scalings = [elementwise.unary(scaling, self.codes) for scaling in (self.first, self.second)]
        # Zero points are 0: a code, shifted left by 15, has 31 bits with its sign, and is at least halved.
        requantize = in_place(self.requantize, 1 << 30)

        def function(x1: Array, x2: Array) -> Array:
            (first,), (second,) = scalings[0]([x1]), scalings[1]([x2])
            return requantize(first + self.sign * second)

        return binary_blocks(function, self.codes)


def rescaled_add(x1: Array, x2: Array, op: RescaledAdd, note: Note = silent) -> Array:
    """Add or subtract codes of different scales.

    Parameters
    ----------
    x1, x2
        int8, uint8 or int16, shapes that broadcast: quantized.
    op
        The prepared op.
    note
        Receives the stages.

    Returns
    -------
    Codes of the same type, the broadcast shape.

    Notes
    -----
    1. Each input: subtract its zero point, shift left (by 20 bits, for int16 by 15), multiply by its scale over twice
       the larger of both scales, which is at most one half.
    2. accumulator: the sum, or the first less the second; int32.
    3. Requantize: multiply by twice the larger scale over (``2**left_shift`` times the output's), round, add the zero
       point, clamp to the fused activation.

    """
    first, second = op.first(x1, under(note, "input 1")), op.second(x2, under(note, "input 2"))
    accumulator = wrap_int32(first + op.sign * second)
    note("accumulator", accumulator, f"wrap(first {'+' if op.sign > 0 else '-'} second)", first=first, second=second)
    return op.requantize(accumulator, note)


# --- Preparation --------------------------------------------------------------------------------------------------


def _real_multiplier(op: OpView, *, float32: bool) -> Float64Array:
    """Return twice the larger input scale over ``2**left_shift`` output scales."""
    y = output_tensor(op)
    with np.errstate(over="ignore"):
        unit = np.asarray(np.float32(1 << LEFT_SHIFT[y.dtype]) * float32_scale(y))
        quotient = twice_larger_scale(op).astype(np.float32) / unit if float32 else twice_larger_scale(op) / unit
    real_multiplier = np.asarray(quotient, np.float64)
    expect(bool(real_multiplier > 0), f"a smaller output scale, found {float32_scale(y)}")
    return real_multiplier


def rescaled(
    op: OpView, activation: ActivationRange, *, float32_multipliers: bool = False, x86: bool = True
) -> Prepared:
    """Prepare :class:`RescaledAdd`, its multipliers computed in float64 or in float32."""
    y, left_shift = output_tensor(op), LEFT_SHIFT[output_tensor(op).dtype]
    first, second = to_common_scale(op, left_shift, DOUBLE_ROUNDING, float32=float32_multipliers)
    real_multiplier = _real_multiplier(op, float32=float32_multipliers)

    def form(regime: Regime) -> RescaledAdd:
        output = Requantize(regime, real_multiplier, zero_point_of(y), activation, y.dtype)
        return RescaledAdd(first, second, 1 if op.name == "ADD" else -1, output, y.dtype)

    if op.name == "SUB" and real_multiplier > 1:
        why = f"SUB with twice the larger input scale above 2**{left_shift} output scales"
        if not x86:
            vector = form(ARM_ROUNDING_SHIFT if y.dtype.bits == 8 else ARM_STEPS_SHIFT)
            return _in_blocks_on_arm(op, vector, form(SCALAR_SHIFT))
        return EitherWay(form(SCALAR_SHIFT), form(VECTOR_SHIFT), why)
    expect_right_shift(quantize_multiplier(real_multiplier), "the scale of the sum over the output's")
    return form(DOUBLE_ROUNDING)


def _in_blocks_on_arm(op: OpView, vector: RescaledAdd, scalar: RescaledAdd) -> Prepared:
    """Let vector code have whole blocks of an innermost loop, for 8-bit codes only if that is the whole tensor."""
    shapes = [input_tensor(op, slot).shape for slot in (0, 1)]
    whole = innermost(*shapes).length == math.prod(np.broadcast_shapes(*shapes))
    if vector.codes.bits == 8 and not whole:
        return scalar
    return InBlocksBinary({Inner.ELEMENTS: VectorCode(8, vector)}, scalar)


def in_blocks(op: OpView, activation: ActivationRange) -> Prepared:
    """Prepare vector code and scalar code, or :class:`RescaledAdd` for SUB, which has no vector code."""
    rest = rescaled(op, activation)
    if not isinstance(rest, RescaledAdd) or op.name == "SUB":
        return rest
    output = rest.requantize
    if rest.codes.bits == 8:
        output = RequantizeIn16Bits(output.regime, output.real_multiplier, output.zero_point, activation, rest.codes)
    floored = replace(rest, first=_floored(rest.first), second=_floored(rest.second), requantize=output)
    raised = replace(rest, first=_raised(rest.first), second=_raised(rest.second), requantize=output)
    vector = {
        DType.INT8: {Inner.ELEMENTS: VectorCode(16, raised), Inner.SCALAR: VectorCode(8, floored)},
        DType.UINT8: {Inner.ELEMENTS: VectorCode(8, floored), Inner.SCALAR: VectorCode(8, floored)},
        DType.INT16: {Inner.ELEMENTS: VectorCode(16, raised)},
    }[rest.codes]
    if rest.codes is DType.INT16 and op.inputs[0] and op.inputs[1] and op.inputs[0].shape != op.inputs[1].shape:
        return rest
    return InBlocksBinary(vector, rest)


def _floored(scaling: InputScaling) -> InputScaling:
    """Scale with a floor after the high multiply."""
    return replace(scaling, regime=HALF_UP_THEN_FLOOR)


def _raised(scaling: InputScaling) -> InputScaling:
    """Scale by shifting left by so much less instead of right afterwards; then nothing but the multiply rounds."""
    factor = scaling.factor
    left_shift = scaling.left_shift + int(factor.shift)
    return replace(scaling, left_shift=left_shift, factor=FixedPointMultiplier(factor.multiplier, factor.shift * 0))
