"""DEPTHWISE_CONV_2D: each input channel convolved for itself, plus bias, requantized.

The filter is (1, kernel_h, kernel_w, out_c). Output channel ``c * multiplier + m`` reads input channel ``c``. Here are
the forms whose activations are integers, and float32; ``depthwise_conv_hybrid.py`` has float32 activations with an
int8 filter.

Source: ``tflite/kernels/depthwise_conv.cc``, ``tflite/kernels/internal/reference/integer_ops/depthwise_conv.h``,
``tflite/kernels/internal/reference/depthwiseconv_uint8.h``, ``.../depthwiseconv_float.h``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from kernels.depthwise_conv_hybrid import prepare_hybrid
from kernels.engine import compile as fast
from kernels.engine import exact, micro
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
    unsupported,
    zero_point_of,
)
from kernels.engine.convolution import (
    Arithmetic,
    Operands,
    Work,
    bias_or_zeros,
    delegate_demand,
    delegate_refusal,
    expect_bias,
    expect_bias_scale,
    expect_no_bias_zero_point,
    expect_symmetric_activations,
    finished,
    fits,
    optional_array,
    requantize_of,
    single_channels,
    with_bias,
)
from kernels.engine.delegate import fused_activation
from kernels.engine.float_convolution import depthwise_convolution
from kernels.engine.float_sums import einsum_adds_in_order
from kernels.engine.geometry import Padding, Window, padded, patches, reachable, span
from kernels.engine.linear import depthwise_convolve
from kernels.engine.pairs import Lanes, wrapped
from kernels.engine.registry import Kernel
from kernels.engine.taps import Products, Reads, of_depthwise
from kernels.engine.types import Inputs, OpView, Outputs, Prepared, Runner, given
from kernels.profiles import (
    CMSIS_NN,
    LITERT_OPTIMIZED,
    LITERT_OPTIMIZED_ARM64,
    LITERT_REFERENCE,
    TFLM,
    XNNPACK,
    XNNPACK_ARM64,
    Profile,
    Rules,
)
from qmath.requantize import DOUBLE_ROUNDING, DOUBLE_ROUNDING_HALF_UP, FLOAT32_HALF_EVEN, REDUCED_64, Requantize
from qmath.requantize_vector import (
    FLOAT32_HALF_EVEN_SATURATING,
    FLOOR_THEN_HALF_UP_FLOAT32,
    FLOOR_THEN_HALF_UP_SATURATING,
    HALF_UP_IN_BLOCKS_OF_8,
    REDUCED_64_CUT_EARLY,
)
from qmath.stages import Note, silent
from qmath.types import Array, DType, Int64Array

ARITHMETIC: Rules[Arithmetic] = Rules(
    "DEPTHWISE_CONV_2D",
    {
        LITERT_REFERENCE: Arithmetic({DType.INT32: DOUBLE_ROUNDING, DType.INT64: REDUCED_64}),
        LITERT_OPTIMIZED: Arithmetic(
            {DType.INT32: HALF_UP_IN_BLOCKS_OF_8, DType.INT64: REDUCED_64}, of_uint8=DOUBLE_ROUNDING
        ),
        LITERT_OPTIMIZED_ARM64: Arithmetic(
            {DType.INT32: HALF_UP_IN_BLOCKS_OF_8, DType.INT64: REDUCED_64},
            of_uint8=DOUBLE_ROUNDING,
            of_uint8_3x3=DOUBLE_ROUNDING_HALF_UP,
        ),
        CMSIS_NN: Arithmetic({DType.INT32: DOUBLE_ROUNDING, DType.INT64: REDUCED_64_CUT_EARLY}),
        XNNPACK: Arithmetic(
            {DType.INT32: FLOAT32_HALF_EVEN},
            float32_scale=True,
            of_single={DType.INT8: FLOAT32_HALF_EVEN_SATURATING},
        ),
        XNNPACK_ARM64: Arithmetic(
            {DType.INT32: FLOAT32_HALF_EVEN_SATURATING},
            float32_scale=True,
            of_uint8=FLOOR_THEN_HALF_UP_SATURATING,
            of_single={DType.UINT8: FLOOR_THEN_HALF_UP_FLOAT32},
            lanes=Lanes.OPEN,
        ),
    },
)
#: Types of input and filter, and what the bias must be. The accumulator has the type of the bias.
BIAS_TYPES = {
    (DType.INT8, DType.INT8): DType.INT32,
    (DType.INT8, DType.INT4): DType.INT32,
    (DType.INT16, DType.INT8): DType.INT64,
    (DType.UINT8, DType.UINT8): DType.INT32,
}
#: The input slot of the bias, which may be missing.
BIAS = 2
#: Up to so many taps XNNPACK's kernel on Arm adds products in 16 bits.
TAPS_IN_LANES = 25


@dataclass(frozen=True, slots=True)
class DepthwiseConv2D(Prepared):
    """A prepared DEPTHWISE_CONV_2D on integer activations.

    Attributes
    ----------
    window
        Where windows lie.
    codes
        Type of the input's codes.
    input_zero_point, filter_zero_point
        Subtracted from the codes.
    accumulator
        INT32, which wraps around, or INT64.
    requantize
        From accumulator to output code, per output channel.

    """

    window: Window
    codes: DType
    input_zero_point: int
    filter_zero_point: int
    accumulator: DType
    requantize: Requantize

    def evaluate(self, inputs: Inputs, note: Note) -> Outputs:
        """Evaluate :func:`depthwise_conv_2d`."""
        return (depthwise_conv_2d(given(inputs, 0), given(inputs, 1), optional_array(inputs, BIAS), self, note),)

    def products(self, inputs: Inputs, index: tuple[int, ...]) -> Products:
        """Return the filter times one channel of the input under one window."""
        multiplier = given(inputs, 1).shape[3] // given(inputs, 0).shape[3]
        pixels, taps, padding = of_depthwise(self.window, multiplier, index)
        return Products((Reads(0, pixels, self.input_zero_point), Reads(1, taps, self.filter_zero_point)), padding)

    def compile(self, constants: Inputs) -> Runner:
        """Sum in one exact pass and requantize by a proven form, if filter and bias are constants."""
        definition = partial(self.evaluate, note=silent)
        filter_, bias = constants[1], optional_array(constants, BIAS)
        if filter_ is None or (bias is None and len(constants) > BIAS):
            return definition
        window, taps = reachable(self.window)
        weights = filter_[0][taps].astype(np.int64) - self.filter_zero_point
        sums = exact.DepthwiseConvolution(weights, window, self.input_zero_point, self.codes)
        offset = bias_or_zeros(bias, weights.shape[2]) - self.input_zero_point * weights.sum(axis=(0, 1))
        if not fits(sums.reach, offset, self.accumulator):
            return definition
        return fast.requantized_sum(sums, offset, self.requantize, definition)


def depthwise_conv_2d(
    x: Array, filter_: Array, bias: Array | None, conv: DepthwiseConv2D, note: Note = silent
) -> Array:
    """Convolve integer codes, each channel for itself.

    Quirk: DEPTHWISE_CONV_2D ignores its option ``depth_multiplier``: the channels of filter and input decide it.

    Quirk: DEPTHWISE_CONV_2D ignores zero points of an int8 or int4 filter, which CONV_2D refuses.

    Parameters
    ----------
    x
        int8, uint8 or int16, shape (batch, in_h, in_w, in_c): quantized.
    filter_
        int8 or uint8, shape (1, kernel_h, kernel_w, in_c * multiplier): quantized.
    bias
        int32, or int64 for int16 activations, shape (in_c * multiplier,), or None: in units of input scale times
        filter scale.
    conv
        The prepared op.
    note
        Receives the stages.

    Returns
    -------
    Of the type of ``x``, shape (batch, out_h, out_w, in_c * multiplier): quantized.

    Notes
    -----
    1. sum: over the window of ``(filter - filter_zero_point) * (x - input_zero_point)``. Padding contributes nothing.
    2. accumulator: the sum plus bias; 32 bits, wrapping around, or 64 for int16 activations.
    3. Requantize by the regime, per output channel.

    """
    return conv.requantize(accumulate(x, filter_, bias, conv, note), note)


def accumulate(x: Array, filter_: Array, bias: Array | None, conv: DepthwiseConv2D, note: Note = silent) -> Int64Array:
    """Sum over each window what codes stand for, in steps, plus bias; as the accumulator holds it."""
    window, taps = reachable(conv.window)
    steps = padded(x.astype(np.int64) - conv.input_zero_point, window, 0)
    weights = filter_[0][taps].astype(np.int64) - conv.filter_zero_point
    sums = depthwise_convolve(steps, weights, window)
    return with_bias(sums, bias_or_zeros(bias, weights.shape[2]), conv.accumulator, note)


@dataclass(frozen=True, slots=True)
class PairedDepthwiseConv2D(DepthwiseConv2D):
    """A DEPTHWISE_CONV_2D whose products join 16-bit lanes two by two, column by column of the filter."""

    def evaluate(self, inputs: Inputs, note: Note) -> Outputs:
        """Evaluate :func:`depthwise_conv_2d`, with sums that lose pairs of lowest codes.

        Quirk: On Arm, XNNPACK's DEPTHWISE_CONV_2D of int8 with filters of up to 25 taps adds products two by two in 16
        bits, so that twice -128 times -128 wraps around.
        """
        x, filter_ = given(inputs, 0), given(inputs, 1)
        accumulator = accumulate(x, filter_, optional_array(inputs, BIAS), self, note)
        windows = patches(padded(x, self.window, self.input_zero_point), self.window) == self.codes.min
        joined = _in_columns(windows & (filter_[0] == self.codes.min))
        both = joined[..., :-1:2, :] & joined[..., 1::2, :]
        return (self.requantize(wrapped(accumulator, both.sum(axis=-2), note), note),)

    def compile(self, constants: Inputs) -> Runner:
        """Keep to the definition."""
        return Prepared.compile(self, constants)


def _in_columns(taps: Array) -> Array:
    """Lay taps (..., height, width, channels) out as (..., taps, channels), column by column."""
    *outer, high, wide, channels = taps.shape
    return taps.swapaxes(-2, -3).reshape(*outer, high * wide, channels)


@dataclass(frozen=True, slots=True)
class FloatDepthwiseConv2D(Prepared):
    """A prepared float32 DEPTHWISE_CONV_2D."""

    window: Window
    activation: Activation
    in_order: bool = True

    def evaluate(self, inputs: Inputs, note: Note) -> Outputs:
        """Convolve product after product, add the bias, clamp: the same bits as LiteRT's reference kernel."""
        window, taps = reachable(self.window)
        x, filter_ = padded(given(inputs, 0), window, 0), given(inputs, 1)[0][taps]
        sums = note("sum", depthwise_convolve(x, filter_, window))
        return (finished(sums, optional_array(inputs, BIAS), self.activation, note),)

    def products(self, inputs: Inputs, index: tuple[int, ...]) -> Products:
        """Return the filter times one channel of the input under one window."""
        multiplier = given(inputs, 1).shape[3] // given(inputs, 0).shape[3]
        pixels, taps, padding = of_depthwise(self.window, multiplier, index)
        return Products((Reads(0, pixels), Reads(1, taps)), padding)

    def compile(self, constants: Inputs) -> Runner:
        """Convolve in one pass, which adds in the same order if channels are its innermost loop."""
        filter_ = constants[1]
        in_one_pass = not self.in_order or (einsum_adds_in_order() and filter_ is not None and filter_.shape[3] > 1)
        if filter_ is None or not in_one_pass:
            return partial(self.evaluate, note=silent)
        return depthwise_convolution(constants, self.window, self.activation, in_order=self.in_order)

    def in_any_order(self) -> Prepared:
        """Return the op that adds taps as its pass over the memory meets them."""
        return replace(self, in_order=False)


def prepare(op: OpView, profile: Profile) -> Prepared:
    """Check the contract of DEPTHWISE_CONV_2D and derive window, multipliers and range.

    Raises
    ------
    ModelError
        The op breaks its contract.
    UnsupportedError
        The combination of types is not covered.

    """
    expect_count(op, {2, 3})
    bias = input_tensor(op, BIAS) if len(op.inputs) > BIAS else None
    operands = Operands(input_tensor(op, 0), input_tensor(op, 1), bias, output_tensor(op), 3)
    window = _geometry(op, operands)
    activation = choice(op, "fused_activation_function", Activation)
    expect_dtype(operands.y, operands.x.dtype)
    if operands.types == (DType.FLOAT32, DType.FLOAT32):
        expect_bias(operands, DType.FLOAT32)
        return FloatDepthwiseConv2D(window, activation)
    if operands.types == (DType.FLOAT32, DType.INT8):
        return prepare_hybrid(operands, window, activation, profile, plain_3x3=_is_plain_3x3(window, operands))
    if operands.types in BIAS_TYPES:
        return _prepare_integer(operands, window, activation, ARITHMETIC[profile])
    raise unsupported(op, "; ".join(KERNELS[0].covers))


def _geometry(op: OpView, operands: Operands) -> Window:
    x, filter_, bias = operands.x, operands.filter, operands.bias
    expect_rank(x, 4)
    expect_rank(filter_, 4)
    one, kernel_h, kernel_w, out_c = filter_.shape
    expect(one == 1, f"a filter whose first dimension is 1, found shape {filter_.shape}")
    expect(x.shape[3] > 0 and out_c > 0, f"at least one channel, found input {x.shape} and filter {filter_.shape}")
    expect(out_c % x.shape[3] == 0, f"filter channels to be a multiple of the input's {x.shape[3]}, found {out_c}")
    if bias is not None:
        expect_rank(bias, 1)
    padding = choice(op, "padding", Padding)
    high = span(x.shape[1], kernel_h, option(op, "stride_h"), padding, option(op, "dilation_h_factor"))
    wide = span(x.shape[2], kernel_w, option(op, "stride_w"), padding, option(op, "dilation_w_factor"))
    return Window(high, wide)


def _prepare_integer(
    operands: Operands, window: Window, activation: Activation, arithmetic: Arithmetic
) -> DepthwiseConv2D:
    x, is_uint8 = operands.x, operands.x.dtype is DType.UINT8
    accumulator = BIAS_TYPES[operands.types]
    expect_bias(operands, accumulator)
    expect_no_bias_zero_point(operands)
    if is_uint8:
        expect_bias_scale(operands)
    if x.dtype is DType.INT16:
        expect_symmetric_activations(operands)
    channels, taps = x.shape[3], math.prod(operands.filter.shape[:3])
    single = single_channels(channels, operands.channels, channels, taps)
    work = Work(plain_3x3=_is_plain_3x3(window, operands), single=single)
    requantize = requantize_of(operands, accumulator, activation, arithmetic, work)
    filter_zero_point = zero_point_of(operands.filter) if is_uint8 else 0
    form = PairedDepthwiseConv2D if arithmetic.lanes and _joins_lanes(operands) else DepthwiseConv2D
    return form(window, x.dtype, zero_point_of(x), filter_zero_point, accumulator, requantize)


def _joins_lanes(operands: Operands) -> bool:
    """Whether XNNPACK's kernel on Arm adds taps two by two in 16 bits, and the filter has two lowest codes for that."""
    filter_ = operands.filter
    taps = math.prod(filter_.shape[:3])
    joins = operands.types == (DType.INT8, DType.INT8) and operands.channels == operands.x.shape[3]
    if not joins or taps > TAPS_IN_LANES:
        return False
    return filter_.data is None or bool(((filter_.data == DType.INT8.min).sum(axis=(0, 1, 2)) > 1).any())


def _is_plain_3x3(window: Window, operands: Operands) -> bool:
    """Whether Arm has a kernel of its own: whole blocks of 8 channels, and the same padding on all sides, or none."""
    spans = (window.height, window.width)
    paddings = {padding for span in spans for padding in (span.before, span.after)}
    strides = {span.stride for span in spans}
    return (
        all(span.kernel == 3 and span.dilation == 1 for span in spans)
        and operands.channels % 8 == 0
        and operands.channels == operands.x.shape[3]
        and strides in ({1}, {2})
        and paddings in ({0}, {1})
    )


def _operands(op: OpView) -> Operands:
    return Operands(input_tensor(op, 0), input_tensor(op, 1), input_tensor(op, 2), output_tensor(op), 3)


def _without_bias(op: OpView) -> str | None:
    """Refuse what LiteRT's optimized kernels die of; int16 activations go to the reference kernel."""
    if input_tensor(op, 0).dtype is DType.INT16 or (len(op.inputs) > BIAS and op.inputs[BIAS] is not None):
        return None
    return "the runtime dies of a DEPTHWISE_CONV_2D without bias: it reads the one that is not there"


def _left_by_delegate(op: OpView) -> str | None:
    if len(op.inputs) != 3 or op.inputs[2] is None:
        return "XNNPACK takes no DEPTHWISE_CONV_2D without a bias"
    channels, multiplier = input_tensor(op, 1).shape[-1:], option(op, "depth_multiplier")
    if multiplier <= 0 or (channels and channels[0] % multiplier):
        return f"XNNPACK expects a depth_multiplier that divides the output channels, not {multiplier}"
    return fused_activation(op) or delegate_refusal(_operands(op), hybrid=False)


def _demanded_by_delegate(op: OpView) -> str | None:
    operands = _operands(op)
    multiplier, channels = option(op, "depth_multiplier"), operands.x.shape[3]
    if multiplier * channels != operands.filter.shape[3]:
        made = f"that makes {channels} channels {operands.filter.shape[3]}"
        return f"XNNPACK expects a depth_multiplier {made}, not {multiplier}"
    return delegate_demand(operands)


KERNELS = (
    Kernel(
        "DEPTHWISE_CONV_2D",
        prepare,
        covers=(
            "int8 x int8 or int4, per-tensor and per-axis",
            "int16 x int8, per-tensor and per-axis, int64 bias",
            "uint8 x uint8, per-tensor",
            "float32 x int8, per-axis (hybrid)",
            "float32",
        ),
        refusal={TFLM: micro.sums, LITERT_OPTIMIZED: _without_bias, XNNPACK: _left_by_delegate},
        demands={XNNPACK: _demanded_by_delegate},
    ),
)
