"""The affine map between real values and codes: ``real = scale * (code - zero_point)``.

Follows ``tflite/kernels/internal/reference/quantize.h`` and ``dequantize.h``.
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import numpy.typing as npt

from qmath.arguments import as_int64, finite_float32
from qmath.errors import InputError, SpecError
from qmath.rounding import TieRule, round_to_integer
from qmath.types import Array, DType, Float32Array, QuantParams

Scalar = TypeVar("Scalar", bound=np.generic)


def quantized_range(dtype: DType, *, narrow_range: bool = False) -> tuple[int, int]:
    """Return the lowest and highest code of an integer type.

    Parameters
    ----------
    dtype
        An integer type.
    narrow_range
        Whether the lowest code stays unused, so that a signed range is symmetric: [-127, 127].

    Raises
    ------
    SpecError
        ``dtype`` is not an integer type.

    """
    return dtype.min + narrow_range, dtype.max


def along_quantized_dimension(
    values: npt.NDArray[Scalar], quantized_dimension: int, shape: tuple[int, ...]
) -> npt.NDArray[Scalar]:
    """Reshape per-axis values so that they broadcast against a tensor.

    Parameters
    ----------
    values
        Shape ``(n,)``: one entry (per-tensor), or one for each index along ``quantized_dimension``.
    quantized_dimension
        Axis of the tensor that the entries run along.
    shape
        Of the tensor.

    Returns
    -------
    ndarray
        Shape ``()`` per-tensor; per-axis ``n`` at ``quantized_dimension`` and 1 elsewhere.

    Raises
    ------
    InputError
        The tensor has no such axis, or another number of indices along it.

    """
    if values.size == 1:
        return values.reshape(())
    if not 0 <= quantized_dimension < len(shape) or shape[quantized_dimension] != values.size:
        raise InputError(
            f"expected {values.size} indices along quantized dimension {quantized_dimension}, found shape {shape}"
        )
    return values.reshape([-1 if axis == quantized_dimension else 1 for axis in range(len(shape))])


def quantize(real: npt.ArrayLike, params: QuantParams, tie_rule: TieRule = TieRule.HALF_AWAY_FROM_ZERO) -> Array:
    """Give the codes nearest to real values.

    1. Divide by the scale, in float32.
    2. Round to an integer, by ``tie_rule``.
    3. Add the zero point and clamp to the range of the dtype.

    Runtimes convert to int32 before step 3, so values more than 2**31 steps from zero come out differently there (on
    x86 as the lowest code, whatever their sign, or the highest if the zero point is negative); here they clamp.

    Parameters
    ----------
    real
        Finite real values, any shape; rounded to float32 first.
    params
        Per-tensor, or per-axis for a tensor of this shape; codes of at most 32 bits.
    tie_rule
        Half away from zero is that of LiteRT's reference kernel.

    Returns
    -------
    ndarray
        Codes in ``params.dtype.storage``, the shape of ``real``.

    Raises
    ------
    InputError
        A value is no real number, NaN or infinite (no code stands for it), or the shape does not fit the per-axis
        parameters.
    SpecError
        A scale is not a positive number, or the dtype not an integer type of at most 32 bits.

    """
    real = finite_float32(real, "real values")
    if not (np.isfinite(params.scale) & (params.scale > 0)).all():
        raise SpecError(f"expected positive scales, found {params.scale.min()}")
    lowest, highest = quantized_range(params.dtype)
    if params.dtype.bits > 32:
        raise SpecError(f"expected codes of at most 32 bits, found {params.dtype.name}")
    scale = along_quantized_dimension(params.scale, params.quantized_dimension, real.shape)
    zero_point = along_quantized_dimension(params.zero_point, params.quantized_dimension, real.shape)
    with np.errstate(over="ignore"):
        steps = round_to_integer(np.asarray(real / scale), tie_rule)
    codes = np.clip(steps.astype(np.float64) + zero_point, lowest, highest)
    return np.asarray(codes).astype(params.dtype.storage)


def dequantize(codes: npt.ArrayLike, params: QuantParams) -> Float32Array:
    """Give the real values that codes stand for: the float64 product ``scale * (code - zero_point)``, to float32.

    For codes of up to 16 bits the product in float32 is the same number. Beyond float32 it is infinite.

    Parameters
    ----------
    codes
        Integers of at most 32 bits, any shape.
    params
        Per-tensor, or per-axis for a tensor of this shape.

    Raises
    ------
    InputError
        The codes are not integers, or their shape does not fit the per-axis parameters.

    """
    codes = as_int64(codes)
    scale = along_quantized_dimension(params.scale, params.quantized_dimension, codes.shape)
    zero_point = along_quantized_dimension(params.zero_point, params.quantized_dimension, codes.shape)
    with np.errstate(over="ignore", under="ignore"):
        return np.asarray(scale.astype(np.float64) * (codes - zero_point)).astype(np.float32)
