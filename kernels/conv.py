"""CONV_2D: the sum of a filter over sliding windows, plus bias, requantized.

Source: ``tflite/kernels/conv.cc``, ``tflite/kernels/internal/reference/integer_ops/conv.h``,
``tflite/kernels/internal/reference/conv.h``.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np

from kernels.engine import compile as fast
from kernels.engine import exact
from kernels.engine.activation import Activation, clamp_float, quantized_range
from kernels.engine.contract import (
    choice,
    expect,
    expect_count,
    expect_dtype,
    expect_rank,
    input_tensor,
    option,
    output_tensor,
    quant_of,
    scale_of,
    unsupported,
    zero_point_of,
)
from kernels.engine.geometry import Padding, Window, padded, patches, span
from kernels.engine.registry import Kernel
from kernels.engine.types import Inputs, OpView, Outputs, Prepared, Runner, TensorView, given
from kernels.profiles import LITERT_REFERENCE, Profile, Rules
from qmath.fixed_point import wrap_int32
from qmath.multiplier import scale_ratio
from qmath.requantize import DOUBLE_ROUNDING, Regime, Requantize
from qmath.stages import Note, silent
from qmath.types import Array, DType, Int64Array

REGIME: Rules[Regime] = Rules("CONV_2D", {LITERT_REFERENCE: DOUBLE_ROUNDING})


@dataclass(frozen=True, slots=True)
class Conv2D(Prepared):
    """A prepared integer CONV_2D. The filter is OHWI; per-axis values have one entry an output channel."""

    window: Window
    groups: int
    codes: DType
    input_zero_point: int
    requantize: Requantize

    def evaluate(self, inputs: Inputs, note: Note) -> Outputs:
        """Evaluate :func:`conv_2d`."""
        return (conv_2d(given(inputs, 0), given(inputs, 1), given(inputs, 2), self, note),)

    def compile(self, constants: Inputs) -> Runner:
        """Sum by BLAS and requantize by a proven step function, if filter and bias are constants."""
        definition = partial(self.evaluate, note=silent)
        filter_, bias = constants[1], constants[2]
        if filter_ is None or bias is None:
            return definition
        weights = filter_.astype(np.int64)
        sums = exact.Convolution(weights, self.window, self.groups, self.input_zero_point, self.codes)
        offset = bias.astype(np.int64) - self.input_zero_point * weights.sum(axis=(1, 2, 3))
        return fast.requantized_sum(sums, offset, self.requantize, definition)


def conv_2d(x: Array, filter_: Array, bias: Array, conv: Conv2D, note: Note = silent) -> Array:
    """Convolve integer codes.

    Parameters
    ----------
    x
        int8, shape (batch, in_h, in_w, in_c): quantized.
    filter_
        int8, shape (out_c, kernel_h, kernel_w, in_c / groups): quantized, zero point 0.
    bias
        int32, shape (out_c,): in units of input scale times filter scale.
    conv
        The prepared op.
    note
        Receives the stages.

    Returns
    -------
    int8, shape (batch, out_h, out_w, out_c): quantized.

    Notes
    -----
    1. accumulator: sum over the window and the channels of ``filter * (x - input_zero_point)``, plus bias; int32,
       wrapping. Padding contributes nothing.
    2. Requantize by the regime, per output channel.

    """
    accumulator = note("accumulator", accumulate(x, filter_, bias, conv))
    return conv.requantize(accumulator, note)


def accumulate(x: Array, filter_: Array, bias: Array, conv: Conv2D) -> Int64Array:
    """Sum ``filter * (x - input_zero_point)`` over each window, plus bias, in wrapping int32 arithmetic."""
    real = padded(x.astype(np.int64) - conv.input_zero_point, conv.window, 0)
    return wrap_int32(_convolve(real, filter_.astype(np.int64), conv.window, conv.groups) + bias)


def _convolve(x: Array, filter_: Array, window: Window, groups: int) -> Array:
    """Multiply each window of padded ``x`` with the filter and sum; any number type."""
    views = patches(x, window)
    parts = np.split(filter_, groups, axis=0)
    channels = np.split(views, groups, axis=-1)
    return np.concatenate(
        [np.tensordot(view, part, axes=((3, 4, 5), (1, 2, 3))) for view, part in zip(channels, parts, strict=True)],
        axis=-1,
    )


@dataclass(frozen=True, slots=True)
class FloatConv2D(Prepared):
    """A prepared float32 CONV_2D."""

    window: Window
    groups: int
    activation: Activation

    def evaluate(self, inputs: Inputs, note: Note) -> Outputs:
        """Convolve in float32, add the bias, clamp."""
        x = padded(given(inputs, 0), self.window, 0)
        sums = note("accumulator", _convolve(x, given(inputs, 1), self.window, self.groups) + given(inputs, 2))
        return (clamp_float(sums, self.activation),)


def prepare(op: OpView, profile: Profile) -> Prepared:
    """Check the contract of CONV_2D and derive window, multipliers and range.

    Raises
    ------
    ModelError
        The op breaks its contract.
    UnsupportedError
        The combination of types is not covered.

    """
    expect_count(op, {3})
    x, filter_, bias, y = input_tensor(op, 0), input_tensor(op, 1), input_tensor(op, 2), output_tensor(op)
    window, groups = _geometry(op, x, filter_, bias)
    activation = choice(op, "fused_activation_function", Activation)
    expect_dtype(y, x.dtype)
    if (x.dtype, filter_.dtype) == (DType.FLOAT32, DType.FLOAT32):
        expect_dtype(bias, DType.FLOAT32)
        return FloatConv2D(window, groups, activation)
    if (x.dtype, filter_.dtype) == (DType.INT8, DType.INT8):
        expect_dtype(bias, DType.INT32)
        return Conv2D(window, groups, x.dtype, zero_point_of(x), _requantize(x, filter_, y, activation, profile))
    raise unsupported(op, "; ".join(KERNELS[0].covers))


def _geometry(op: OpView, x: TensorView, filter_: TensorView, bias: TensorView) -> tuple[Window, int]:
    expect_rank(x, 4)
    expect_rank(filter_, 4)
    out_c, kernel_h, kernel_w, filter_c = filter_.shape
    expect(min(filter_.shape) > 0, f"a filter without empty dimensions, found {filter_.shape}")
    expect(x.shape[3] % filter_c == 0, f"input channels to be a multiple of the filter's {filter_c}, found {x.shape}")
    groups = x.shape[3] // filter_c
    expect(groups > 0 and out_c % groups == 0, f"output channels to divide into {groups} groups, found {out_c}")
    expect(int(np.prod(bias.shape)) == out_c, f"one bias an output channel ({out_c}), found {bias.shape}")
    padding = choice(op, "padding", Padding)
    high = span(x.shape[1], kernel_h, option(op, "stride_h"), padding, option(op, "dilation_h_factor"))
    wide = span(x.shape[2], kernel_w, option(op, "stride_w"), padding, option(op, "dilation_w_factor"))
    return Window(high, wide), groups


def _requantize(
    x: TensorView, filter_: TensorView, y: TensorView, activation: Activation, profile: Profile
) -> Requantize:
    weights = quant_of(filter_)
    expect(not weights.zero_point.any(), f"filter zero points to be 0, found {weights.zero_point}")
    expect(weights.scale.size in {1, filter_.shape[0]}, f"1 or {filter_.shape[0]} scales, found {weights.scale.size}")
    real_multiplier = scale_ratio(scale_of(x), weights.scale, scale_of(y))
    real_multiplier = np.broadcast_to(real_multiplier, filter_.shape[:1])
    return Requantize(REGIME[profile], real_multiplier, zero_point_of(y), quantized_range(activation, y), y.dtype)


KERNELS = (Kernel("CONV_2D", prepare, covers=("int8 x int8, per-tensor and per-axis", "float32")),)
