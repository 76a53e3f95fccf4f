"""FLOOR_DIV and FLOOR_MOD of plain numbers.

Source: ``tflite/kernels/floor_div.cc``, ``tflite/kernels/floor_mod.cc``,
``tflite/kernels/internal/reference/floor_div.h``, ``floor_mod.h``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from kernels.engine.contract import expect_count, expect_dtype, output_tensor, unsupported
from kernels.engine.elementwise import expect_broadcast, expect_same_types
from kernels.engine.registry import Kernel
from kernels.engine.types import Inputs, OpView, Outputs, Prepared, given
from kernels.profiles import Profile
from qmath.errors import ModelError, UnsupportedError
from qmath.rounding import float_to_int32_x86
from qmath.stages import Note
from qmath.types import Array, DType

_TYPES = {
    "FLOOR_DIV": (DType.INT8, DType.INT16, DType.INT32, DType.FLOAT32),
    "FLOOR_MOD": (DType.INT8, DType.INT16, DType.INT32, DType.INT64, DType.FLOAT32),
}


@dataclass(frozen=True, slots=True)
class Division(Prepared):
    """A prepared FLOOR_DIV or FLOOR_MOD."""

    function: Callable[[Array, Array], Array]
    refuses_zero: bool

    def evaluate(self, inputs: Inputs, note: Note) -> Outputs:
        """Divide."""
        del note
        x1, x2 = given(inputs, 0), given(inputs, 1)
        if self.refuses_zero and not x2.all():
            raise ModelError("expected divisors other than 0, found 0")
        with np.errstate(all="ignore"):
            return (np.asarray(self.function(x1, x2)),)


def floor_div(x1: Array, x2: Array) -> Array:
    """Divide in float64, round down, convert back; on x86 what does not fit int32 becomes its lowest value.

    Quirk: FLOOR_DIV refuses a divisor of 0 even for floats, and looks at no scale of int8 and int16.

    Raises
    ------
    UnsupportedError
        A quotient does not fit int8 or int16.

    """
    quotient = np.floor(np.asarray(x1.astype(np.float64) / x2.astype(np.float64)))
    if np.issubdtype(x1.dtype, np.floating):
        return quotient.astype(x1.dtype)
    highest = np.iinfo(x1.dtype).max
    if x1.dtype.itemsize < 4 and quotient.size and quotient.max() > highest:
        raise UnsupportedError(
            f"FLOOR_DIV is not covered for quotients that do not fit the type, found {int(quotient.max())}: C leaves "
            "the conversion undefined, and the runtime wraps or saturates by the place of the element"
        )
    return float_to_int32_x86(quotient).astype(x1.dtype)


def floor_mod(x1: Array, x2: Array) -> Array:
    """Return the remainder with the sign of the divisor, made from the one with the sign of the dividend."""
    if not np.issubdtype(x1.dtype, np.floating) and x1.dtype.itemsize >= 4:
        lowest = np.iinfo(x1.dtype).min
        if ((x1 == lowest) & (x2 == -1)).any():
            raise ModelError(f"expected remainders other than of {lowest} by -1, where the runtime dies")
    remainder = np.asarray(np.fmod(x1, x2))
    return np.where((remainder != 0) & ((x2 < 0) != (remainder < 0)), remainder + x2, remainder)


def prepare(op: OpView, profile: Profile) -> Prepared:
    """Check the contract of FLOOR_DIV or FLOOR_MOD.

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
    if dtype not in _TYPES[op.name]:
        raise unsupported(op, "; ".join(_covers(op.name)))
    if op.name == "FLOOR_DIV":
        return Division(floor_div, refuses_zero=True)
    return Division(floor_mod, refuses_zero=dtype.is_integer)


def _covers(name: str) -> tuple[str, ...]:
    return tuple(dtype.name.lower() for dtype in _TYPES[name])


KERNELS = tuple(Kernel(name, prepare, covers=_covers(name)) for name in _TYPES)
