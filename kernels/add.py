"""ADD and SUB: what runtimes do with tensors of different scales, of scales that are powers of two, of plain numbers.

Source: ``tflite/kernels/add.cc``, ``tflite/kernels/sub.cc``, ``tflite/kernels/internal/reference/add.h``, ``sub.h``,
``integer_ops/add.h``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

import numpy as np

from kernels.add_fixed_point import fixed_point_add
from kernels.add_rescaled import LEFT_SHIFT, in_blocks, rescaled
from kernels.engine import delegate, micro
from kernels.engine.activation import Activation, quantized_range
from kernels.engine.contract import (
    choice,
    expect,
    expect_count,
    expect_dtype,
    input_tensor,
    option,
    output_tensor,
    unsupported,
)
from kernels.engine.elementwise import (
    FINITE,
    PlainBinary,
    expect_broadcast,
    expect_same_types,
    expect_zero_points_in_range,
    expect_zero_points_of_zero,
    exponent_of,
    float32_scale,
)
from kernels.engine.registry import Kernel
from kernels.engine.shifts import divide_by_power_of_two_16
from kernels.engine.types import Inputs, OpView, Outputs, Prepared, TensorView, given
from kernels.profiles import LITERT_OPTIMIZED, LITERT_OPTIMIZED_ARM64, LITERT_REFERENCE, TFLM, XNNPACK, Profile, Rules
from qmath.fixed_point import saturate
from qmath.stages import Note, silent
from qmath.types import ActivationRange, Array, DType

#: From an op and its activation to the prepared form for any scales.
AnyScales: TypeAlias = Callable[[OpView, ActivationRange], Prepared]

ADDITION: Rules[AnyScales] = Rules(
    "ADD", {LITERT_REFERENCE: rescaled, LITERT_OPTIMIZED: in_blocks, XNNPACK: fixed_point_add}
)
SUBTRACTION: Rules[AnyScales] = Rules(
    "SUB",
    {
        LITERT_REFERENCE: rescaled,
        LITERT_OPTIMIZED_ARM64: partial(rescaled, x86=False),
        XNNPACK: fixed_point_add,
        TFLM: partial(rescaled, float32_multipliers=True),
    },
)
#: Whether int16 tensors whose scales are powers of two take a kernel of their own.
POWERS_OF_TWO: Rules[bool] = Rules("ADD and SUB of int16", {LITERT_REFERENCE: True, TFLM: False})


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
    of two, which on x86 gives 1 or -1 output steps instead of saturating, and on Arm saturates in whole blocks of 8
    elements alone.

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
        function = np.add if op.name == "ADD" else np.subtract
        return PlainBinary(function, activation, finite=FINITE[profile])
    if dtype not in LEFT_SHIFT:
        raise unsupported(op, "; ".join((ADD if op.name == "ADD" else SUB).covers))
    if op.name == "SUB":
        expect_zero_points_in_range(x1, x2, y)
    if dtype is DType.INT16:
        expect_zero_points_of_zero(x1, x2, y)
        exponents = _exponents(x1, x2, y)
        if POWERS_OF_TWO[profile] and option(op, "pot_scale_int16") and exponents is not None:
            return _power_of_two(op, exponents, quantized_range(activation, y))
    form = (ADDITION if op.name == "ADD" else SUBTRACTION)[profile]
    return form(op, quantized_range(activation, y, profile))


def _is_plain(op: OpView, dtype: DType) -> bool:
    """Whether the op adds numbers that are not quantized."""
    if dtype is DType.INT16:
        return op.name == "ADD" and input_tensor(op, 0).quant is None and output_tensor(op).quant is None
    return dtype in {DType.FLOAT32, DType.INT32, DType.INT64} or (op.name == "ADD" and dtype is DType.FLOAT16)


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


#: What XNNPACK leaves; 21-bit multipliers hold ratios of scales from 2**-10 to 2**8.
_LEFT = {
    TFLM: micro.no_uint8,
    XNNPACK: delegate.all_of(
        delegate.binary(delegate.NUMBERS),
        delegate.scale_ratio(0, 2.0**-10, 2.0**8),
        delegate.scale_ratio(1, 2.0**-10, 2.0**8),
    ),
}
ADD = Kernel(
    "ADD",
    prepare,
    covers=("int8", "uint8", "int16", "int16 without quantization", "int32", "int64", "float32"),
    refusal=_LEFT,
)
SUB = Kernel("SUB", prepare, covers=("int8", "uint8", "int16", "int32", "int64", "float32"), refusal=_LEFT)
KERNELS = (ADD, SUB)
