"""What the convolutions share when they are prepared: which types and scales they take, and how they requantize.

Source: ``tflite/kernels/kernel_util.cc`` (PopulateConvolutionQuantizationParams, GetQuantizedConvolutionMultipler).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from kernels.engine import delegate
from kernels.engine.activation import Activation, float_range, quantized_range
from kernels.engine.contract import expect, expect_dtype, option, quant_of, scale_of, zero_point_of
from kernels.engine.elementwise import expect_zero_points_in_range
from kernels.engine.exact import Reach
from kernels.engine.pairs import Lanes
from kernels.engine.types import Inputs, OpView, TensorView
from kernels.profiles import XNNPACK
from qmath.errors import UnsupportedError
from qmath.fixed_point import wrap_int32
from qmath.multiplier import float32_scale_ratio, scale_ratio
from qmath.requantize import Reduced64, Regime, Requantize
from qmath.stages import Note, silent
from qmath.types import Array, DType, Float32Array, Float64Array, Int64Array

#: Relative to a step of the output: how far the bias scale of a uint8 op may be from input scale times filter scale.
BIAS_SCALE_TOLERANCE = 0.02
#: Left shifts of the 64-bit regime stay below this; from there on it shifts by a negative number of bits.
REDUCED_64_SHIFT = 15


@dataclass(frozen=True, slots=True)
class Work:
    """How much an op does, as far as a runtime chooses its code by it.

    Attributes
    ----------
    windows
        Windows over all images: input vectors of the matrix product; 0 where nothing depends on it.
    depth
        Products that make one output.
    groups
        Of a grouped convolution.
    plain_3x3
        Whether it is a depthwise convolution of the form that Arm has a kernel of its own for.
    single
        Whether XNNPACK's depthwise kernel does it: :func:`single_channels`.

    """

    windows: int = 0
    depth: int = 0
    groups: int = 1
    plain_3x3: bool = False
    single: bool = False


#: Most taps of XNNPACK's depthwise kernel.
SINGLE_TAPS = 25


def single_channels(inputs: int, outputs: int, groups: int, taps: int) -> bool:
    """Whether every group has one channel in and one out, with so few taps that XNNPACK's depthwise kernel does it.

    Source: XNNPACK ``src/operators/convolution-nhwc.c``.
    """
    return inputs == outputs == groups and taps <= SINGLE_TAPS


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """How a runtime requantizes convolutions.

    Attributes
    ----------
    regimes
        By the type of the accumulator, INT32 or INT64.
    float32_product
        Types of activations whose multiplier is made from the float32 product of input scale and filter scale;
        for others the product is in float64.
    float32_scale
        Whether the multiplier is made in float32 throughout, and bounds are rounded half to even: XNNPACK.
    of_uint8, of_uint8_3x3, of_int16, of_groups, of_one_window, of_single
        The regime of 32-bit accumulators for uint8 activations, the same for plain 3x3 windows, for int16 ones, for
        grouped convolutions, and for a single window with at least 4 output channels and a depth of at least 8,
        and, by the type of activations, for :func:`single_channels`; None where it is no other.
    without_bias
        Types of accumulators of int8 and of int16 activations where there is no bias; None where a runtime refuses
        that, or treats it as with a bias.
    ignores_activation
        Whether the fused activation is ignored.
    lanes
        How products join 16-bit lanes; None if they do not. Not in grouped convolutions of LiteRT, nor with
        ``of_one_window``.

    """

    regimes: Mapping[DType, Regime]
    float32_product: frozenset[DType] = frozenset({DType.UINT8})
    float32_scale: bool = False
    of_uint8: Regime | None = None
    of_uint8_3x3: Regime | None = None
    of_int16: Regime | None = None
    of_groups: Regime | None = None
    of_one_window: Regime | None = None
    of_single: Mapping[DType, Regime] | None = None
    without_bias: Mapping[DType, DType] | None = None
    ignores_activation: bool = False
    lanes: Lanes | None = None

    def regime(self, operands: Operands, accumulator: DType, work: Work) -> Regime:
        """Return the regime for an op."""
        if accumulator is DType.INT64:
            return self.regimes[accumulator]
        of_form = self.of_single.get(operands.x.dtype) if self.of_single and work.single else None
        of_form = self.of_groups if of_form is None and work.groups > 1 else of_form
        if of_form:
            return of_form
        if self.of_int16 and operands.x.dtype is DType.INT16:
            return self.of_int16
        fits_vector_code = operands.channels >= 4 and work.depth >= 8 and operands.x.dtype is not DType.INT16
        if self.of_one_window and work.windows == 1 and fits_vector_code:
            return self.of_one_window
        if operands.x.dtype is DType.UINT8:
            special = self.of_uint8_3x3 if work.plain_3x3 else None
            return special or self.of_uint8 or self.regimes[accumulator]
        return self.regimes[accumulator]


@dataclass(frozen=True, slots=True)
class Operands:
    """The tensors of a convolution, and along which axis of the filter its output channels run."""

    x: TensorView
    filter: TensorView
    bias: TensorView | None
    y: TensorView
    channel_axis: int

    @property
    def channels(self) -> int:
        """Number of output channels."""
        return self.filter.shape[self.channel_axis]

    @property
    def types(self) -> tuple[DType, DType]:
        """Element types of input and filter."""
        return self.x.dtype, self.filter.dtype


def expect_bias(operands: Operands, *dtypes: DType) -> None:
    """Check the type, size and zero point of the bias, if there is one."""
    bias, channels = operands.bias, operands.channels
    if bias is None:
        return
    expect_dtype(bias, *dtypes)
    size = int(np.prod(bias.shape, dtype=np.int64))
    expect(size == channels, f"one bias an output channel ({channels}), found shape {bias.shape}")


def expect_no_bias_zero_point(operands: Operands) -> None:
    """Check that the bias, if there is one, has zero point 0."""
    bias = operands.bias
    if bias is not None and bias.quant is not None:
        expect(zero_point_of(bias) == 0, f"the bias's zero point to be 0, found {zero_point_of(bias)}")


def expect_symmetric_activations(operands: Operands) -> None:
    """Check that input and output have zero point 0, as int16 ones must."""
    for tensor in (operands.x, operands.y):
        expect(zero_point_of(tensor) == 0, f"zero point 0 on {tensor.name!r}, found {zero_point_of(tensor)}")


def accumulator_of(op: OpView, operands: Operands) -> DType:
    """Return the type of the accumulator of an op whose activations are integers.

    Raises
    ------
    ModelError
        ``quantized_bias_type`` is neither INT32 nor INT64, or is not the type of the bias.
    UnsupportedError
        The runtime would read past the end of the bias.

    """
    if operands.x.dtype is not DType.INT16:
        return DType.INT32
    declared, bias = option(op, "quantized_bias_type"), operands.bias
    if declared != DType.FLOAT32.value:
        known = {DType.INT32.value: DType.INT32, DType.INT64.value: DType.INT64}
        expect(declared in known, f"quantized_bias_type to be INT32 (2) or INT64 (4), found {declared}")
        if bias is not None:
            expect_dtype(bias, known[declared])
        return known[declared]
    if bias is not None and bias.dtype is DType.INT32:
        raise UnsupportedError(
            f"{op.name} with int16 activations and an int32 bias needs quantized_bias_type INT32: without it LiteRT"
            f" reads {bias.name!r} as int64, past its end, so that its output depends on what lies behind it"
        )
    return DType.INT64


def requantize_of(
    operands: Operands,
    accumulator: DType,
    activation: Activation,
    arithmetic: Arithmetic,
    work: Work | None = None,
) -> Requantize:
    """Return how accumulators become output codes: a multiplier an output channel.

    Raises
    ------
    ModelError
        The number of filter scales fits neither the filter nor its type, or a zero point is no code of its type.
    UnsupportedError
        A multiplier is so large that the runtime would shift by a negative number of bits.

    """
    x, y = operands.x, operands.y
    expect_zero_points_in_range(x, y, operands.filter)
    scale = filter_scale(operands, per_axis=x.dtype is not DType.UINT8)
    narrow_product = x.dtype in arithmetic.float32_product
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        real_multiplier = scale_ratio(scale_of(x), scale, scale_of(y), float32_product=narrow_product)
        if arithmetic.float32_scale:
            real_multiplier = float32_scale_ratio(scale_of(x), scale, scale_of(y))
    regime = arithmetic.regime(operands, accumulator, work or Work())
    activation = Activation.NONE if arithmetic.ignores_activation else activation
    if isinstance(regime, Reduced64):
        largest = float(np.max(np.abs(real_multiplier), initial=0))
        if not largest < 2.0 ** (REDUCED_64_SHIFT - 1):
            raise UnsupportedError(f"expected real multipliers below 2**{REDUCED_64_SHIFT - 1}, found {largest:g}")
    bounds = quantized_range(activation, y, XNNPACK if arithmetic.float32_scale else None)
    return Requantize(regime, real_multiplier, zero_point_of(y), bounds, y.dtype)


def filter_scale(operands: Operands, *, per_axis: bool = True) -> Float32Array:
    """Return one filter scale an output channel; ``per_axis`` says whether they may differ."""
    weights, channels = quant_of(operands.filter), operands.channels
    allowed = {1, channels} if per_axis else {1}
    expect(weights.scale.size in allowed, f"{_either(allowed)} filter scales, found {weights.scale.size}")
    axis = weights.quantized_dimension
    if weights.scale.size > 1:
        expect(0 <= axis < len(operands.filter.shape), f"a quantized dimension of the filter, found {axis}")
        found = operands.filter.shape[axis]
        expect(found == channels, f"{channels} filter values along its quantized dimension {axis}, found {found}")
    return np.broadcast_to(weights.scale, (channels,))


def _either(counts: set[int]) -> str:
    return " or ".join(map(str, sorted(counts)))


def expect_bias_scale(operands: Operands) -> None:
    """Check that the bias of a uint8 op is in units of input scale times filter scale, nearly."""
    if operands.bias is None:
        return
    scale = scale_of(operands.bias) if operands.bias.quant else 0.0
    product = scale_of(operands.x) * scale_of(operands.filter)
    with np.errstate(divide="ignore", invalid="ignore"):
        distance = np.abs(product - scale) / np.float64(scale_of(operands.y))
    expect(
        bool(distance <= BIAS_SCALE_TOLERANCE),
        f"a bias scale within {BIAS_SCALE_TOLERANCE} output scales of {product:g}, found {scale:g}",
    )


def optional_array(inputs: Inputs, slot: int) -> Array | None:
    """Return the array in an input slot that may be empty or missing."""
    return inputs[slot] if slot < len(inputs) else None


def bias_or_zeros(bias: Array | None, channels: int) -> Int64Array:
    """Return one integer an output channel: the bias, or zeros."""
    return np.zeros(channels, np.int64) if bias is None else bias.reshape(-1).astype(np.int64)


def with_bias(sums: Int64Array, bias: Int64Array, accumulator: DType, note: Note = silent) -> Int64Array:
    """Return what the accumulator holds of sums plus bias: an int32 one wraps around."""
    note("sum", sums)
    total = sums + bias
    if accumulator is DType.INT32:
        return note("accumulator", wrap_int32(total), "wrap(sum + bias)", sum=sums, bias=bias)
    return note("accumulator", total, "sum + bias", sum=sums, bias=bias)


def finished(sums: Array, bias: Array | None, activation: Activation, note: Note = silent) -> Array:
    """Return float32 sums plus bias, clamped to the activation, and name the stages; ``sums`` stays as it is."""
    total = sums
    if bias is not None:
        total = sums + bias.reshape(-1)
        note("bias added", total, "float32(sum + bias)", sum=sums, bias=bias.reshape(-1))
    low, high = float_range(activation)
    room = total if note is silent and total is not sums else None
    return note(
        "clamped", np.clip(total, low, high, out=room), "clamp(total, low, high)", total=total, low=low, high=high
    )


def fits(reach: Reach, offset: Int64Array, accumulator: DType) -> bool:
    """Whether no input can make ``raw sum + offset`` leave the accumulator, or come to its lowest number.

    That one has no magnitude in the same bits. Nothing is added here, since an int64 would wrap around itself.
    """
    above = offset > accumulator.min - np.minimum(reach.lowest, 0)
    below = offset <= accumulator.max - np.maximum(reach.highest, 0)
    return bool(above.all() and below.all())


def delegate_refusal(operands: Operands, *, hybrid: bool) -> str | None:
    """Return why the XNNPACK delegate leaves a convolution to other kernels, or None if it takes it.

    Source: ``tflite/delegates/xnnpack/xnnpack_delegate.cc`` (VisitConv2DNode and its kin).
    """
    x, filter_, bias = operands.x, operands.filter, operands.bias
    same = x.dtype is filter_.dtype and x.dtype in {DType.FLOAT32, DType.INT8, DType.UINT8}
    if not same and not (hybrid and operands.types == (DType.FLOAT32, DType.INT8)):
        return f"XNNPACK does not take {x.dtype.name} with a {filter_.dtype.name} filter"
    if filter_.data is None or (bias is not None and bias.data is None):
        return "XNNPACK takes constant filters and biases alone"
    for tensor, rank in ((x, 4), (operands.y, 4), (bias, 1)):
        if tensor is not None and (len(tensor.shape) != rank or 0 in tensor.shape):
            return f"XNNPACK does not take the shape {tensor.shape}, which the file gives {tensor.name!r}"
    for tensor, axis in ((x, 0), (operands.y, 0), (filter_, operands.channel_axis)):
        expected = axis if tensor.quant is not None and tensor.quant.per_axis else 0
        strict = tensor is not filter_ or tensor.dtype is DType.UINT8
        if tensor.quant is not None and (strict or tensor.quant.per_axis):
            found = tensor.quant.quantized_dimension
            if found != expected:
                return f"XNNPACK expects the quantized dimension of {tensor.name!r} to be {expected}, not {found}"
    quant = filter_.quant
    if filter_.dtype is DType.INT8 and quant is not None and quant.per_axis and quant.zero_point[0]:
        return f"XNNPACK expects a filter with many scales to have zero point 0, not {quant.zero_point[0]}"
    return delegate.bias(bias)


#: XNNPACK makes no operator of integers whose multiplier is this large.
XNNPACK_MULTIPLIERS = 256


def delegate_demand(operands: Operands) -> str | None:
    """Return what a convolution that XNNPACK has taken must fulfil and does not, or None: the runtime then fails.

    Source: ``tflite/delegates/xnnpack/xnnpack_delegate.cc``, XNNPACK ``src/operators/convolution-nhwc.c``,
    ``src/subgraph/convolution-2d.c``.
    """
    x, filter_, bias, y = operands.x, operands.filter, operands.bias, operands.y
    if x.dtype not in {DType.INT8, DType.UINT8} or filter_.quant is None or y.quant is None:
        return None
    if bias is not None and bias.quant is not None and bias.quant.per_axis != filter_.quant.per_axis:
        return "XNNPACK expects the bias to have as many scales as the filter"
    if x.dtype is DType.INT8 and filter_.quant.zero_point[0]:
        return f"XNNPACK expects a filter with zero point 0, not {filter_.quant.zero_point[0]}"
    return too_large_for_xnnpack(float32_scale_ratio(scale_of(x), filter_.quant.scale, scale_of(y)))


def too_large_for_xnnpack(real_multiplier: Float64Array) -> str | None:
    """Return why XNNPACK makes no operator with a multiplier, or None."""
    largest = float(np.max(real_multiplier, initial=0))
    if largest < XNNPACK_MULTIPLIERS:
        return None
    return f"XNNPACK expects input scale * filter scale / output scale below {XNNPACK_MULTIPLIERS}, not {largest:g}"
