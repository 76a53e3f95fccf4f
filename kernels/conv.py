"""CONV_2D: the sum of a filter over sliding windows, plus bias, requantized.

Here are the forms whose activations are integers, and float32; ``conv_hybrid.py`` has float32 activations with integer
filters.

Source: ``tflite/kernels/conv.cc``, ``tflite/kernels/internal/reference/integer_ops/conv.h``,
``tflite/kernels/internal/reference/conv.h``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from kernels.conv_hybrid import HYBRID_FILTERS, prepare_hybrid
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
    optional_input,
    output_tensor,
    quant_of,
    unsupported,
    zero_point_of,
)
from kernels.engine.convolution import (
    Arithmetic,
    Operands,
    Work,
    accumulator_of,
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
from kernels.engine.float_convolution import convolution
from kernels.engine.geometry import Padding, Window, padded, patches, reachable, span
from kernels.engine.linear import convolve, convolve_in_order
from kernels.engine.pairs import Lanes, Pairs, find_pairs, wrapped
from kernels.engine.registry import Kernel
from kernels.engine.taps import Products, Reads, of_convolution
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
from qmath.requantize import (
    DOUBLE_ROUNDING,
    DOUBLE_ROUNDING_HALF_UP,
    FLOAT32_HALF_EVEN,
    REDUCED_64,
    SINGLE_ROUNDING,
    Requantize,
)
from qmath.requantize_vector import (
    FLOAT32_HALF_EVEN_SATURATING,
    FLOOR_THEN_HALF_UP,
    FLOOR_THEN_HALF_UP_FLOAT32,
    FLOOR_THEN_HALF_UP_SATURATING,
    REDUCED_64_CUT_EARLY,
)
from qmath.stages import Note, silent
from qmath.types import Array, DType, Int64Array

ARITHMETIC: Rules[Arithmetic] = Rules(
    "CONV_2D",
    {
        LITERT_REFERENCE: Arithmetic({DType.INT32: DOUBLE_ROUNDING, DType.INT64: REDUCED_64}),
        LITERT_OPTIMIZED: Arithmetic(
            {DType.INT32: DOUBLE_ROUNDING_HALF_UP, DType.INT64: REDUCED_64}, of_groups=DOUBLE_ROUNDING
        ),
        LITERT_OPTIMIZED_ARM64: Arithmetic(
            {DType.INT32: FLOOR_THEN_HALF_UP, DType.INT64: REDUCED_64},
            of_int16=SINGLE_ROUNDING,
            of_groups=DOUBLE_ROUNDING,
            of_one_window=DOUBLE_ROUNDING_HALF_UP,
            lanes=Lanes.FILLED,
        ),
        XNNPACK: Arithmetic(
            {DType.INT32: FLOAT32_HALF_EVEN},
            float32_scale=True,
            of_single={DType.INT8: FLOAT32_HALF_EVEN_SATURATING},
        ),
        TFLM: Arithmetic(
            {DType.INT32: DOUBLE_ROUNDING, DType.INT64: REDUCED_64},
            without_bias={DType.INT8: DType.INT32, DType.INT16: DType.INT64},
        ),
        CMSIS_NN: Arithmetic(
            {DType.INT32: DOUBLE_ROUNDING, DType.INT64: REDUCED_64_CUT_EARLY},
            without_bias={DType.INT8: DType.INT32, DType.INT16: DType.INT32},
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
#: The slot of the bias.
BIAS = 2
#: Types of input and filter, and what the bias may be.
BIAS_TYPES = {
    (DType.INT8, DType.INT8): (DType.INT32,),
    (DType.INT8, DType.INT4): (DType.INT32,),
    (DType.INT16, DType.INT8): (DType.INT32, DType.INT64),
    (DType.INT16, DType.INT4): (DType.INT32, DType.INT64),
    (DType.UINT8, DType.UINT8): (DType.INT32,),
}


@dataclass(frozen=True, slots=True)
class Conv2D(Prepared):
    """A prepared CONV_2D on integer activations. The filter is OHWI.

    Attributes
    ----------
    window, groups
        Where windows lie; each of ``groups`` equal blocks of output channels reads its own block of input channels.
    codes
        Type of the input's codes.
    input_zero_point, filter_zero_point
        Subtracted from the codes.
    has_bias
        Whether there is a bias.
    accumulator
        INT32, which wraps around, or INT64.
    requantize
        From accumulator to output code, per output channel.

    """

    window: Window
    groups: int
    codes: DType
    input_zero_point: int
    filter_zero_point: int
    has_bias: bool
    accumulator: DType
    requantize: Requantize

    def evaluate(self, inputs: Inputs, note: Note) -> Outputs:
        """Evaluate :func:`conv_2d`."""
        return (conv_2d(given(inputs, 0), given(inputs, 1), optional_array(inputs, 2), self, note),)

    def products(self, inputs: Inputs, index: tuple[int, ...]) -> Products:
        """Return the filter times the input under one window."""
        pixels, taps, padding = of_convolution(self.window, self.groups, given(inputs, 1).shape, index)
        return Products((Reads(0, pixels, self.input_zero_point), Reads(1, taps, self.filter_zero_point)), padding)

    def compile(self, constants: Inputs) -> Runner:
        """Sum by BLAS and requantize by a proven form, if filter and bias are constants."""
        definition = partial(self.evaluate, note=silent)
        filter_, bias = constants[1], optional_array(constants, 2)
        if filter_ is None or (bias is None and self.has_bias):
            return definition
        window, taps = reachable(self.window)
        weights = filter_[:, taps[0], taps[1]].astype(np.int64) - self.filter_zero_point
        sums = exact.Convolution(weights, window, self.groups, self.input_zero_point, self.codes)
        offset = bias_or_zeros(bias, len(weights)) - self.input_zero_point * weights.sum(axis=(1, 2, 3))
        if not fits(sums.reach, offset, self.accumulator):
            return definition
        return fast.requantized_sum(sums, offset, self.requantize, definition)


def conv_2d(x: Array, filter_: Array, bias: Array | None, conv: Conv2D, note: Note = silent) -> Array:
    """Convolve integer codes.

    Quirk: CONV_2D without a bias is refused by LiteRT, and taken by TFLite Micro; CMSIS-NN then sums int16 activations
    in 32 bits.

    Quirk: CONV_2D with int16 activations has an int32 accumulator, which wraps around, if ``quantized_bias_type`` is
    INT32, and an int64 one otherwise; it then reads even an int32 bias as int64, past its end, which is refused here.

    Parameters
    ----------
    x
        int8, uint8 or int16, shape (batch, in_h, in_w, in_c): quantized.
    filter_
        int8 or uint8, shape (out_c, kernel_h, kernel_w, in_c / groups): quantized.
    bias
        int32 or int64, out_c elements, or None: in units of input scale times filter scale.
    conv
        The prepared op.
    note
        Receives the stages.

    Returns
    -------
    Of the type of ``x``, shape (batch, out_h, out_w, out_c): quantized.

    Notes
    -----
    1. sum: over the window and the channels of ``(filter - filter_zero_point) * (x - input_zero_point)``. Padding
       contributes nothing.
    2. accumulator: the sum plus bias; 32 bits, wrapping around, or 64.
    3. Requantize by the regime, per output channel.

    """
    return conv.requantize(accumulate(x, filter_, bias, conv, note), note)


def accumulate(x: Array, filter_: Array, bias: Array | None, conv: Conv2D, note: Note = silent) -> Int64Array:
    """Sum over each window what codes stand for, in steps, plus bias; as the accumulator holds it."""
    window, taps = reachable(conv.window)
    steps = padded(x.astype(np.int64) - conv.input_zero_point, window, 0)
    weights = filter_[:, taps[0], taps[1]].astype(np.int64) - conv.filter_zero_point
    sums = convolve(steps, weights, window, conv.groups)
    return with_bias(sums, bias_or_zeros(bias, len(weights)), conv.accumulator, note)


@dataclass(frozen=True, slots=True)
class PairedConv2D(Conv2D):
    """A CONV_2D whose products may join 16-bit lanes that wrap around."""

    pairs: Pairs
    lanes: Lanes

    def evaluate(self, inputs: Inputs, note: Note) -> Outputs:
        """Evaluate :func:`conv_2d`, with sums that lose pairs of lowest codes.

        Quirk: On Arm cores without a dot product, two products of -128 and -128 (0 and 0 for uint8) that meet in a
        16-bit lane wrap around: CONV_2D, FULLY_CONNECTED and their kin are then off by ``2**16`` a pair.
        """
        x, filter_ = given(inputs, 0), given(inputs, 1)
        accumulator = accumulate(x, filter_, optional_array(inputs, 2), self, note)
        return (self.requantize(wrapped(accumulator, self.count(x, filter_), note), note),)

    def count(self, x: Array, filter_: Array) -> Int64Array:
        """Return how many pairs each output loses: windows are one row, or a row each tap and group."""
        codes = padded(x, self.window, self.input_zero_point)
        if self.lanes is Lanes.FILLED:
            windows = patches(codes, self.window)
            rows = windows.reshape(*windows.shape[:3], -1)
            return self.pairs.of_inputs(rows) @ self.pairs.of_weights(filter_.reshape(len(filter_), -1)).T
        groups = self.pairs.of_inputs(codes.reshape(*codes.shape[:3], self.groups, -1))
        return convolve(groups.reshape(*codes.shape[:3], -1), self.pairs.of_weights(filter_), self.window, self.groups)

    def compile(self, constants: Inputs) -> Runner:
        """Keep to the definition."""
        return Prepared.compile(self, constants)


@dataclass(frozen=True, slots=True)
class FloatConv2D(Prepared):
    """A prepared float32 CONV_2D."""

    window: Window
    groups: int
    activation: Activation
    in_order: bool = True

    def evaluate(self, inputs: Inputs, note: Note) -> Outputs:
        """Convolve product after product, add the bias, clamp: the same bits as LiteRT's reference kernel.

        Quirk: Float convolutions, pools and elementwise ops clamp even without an activation: an infinity becomes the
        largest finite float32.
        """
        window, taps = reachable(self.window)
        x, filter_ = padded(given(inputs, 0), window, 0), given(inputs, 1)[:, taps[0], taps[1]]
        sums = note("sum", convolve_in_order(x, filter_, window, self.groups))
        return (finished(sums, optional_array(inputs, 2), self.activation, note),)

    def products(self, inputs: Inputs, index: tuple[int, ...]) -> Products:
        """Return the filter times the input under one window."""
        pixels, taps, padding = of_convolution(self.window, self.groups, given(inputs, 1).shape, index)
        return Products((Reads(0, pixels), Reads(1, taps)), padding)

    def compile(self, constants: Inputs) -> Runner:
        """Lay windows out as matrices, if the filter is constant, and multiply: in order, or by BLAS."""
        if constants[1] is None:
            return partial(self.evaluate, note=silent)
        return convolution(constants, self.window, self.groups, self.activation, in_order=self.in_order)

    def in_any_order(self) -> Prepared:
        """Return the op that multiplies by BLAS."""
        return replace(self, in_order=False)


def prepare(op: OpView, profile: Profile) -> Prepared:
    """Check the contract of CONV_2D and derive window, multipliers and range.

    Raises
    ------
    ModelError
        The op breaks its contract.
    UnsupportedError
        The combination of types is not covered.

    """
    arithmetic = ARITHMETIC[profile]
    expect_count(op, {3} if arithmetic.without_bias is None else {2, 3})
    if arithmetic.without_bias is None:
        input_tensor(op, BIAS)
    operands = _operands(op)
    window, groups = _geometry(op, operands)
    activation = choice(op, "fused_activation_function", Activation)
    expect_dtype(operands.y, operands.x.dtype)
    if operands.types == (DType.FLOAT32, DType.FLOAT32):
        expect_bias(operands, DType.FLOAT32)
        return FloatConv2D(window, groups, activation)
    if operands.x.dtype is DType.FLOAT32 and operands.filter.dtype in HYBRID_FILTERS:
        return prepare_hybrid(operands, window, groups, activation, profile)
    if operands.types in BIAS_TYPES:
        return _prepare_integer(op, operands, window, groups, activation, arithmetic)
    raise unsupported(op, "; ".join(KERNELS[0].covers))


def _geometry(op: OpView, operands: Operands) -> tuple[Window, int]:
    x, filter_ = operands.x, operands.filter
    expect_rank(x, 4)
    expect_rank(filter_, 4)
    out_c, kernel_h, kernel_w, filter_c = filter_.shape
    expect(min(filter_.shape) > 0, f"a filter without empty dimensions, found {filter_.shape}")
    expect(x.shape[3] % filter_c == 0, f"input channels to be a multiple of the filter's {filter_c}, found {x.shape}")
    groups = x.shape[3] // filter_c
    expect(groups > 0 and out_c % groups == 0, f"output channels to divide into {groups} groups, found {out_c}")
    padding = choice(op, "padding", Padding)
    high = span(x.shape[1], kernel_h, option(op, "stride_h"), padding, option(op, "dilation_h_factor"))
    wide = span(x.shape[2], kernel_w, option(op, "stride_w"), padding, option(op, "dilation_w_factor"))
    return Window(high, wide), groups


def _prepare_integer(
    op: OpView, operands: Operands, window: Window, groups: int, activation: Activation, arithmetic: Arithmetic
) -> Conv2D:
    x, filter_ = operands.x, operands.filter
    is_uint8 = x.dtype is DType.UINT8
    expect_bias(operands, *BIAS_TYPES[operands.types])
    expect_no_bias_zero_point(operands)
    if is_uint8:
        expect_bias_scale(operands)
    else:
        zero_points = quant_of(filter_).zero_point
        expect(not zero_points.any(), f"filter zero points to be 0, found {zero_points}")
    if x.dtype is DType.INT16:
        expect_symmetric_activations(operands)
    accumulator = accumulator_of(op, operands)
    if operands.bias is None and arithmetic.without_bias is not None:
        accumulator = arithmetic.without_bias[x.dtype]
    windows = x.shape[0] * window.height.output * window.width.output
    depth = math.prod(filter_.shape[1:])
    single = single_channels(x.shape[3], operands.channels, groups, depth)
    work = Work(windows, depth, groups, single=single)
    requantize = requantize_of(operands, accumulator, activation, arithmetic, work)
    filter_zero_point, has_bias = zero_point_of(filter_), operands.bias is not None
    conv = window, groups, x.dtype, zero_point_of(x), filter_zero_point, has_bias, accumulator, requantize
    lanes = arithmetic.lanes
    if lanes is Lanes.FILLED and requantize.regime in {arithmetic.of_groups, arithmetic.of_one_window}:
        lanes = None
    pairs = find_pairs(lanes, x, filter_, _rows_of_filter(lanes), filter_zero_point)
    return Conv2D(*conv) if pairs is None or lanes is None else PairedConv2D(*conv, pairs, lanes)


def _rows_of_filter(lanes: Lanes | None) -> Callable[[Array], Array]:
    return (lambda filter_: filter_.reshape(len(filter_), -1)) if lanes is Lanes.FILLED else (lambda filter_: filter_)


def _operands(op: OpView) -> Operands:
    return Operands(input_tensor(op, 0), input_tensor(op, 1), optional_input(op, BIAS), output_tensor(op), 0)


def _left_by_delegate(op: OpView) -> str | None:
    if len(op.inputs) != 3 or op.inputs[2] is None:
        return "XNNPACK takes no CONV_2D without a bias"
    return fused_activation(op) or delegate_refusal(_operands(op), hybrid=True)


KERNELS = (
    Kernel(
        "CONV_2D",
        prepare,
        covers=(
            "int8 x int8 or int4, per-tensor and per-axis",
            "int16 x int8 or int4, per-tensor and per-axis, int32 or int64 bias",
            "uint8 x uint8, per-tensor",
            "float32 x int8, int4 or uint8 (hybrid)",
            "float32",
        ),
        refusal={TFLM: micro.sums, XNNPACK: _left_by_delegate},
        demands={XNNPACK: lambda op: delegate_demand(_operands(op))},
    ),
)
