"""CAST: numbers of one type as numbers of another; scales and zero points play no part.

Source: ``tflite/kernels/cast.cc``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kernels.engine.contract import expect_count, input_tensor, output_tensor, unsupported
from kernels.engine.registry import Kernel
from kernels.engine.types import Inputs, OpView, Outputs, Prepared, given
from kernels.profiles import Profile
from qmath.stages import Note
from qmath.types import Array, DType, Float32Array

_INTEGERS = (DType.INT64, DType.INT32, DType.UINT32, DType.INT16, DType.UINT16, DType.INT8, DType.UINT8)
_FLOATS = (DType.FLOAT16, DType.BFLOAT16, DType.FLOAT32, DType.FLOAT64)
_WIDE = (*_INTEGERS, *_FLOATS, DType.BOOL, DType.COMPLEX64)
_NARROW = (DType.INT4, DType.UINT4, DType.INT2)


@dataclass(frozen=True, slots=True)
class Cast(Prepared):
    """A prepared CAST."""

    source: DType
    target: DType

    def evaluate(self, inputs: Inputs, note: Note) -> Outputs:
        """Evaluate :func:`cast`."""
        del note
        with np.errstate(all="ignore"):
            return (cast(given(inputs, 0), self.source, self.target),)


def cast(x: Array, source: DType, target: DType) -> Array:
    """Convert numbers.

    Parameters
    ----------
    x
        Numbers of type ``source``, any shape; bfloat16 as the bits of it.
    source, target
        Types.

    Returns
    -------
    Numbers of type ``target``, same shape.

    Notes
    -----
    - Integers to integers keep the lower bits. Anything but 0 is true.
    - Floats to integers lose their fraction and saturate; NaN becomes the highest integer.
    - Whatever becomes float16 or bfloat16 becomes float32 first.
    - Complex numbers lose their imaginary part, unless they stay complex.

    Quirk: CAST of NaN to an integer type gives its highest value, and CAST of numbers that do not fit saturates, where
    QUANTIZE and FLOOR_DIV give the lowest int32.

    """
    if source is target:
        return x.copy()
    if source is DType.BFLOAT16:
        x = from_bfloat16(x)
    if target is DType.COMPLEX64:
        return x.astype(np.complex64)
    real = np.asarray(x.real)
    if target is DType.BFLOAT16:
        return to_bfloat16(real.astype(np.float32))
    if target is DType.FLOAT16:
        return real.astype(np.float32).astype(np.float16)
    if target.is_integer and np.issubdtype(real.dtype, np.floating):
        return saturated(real, target)
    return real.astype(target.storage)


def saturated(x: Array, target: DType) -> Array:
    """Convert floats to integers: toward zero; what does not fit saturates, NaN becomes the highest value."""
    wide = x.astype(np.float64)
    # One above the highest value is a power of two, which float64 holds exactly; the highest may not be.
    too_high, too_low = ~(wide < float(target.max + 1)), wide <= float(target.min)
    whole = np.trunc(np.where(too_high | too_low, 0, wide)).astype(np.int64)
    return np.where(too_high, target.max, np.where(too_low, target.min, whole)).astype(target.storage)


def from_bfloat16(bits: Array) -> Float32Array:
    """Widen bfloat16, given as its bits: the upper half of a float32."""
    return (bits.astype(np.uint32) << np.uint32(16)).view(np.float32)


def to_bfloat16(x: Float32Array) -> Array:
    """Round float32 to the bits of bfloat16, ties to even; NaN becomes the quiet NaN of its sign."""
    bits = np.ascontiguousarray(x).view(np.uint32)
    odd = (bits >> np.uint32(16)) & np.uint32(1)
    rounded = ((bits + np.uint32(0x7FFF) + odd) >> np.uint32(16)).astype(np.uint16)
    quiet = np.where(np.signbit(x), np.uint16(0xFFC0), np.uint16(0x7FC0))
    return np.where(np.isnan(x), quiet, rounded).reshape(x.shape)


def prepare(op: OpView, profile: Profile) -> Prepared:
    """Check that CAST knows the pair of types.

    Raises
    ------
    ModelError
        The op breaks its contract.
    UnsupportedError
        The combination of types is not covered.

    """
    del profile
    expect_count(op, {1})
    source, target = input_tensor(op, 0).dtype, output_tensor(op).dtype
    wide = source in _WIDE and target in _WIDE
    narrow = DType.FLOAT32 in {source, target} and (source in _NARROW or target in _NARROW)
    if not wide and not narrow:
        raise unsupported(op, "; ".join(KERNELS[0].covers))
    return Cast(source, target)


KERNELS = (
    Kernel(
        "CAST",
        prepare,
        covers=(
            f"{', '.join(dtype.name.lower() for dtype in _WIDE)} to each other",
            "int2, int4 and uint4 to and from float32",
        ),
    ),
)
