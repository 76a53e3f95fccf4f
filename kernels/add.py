"""ADD and SUB: two tensors of different scales brought to a common one, added or subtracted, requantized.

Source: ``tflite/kernels/add.cc``, ``tflite/kernels/sub.cc``, ``tflite/kernels/internal/reference/add.h``, ``sub.h``,
``integer_ops/add.h``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial

import numpy as np

from kernels.engine import elementwise
from kernels.engine.activation import Activation, quantized_range
from kernels.engine.blocks import binary_blocks, in_place
from kernels.engine.contract import (
    choice,
    expect,
    expect_count,
    expect_dtype,
    input_tensor,
    option,
    output_tensor,
    unsupported,
    zero_point_of,
)
from kernels.engine.elementwise import (
    PlainBinary,
    expect_broadcast,
    expect_right_shift,
    expect_same_types,
    expect_zero_points_in_range,
    expect_zero_points_of_zero,
    exponent_of,
    float32_scale,
)
from kernels.engine.registry import Kernel
from kernels.engine.scaling import InputScaling, to_common_scale, twice_larger_scale
from kernels.engine.shifts import SCALAR_SHIFT, VECTOR_SHIFT, EitherWay, divide_by_power_of_two_16
from kernels.engine.types import Inputs, OpView, Outputs, Prepared, Runner, TensorView, given
from kernels.profiles import LITERT_REFERENCE, Profile, Rules
from qmath.fixed_point import saturate, wrap_int32
from qmath.multiplier import quantize_multiplier
from qmath.requantize import DOUBLE_ROUNDING, Regime, Requantize
from qmath.stages import Note, silent, under
from qmath.types import ActivationRange, Array, DType


@dataclass(frozen=True, slots=True)
class Rounding:
    """How the two scalings round: of the inputs to the common scale, of the sum to the output's."""

    inputs: Regime
    output: Regime


ROUNDING: Rules[Rounding] = Rules("ADD", {LITERT_REFERENCE: Rounding(DOUBLE_ROUNDING, DOUBLE_ROUNDING)})

#: Bits by which inputs are shifted left before they are scaled, so that the sum keeps precision.
_LEFT_SHIFT = {DType.INT8: 20, DType.UINT8: 20, DType.INT16: 15}


# --- Any scales ---------------------------------------------------------------------------------------------------


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
        if self.codes.bits == 8:
            return elementwise.binary(partial(rescaled_add, op=self), self.codes, self.codes, constants)
        return self._with_tables_of_inputs()

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


# --- Powers of two ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PowerOfTwoAdd(Prepared):
    """A prepared int16 ADD or SUB whose scales are powers of two.

    ``shifts`` are what each input is shifted right by; at least one of them is 0.
    """

    shifts: tuple[int, int]
    sign: int
    activation: ActivationRange

    def evaluate(self, inputs: Inputs, note: Note) -> Outputs:
        """Evaluate :func:`power_of_two_add`."""
        return (power_of_two_add(given(inputs, 0), given(inputs, 1), self, note),)


def power_of_two_add(x1: Array, x2: Array, op: PowerOfTwoAdd, note: Note = silent) -> Array:
    """Add or subtract int16 codes whose scales are powers of two, the larger of them the output's.

    Notes
    -----
    1. Divide each input by ``2**shift``, ties away from zero.
    2. accumulator: the sum, or the first less the second, saturated to int16.
    3. Clamp to the fused activation.

    Quirk: int16 ADD and SUB of powers of two divide in 16 bits, so an input whose scale is 2**16 times smaller than
    the output's, or more, counts as 1 if it is zero or positive and as -1 if it is negative.

    """
    first, second = (divide_by_power_of_two_16(x, shift) for x, shift in zip((x1, x2), op.shifts, strict=True))
    note("input 1 shifted", first, "half_away(x / 2**right)", x=x1, right=op.shifts[0])
    note("input 2 shifted", second, "half_away(x / 2**right)", x=x2, right=op.shifts[1])
    total = saturate(first + op.sign * second, 16)
    rule = f"clamp(first {'+' if op.sign > 0 else '-'} second, -2**15, 2**15 - 1)"
    note("accumulator", total, rule, first=first, second=second)
    low, high = op.activation.min, op.activation.max
    clamped = note("clamped", np.clip(total, low, high), "clamp(total, low, high)", total=total, low=low, high=high)
    return clamped.astype(np.int16)


# --- Preparation --------------------------------------------------------------------------------------------------


def prepare(op: OpView, profile: Profile) -> Prepared:
    """Check the contract of ADD or SUB and derive multipliers and range.

    Quirk: SUB with twice the larger input scale above 2**20 output scales (for int16 2**15) divides by a negative power
    of two, which on x86 gives 1 or -1 output steps instead of saturating.

    Quirk: The option pot_scale_int16 of ADD and SUB defaults to true in the schema, so int16 tensors whose scales are
    all powers of two take a kernel of their own, which refuses inputs that are both of another scale than the output.

    Raises
    ------
    ModelError
        The op breaks its contract.
    UnsupportedError
        The combination of types, or of scales, is not covered.

    """
    expect_count(op, {2})
    dtype = expect_same_types(op)
    expect_broadcast(op)
    expect_dtype(output_tensor(op), dtype)
    activation = choice(op, "fused_activation_function", Activation)
    x1, x2, y = input_tensor(op, 0), input_tensor(op, 1), output_tensor(op)
    if _is_plain(op, dtype):
        return PlainBinary(np.add if op.name == "ADD" else np.subtract, activation)
    if dtype not in _LEFT_SHIFT:
        raise unsupported(op, "; ".join((ADD if op.name == "ADD" else SUB).covers))
    if op.name == "SUB":
        expect_zero_points_in_range(x1, x2, y)
    if dtype is DType.INT16:
        expect_zero_points_of_zero(x1, x2, y)
        exponents = _exponents(x1, x2, y)
        if option(op, "pot_scale_int16") and exponents is not None:
            return _power_of_two(op, exponents, quantized_range(activation, y))
    return _rescaled(op, quantized_range(activation, y), ROUNDING[profile])


def _is_plain(op: OpView, dtype: DType) -> bool:
    """Whether the op adds numbers that are not quantized."""
    if dtype is DType.INT16:
        return op.name == "ADD" and input_tensor(op, 0).quant is None and output_tensor(op).quant is None
    return dtype in {DType.FLOAT32, DType.INT32, DType.INT64} or (op.name == "ADD" and dtype is DType.FLOAT16)


def _rescaled(op: OpView, activation: ActivationRange, rounding: Rounding) -> Prepared:
    y, left_shift = output_tensor(op), _LEFT_SHIFT[output_tensor(op).dtype]
    first, second = to_common_scale(op, left_shift, rounding.inputs)
    with np.errstate(over="ignore"):
        unit = np.asarray(np.float32(1 << left_shift) * float32_scale(y)).astype(np.float64)
    real_multiplier = np.asarray(twice_larger_scale(op) / unit)
    expect(bool(real_multiplier > 0), f"a smaller output scale, found {float32_scale(y)}")

    def form(regime: Regime) -> RescaledAdd:
        output = Requantize(regime, real_multiplier, zero_point_of(y), activation, y.dtype)
        return RescaledAdd(first, second, 1 if op.name == "ADD" else -1, output, y.dtype)

    if op.name == "SUB" and real_multiplier > 1:
        why = f"SUB with twice the larger input scale above 2**{left_shift} output scales"
        return EitherWay(form(SCALAR_SHIFT), form(VECTOR_SHIFT), why)
    expect_right_shift(quantize_multiplier(real_multiplier), "the scale of the sum over the output's")
    return form(rounding.output)


def _power_of_two(op: OpView, exponents: tuple[int, int, int], activation: ActivationRange) -> PowerOfTwoAdd:
    first, second, output = exponents
    shifts = output - first, output - second
    fits = min(shifts) == 0
    expect(fits, f"the larger input scale to be the output's, found scales of 2**{first}, 2**{second} and 2**{output}")
    if op.name == "ADD":
        sizes = [math.prod(tensor.shape) for tensor in (input_tensor(op, 0), input_tensor(op, 1))]
        same = sizes[0] == sizes[1] == math.prod(expect_broadcast(op))
        expect(same, f"inputs of one size, since ADD of powers of two does not broadcast, found {sizes} elements")
    return PowerOfTwoAdd(shifts, 1 if op.name == "ADD" else -1, activation)


def _exponents(*tensors: TensorView) -> tuple[int, int, int] | None:
    """Return the logarithms of scales that are all (nearly) powers of two, else None."""
    found = [exponent_of(float32_scale(tensor)) for tensor in tensors]
    first, second, output = found
    return None if first is None or second is None or output is None else (first, second, output)


ADD = Kernel(
    "ADD", prepare, covers=("int8", "uint8", "int16", "int16 without quantization", "int32", "int64", "float32")
)
SUB = Kernel("SUB", prepare, covers=("int8", "uint8", "int16", "int32", "int64", "float32"))
KERNELS = (ADD, SUB)
