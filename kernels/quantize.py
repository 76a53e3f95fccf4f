"""QUANTIZE and DEQUANTIZE: between real values and codes, and from codes to codes of another scale.

Source: ``tflite/kernels/quantize.cc``, ``tflite/kernels/internal/reference/quantize.h``, ``requantize.h``,
``tflite/kernels/dequantize.h``, ``tflite/kernels/internal/reference/dequantize.h``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

import numpy as np

from kernels.engine import delegate, elementwise
from kernels.engine.contract import (
    expect,
    expect_count,
    expect_dtype,
    input_tensor,
    output_tensor,
    quant_of,
    unsupported,
    zero_point_of,
)
from kernels.engine.elementwise import expect_zero_points_of_zero, float32_scale, less_zero_point
from kernels.engine.registry import Kernel
from kernels.engine.types import Inputs, OpView, Outputs, Prepared, Runner, TensorView, given
from kernels.engine.vector import InBlocksUnary
from kernels.profiles import (
    LITERT_OPTIMIZED,
    LITERT_OPTIMIZED_ARM64,
    LITERT_REFERENCE,
    TFLM,
    XNNPACK,
    XNNPACK_ARM64,
    Profile,
    Rules,
)
from kernels.quantize_conversion import (
    Conversion,
    Steps,
    divided_half_away,
    divided_in_float64,
    times_inverse_half_even,
    to_far_codes,
    to_far_codes_arm,
    to_int32_arm,
    to_int32_x86,
)
from qmath.affine import along_quantized_dimension
from qmath.multiplier import scale_ratio
from qmath.requantize import DOUBLE_ROUNDING, DOUBLE_ROUNDING_HALF_UP, Regime, Requantize, to_codes
from qmath.requantize_vector import EIGHT_BIT_MULTIPLIER
from qmath.stages import Note, Ruled, ruled, silent
from qmath.types import ActivationRange, Array, DType, Float32Array, Int64Array, QuantParams

#: From codes, a scale and a zero point to real values.
Real: TypeAlias = Ruled[[Array, Float32Array, Int64Array], Float32Array]


@ruled("float32(scale * (x - zero_point))")
def float64_product(x: Array, scale: Float32Array, zero_point: Int64Array) -> Float32Array:
    """Multiply ``x - zero_point`` by the scale in float64 and round once to float32."""
    return np.asarray(scale.astype(np.float64) * (x.astype(np.int64) - zero_point)).astype(np.float32)


@ruled("float32(float32(x * scale) + float32(-zero_point * scale))")
def product_then_sum(x: Array, scale: Float32Array, zero_point: Int64Array) -> Float32Array:
    """Multiply the code by the scale, then add what stands for the zero point, each rounded to float32."""
    return np.asarray(x.astype(np.float32) * scale + _offset(scale, zero_point))


@ruled("float32(x * scale + float32(-zero_point * scale))")
def fused_product_and_sum(x: Array, scale: Float32Array, zero_point: Int64Array) -> Float32Array:
    """Multiply the code by the scale and add what stands for the zero point with one rounding to float32."""
    return np.asarray(x.astype(np.float64) * scale + _offset(scale, zero_point)).astype(np.float32)


def _offset(scale: Float32Array, zero_point: Int64Array) -> Float32Array:
    return np.asarray(-zero_point * scale.astype(np.float64)).astype(np.float32)


@dataclass(frozen=True, slots=True)
class VectorSteps:
    """Vector code for whole blocks of elements, and scalar code for the rest.

    Quirk: the scalar code of LiteRT's optimized QUANTIZE divides in float64, that of its reference kernels in float32.

    Attributes
    ----------
    block
        Elements that the vector code takes at once.
    steps, rest
        What each computes.

    """

    block: int
    steps: Steps
    rest: Steps


STEPS: Rules[Steps | VectorSteps] = Rules(
    "QUANTIZE",
    {
        LITERT_REFERENCE: divided_half_away,
        LITERT_OPTIMIZED: VectorSteps(8, times_inverse_half_even, divided_in_float64),
        XNNPACK: times_inverse_half_even,
    },
)
#: How steps that do not fit int32 are converted.
CONVERSION: Rules[Conversion] = Rules(
    "QUANTIZE",
    {
        LITERT_REFERENCE: to_int32_x86,
        LITERT_OPTIMIZED_ARM64: to_int32_arm,
        XNNPACK: to_far_codes,
        XNNPACK_ARM64: to_far_codes_arm,
    },
)
#: The regime of codes to codes, and the one of vector code for whole blocks of 16 elements of 8 bits.
REGIME: Rules[Regime] = Rules("QUANTIZE", {LITERT_REFERENCE: DOUBLE_ROUNDING, XNNPACK: EIGHT_BIT_MULTIPLIER})
VECTOR_REGIME: Rules[Regime | None] = Rules(
    "QUANTIZE", {LITERT_REFERENCE: None, LITERT_OPTIMIZED: DOUBLE_ROUNDING_HALF_UP, XNNPACK: None}
)
REAL: Rules[Real] = Rules("DEQUANTIZE", {LITERT_REFERENCE: float64_product, XNNPACK: float64_product})
#: What vector code computes for whole blocks of 8 elements.
VECTOR_REAL: Rules[Real | None] = Rules(
    "DEQUANTIZE",
    {
        LITERT_REFERENCE: None,
        LITERT_OPTIMIZED: product_then_sum,
        LITERT_OPTIMIZED_ARM64: fused_product_and_sum,
        XNNPACK: None,
    },
)

#: Steps from here on do not fit int32.
INT32_STEPS = np.float32(2.0**31)

_FLOAT_TO = (DType.INT8, DType.UINT8, DType.INT16, DType.INT4, DType.UINT4)
_FLOAT_TO_PER_AXIS = (DType.INT8, DType.UINT8, DType.INT16)
_REQUANTIZE = {
    DType.INT8: (DType.INT8, DType.UINT8, DType.INT16),
    DType.UINT8: (DType.INT8, DType.UINT8, DType.INT16),
    DType.INT16: (DType.INT8, DType.INT16, DType.INT32),
    DType.INT32: (DType.INT8, DType.INT16),
}
#: Types to which runtimes requantize beyond those.
MORE_TARGETS: Rules[Mapping[DType, tuple[DType, ...]]] = Rules(
    "QUANTIZE", {LITERT_REFERENCE: {}, XNNPACK: {}, TFLM: {DType.INT8: (DType.INT32,)}}
)
_DEQUANTIZE = (DType.INT2, DType.INT4, DType.UINT4, DType.UINT8, DType.INT8, DType.INT16)
_DEQUANTIZE_PER_AXIS = (DType.INT2, DType.INT4, DType.UINT4, DType.UINT8, DType.INT8)


# --- QUANTIZE -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Quantize(Prepared):
    """A prepared QUANTIZE of float32; scale and zero point broadcast against the tensor."""

    steps: Steps
    convert: Conversion
    scale: Float32Array
    zero_point: Int64Array
    dtype: DType

    def evaluate(self, inputs: Inputs, note: Note) -> Outputs:
        """Evaluate :func:`quantize`."""
        return (quantize(given(inputs, 0), self, note),)

    def compile(self, constants: Inputs) -> Runner:
        """Stay in float32 where every step fits int32.

        Adding the zero point in float32 is exact for steps below 2**22, and others saturate either way.
        """
        del constants
        zero_point = self.zero_point.astype(np.float32)

        def run(inputs: Inputs) -> Outputs:
            x = given(inputs, 0)
            with np.errstate(over="ignore", invalid="ignore"):
                steps = self.steps(x, self.scale)
            # A NaN fails the comparison too.
            if steps.size == 0 or not max(steps.max(), -steps.min()) < INT32_STEPS:
                return self.evaluate(inputs, silent)
            codes = np.asarray(steps + zero_point)
            return (np.clip(codes, self.dtype.min, self.dtype.max, out=codes).astype(self.dtype.storage),)

        return run


def quantize(x: Float32Array, op: Quantize, note: Note = silent) -> Array:
    """Give the codes nearest to real values.

    Parameters
    ----------
    x
        float32, any shape: real values.
    op
        The prepared op.
    note
        Receives the stages.

    Returns
    -------
    Codes of ``op.dtype``, the shape of ``x``.

    Notes
    -----
    1. steps: the real value in units of the scale, rounded by the rule of the profile.
    2. integer: to int32.
    3. zero point added, in wrapping int32; clamp to the range of the type.

    Quirk: QUANTIZE converts to int32 before it clamps, so on x86 a value 2**31 scales or more from zero (of either
    sign), infinity and NaN become the lowest int32, to which the zero point is added with wrap-around: the lowest
    code, or the highest one if the zero point is negative.

    """
    with np.errstate(over="ignore", invalid="ignore"):
        steps = note("steps", op.steps(x, op.scale), op.steps.rule, x=x, scale=op.scale)
    integer = note("integer", op.convert(steps), op.convert.rule, steps=steps)
    return to_codes(integer, op.zero_point, ActivationRange.of(op.dtype), op.dtype, note)


@dataclass(frozen=True, slots=True)
class RequantizeCodes(Prepared):
    """A prepared QUANTIZE of codes."""

    codes: DType
    input_zero_point: int
    requantize: Requantize

    def evaluate(self, inputs: Inputs, note: Note) -> Outputs:
        """Evaluate :func:`requantize`."""
        return (requantize(given(inputs, 0), self, note),)

    def compile(self, constants: Inputs) -> Runner:
        """Tabulate every code of an input of up to 16 bits."""
        del constants
        if self.codes.bits > 16:
            return lambda inputs: self.evaluate(inputs, silent)
        return elementwise.unary(partial(requantize, op=self), self.codes)


def requantize(x: Array, op: RequantizeCodes, note: Note = silent) -> Array:
    """Give the codes of another scale, zero point or type.

    Notes
    -----
    1. accumulator: ``x - input_zero_point``, in wrapping int32.
    2. Requantize by the regime with ``input_scale / output_scale``.

    """
    return op.requantize(less_zero_point(x, op.input_zero_point, note), note)


def prepare_quantize(op: OpView, profile: Profile) -> Prepared:
    """Check the contract of QUANTIZE and derive scale or multiplier.

    Raises
    ------
    ModelError
        The op breaks its contract.
    UnsupportedError
        The combination of types is not covered.

    """
    expect_count(op, {1})
    x, y = input_tensor(op, 0), output_tensor(op)
    params = quant_of(y)
    if x.dtype is DType.FLOAT32:
        if y.dtype not in (_FLOAT_TO_PER_AXIS if params.per_axis else _FLOAT_TO):
            raise unsupported(op, "; ".join(QUANTIZE.covers))
        scale, zero_point = _per_axis(params, x)
        return _from_float(profile, scale, zero_point, y.dtype, per_axis=params.per_axis)
    if y.dtype not in (*_REQUANTIZE.get(x.dtype, ()), *MORE_TARGETS[profile].get(x.dtype, ())):
        raise unsupported(op, "; ".join(QUANTIZE.covers))
    if x.dtype is DType.INT16 and y.dtype is DType.INT16:
        expect_zero_points_of_zero(x, y)
    real_multiplier = scale_ratio(float32_scale(x), np.float32(1), float32_scale(y))
    everything = ActivationRange(y.dtype.min, y.dtype.max)

    def form(regime: Regime) -> RequantizeCodes:
        output = Requantize(regime, real_multiplier, zero_point_of(y), everything, y.dtype)
        return RequantizeCodes(x.dtype, zero_point_of(x), output)

    vector = VECTOR_REGIME[profile]
    if vector is None or not {x.dtype, y.dtype} <= {DType.INT8, DType.UINT8}:
        return form(REGIME[profile])
    return InBlocksUnary(16, form(vector), form(REGIME[profile]))


def _from_float(
    profile: Profile, scale: Float32Array, zero_point: Int64Array, dtype: DType, *, per_axis: bool
) -> Prepared:
    """Prepare the forms of float32 to codes; per-axis ones, and those of 4 bits, are scalar code everywhere."""
    rule, convert = STEPS[profile], CONVERSION[profile]
    if not isinstance(rule, VectorSteps):
        return Quantize(rule, convert, scale, zero_point, dtype)
    if per_axis or dtype.bits < 8:
        return Quantize(divided_half_away, convert, scale, zero_point, dtype)
    vector, rest = (Quantize(steps, convert, scale, zero_point, dtype) for steps in (rule.steps, rule.rest))
    return InBlocksUnary(rule.block, vector, rest)


# --- DEQUANTIZE ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Dequantize(Prepared):
    """A prepared DEQUANTIZE of codes; scale and zero point broadcast against the tensor."""

    runs_once = True

    real: Real
    scale: Float32Array
    zero_point: Int64Array
    codes: DType

    def evaluate(self, inputs: Inputs, note: Note) -> Outputs:
        """Evaluate :func:`dequantize`."""
        return (dequantize(given(inputs, 0), self, note),)

    def compile(self, constants: Inputs) -> Runner:
        """Tabulate every code, if there is one scale for all."""
        del constants
        if self.scale.ndim or self.codes.bits not in {8, 16}:
            return lambda inputs: self.evaluate(inputs, silent)
        return elementwise.unary(partial(dequantize, op=self), self.codes)


def dequantize(x: Array, op: Dequantize, note: Note = silent) -> Float32Array:
    """Give the real values that codes stand for.

    Notes
    -----
    real: ``x - zero_point``, times the scale, in the precision of the profile.

    """
    real = op.real(x, op.scale, op.zero_point)
    return note("real", real, op.real.rule, x=x, scale=op.scale, zero_point=op.zero_point)


@dataclass(frozen=True, slots=True)
class DequantizeInBlocks(InBlocksUnary):
    """A DEQUANTIZE in whole blocks by vector code, after them by scalar code."""

    runs_once = True


@dataclass(frozen=True, slots=True)
class Widen(Prepared):
    """A prepared DEQUANTIZE of float16."""

    runs_once = True

    def evaluate(self, inputs: Inputs, note: Note) -> Outputs:
        """Convert to float32; exact."""
        del note
        return (given(inputs, 0).astype(np.float32),)


def prepare_dequantize(op: OpView, profile: Profile) -> Prepared:
    """Check the contract of DEQUANTIZE.

    Quirk: DEQUANTIZE of a constant runs in the first invocation alone, so a variable tensor that it initializes keeps
    its state afterwards.

    Raises
    ------
    ModelError
        The op breaks its contract.
    UnsupportedError
        The combination of types is not covered.

    """
    expect_count(op, {1})
    x = input_tensor(op, 0)
    expect_dtype(output_tensor(op), DType.FLOAT32)
    if x.dtype is DType.FLOAT16:
        return Widen()
    if x.dtype not in _DEQUANTIZE:
        raise unsupported(op, "; ".join(DEQUANTIZE.covers))
    params = quant_of(x)
    if params.per_axis and x.dtype not in _DEQUANTIZE_PER_AXIS:
        raise unsupported(op, "; ".join(DEQUANTIZE.covers))
    if x.dtype is DType.INT16:
        expect_zero_points_of_zero(x)
    scale, zero_point = _per_axis(params, x)
    scalar, vector = Dequantize(REAL[profile], scale, zero_point, x.dtype), VECTOR_REAL[profile]
    if vector is None or params.per_axis or x.dtype.bits < 8:
        return scalar
    return DequantizeInBlocks(8, Dequantize(vector, scale, zero_point, x.dtype), scalar)


def _per_axis(params: QuantParams, x: TensorView) -> tuple[Float32Array, Int64Array]:
    """Return scale and zero point in shapes that broadcast against ``x``."""
    expect(bool((np.isfinite(params.scale) & (params.scale > 0)).all()), f"positive scales, found {params.scale}")
    if params.per_axis:
        axis, count = params.quantized_dimension, params.scale.size
        fits = 0 <= axis < len(x.shape) and x.shape[axis] == count
        expect(fits, f"{count} elements along quantized dimension {axis}, found shape {x.shape}")
    scale = along_quantized_dimension(params.scale, params.quantized_dimension, x.shape)
    zero_point = along_quantized_dimension(params.zero_point, params.quantized_dimension, x.shape)
    return scale, zero_point


def _left_of_quantize(op: OpView) -> str | None:
    """Return why XNNPACK leaves a QUANTIZE: codes to codes of another type, or of a scale too different."""
    x, y = input_tensor(op, 0), output_tensor(op)
    if x.dtype in delegate.BYTES and y.dtype is not x.dtype:
        return f"XNNPACK does not take QUANTIZE from {x.dtype.name} to {y.dtype.name}"
    return delegate.scale_ratio(0, 2.0**-8, 2.0**7, inclusive=True)(op)


def _left_of_dequantize(op: OpView) -> str | None:
    """Return why XNNPACK leaves a DEQUANTIZE; constants of int8 and float16 it unpacks itself."""
    x = op.inputs[0] if len(op.inputs) == 1 else None
    if x is not None and x.data is not None and x.dtype in {DType.INT8, DType.FLOAT16}:
        return None
    return delegate.unary(delegate.BYTES, delegate.FLOATS)(op)


QUANTIZE = Kernel(
    "QUANTIZE",
    prepare_quantize,
    covers=(
        "float32 to int8, uint8 and int16, per-tensor and per-axis",
        "float32 to int4 and uint4",
        "int8 and uint8 to int8, uint8 and int16",
        "int16 to int8, int16 and int32",
        "int32 to int8 and int16",
    ),
    refusal={XNNPACK: delegate.all_of(delegate.unary(delegate.NUMBERS), _left_of_quantize)},
)
DEQUANTIZE = Kernel(
    "DEQUANTIZE",
    prepare_dequantize,
    covers=("int2, int4, uint4, int8 and uint8, per-tensor and per-axis", "int16", "float16"),
    refusal={XNNPACK: _left_of_dequantize},
)
KERNELS = (QUANTIZE, DEQUANTIZE)
