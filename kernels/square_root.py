"""SQRT and RSQRT.

Known difference: XNNPACK on x86-64 gives about half as much again for SQRT and RSQRT of float32 above 2**126.

Source: ``tflite/kernels/elementwise.cc``, ``tflite/kernels/internal/common.h`` (GetInvSqrtQuantizedMultiplierExp).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np

from kernels.engine import delegate, elementwise
from kernels.engine.contract import (
    expect,
    expect_count,
    expect_dtype,
    input_tensor,
    output_tensor,
    unsupported,
    zero_point_of,
)
from kernels.engine.elementwise import PlainUnary, expect_zero_points_of_zero, float32_scale, subnormal_as_zero
from kernels.engine.lookup import SixteenBitFunction, sixteen_bit
from kernels.engine.registry import Kernel
from kernels.engine.shifts import divide_by_power_of_two_x86
from kernels.engine.types import Inputs, OpView, Outputs, Prepared, Runner, TensorView, given
from kernels.profiles import LITERT_REFERENCE, XNNPACK, XNNPACK_ARM64, Profile, Rules
from qmath.errors import ModelError
from qmath.fixed_point import inverse_square_root, saturating_rounding_doubling_high_mul, wrap_int32
from qmath.multiplier import quantize_multiplier
from qmath.requantize import DOUBLE_ROUNDING, MAX_SHIFT, to_codes
from qmath.rounding import float_to_int32_x86
from qmath.stages import Note, silent
from qmath.types import ActivationRange, Array, DType, FixedPointMultiplier, Float32Array, Float64Array

#: Bits after the point of 1 / sqrt(n).
FRACTION_BITS = 20


def expect_not_negative(x: Array, zero_point: int) -> None:
    """Check that codes stand for no negative number, as the runtime does before it computes.

    Raises
    ------
    ModelError
        One does.

    """
    if x.size and x.min() < zero_point:
        raise ModelError(f"expected codes from the zero point {zero_point} up under the root, found {x.min()}")


# --- SQRT ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Sqrt(Prepared):
    """A prepared SQRT of int8 or int16."""

    input_scale: Float32Array
    input_zero_point: int
    output_scale: Float32Array
    output_zero_point: int
    dtype: DType

    def evaluate(self, inputs: Inputs, note: Note) -> Outputs:
        """Evaluate :func:`sqrt`."""
        expect_not_negative(given(inputs, 0), self.input_zero_point)
        return (sqrt(given(inputs, 0), self, note),)

    def compile(self, constants: Inputs) -> Runner:
        """Tabulate every code."""
        del constants
        look_up = elementwise.unary(partial(sqrt, op=self), self.dtype)

        def run(inputs: Inputs) -> Outputs:
            expect_not_negative(given(inputs, 0), self.input_zero_point)
            return look_up(inputs)

        return run


def sqrt(x: Array, op: Sqrt, note: Note = silent) -> Array:
    """Compute square roots of codes, in float32.

    Parameters
    ----------
    x
        int8 or int16, any shape: quantized; negative values count as 0 here.
    op
        The prepared op.
    note
        Receives the stages.

    Returns
    -------
    Codes of the same type and shape.

    Notes
    -----
    1. real input: ``scale * (x - zero_point)``.
    2. root.
    3. steps: the root over the output scale, toward zero.
    4. Add the zero point; clamp to the range of the type.

    Quirk: SQRT of int8 and int16 cuts the result to an integer instead of rounding it.

    """
    centred = (x.astype(np.int64) - op.input_zero_point).astype(np.float32)
    real = np.maximum(op.input_scale * centred, np.float32(0))
    rule = "max(float32(scale * (x - zero_point)), 0)"
    note("real input", real, rule, scale=op.input_scale, x=x, zero_point=op.input_zero_point)
    root = note("root", np.sqrt(real), "float32(sqrt(real))", real=real)
    with np.errstate(over="ignore"):
        steps = float_to_int32_x86(np.asarray(root / op.output_scale))
    note("steps", steps, "toward_zero(float32(root / output_scale))", root=root, output_scale=op.output_scale)
    return to_codes(steps, op.output_zero_point, ActivationRange.of(op.dtype), op.dtype, note)


# --- RSQRT --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Rsqrt(Prepared):
    """A prepared RSQRT of int8.

    ``factor`` is ``1 / (sqrt(input_scale) * output_scale)``, the product in float32, the quotient in float64.
    """

    input_zero_point: int
    output_zero_point: int
    factor: FixedPointMultiplier

    def evaluate(self, inputs: Inputs, note: Note) -> Outputs:
        """Evaluate :func:`rsqrt`."""
        expect_not_negative(given(inputs, 0), self.input_zero_point)
        return (rsqrt(given(inputs, 0), self, note),)

    def compile(self, constants: Inputs) -> Runner:
        """Tabulate every code."""
        del constants
        look_up = elementwise.unary(partial(rsqrt, op=self), DType.INT8)

        def run(inputs: Inputs) -> Outputs:
            expect_not_negative(given(inputs, 0), self.input_zero_point)
            return look_up(inputs)

        return run


def rsqrt(x: Array, op: Rsqrt, note: Note = silent) -> Array:
    """Compute the inverse square root of codes in fixed point.

    Parameters
    ----------
    x
        int8, any shape: quantized; negative values count as 0 here.
    op
        The prepared op.
    note
        Receives the stages.

    Returns
    -------
    int8 codes of the same shape.

    Notes
    -----
    1. centred: ``x - input_zero_point``.
    2. inverse root: 1 / sqrt(centred) with 20 bits after the point; see :func:`qmath.fixed_point.inverse_square_root`.
    3. scaled: times the multiplier of ``1 / (sqrt(input_scale) * output_scale)``, less those 20 bits.
    4. Add the zero point; clamp. An input of 0 gives 127.

    """
    centred = np.maximum(x.astype(np.int64) - op.input_zero_point, 0)
    note("centred", centred, "max(x - zero_point, 0)", x=x, zero_point=op.input_zero_point)
    inverse = inverse_square_root(centred)
    raised = FixedPointMultiplier(inverse.multiplier, inverse.shift + FRACTION_BITS)
    root = DOUBLE_ROUNDING.apply(np.ones_like(centred), raised)
    note("inverse root", root, f"~ 2**{FRACTION_BITS} / sqrt(max(centred, 1))", centred=centred)
    shift = op.factor.shift - FRACTION_BITS
    left, right = np.maximum(shift, 0), np.maximum(-shift, 0)
    product = saturating_rounding_doubling_high_mul(wrap_int32(root << left), op.factor.multiplier)
    rule = "half_up(wrap(root * 2**left) * multiplier / 2**31)"
    note("high multiply", product, rule, root=root, left=left, multiplier=op.factor.multiplier)
    scaled = divide_by_power_of_two_x86(product, right)
    note("shifted right", scaled, "half_away(product / 2**right)", product=product, right=right)
    codes = to_codes(scaled, op.output_zero_point, ActivationRange.of(DType.INT8), DType.INT8, note)
    return np.where(centred == 0, DType.INT8.max, codes).astype(np.int8)


@dataclass(frozen=True, slots=True)
class TableRsqrt(Prepared):
    """A prepared RSQRT of int16; both zero points are 0."""

    look_up: SixteenBitFunction

    def evaluate(self, inputs: Inputs, note: Note) -> Outputs:
        """Look up."""
        expect_not_negative(given(inputs, 0), 0)
        return self.look_up.evaluate(inputs, note)


def inverse_root_or_highest(x: Float64Array, highest: Float32Array) -> Float64Array:
    """Compute 1 / sqrt(x) of positive numbers, each step in float32; others give the highest real value."""
    root = np.sqrt(np.maximum(x, 0)).astype(np.float32)
    return np.where(x > 0, np.float32(1) / root, highest).astype(np.float64)


def plain_rsqrt(x: Array) -> Array:
    """Compute 1 / sqrt(x) of floats."""
    return np.asarray(np.float32(1) / np.sqrt(x))


def flushed_sqrt(x: Array) -> Array:
    """Compute square roots of floats, subnormal numbers counting as zeros of their sign."""
    return np.asarray(np.sqrt(subnormal_as_zero(x)))


def flushed_rsqrt(x: Array) -> Array:
    """Compute 1 / sqrt(x) of floats, subnormal numbers counting as zeros of their sign."""
    return plain_rsqrt(subnormal_as_zero(x))


def refined_rsqrt(x: Array) -> Array:
    """Compute 1 / sqrt(x) of floats by refining an estimate, which turns the infinity of a zero into NaN."""
    small = np.abs(x) < np.finfo(np.float32).smallest_normal
    return np.where(small, np.float32(np.nan), plain_rsqrt(x)).astype(np.float32)


#: SQRT and RSQRT of floats.
FLOATS: Rules[Mapping[str, Callable[[Array], Array]]] = Rules(
    "SQRT and RSQRT of float32",
    {
        LITERT_REFERENCE: {"SQRT": np.sqrt, "RSQRT": plain_rsqrt},
        XNNPACK: {"SQRT": flushed_sqrt, "RSQRT": refined_rsqrt},
        XNNPACK_ARM64: {"SQRT": flushed_sqrt, "RSQRT": flushed_rsqrt},
    },
)


# --- Preparation --------------------------------------------------------------------------------------------------


def prepare(op: OpView, profile: Profile) -> Prepared:
    """Check the contract of SQRT or RSQRT and derive multiplier or table.

    Raises
    ------
    ModelError
        The op breaks its contract.
    UnsupportedError
        The type is not covered.

    """
    expect_count(op, {1})
    x, y = input_tensor(op, 0), output_tensor(op)
    expect_dtype(y, x.dtype)
    if x.dtype is DType.FLOAT32:
        return PlainUnary(FLOATS[profile][op.name])
    if x.dtype not in {DType.INT8, DType.INT16}:
        raise unsupported(op, "; ".join(_COVERS))
    if x.dtype is DType.INT16:
        expect_zero_points_of_zero(x, y)
    if op.name == "SQRT":
        return Sqrt(float32_scale(x), zero_point_of(x), float32_scale(y), zero_point_of(y), x.dtype)
    return _rsqrt(x, y, profile)


def _rsqrt(x: TensorView, y: TensorView, profile: Profile) -> Prepared:
    if x.dtype is DType.INT16:
        with np.errstate(over="ignore"):
            highest = np.asarray(np.float32(DType.INT16.max) * float32_scale(y))
        return TableRsqrt(sixteen_bit(partial(inverse_root_or_highest, highest=highest), x, y, profile))
    with np.errstate(all="ignore"):
        divisor = np.asarray(np.sqrt(float32_scale(x)) * float32_scale(y)).astype(np.float64)
        factor = quantize_multiplier(1 / divisor)
    limit = MAX_SHIFT + FRACTION_BITS
    expect(
        int(factor.shift) <= limit,
        f"larger scales, found a multiplier of 2**{int(factor.shift)} where 2**{limit} is the most",
    )
    return Rsqrt(zero_point_of(x), zero_point_of(y), factor)


_COVERS = ("int8", "int16", "float32")
KERNELS = tuple(
    Kernel(name, prepare, covers=_COVERS, refusal={XNNPACK: delegate.unary(delegate.FLOATS)})
    for name in ("SQRT", "RSQRT")
)
