"""MUL: the product of two tensors, requantized.

Source: ``tflite/kernels/mul.cc``, ``tflite/kernels/internal/reference/mul.h``, ``integer_ops/mul.h``,
``reference_ops.h`` (int16 times int16 to uint8).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial

import numpy as np

from kernels.engine import delegate, elementwise, micro
from kernels.engine.activation import Activation, quantized_range
from kernels.engine.blocks import binary_blocks, in_place
from kernels.engine.contract import (
    choice,
    expect,
    expect_count,
    input_tensor,
    output_tensor,
    unsupported,
    zero_point_of,
)
from kernels.engine.elementwise import (
    FINITE,
    PlainBinary,
    expect_broadcast,
    expect_same_types,
    expect_zero_points_of_zero,
    float32_scale,
    less_zero_point,
)
from kernels.engine.lookup import TO_CODES, eight_bit
from kernels.engine.registry import Kernel
from kernels.engine.types import Inputs, OpView, Outputs, Prepared, Runner, given
from kernels.engine.vector import InBlocksBinary, Inner, VectorCode
from kernels.profiles import LITERT_OPTIMIZED, LITERT_REFERENCE, TFLM, XNNPACK, XNNPACK_ARM64, Profile, Rules
from qmath.fixed_point import rounding_divide_by_power_of_two, saturating_rounding_doubling_high_mul, wrap_int32
from qmath.requantize import DOUBLE_ROUNDING, FLOAT32_HALF_EVEN, Regime, Requantize
from qmath.requantize_vector import SINGLE_ROUNDING_FLOAT32, RequantizeIn16Bits
from qmath.stages import Note, ruled, silent, under
from qmath.types import ActivationRange, Array, DType, Float64Array

REGIME: Rules[Regime] = Rules(
    "MUL", {LITERT_REFERENCE: DOUBLE_ROUNDING, XNNPACK: FLOAT32_HALF_EVEN, XNNPACK_ARM64: SINGLE_ROUNDING_FLOAT32}
)
#: Whether the multiplier is computed in float32.
FLOAT32_MULTIPLIER: Rules[bool] = Rules("MUL", {LITERT_REFERENCE: True, TFLM: False, XNNPACK: True})
#: Whether whole blocks of 8-bit elements go through vector instructions, which keep results in 16 bits.
VECTOR: Rules[bool] = Rules("MUL", {LITERT_REFERENCE: False, LITERT_OPTIMIZED: True, XNNPACK: False})

#: Whether a tensor times itself is a square, tabulated as functions of one tensor are.
SQUARES: Rules[bool] = Rules("MUL", {LITERT_REFERENCE: False, XNNPACK: True})

_QUANTIZED = (DType.INT8, DType.UINT8, DType.INT16)
_PLAIN = (DType.FLOAT32, DType.FLOAT16, DType.INT32, DType.UINT32, DType.INT64, DType.COMPLEX64)


@dataclass(frozen=True, slots=True)
class Mul(Prepared):
    """A prepared MUL of int8, uint8 or int16."""

    zero_points: tuple[int, int]
    requantize: Requantize

    def evaluate(self, inputs: Inputs, note: Note) -> Outputs:
        """Evaluate :func:`mul`."""
        return (mul(given(inputs, 0), given(inputs, 1), self, note),)

    def compile(self, constants: Inputs) -> Runner:
        """Tabulate all pairs of 8-bit codes."""
        codes = self.requantize.dtype
        if codes.bits > 8:
            return self._in_blocks()
        return elementwise.binary(partial(mul, op=self), codes, codes, constants)

    def _in_blocks(self) -> Runner:
        # Both zero points are 0, so a product has 31 bits.
        requantize = in_place(self.requantize, 1 << 30)

        def function(x1: Array, x2: Array) -> Array:
            return requantize(np.multiply(x1, x2, dtype=np.int64))

        return binary_blocks(function, self.requantize.dtype)


@ruled("float32(x * x)")
def square(x: Float64Array) -> Float64Array:
    """Multiply a number by itself."""
    return np.asarray(x * x)


def mul(x1: Array, x2: Array, op: Mul, note: Note = silent) -> Array:
    """Multiply codes.

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
    1. accumulator: the product of both inputs less their zero points; int32, wrapping.
    2. Requantize by the regime with the product of the input scales over the output scale, all in float32 (TFLite
       Micro: in float64).

    Quirk: XNNPACK computes a MUL of a tensor with itself as the square of a real number, from a table: it adds the
    zero point before it rounds half to even, not after, so that ties go the other way where the zero point is odd.

    Quirk: Optimized MUL keeps results in 16 bits where whole blocks of a row go through vector instructions: results
    beyond saturate, or for uint8 times a single element wrap around, and the zero point is then added, wrapping.

    """
    first = less_zero_point(x1, op.zero_points[0], under(note, "input 1"), "zero point subtracted")
    second = less_zero_point(x2, op.zero_points[1], under(note, "input 2"), "zero point subtracted")
    accumulator = note("accumulator", wrap_int32(first * second), "wrap(first * second)", first=first, second=second)
    return op.requantize(accumulator, note)


@dataclass(frozen=True, slots=True)
class FractionMul(Prepared):
    """A prepared MUL of int16 to int8 or uint8."""

    zero_point: int
    activation: ActivationRange
    dtype: DType

    def evaluate(self, inputs: Inputs, note: Note) -> Outputs:
        """Evaluate :func:`fraction_mul`."""
        return (fraction_mul(given(inputs, 0), given(inputs, 1), self, note),)


def fraction_mul(x1: Array, x2: Array, op: FractionMul, note: Note = silent) -> Array:
    """Multiply int16 codes as fractions in [-1, 1) and keep the upper 8 bits.

    Notes
    -----
    1. product: the saturating rounding doubling high multiply in 16 bits.
    2. upper bits: divide by 2**8, ties away from zero.
    3. Clamp to the fused activation less the zero point, add the zero point.

    Quirk: MUL of int16 to int8 or uint8 looks at no scale: it takes both inputs for fractions of 2**15 and the output
    for fractions of 2**7.

    """
    product = saturating_rounding_doubling_high_mul(x1, x2, 16)
    note("product", product, "clamp(half_up(x1 * x2 / 2**15), -2**15, 2**15 - 1)", x1=x1, x2=x2)
    upper = note(
        "upper bits", rounding_divide_by_power_of_two(product, 8), "half_away(product / 2**8)", product=product
    )
    low, high = op.activation.min - op.zero_point, op.activation.max - op.zero_point
    clamped = np.maximum(np.minimum(upper, high), low)
    note("clamped", clamped, "max(min(upper, high), low)", upper=upper, low=low, high=high)
    codes = op.zero_point + clamped
    note("zero point added", codes, "clamped + zero_point", clamped=clamped, zero_point=op.zero_point)
    return codes.astype(op.dtype.storage)


def prepare(op: OpView, profile: Profile) -> Prepared:
    """Check the contract of MUL and derive multiplier and range.

    Raises
    ------
    ModelError
        The op breaks its contract.
    UnsupportedError
        The combination of types is not covered.

    """
    expect_count(op, {2})
    dtype, y = expect_same_types(op), output_tensor(op)
    shape = expect_broadcast(op)
    activation = choice(op, "fused_activation_function", Activation)
    is_plain = dtype in _PLAIN or (dtype is DType.INT16 and y.quant is None)
    if is_plain and y.dtype is dtype:
        without = dtype is not DType.COMPLEX64 or activation is Activation.NONE
        expect(without, f"no fused activation on complex numbers, found {activation.name}")
        return PlainBinary(np.multiply, activation, finite=FINITE[profile])
    if dtype is DType.INT16 and y.dtype in {DType.INT8, DType.UINT8}:
        sizes = [math.prod(input_tensor(op, slot).shape) for slot in (0, 1)]
        same = sizes[0] == sizes[1] == math.prod(shape)
        expect(same, f"inputs of one size, since MUL of int16 to 8 bits does not broadcast, found {sizes} elements")
        return FractionMul(zero_point_of(y), quantized_range(activation, y), y.dtype)
    if dtype not in _QUANTIZED or y.dtype is not dtype:
        raise unsupported(op, "; ".join(KERNELS[0].covers))
    x1, x2 = input_tensor(op, 0), input_tensor(op, 1)
    if dtype is DType.INT16:
        expect_zero_points_of_zero(x1, x2, y)
    zero_points = zero_point_of(x1), zero_point_of(x2)
    activation_range = quantized_range(activation, y, profile)
    if SQUARES[profile] and x1 is x2 and dtype is not DType.INT16:
        return eight_bit(square, x1, y, TO_CODES[profile], activation_range)
    parameters = REGIME[profile], _real_multiplier(op, profile), zero_point_of(y), activation_range, y.dtype
    scalar = Mul(zero_points, Requantize(*parameters))
    if not VECTOR[profile] or dtype is DType.INT16:
        return scalar
    saturating, wrapping = (Mul(zero_points, RequantizeIn16Bits(*parameters, saturates=fits)) for fits in (True, False))
    block, of_scalar = (16, saturating) if dtype is DType.INT8 else (8, wrapping)
    return InBlocksBinary(
        {Inner.ELEMENTS: VectorCode(block, saturating), Inner.SCALAR: VectorCode(block, of_scalar)}, scalar
    )


def _real_multiplier(op: OpView, profile: Profile) -> Float64Array:
    """Return the product of the input scales over the output's."""
    x1, x2, y = (float32_scale(tensor) for tensor in (input_tensor(op, 0), input_tensor(op, 1), output_tensor(op)))
    with np.errstate(over="ignore", divide="ignore"):
        if FLOAT32_MULTIPLIER[profile]:
            return np.asarray(x1 * x2 / y).astype(np.float64)
        return np.asarray(x1.astype(np.float64) * x2.astype(np.float64) / y.astype(np.float64))


KERNELS = (
    Kernel(
        "MUL",
        prepare,
        covers=(
            "int8",
            "uint8",
            "int16",
            "int16 to int8 and uint8",
            "int16 without quantization",
            "int32",
            "uint32",
            "int64",
            "float32",
            "float16",
            "complex64",
        ),
        refusal={
            TFLM: micro.no_uint8,
            XNNPACK: delegate.all_of(delegate.binary(delegate.NUMBERS), delegate.product_ratio(2.0**-16, 2.0**8)),
        },
    ),
)
