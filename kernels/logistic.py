"""LOGISTIC and TANH.

Source: ``tflite/kernels/activations.cc``, ``tflite/kernels/internal/reference/logistic.h``, ``tanh.h`` and their
namesakes in ``integer_ops``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from kernels.engine import delegate, eigen, elementwise, libm, micro
from kernels.engine.contract import (
    expect,
    expect_count,
    expect_dtype,
    input_tensor,
    output_tensor,
    scale_of,
    unsupported,
)
from kernels.engine.elementwise import PlainUnary, expect_zero_points_of_zero, exponent_of, float32_scale
from kernels.engine.lookup import TO_CODES, Tabulated, ToCodes, eight_bit
from kernels.engine.registry import Kernel
from kernels.engine.types import Inputs, OpView, Outputs, Prepared, Runner, TensorView, given
from kernels.logistic_fixed_point import eight_bit_sigmoid
from kernels.profiles import LITERT_OPTIMIZED, LITERT_REFERENCE, TFLM, XNNPACK, XNNPACK_ARM64, Profile, Rules
from qmath import fixed_point
from qmath.errors import UnsupportedError
from qmath.fixed_point import saturating_left_shift, wrap_int32
from qmath.lookup import logistic_int16, tanh_int16
from qmath.rounding import float_to_int32_x86
from qmath.stages import Note, ruled, silent
from qmath.types import Array, DType, Float64Array, Int16Array

#: From int16 codes, multiplier and right shift to int16 codes; the note receives the stages.
Sixteen: TypeAlias = Callable[[npt.ArrayLike, int, int, Note], Int16Array]
#: From input and output to a prepared LOGISTIC or TANH of int16.
Prepare16: TypeAlias = Callable[[str, TensorView], Prepared]

#: Integer bits of a 16-bit input that is a power of two away: codes in [-8, 8).
INTEGER_BITS = 3


# --- 16 bits ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class InterpolatedSigmoid(Prepared):
    """A prepared LOGISTIC or TANH of int16.

    Attributes
    ----------
    function
        :func:`qmath.lookup.logistic_int16` or :func:`qmath.lookup.tanh_int16`, which number the steps.
    multiplier, right_shift
        What brings a code to units of 1 / (3 * 4096).

    """

    function: Sixteen
    multiplier: int
    right_shift: int

    def evaluate(self, inputs: Inputs, note: Note) -> Outputs:
        """Look up in the table of the logistic function."""
        x = given(inputs, 0).astype(np.int64)
        if self.right_shift == 0:
            # The product may leave 32 bits here; only then, since otherwise the multiplier has 15.
            terms = {"x": x, "multiplier": np.asarray(self.multiplier)}
            tripled = note("multiplied", wrap_int32(x * self.multiplier), "wrap(x * multiplier)", **terms)
            return (self.function(tripled, 1, 0, note),)
        return (self.function(x, self.multiplier, self.right_shift, note),)

    def compile(self, constants: Inputs) -> Runner:
        """Tabulate every code, once it pays."""
        del constants
        return elementwise.unary(self._of, DType.INT16)

    def _of(self, x: Array) -> Array:
        (result,) = self.evaluate([x], silent)
        return result


def interpolated(name: str, x: TensorView) -> Prepared:
    """Prepare :class:`InterpolatedSigmoid`.

    A scale that is a power of two (4096 codes a unit; for TANH also 2048) is multiplied by 3 alone. Any other is
    multiplied by ``3 * 4096 * 2**n``, cut to an integer, with the smallest n that brings it above 2**14, at most 31.

    Quirk: int16 LOGISTIC and TANH cut the multiplier of the input scale to an integer instead of rounding it.

    """
    scale = float32_scale(x)
    exponent = exponent_of(scale)
    left = None if exponent is None else 15 - INTEGER_BITS + exponent
    function = logistic_int16 if name == "LOGISTIC" else tanh_int16
    if left is not None and left in ({0} if name == "LOGISTIC" else {0, 1}):
        return InterpolatedSigmoid(function, 3 << left, 0)
    real = float(scale) * 4096.0 * 3.0
    shift = 0
    while real <= 32767 / 2 and shift <= 30:
        shift += 1
        real *= 2
    multiplier = int(float_to_int32_x86(np.asarray(real)))
    if multiplier == 0:
        # The runtime takes a multiplier of 0 to mean a power of two.
        return InterpolatedSigmoid(function, int(wrap_int32(3 << shift)), 0)
    return InterpolatedSigmoid(function, multiplier, shift)


@dataclass(frozen=True, slots=True)
class FixedPointSigmoid(Prepared):
    """A prepared LOGISTIC or TANH of int16 whose scale is a power of two.

    Attributes
    ----------
    is_logistic
        Whether it is LOGISTIC.
    left_shift
        What brings a code to 3 integer bits: 0 or 1.

    """

    is_logistic: bool
    left_shift: int

    def evaluate(self, inputs: Inputs, note: Note) -> Outputs:
        """Evaluate :func:`fixed_point_sigmoid`."""
        return (fixed_point_sigmoid(given(inputs, 0), self, note),)

    def compile(self, constants: Inputs) -> Runner:
        """Tabulate every code, once it pays."""
        del constants
        return elementwise.unary(partial(fixed_point_sigmoid, op=self), DType.INT16)


def fixed_point_sigmoid(x: Array, op: FixedPointSigmoid, note: Note = silent) -> Array:
    """Compute LOGISTIC or TANH in 16-bit fixed point.

    1. argument: the code, shifted left, saturated to 16 bits; 3 integer bits.
    2. :func:`qmath.fixed_point.logistic` or :func:`qmath.fixed_point.tanh`.
    """
    argument = saturating_left_shift(x, op.left_shift, 16)
    rule = "clamp(x * 2**left_shift, -2**15, 2**15 - 1)"
    note("argument", argument, rule, x=x, left_shift=op.left_shift)
    function = fixed_point.logistic if op.is_logistic else fixed_point.tanh
    value = function(argument, INTEGER_BITS, 16)
    of_real = "1 / (1 + exp(-argument / 2**12))" if op.is_logistic else "tanh(argument / 2**12)"
    return note("function value", value, f"~ 2**15 * {of_real}", argument=argument).astype(np.int16)


def fixed_point_if_power_of_two(name: str, x: TensorView) -> Prepared:
    """Prepare :class:`FixedPointSigmoid` where a code needs no more than a shift, else :class:`InterpolatedSigmoid`.

    Quirk: Optimized int16 LOGISTIC and TANH of power-of-two scales (4096 codes a unit, for TANH also 2048) take
    another algorithm than the reference, up to 12 codes away.

    """
    exponent = exponent_of(float32_scale(x))
    left = None if exponent is None else 15 - INTEGER_BITS + exponent
    if left is not None and left in ({0} if name == "LOGISTIC" else {0, 1}):
        return FixedPointSigmoid(name == "LOGISTIC", left)
    multiplier = float(float32_scale(x)) * 4096 * 3
    if not 2.0**-31 <= multiplier < 2.0**31:
        msg = f"{name} of int16 with the input scale {float(float32_scale(x)):g}"
        raise UnsupportedError(f"{msg}: a multiplier of {multiplier:g} fits no int32")
    return interpolated(name, x)


SIXTEEN_BIT: Rules[Prepare16] = Rules(
    "LOGISTIC and TANH", {LITERT_REFERENCE: interpolated, LITERT_OPTIMIZED: fixed_point_if_power_of_two}
)


# --- 8 bits and floats --------------------------------------------------------------------------------------------


@ruled("float32(1 / float32(1 + float32(exp(-x))))")
def float32_logistic(x: Float64Array) -> Float64Array:
    """Compute 1 / (1 + e**-x) with every step rounded to float32."""
    power = np.exp(-x).astype(np.float32)
    return np.asarray(np.float32(1) / (np.float32(1) + power)).astype(np.float64)


@ruled("~ tanh(x)")
def tanh(x: Float64Array) -> Float64Array:
    """Compute tanh of float32 numbers as the C library does, which is not always the nearest; see ``libm.py``."""
    return libm.tanh_of_any(x.astype(np.float32)).astype(np.float64)


@ruled("float32(exp(x) / (1 + exp(x)))")
def float64_logistic(x: Float64Array) -> Float64Array:
    """Compute e**x / (1 + e**x) in float64; 0 and 1 beyond -100 and 100."""
    power = np.exp(np.clip(x, -100, 100))
    return np.where(x > 100, 1.0, np.where(x < -100, 0.0, power / (1 + power)))


#: From an op's name, input and output to a prepared LOGISTIC or TANH of 8-bit codes.
Prepare8: TypeAlias = Callable[[str, TensorView, TensorView], Prepared]


def tabulated(name: str, x: TensorView, y: TensorView, *, logistic: Tabulated, to_codes: ToCodes) -> Prepared:
    """Prepare :class:`~kernels.engine.lookup.EightBitFunction`."""
    return eight_bit(logistic if name == "LOGISTIC" else tanh, x, y, to_codes)


EIGHT_BIT: Rules[Prepare8] = Rules(
    "LOGISTIC and TANH",
    {
        LITERT_REFERENCE: partial(tabulated, logistic=float32_logistic, to_codes=TO_CODES[LITERT_REFERENCE]),
        XNNPACK: partial(tabulated, logistic=float64_logistic, to_codes=TO_CODES[XNNPACK]),
        XNNPACK_ARM64: partial(tabulated, logistic=float64_logistic, to_codes=TO_CODES[XNNPACK_ARM64]),
        TFLM: eight_bit_sigmoid,
    },
)


def plain_logistic(x: Array) -> Array:
    """Compute the logistic function of floats: e**x below -9, 1 where e**-x vanishes beside 1."""
    x = x.astype(np.float32)
    inner = np.float32(1) / (np.float32(1) + np.exp(-x))
    return np.where(x > np.float32(16.619047164916992188), np.float32(1), np.where(x < -9, np.exp(x), inner))


FLOAT_TANH: Rules[Callable[[Array], Array]] = Rules(
    "TANH of float32", {LITERT_REFERENCE: libm.tanh_of_any, LITERT_OPTIMIZED: eigen.tanh, XNNPACK: np.tanh}
)


# --- Preparation --------------------------------------------------------------------------------------------------


def prepare(op: OpView, profile: Profile) -> Prepared:
    """Check the contract of LOGISTIC or TANH and derive table or multiplier.

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
    is_logistic = op.name == "LOGISTIC"
    if x.dtype is DType.FLOAT32:
        return PlainUnary(plain_logistic if is_logistic else FLOAT_TANH[profile])
    if x.dtype in {DType.INT8, DType.UINT8}:
        if is_logistic:
            expect(scale_of(y) == 1 / 256, f"output scale 1/256, found {scale_of(y)}")
        return EIGHT_BIT[profile](op.name, x, y)
    if x.dtype is DType.INT16:
        expect_zero_points_of_zero(x, y)
        exact = scale_of(y) == 1 / 32768 or (not is_logistic and exponent_of(float32_scale(y)) == -15)
        expect(exact, f"output scale 1/32768, found {scale_of(y)}")
        return SIXTEEN_BIT[profile](op.name, x)
    raise unsupported(op, "; ".join(KERNELS[0].covers))


KERNELS = tuple(
    Kernel(
        name,
        prepare,
        covers=("int8", "uint8", "int16", "float32"),
        refusal={TFLM: micro.no_uint8, XNNPACK: delegate.unary(delegate.NUMBERS)},
    )
    for name in ("LOGISTIC", "TANH")
)
