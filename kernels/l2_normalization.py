"""L2_NORMALIZATION and LOCAL_RESPONSE_NORMALIZATION, along the last axis.

Source: ``tflite/kernels/l2norm.cc``, ``tflite/kernels/internal/reference/l2normalization.h``,
``integer_ops/l2normalization.h``, ``tflite/kernels/local_response_norm.cc``,
``tflite/kernels/internal/reference/reference_ops.h``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kernels.engine import micro
from kernels.engine.activation import Activation
from kernels.engine.contract import (
    choice,
    expect,
    expect_count,
    expect_dtype,
    expect_rank,
    input_tensor,
    option,
    output_tensor,
    scale_of,
    unsupported,
    zero_point_of,
)
from kernels.engine.registry import Kernel
from kernels.engine.taps import Products, Reads, row
from kernels.engine.types import Inputs, OpView, Outputs, Prepared, given
from kernels.profiles import LITERT_OPTIMIZED, LITERT_REFERENCE, TFLM, Profile, Rules
from qmath.errors import UnsupportedError
from qmath.fixed_point import inverse_square_root
from qmath.requantize import DOUBLE_ROUNDING, Regime, to_codes
from qmath.stages import Note, silent
from qmath.types import ActivationRange, Array, DType, FixedPointMultiplier, Float32Array

REGIME: Rules[Regime] = Rules("L2_NORMALIZATION", {LITERT_REFERENCE: DOUBLE_ROUNDING})

#: Output codes are multiples of 2**-7.
OUTPUT_BITS = 7
_EPSILON = np.float32(1e-6)
_ZERO_POINTS = {DType.INT8: 0, DType.UINT8: 128}


@dataclass(frozen=True, slots=True)
class L2Normalization(Prepared):
    """A prepared L2_NORMALIZATION of int8 or uint8."""

    regime: Regime
    input_zero_point: int
    output_zero_point: int
    dtype: DType

    def evaluate(self, inputs: Inputs, note: Note) -> Outputs:
        """Evaluate :func:`l2_normalization`."""
        return (l2_normalization(given(inputs, 0), self, note),)

    def products(self, inputs: Inputs, index: tuple[int, ...]) -> Products:
        """Return the terms of the sum of squares."""
        return Products((Reads("square", row(index, given(inputs, 0).shape[-1])),), stage="sum of squares")


def l2_normalization(x: Array, op: L2Normalization, note: Note = silent) -> Array:
    """Divide codes by the length of their row.

    Parameters
    ----------
    x
        int8 or uint8, any shape of at least one dimension: quantized.
    op
        The prepared op.
    note
        Receives the stages.

    Returns
    -------
    Codes of the same type and shape; scale 1/128.

    Notes
    -----
    1. centred: ``x - input_zero_point``.
    2. sum of squares: over the row; int32.
    3. inverse root: see :func:`qmath.fixed_point.inverse_square_root`.
    4. scaled: centred times the inverse root times ``2**7``, by the regime.
    5. Add the output's zero point; clamp to the range of the type.

    """
    centred = x.astype(np.int64) - op.input_zero_point
    note("centred", centred, "x - zero_point", x=x, zero_point=op.input_zero_point)
    squares = note("square", np.square(centred), "centred * centred", centred=centred)
    total = note("sum of squares", squares.sum(axis=-1, keepdims=True))
    if total.size and total.max() > DType.INT32.max:
        raise UnsupportedError("L2_NORMALIZATION is not covered where a row's sum of squares overflows int32")
    inverse = inverse_square_root(total)
    rule = "0 if total <= 1 else floor((28 - floor_log2(total)) / 2) - 11"
    note("shift", inverse.shift, rule, total=total)
    note("multiplier", inverse.multiplier, "~ 2**(31 - shift) / sqrt(max(total, 1))", total=total, shift=inverse.shift)
    return to_codes(
        _scaled(centred, inverse, op, note), op.output_zero_point, ActivationRange.of(op.dtype), op.dtype, note
    )


def _scaled(centred: Array, inverse: FixedPointMultiplier, op: L2Normalization, note: Note) -> Array:
    """Multiply by ``2**7`` before the product for uint8, as part of the shift for int8 (step 4)."""
    if op.dtype is DType.UINT8:
        raised = note("raised", centred << OUTPUT_BITS, f"centred * 2**{OUTPUT_BITS}", centred=centred)
        return op.regime.apply(raised, inverse, note)
    return op.regime.apply(centred, FixedPointMultiplier(inverse.multiplier, inverse.shift + OUTPUT_BITS), note)


@dataclass(frozen=True, slots=True)
class FloatL2Normalization(Prepared):
    """A prepared L2_NORMALIZATION of float32."""

    def evaluate(self, inputs: Inputs, note: Note) -> Outputs:
        """Divide by the length of the row, at least 1e-6."""
        x = given(inputs, 0)
        with np.errstate(all="ignore"):
            length = note("length", np.sqrt(np.square(x).sum(axis=-1, keepdims=True)))
            return (np.asarray(x / np.maximum(length, _EPSILON)),)


def prepare_l2(op: OpView, profile: Profile) -> Prepared:
    """Check the contract of L2_NORMALIZATION.

    Raises
    ------
    ModelError
        The op breaks its contract.
    UnsupportedError
        The type is not covered.

    """
    expect_count(op, {1})
    x, y = input_tensor(op, 0), output_tensor(op)
    expect(len(x.shape) >= 1, f"tensor {x.name!r} to have dimensions, found shape {x.shape}")
    expect_dtype(y, x.dtype)
    activation = choice(op, "fused_activation_function", Activation)
    expect(activation is Activation.NONE, f"no fused activation, found {activation.name}")
    if x.dtype is DType.FLOAT32:
        return FloatL2Normalization()
    if x.dtype not in _ZERO_POINTS:
        raise unsupported(op, "; ".join(L2.covers))
    found = scale_of(y), zero_point_of(y)
    fits = found == (1 / 128, _ZERO_POINTS[x.dtype])
    expect(fits, f"output scale 1/128 and zero point {_ZERO_POINTS[x.dtype]}, found {found}")
    return L2Normalization(REGIME[profile], zero_point_of(x), found[1], x.dtype)


# --- Local response -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class LocalResponse(Prepared):
    """A prepared LOCAL_RESPONSE_NORMALIZATION."""

    radius: int
    bias: float
    alpha: float
    beta: float
    above: int

    def evaluate(self, inputs: Inputs, note: Note) -> Outputs:
        """Evaluate :func:`local_response`."""
        return (local_response(given(inputs, 0), self, note),)


def local_response(x: Float32Array, op: LocalResponse, note: Note = silent) -> Float32Array:
    """Divide each element by a power of the sum of squares of its neighbours in the last axis.

    Notes
    -----
    1. sum of squares: over the channels from ``c - radius`` up to, not including, ``c + above`` that exist.
    2. ``x * (bias + alpha * sum) ** -beta``.

    Quirk: LOCAL_RESPONSE_NORMALIZATION of LiteRT's reference kernels sums over ``radius`` channels below and, itself
    included, ``radius`` above, so its window is not symmetric; the optimized kernels' window is.

    """
    depth = x.shape[-1]
    channel = np.arange(depth)
    begin, end = (np.clip(channel + offset, 0, depth) for offset in (-op.radius, op.above))
    with np.errstate(all="ignore"):
        upto = np.concatenate(
            [np.zeros((*x.shape[:-1], 1)), np.cumsum(np.square(x.astype(np.float64)), axis=-1)], axis=-1
        )
        total = note("sum of squares", upto[..., np.maximum(begin, end)] - upto[..., begin])
        factor = np.power(np.float32(op.bias) + np.float32(op.alpha) * total.astype(np.float32), np.float32(-op.beta))
        return np.asarray(x * factor.astype(np.float32))


def prepare_local_response(op: OpView, profile: Profile) -> Prepared:
    """Check the contract of LOCAL_RESPONSE_NORMALIZATION.

    Raises
    ------
    ModelError
        The op breaks its contract.
    UnsupportedError
        The type is not covered.

    """
    expect_count(op, {1})
    x = input_tensor(op, 0)
    expect_rank(x, 4)
    expect_dtype(output_tensor(op), x.dtype)
    if x.dtype is not DType.FLOAT32:
        raise unsupported(op, "float32")
    radius, bias, alpha, beta = (option(op, name) for name in ("radius", "bias", "alpha", "beta"))
    return LocalResponse(int(radius), float(bias), float(alpha), float(beta), int(radius) + SYMMETRIC[profile])


#: Whether the window reaches as far above as below.
SYMMETRIC: Rules[bool] = Rules("LOCAL_RESPONSE_NORMALIZATION", {LITERT_REFERENCE: False, LITERT_OPTIMIZED: True})


L2 = Kernel("L2_NORMALIZATION", prepare_l2, covers=("int8", "uint8", "float32"), refusal={TFLM: micro.no_uint8})
KERNELS = (L2, Kernel("LOCAL_RESPONSE_NORMALIZATION", prepare_local_response, covers=("float32",)))
