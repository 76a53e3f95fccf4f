"""POW and ATAN2.

Source: ``tflite/kernels/pow.cc``, ``tflite/kernels/internal/optimized/optimized_ops.h`` (BroadcastPow4D),
``tflite/kernels/internal/reference/reference_ops.h``, ``tflite/kernels/atan2.cc``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kernels.engine.activation import Activation
from kernels.engine.contract import expect, expect_count, expect_dtype, input_tensor, output_tensor, unsupported
from kernels.engine.elementwise import PlainBinary, clamp_plain, expect_broadcast, expect_same_types
from kernels.engine.registry import Kernel
from kernels.engine.types import Inputs, OpView, Outputs, Prepared, given
from kernels.profiles import Profile
from qmath.errors import ModelError
from qmath.rounding import float_to_int32_x86, round_half_away_from_zero
from qmath.stages import Note
from qmath.types import Array, DType


@dataclass(frozen=True, slots=True)
class Pow(Prepared):
    """A prepared POW of float32 or int32.

    Attributes
    ----------
    by_squaring
        Whether the exponent is a single number for a base of another shape: if it is a whole number from 1 up,
        the runtime multiplies.

    """

    by_squaring: bool

    def evaluate(self, inputs: Inputs, note: Note) -> Outputs:
        """Evaluate :func:`power`, or :func:`power_by_squaring` where the runtime does."""
        del note
        base, exponent = given(inputs, 0), given(inputs, 1)
        if np.issubdtype(exponent.dtype, np.integer) and (exponent < 0).any():
            raise ModelError(f"expected exponents of int32 that are not negative, found {exponent.min()}")
        whole = _whole(exponent) if self.by_squaring else 0
        with np.errstate(all="ignore"):
            if whole >= 1:
                shape = np.broadcast_shapes(base.shape, exponent.shape)
                return (np.broadcast_to(power_by_squaring(base, whole), shape).copy(),)
            return (power(base, exponent),)


def power(base: Array, exponent: Array) -> Array:
    """Compute powers in float64; int32 results that do not fit become the lowest int32, as on x86."""
    result = np.asarray(np.power(base.astype(np.float64), exponent.astype(np.float64)))
    # NumPy takes the square root for a single exponent of one half, which has none of minus infinity; C's pow has.
    result = np.where((base == -np.inf) & (exponent == 0.5), np.inf, result)
    if np.issubdtype(base.dtype, np.integer):
        return float_to_int32_x86(result).astype(base.dtype)
    return result.astype(base.dtype)


def power_by_squaring(base: Array, exponent: int) -> Array:
    """Compute a power by squaring; integers wrap, infinite products become the largest numbers.

    Quirk: POW by a single exponent that is a whole number multiplies; by a tensor of exponents it calls the C library,
    so that int32 overflow wraps in one case and gives the lowest int32 in the other.
    """
    if exponent == 1:
        return base
    root = power_by_squaring(base, exponent // 2)
    square = clamp_plain(root * root, Activation.NONE)
    return clamp_plain(square * base, Activation.NONE) if exponent % 2 else square


def _whole(exponent: Array) -> int:
    """Return a single exponent as a whole number if it is within 1e-5 of one, else 0."""
    value = exponent.reshape(-1)[0]
    if np.issubdtype(exponent.dtype, np.integer):
        return int(value)
    whole = int(float_to_int32_x86(round_half_away_from_zero(np.asarray(value))))
    return whole if abs(float(value) - whole) < 1e-5 else 0


def prepare_pow(op: OpView, profile: Profile) -> Prepared:
    """Check the contract of POW.

    Raises
    ------
    ModelError
        The op breaks its contract.
    UnsupportedError
        The type is not covered.

    """
    del profile
    expect_count(op, {2})
    dtype = expect_same_types(op)
    expect_broadcast(op)
    expect_dtype(output_tensor(op), dtype)
    if dtype not in {DType.FLOAT32, DType.INT32}:
        raise unsupported(op, "; ".join(POW.covers))
    base, exponent = input_tensor(op, 0).shape, input_tensor(op, 1).shape
    return Pow(by_squaring=base != exponent and np.prod(exponent, dtype=np.int64) == 1)


def prepare_atan2(op: OpView, profile: Profile) -> Prepared:
    """Check the contract of ATAN2, which does not broadcast.

    Raises
    ------
    ModelError
        The op breaks its contract.
    UnsupportedError
        The type is not covered.

    """
    del profile
    expect_count(op, {2})
    dtype = expect_same_types(op)
    expect_dtype(output_tensor(op), dtype)
    y, x = input_tensor(op, 0).shape, input_tensor(op, 1).shape
    expect(y == x, f"inputs of one shape, found {y} and {x}")
    if dtype not in {DType.FLOAT32, DType.FLOAT64}:
        raise unsupported(op, "; ".join(ATAN2.covers))
    return PlainBinary(np.arctan2)


POW = Kernel("POW", prepare_pow, covers=("float32", "int32"))
ATAN2 = Kernel("ATAN2", prepare_atan2, covers=("float32", "float64"))
KERNELS = (POW, ATAN2)
