"""ELU and GELU.

LiteRT's reference resolver has no ELU and no int16 GELU: the builtin kernels, which both resolvers share for the rest,
are the reference here.

Source: ``tflite/kernels/activations.cc``, ``tflite/kernels/internal/reference/gelu.h``.
"""

from __future__ import annotations

import math

import numpy as np

from kernels.engine import delegate, libm
from kernels.engine.contract import expect_count, expect_dtype, input_tensor, option, output_tensor, unsupported
from kernels.engine.elementwise import PlainUnary
from kernels.engine.lookup import TO_CODES, eight_bit, sixteen_bit
from kernels.engine.registry import Kernel
from kernels.engine.types import OpView, Prepared
from kernels.profiles import XNNPACK, Profile
from qmath.stages import ruled
from qmath.types import Array, DType, Float64Array

#: sqrt(2 / pi), rounded to float32.
_ROOT_2_OVER_PI = np.float32(math.sqrt(2 / math.pi))
_MINUS_ROOT_HALF = np.float32(-math.sqrt(0.5))
_CUBIC = np.float32(0.044715)


@ruled("~ exp(x) - 1 if x < 0 else x")
def elu(x: Float64Array) -> Float64Array:
    """Compute e**x - 1 for negative float32 x as the C library does, which is not always the nearest; else x."""
    return np.where(x < 0, libm.expm1_of_negative(np.minimum(x, 0).astype(np.float32)), x)


@ruled("~ x / 2 * (1 + erf(x / sqrt(2)))")
def gelu(x: Float64Array) -> Float64Array:
    """Compute x / 2 * erfc(-x / sqrt(2)), in float32 by the C library's erfc."""
    real = np.asarray(x, np.float32)
    return np.asarray(np.float32(0.5) * real * libm.erfc(real * _MINUS_ROOT_HALF)).astype(np.float64)


@ruled("~ x / 2 * (1 + tanh(sqrt(2 / 3.141592653589793) * (x + 0.044715 * x**3)))")
def gelu_approximate(x: Float64Array) -> Float64Array:
    """Compute x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x**3))), in float32 by the C library's tanh."""
    real = np.asarray(x, np.float32)
    inner = _ROOT_2_OVER_PI * (real + _CUBIC * real * real * real)
    tanh = libm.tanh_of_any(inner)
    return np.asarray(np.float32(0.5) * real * (np.float32(1) + tanh)).astype(np.float64)


def plain_elu(x: Array) -> Array:
    """Compute e**x - 1 for negative floats, else x."""
    return np.where(x < 0, np.expm1(np.minimum(x, 0)), x)


def plain_gelu(x: Array) -> Array:
    """Compute GELU of floats."""
    return gelu(x.astype(np.float64)).astype(x.dtype)


def plain_gelu_approximate(x: Array) -> Array:
    """Compute the approximate GELU of floats."""
    return gelu_approximate(x.astype(np.float64)).astype(x.dtype)


def prepare_elu(op: OpView, profile: Profile) -> Prepared:
    """Check the contract of ELU.

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
        return PlainUnary(plain_elu)
    if x.dtype is DType.INT8:
        return eight_bit(elu, x, y, TO_CODES[profile])
    raise unsupported(op, "; ".join(ELU.covers))


def prepare_gelu(op: OpView, profile: Profile) -> Prepared:
    """Check the contract of GELU and tabulate it.

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
    approximate = bool(option(op, "approximate"))
    if x.dtype is DType.FLOAT32:
        return PlainUnary(plain_gelu_approximate if approximate else plain_gelu)
    function = gelu_approximate if approximate else gelu
    if x.dtype in {DType.INT8, DType.UINT8}:
        return eight_bit(function, x, y, TO_CODES[profile])
    if x.dtype is DType.INT16:
        return sixteen_bit(function, x, y, profile)
    raise unsupported(op, "; ".join(GELU.covers))


ELU = Kernel(
    "ELU", prepare_elu, covers=("int8", "float32"), refusal={XNNPACK: delegate.unary(delegate.FLOATS | {DType.INT8})}
)
GELU = Kernel(
    "GELU",
    prepare_gelu,
    covers=("int8", "uint8", "int16", "float32"),
    refusal={XNNPACK: delegate.unary(delegate.FLOATS)},
)
KERNELS = (ELU, GELU)
