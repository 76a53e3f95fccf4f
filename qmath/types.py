"""Value types shared by every layer: element types, quantization parameters, multipliers, ranges."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from qmath.arguments import as_real, as_whole
from qmath.errors import SpecError

Array: TypeAlias = npt.NDArray[Any]
BoolArray: TypeAlias = npt.NDArray[np.bool_]
Int8Array: TypeAlias = npt.NDArray[np.int8]
UInt8Array: TypeAlias = npt.NDArray[np.uint8]
Int16Array: TypeAlias = npt.NDArray[np.int16]
Int32Array: TypeAlias = npt.NDArray[np.int32]
Int64Array: TypeAlias = npt.NDArray[np.int64]
Float32Array: TypeAlias = npt.NDArray[np.float32]
Float64Array: TypeAlias = npt.NDArray[np.float64]


class FloatType(enum.Enum):
    """A floating-point type to compute in."""

    FLOAT32 = np.float32
    FLOAT64 = np.float64


class DType(enum.Enum):
    """Element type of a tensor; the value is its number in the TensorFlow Lite schema."""

    FLOAT32 = 0
    FLOAT16 = 1
    INT32 = 2
    UINT8 = 3
    INT64 = 4
    STRING = 5
    BOOL = 6
    INT16 = 7
    COMPLEX64 = 8
    INT8 = 9
    FLOAT64 = 10
    COMPLEX128 = 11
    UINT64 = 12
    RESOURCE = 13
    VARIANT = 14
    UINT32 = 15
    UINT16 = 16
    INT4 = 17
    BFLOAT16 = 18
    INT2 = 19
    UINT4 = 20

    @property
    def bits(self) -> int:
        """Width of one element in a file, in bits; 0 where elements have no fixed width."""
        return _BITS.get(self, 0)

    @property
    def storage(self) -> np.dtype[Any]:
        """NumPy type that holds one element in memory; sub-byte types are held in a byte each.

        Raises
        ------
        SpecError
            The type has no NumPy form (strings, resources, variants).

        """
        try:
            return np.dtype(_STORAGE[self])
        except KeyError:
            msg = f"tensors of type {self.name} have no NumPy form"
            raise SpecError(msg) from None

    @property
    def is_integer(self) -> bool:
        """Whether elements are integers (booleans are not)."""
        return self in _RANGES

    @property
    def min(self) -> int:
        """Lowest code of an integer type; others raise SpecError."""
        return self._range[0]

    @property
    def max(self) -> int:
        """Highest code of an integer type; others raise SpecError."""
        return self._range[1]

    @property
    def _range(self) -> tuple[int, int]:
        try:
            return _RANGES[self]
        except KeyError:
            msg = f"expected an integer type for quantized values, found {self.name}"
            raise SpecError(msg) from None


def _signed(bits: int) -> tuple[int, int]:
    return -(1 << (bits - 1)), (1 << (bits - 1)) - 1


_RANGES = {
    DType.INT2: _signed(2),
    DType.INT4: _signed(4),
    DType.INT8: _signed(8),
    DType.INT16: _signed(16),
    DType.INT32: _signed(32),
    DType.INT64: _signed(64),
    DType.UINT4: (0, 15),
    DType.UINT8: (0, 255),
    DType.UINT16: (0, 65535),
    DType.UINT32: (0, (1 << 32) - 1),
    DType.UINT64: (0, (1 << 64) - 1),
}

_STORAGE: dict[DType, type[np.generic]] = {
    DType.FLOAT32: np.float32,
    DType.FLOAT16: np.float16,
    DType.FLOAT64: np.float64,
    DType.BFLOAT16: np.uint16,
    DType.INT2: np.int8,
    DType.INT4: np.int8,
    DType.INT8: np.int8,
    DType.INT16: np.int16,
    DType.INT32: np.int32,
    DType.INT64: np.int64,
    DType.UINT4: np.uint8,
    DType.UINT8: np.uint8,
    DType.UINT16: np.uint16,
    DType.UINT32: np.uint32,
    DType.UINT64: np.uint64,
    DType.BOOL: np.bool_,
    DType.COMPLEX64: np.complex64,
    DType.COMPLEX128: np.complex128,
}

_BITS = {dtype: 8 * np.dtype(scalar).itemsize for dtype, scalar in _STORAGE.items()} | {
    DType.INT2: 2,
    DType.INT4: 4,
    DType.UINT4: 4,
}


@dataclass(frozen=True, eq=False)
class QuantParams:
    """How codes stand for real values: ``real = scale * (code - zero_point)``.

    Attributes
    ----------
    scale
        float32, shape ``(n,)``: one entry (per-tensor), or one for each index along
        ``quantized_dimension`` (per-axis). Real units per step.
    zero_point
        int64, shape ``(n,)``: the code that stands for the real value 0.
    quantized_dimension
        Axis that per-axis entries run along.
    dtype
        Element type of the codes.

    Raises
    ------
    SpecError
        ``scale`` and ``zero_point`` are not one-dimensional, are empty, or differ in length.
    InputError
        Scales are no real numbers, or zero points no whole numbers.

    """

    scale: Float32Array
    zero_point: Int64Array
    dtype: DType
    quantized_dimension: int = 0

    def __post_init__(self) -> None:
        """Freeze the arrays and check that they belong together."""
        scale = np.atleast_1d(as_real(self.scale, np.float32))
        zero_point = np.atleast_1d(as_whole(self.zero_point))
        if zero_point.size == 1 and scale.size > 1:
            zero_point = np.broadcast_to(zero_point, scale.shape)
        if scale.ndim != 1 or scale.size == 0 or scale.shape != zero_point.shape:
            msg = f"expected as many zero points as scales, found {zero_point.shape} and {scale.shape}"
            raise SpecError(msg)
        for name, values in (("scale", scale), ("zero_point", zero_point)):
            view = values.view()
            view.flags.writeable = False
            object.__setattr__(self, name, view)

    @property
    def per_axis(self) -> bool:
        """Whether there is more than one scale; one entry counts as per-tensor, as in the runtime."""
        return self.scale.size > 1

    def __eq__(self, other: object) -> bool:
        """Compare all fields, scales bit for bit."""
        if not isinstance(other, QuantParams):
            return NotImplemented
        return (
            self.dtype is other.dtype
            and self.quantized_dimension == other.quantized_dimension
            and self.scale.tobytes() == other.scale.tobytes()
            and self.zero_point.tobytes() == other.zero_point.tobytes()
        )

    def __hash__(self) -> int:
        """Hash what ``==`` compares."""
        return hash((self.dtype, self.quantized_dimension, self.scale.tobytes(), self.zero_point.tobytes()))

    def __reduce__(self) -> tuple[Any, ...]:
        """Copy and pickle by construction, so that the arrays of a copy are read-only, too."""
        return QuantParams, (self.scale, self.zero_point, self.dtype, self.quantized_dimension)


@dataclass(frozen=True, slots=True)
class FixedPointMultiplier:
    """A real number as ``multiplier * 2**(shift - 31)``; all but a few are positive.

    Attributes
    ----------
    multiplier
        int64 holding an int32, shape ``()`` or ``(channels,)``: Q0.31 significand in [2**30, 2**31), or 0; of a
        negative number in [-2**31, -2**30].
    shift
        int64, same shape: positive shifts left, negative shifts right.

    """

    multiplier: Int64Array
    shift: Int64Array


@dataclass(frozen=True, slots=True)
class ActivationRange:
    """Lowest and highest code that an op may write: the fused activation, in quantized units."""

    min: int
    max: int

    @classmethod
    def of(cls, dtype: DType) -> ActivationRange:
        """Return the whole range of an integer type."""
        return cls(dtype.min, dtype.max)
