"""PRELU: negative values times a slope of their own.

Source: ``tflite/kernels/activations.cc``, ``tflite/kernels/internal/reference/prelu.h``.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np

from kernels.engine import delegate, elementwise, micro
from kernels.engine.contract import (
    expect,
    expect_count,
    expect_dtype,
    input_tensor,
    output_tensor,
    unsupported,
    zero_point_of,
)
from kernels.engine.elementwise import PlainBinary, expect_broadcast, float32_scale, less_zero_point
from kernels.engine.registry import Kernel
from kernels.engine.types import Inputs, OpView, Outputs, Prepared, Runner, given
from kernels.profiles import LITERT_REFERENCE, TFLM, XNNPACK, Profile, Rules
from qmath.fixed_point import wrap_int32
from qmath.requantize import DOUBLE_ROUNDING, Factor, Regime, to_codes
from qmath.stages import Note, silent, under
from qmath.types import ActivationRange, Array, DType, FloatType

REGIME: Rules[Regime] = Rules("PRELU", {LITERT_REFERENCE: DOUBLE_ROUNDING})
#: In which type multipliers are computed.
PRECISION: Rules[FloatType] = Rules("PRELU", {LITERT_REFERENCE: FloatType.FLOAT32, TFLM: FloatType.FLOAT64})

#: Type of the slopes for each type of input.
_SLOPES = {DType.INT8: DType.INT8, DType.UINT8: DType.UINT8, DType.INT16: DType.INT8}


@dataclass(frozen=True, slots=True)
class Prelu(Prepared):
    """A prepared integer PRELU.

    Attributes
    ----------
    regime
        How products round.
    identity
        ``input_scale / output_scale``, for values from zero up.
    slope
        ``input_scale * alpha_scale / output_scale``, for negative values times alpha.
    input_zero_point, alpha_zero_point, output_zero_point
        The codes of 0.
    dtype
        Of input and output.

    """

    regime: Regime
    identity: Factor
    slope: Factor
    input_zero_point: int
    alpha_zero_point: int
    output_zero_point: int
    dtype: DType

    def evaluate(self, inputs: Inputs, note: Note) -> Outputs:
        """Evaluate :func:`prelu`."""
        return (prelu(given(inputs, 0), given(inputs, 1), self, note),)

    def compile(self, constants: Inputs) -> Runner:
        """Tabulate all pairs of 8-bit codes."""
        if self.dtype.bits > 8:
            return lambda inputs: self.evaluate(inputs, silent)
        return elementwise.binary(partial(prelu, op=self), self.dtype, _SLOPES[self.dtype], constants)


def prelu(x: Array, alpha: Array, op: Prelu, note: Note = silent) -> Array:
    """Scale codes, negative ones by their slope too.

    Parameters
    ----------
    x
        int8, uint8 or int16, any shape: quantized.
    alpha
        Slopes, a shape that broadcasts to that of ``x``: int8, for uint8 inputs uint8.
    op
        The prepared op.
    note
        Receives the stages.

    Returns
    -------
    Codes of the same type and shape as ``x``.

    Notes
    -----
    1. centred: ``x - input_zero_point``.
    2. accumulator: negative values times ``alpha - alpha_zero_point``; int32, wrapping.
    3. scaled: by the regime with ``input_scale / output_scale``, for negative values times the scale of alpha; the
       multipliers are computed in float32 (TFLite Micro: in float64).
    4. Add the output's zero point; clamp to the range of the type.

    """
    centred = less_zero_point(x, op.input_zero_point, note, "centred")
    slopes = alpha.astype(np.int64) - op.alpha_zero_point
    is_positive = centred >= 0
    accumulator = np.where(is_positive, centred, wrap_int32(centred * slopes))
    rule = "centred if centred >= 0 else wrap(centred * (alpha - alpha_zero_point))"
    note("accumulator", accumulator, rule, centred=centred, alpha=alpha, alpha_zero_point=op.alpha_zero_point)
    positive = op.regime.apply(accumulator, op.identity, under(note, "if positive"))
    negative = op.regime.apply(accumulator, op.slope, under(note, "if negative"))
    scaled = np.where(is_positive, positive, negative)
    rule = "positive if centred >= 0 else negative"
    note("scaled", scaled, rule, centred=centred, positive=positive, negative=negative)
    return to_codes(scaled, op.output_zero_point, ActivationRange.of(op.dtype), op.dtype, note)


def float_prelu(x: Array, alpha: Array) -> Array:
    """Multiply negative values by their slope."""
    return np.where(x >= 0, x, x * alpha)


def prepare(op: OpView, profile: Profile) -> Prepared:
    """Check the contract of PRELU and derive multipliers.

    Quirk: PRELU of int16 takes its slopes as int8; slopes of int16 would be read as bytes.

    Raises
    ------
    ModelError
        The op breaks its contract.
    UnsupportedError
        The combination of types is not covered.

    """
    expect_count(op, {2})
    x, alpha, y = input_tensor(op, 0), input_tensor(op, 1), output_tensor(op)
    expect_dtype(y, x.dtype)
    shape = expect_broadcast(op)
    expect(shape == x.shape, f"slopes that broadcast to the input's shape {x.shape}, found {alpha.shape}")
    if x.dtype is alpha.dtype is DType.FLOAT32:
        return PlainBinary(float_prelu)
    if _SLOPES.get(x.dtype) is not alpha.dtype:
        raise unsupported(op, "; ".join(KERNELS[0].covers))
    precision = PRECISION[profile].value
    x_scale, alpha_scale, y_scale = (float32_scale(tensor).astype(precision) for tensor in (x, alpha, y))
    with np.errstate(over="ignore"):
        identity = np.asarray(x_scale / y_scale).astype(np.float64)
        slope = np.asarray(x_scale * alpha_scale / y_scale).astype(np.float64)
    regime = REGIME[profile]
    zero_points = zero_point_of(x), zero_point_of(alpha), zero_point_of(y)
    return Prelu(regime, regime.encode(identity), regime.encode(slope), *zero_points, x.dtype)


KERNELS = (
    Kernel(
        "PRELU",
        prepare,
        covers=("int8", "uint8", "int16 with slopes of int8", "float32"),
        refusal={
            TFLM: micro.no_uint8,
            XNNPACK: delegate.all_of(delegate.binary(delegate.FLOATS), delegate.constants(1)),
        },
    ),
)
