"""EXP and LOG.

Known difference: XNNPACK gives 0 for EXP of NaN and infinity for LOG of the largest float32; quantref: NaN and 88.7.

Source: ``tflite/kernels/exp.cc``, ``tflite/kernels/elementwise.cc`` (LogLUTPrepare).
"""

from __future__ import annotations

from functools import partial

import numpy as np

from kernels.engine import delegate
from kernels.engine.contract import expect_count, expect_dtype, input_tensor, output_tensor, unsupported, zero_point_of
from kernels.engine.elementwise import PlainUnary, expect_zero_points_of_zero, float32_scale
from kernels.engine.lookup import TO_CODES, eight_bit, sixteen_bit
from kernels.engine.registry import Kernel
from kernels.engine.types import OpView, Prepared
from kernels.profiles import XNNPACK, Profile
from qmath.stages import Ruled, ruled
from qmath.types import DType, Float32Array, Float64Array


@ruled("float32(exp(x))")
def exp(x: Float64Array) -> Float64Array:
    """Compute e**x."""
    return np.asarray(np.exp(x))


def log_or_lowest(x: Float64Array, lowest: Float32Array) -> Float64Array:
    """Compute the logarithm of positive numbers; others give the lowest real value of the output."""
    return np.where(x > 0, np.log(np.where(x > 0, x, 1)), lowest)


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
        return PlainUnary(np.exp if op.name == "EXP" else np.log)
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
