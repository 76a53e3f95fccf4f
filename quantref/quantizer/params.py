"""Quantization parameters while they are still being decided."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from qmath.affine import quantized_range
from qmath.types import DType, Float64Array, QuantParams


@dataclass(frozen=True, slots=True)
class Params:
    """What the codes of a tensor stand for, with scales in float64; a file keeps their float32.

    Two tensors agree if their ``Params`` are equal; float64 scales that a file could not tell apart do not agree.

    Attributes
    ----------
    dtype
        Of the codes.
    scale
        Real units per step: one entry, or one an index along ``axis``.
    zero_point
        Codes that stand for 0, as many as scales.
    axis
        The quantized dimension, or None (per-tensor).
    narrow
        Whether the lowest code stays unused.

    """

    dtype: DType
    scale: tuple[float, ...]
    zero_point: tuple[int, ...]
    axis: int | None = None
    narrow: bool = False

    @classmethod
    def of(cls, quant: QuantParams, *, axis: int | None = None, narrow: bool = False) -> Params:
        """Take over parameters as a file has them."""
        scale, zero_point = tuple(map(float, quant.scale)), tuple(map(int, quant.zero_point))
        return cls(quant.dtype, scale, zero_point, axis, narrow)

    @classmethod
    def single(cls, dtype: DType, scale: float, zero_point: int) -> Params:
        """Return per-tensor parameters."""
        return cls(dtype, (float(scale),), (int(zero_point),))

    def stored(self) -> QuantParams:
        """Return the parameters as a file has them."""
        scale = np.array(self.scale, np.float32)
        return QuantParams(scale, np.array(self.zero_point, np.int64), self.dtype, self.axis or 0)

    @property
    def scales(self) -> Float64Array:
        """The scales as an array, float64, shape ``(n,)``."""
        return np.array(self.scale, np.float64)

    @property
    def codes(self) -> tuple[int, int]:
        """Lowest and highest code in use."""
        return quantized_range(self.dtype, narrow_range=self.narrow)

    def unsigned(self) -> Params:
        """Return the uint8 parameters that stand for the same real values as these int8 ones."""
        offset = -DType.INT8.min
        return Params(DType.UINT8, self.scale, tuple(code + offset for code in self.zero_point), self.axis, self.narrow)
