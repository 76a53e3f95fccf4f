"""LOGISTIC and TANH.

Source: ``tflite/kernels/activations.cc``, ``tflite/kernels/internal/reference/logistic.h``, ``tanh.h`` and their
namesakes in ``integer_ops``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from kernels.engine import elementwise
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
from kernels.engine.lookup import TO_CODES, eight_bit
from kernels.engine.registry import Kernel
from kernels.engine.types import Inputs, OpView, Outputs, Prepared, Runner, TensorView, given
from kernels.profiles import LITERT_REFERENCE, Profile, Rules
from qmath.fixed_point import wrap_int32
from qmath.lookup import logistic_int16, tanh_int16
from qmath.rounding import float_to_int32_x86
from qmath.stages import Note, ruled, silent
from qmath.types import Array, DType, Float64Array, Int16Array

#: From int16 codes, multiplier and right shift to int16 codes.
Sixteen: TypeAlias = Callable[[npt.ArrayLike, int, int], Int16Array]
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
            scaled = note("scaled", wrap_int32(x * self.multiplier))
            return (self.function(scaled, 1, 0),)
        return (self.function(x, self.multiplier, self.right_shift),)

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


SIXTEEN_BIT: Rules[Prepare16] = Rules("LOGISTIC and TANH", {LITERT_REFERENCE: interpolated})


# --- 8 bits and floats --------------------------------------------------------------------------------------------


@ruled("float32(1 / float32(1 + float32(exp(-x))))")
def float32_logistic(x: Float64Array) -> Float64Array:
    """Compute 1 / (1 + e**-x) with every step rounded to float32."""
    power = np.exp(-x).astype(np.float32)
    return np.asarray(np.float32(1) / (np.float32(1) + power)).astype(np.float64)


@ruled("float32(tanh(x))")
def tanh(x: Float64Array) -> Float64Array:
    """Compute tanh."""
    return np.asarray(np.tanh(x))


def plain_logistic(x: Array) -> Array:
    """Compute the logistic function of floats: e**x below -9, 1 where e**-x vanishes beside 1."""
    x = x.astype(np.float32)
    inner = np.float32(1) / (np.float32(1) + np.exp(-x))
    return np.where(x > np.float32(16.619047164916992188), np.float32(1), np.where(x < -9, np.exp(x), inner))


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
        return PlainUnary(plain_logistic if is_logistic else np.tanh)
    if x.dtype in {DType.INT8, DType.UINT8}:
        if is_logistic:
            expect(scale_of(y) == 1 / 256, f"output scale 1/256, found {scale_of(y)}")
        return eight_bit(float32_logistic if is_logistic else tanh, x, y, TO_CODES[profile])
    if x.dtype is DType.INT16:
        expect_zero_points_of_zero(x, y)
        exact = scale_of(y) == 1 / 32768 or (not is_logistic and exponent_of(float32_scale(y)) == -15)
        expect(exact, f"output scale 1/32768, found {scale_of(y)}")
        return SIXTEEN_BIT[profile](op.name, x)
    raise unsupported(op, "; ".join(KERNELS[0].covers))


KERNELS = tuple(Kernel(name, prepare, covers=("int8", "uint8", "int16", "float32")) for name in ("LOGISTIC", "TANH"))
