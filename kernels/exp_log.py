"""EXP and LOG.

Known difference: XNNPACK on Arm gives 88.4 for LOG of infinity and of float32 above 2**127.5, and 88.8 for LOG of NaN.

Source: ``tflite/kernels/exp.cc``, ``tflite/kernels/elementwise.cc`` (LogLUTPrepare).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np

from kernels.engine import delegate
from kernels.engine.contract import expect_count, expect_dtype, input_tensor, output_tensor, unsupported, zero_point_of
from kernels.engine.elementwise import PlainUnary, expect_zero_points_of_zero, float32_scale, subnormal_as_zero
from kernels.engine.lookup import TO_CODES, eight_bit, sixteen_bit
from kernels.engine.registry import Kernel
from kernels.engine.types import OpView, Prepared
from kernels.profiles import LITERT_REFERENCE, XNNPACK, XNNPACK_ARM64, Profile, Rules
from qmath.stages import Ruled, ruled
from qmath.types import Array, DType, Float32Array, Float64Array


@ruled("float32(exp(x))")
def exp(x: Float64Array) -> Float64Array:
    """Compute e**x."""
    return np.asarray(np.exp(x))


def log_or_lowest(x: Float64Array, lowest: Float32Array) -> Float64Array:
    """Compute the logarithm of positive numbers; others give the lowest real value of the output."""
    return np.where(x > 0, np.log(np.where(x > 0, x, 1)), lowest)


def flushed_exp(x: Array) -> Array:
    """Compute e**x of floats, 0 in place of subnormal numbers."""
    return subnormal_as_zero(np.exp(x))


def flushed_exp_of_numbers(x: Array) -> Array:
    """Compute e**x of floats, 0 in place of subnormal numbers and for NaN."""
    return np.where(np.isnan(x), np.float32(0), flushed_exp(x))


def flushed_log(x: Array) -> Array:
    """Compute logarithms of floats, subnormal numbers counting as zeros."""
    return np.asarray(np.log(subnormal_as_zero(x)))


def log_below_the_largest(x: Array) -> Array:
    """Compute logarithms of floats, subnormal numbers counting as zeros, those above 2**127.5 as infinities."""
    return np.where(x > LARGEST, np.float32(np.inf), flushed_log(x))


#: Beyond this XNNPACK takes the binary exponent to be 128.
LARGEST = np.nextafter(np.float32(2.0**127.5), np.float32(np.inf))
#: EXP and LOG of floats.
FLOATS: Rules[Mapping[str, Callable[[Array], Array]]] = Rules(
    "EXP and LOG of float32",
    {
        LITERT_REFERENCE: {"EXP": np.exp, "LOG": np.log},
        XNNPACK: {"EXP": flushed_exp_of_numbers, "LOG": log_below_the_largest},
        XNNPACK_ARM64: {"EXP": flushed_exp, "LOG": flushed_log},
    },
)


def prepare(op: OpView, profile: Profile) -> Prepared:
    """Check the contract of EXP or LOG and tabulate it.

    Quirk: LOG of a quantized 0 or of a negative code gives the lowest code instead of an error.

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
    with np.errstate(over="ignore"):
        lowest = np.asarray(np.float32(y.dtype.min - zero_point_of(y)) * float32_scale(y))
    function = exp if op.name == "EXP" else Ruled("float32(log(x))", partial(log_or_lowest, lowest=lowest))
    if x.dtype is DType.INT16:
        return sixteen_bit(function, x, y, profile)
    return eight_bit(function, x, y, TO_CODES[profile])


_COVERS = ("int8", "int16", "float32")
KERNELS = tuple(
    Kernel(name, prepare, covers=_COVERS, refusal={XNNPACK: delegate.unary(delegate.FLOATS)}) for name in ("EXP", "LOG")
)
