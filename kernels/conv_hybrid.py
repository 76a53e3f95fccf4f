"""CONV_2D on float32 activations with an integer filter: the input is quantized on the fly.

Source: ``tflite/kernels/conv.cc`` (EvalHybrid, EvalHybridPerChannel), ``tflite/kernels/internal/reference/conv.h``,
``tflite/kernels/internal/optimized/optimized_ops.h`` (HybridConv, which the reference resolver calls too).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np

from kernels.engine import exact
from kernels.engine.activation import Activation
from kernels.engine.contract import expect
from kernels.engine.convolution import Operands, expect_bias, finished
from kernels.engine.geometry import Window, padded, reachable
from kernels.engine.hybrid import (
    SCALE_BACK_BY_PRODUCT,
    SCALE_BACK_IN_TURN,
    STEPS,
    HybridArithmetic,
    misread_weights,
    quantize_asymmetric,
    quantize_asymmetric_on_arm,
    quantize_symmetric,
    quantize_symmetric_on_arm,
)
from kernels.engine.hybrid_xnnpack import XNNPACK_HYBRID
from kernels.engine.linear import convolve
from kernels.engine.rows import Rows
from kernels.engine.taps import Products, Reads, indices, of_convolution
from kernels.engine.types import Inputs, Outputs, Prepared, Runner, given
from kernels.fully_connected_hybrid import DynamicFullyConnected
from kernels.profiles import LITERT_OPTIMIZED_ARM64, LITERT_REFERENCE, XNNPACK, Profile, Rules
from qmath.errors import UnsupportedError
from qmath.fixed_point import wrap_int32
from qmath.stages import Note, silent
from qmath.types import Array, DType, Float32Array, Int64Array

#: Types of a filter that float32 activations may meet.
HYBRID_FILTERS = (DType.INT8, DType.INT4, DType.UINT8)

#: Where one filter scale serves all output channels of one group.
PER_TENSOR: Rules[HybridArithmetic] = Rules(
    "CONV_2D with float32 activations and one filter scale",
    {
        LITERT_REFERENCE: HybridArithmetic(quantize_symmetric, SCALE_BACK_BY_PRODUCT),
        LITERT_OPTIMIZED_ARM64: HybridArithmetic(quantize_symmetric_on_arm, SCALE_BACK_BY_PRODUCT),
        XNNPACK: XNNPACK_HYBRID,
    },
)
#: Where filter scales differ, or there are several groups.
PER_CHANNEL: Rules[HybridArithmetic] = Rules(
    "CONV_2D with float32 activations and a filter scale an output channel",
    {
        LITERT_REFERENCE: HybridArithmetic(quantize_asymmetric, SCALE_BACK_IN_TURN),
        LITERT_OPTIMIZED_ARM64: HybridArithmetic(quantize_asymmetric_on_arm, SCALE_BACK_IN_TURN),
        XNNPACK: XNNPACK_HYBRID,
    },
)


#: Whether the sums of the form with one filter scale are made by vector code that misreads weights of -128, unless the
#: output channels are a multiple of four.
MISREADS: Rules[bool] = Rules(
    "CONV_2D with float32 activations and one filter scale",
    {LITERT_REFERENCE: True, LITERT_OPTIMIZED_ARM64: False, XNNPACK: False},
)


@dataclass(frozen=True, slots=True, eq=False)
class HybridConv2D(Prepared):
    """A prepared CONV_2D on float32 activations with an integer filter, OHWI.

    Attributes
    ----------
    window, groups
        As for the integer form.
    arithmetic
        How the input is quantized and the sums are scaled back.
    filter_scale
        float32, shape ``(1,)`` or ``(out_c,)``.
    activation
        In real values.
    misreads
        Whether weights of -128 are misread.

    """

    window: Window
    groups: int
    arithmetic: HybridArithmetic
    filter_scale: Float32Array
    activation: Activation
    misreads: bool = False

    def evaluate(self, inputs: Inputs, note: Note) -> Outputs:
        """Evaluate :func:`hybrid_conv_2d`."""
        return (hybrid_conv_2d(given(inputs, 0), given(inputs, 1), given(inputs, 2), self, note),)

    def products(self, inputs: Inputs, index: tuple[int, ...]) -> Products:
        """Return the filter times the codes under one window."""
        zero_point = int(self.arithmetic.quantize(given(inputs, 0)).zero_point[index[0]])
        pixels, taps, padding = of_convolution(self.window, self.groups, given(inputs, 1).shape, index)
        return Products((Reads("quantized input", pixels, zero_point), Reads(1, taps)), padding, "accumulator")

    def compile(self, constants: Inputs) -> Runner:
        """Sum by BLAS, if the filter is constant and no sum can leave 32 bits."""
        definition = partial(self.evaluate, note=silent)
        if constants[1] is None:
            return definition
        weights = constants[1].view(np.int8)
        sums = self._sum(weights.astype(np.int64))
        misread = self.misread(weights)
        excess = None if misread is None else self._sum(misread)
        largest = sums.reach.magnitude + (excess.reach.magnitude if excess else 0)
        if sums.reach.dtype is None or largest >= exact.EXACT_INT32:
            return definition

        def run(inputs: Inputs) -> Outputs:
            rows = self.arithmetic.quantize(given(inputs, 0))
            steps = rows.steps(np.float32)
            accumulator = sums(steps)
            if excess is not None:
                accumulator = accumulator.astype(np.float64) + excess(np.minimum(steps, 0))
            real = self.arithmetic.with_bias(accumulator, self.filter_scale, rows, given(inputs, 2))
            return (finished(real, None, self.activation),)

        return run

    def misread(self, weights: Array) -> Array | None:
        """Return what misread weights add to negative codes, in the filter's shape; None if there is nothing."""
        excess = misread_weights(weights.reshape(len(weights), -1)) if self.misreads else None
        return None if excess is None else excess.reshape(weights.shape)

    def _sum(self, weights: Int64Array) -> exact.Convolution:
        window, taps = reachable(self.window)
        return exact.Convolution(weights[:, taps[0], taps[1]], window, self.groups, 0, STEPS)


def hybrid_conv_2d(x: Array, filter_: Array, bias: Array, conv: HybridConv2D, note: Note = silent) -> Array:
    """Quantize each image, convolve its codes, scale the sums back.

    Quirk: CONV_2D with float32 activations and an integer filter quantizes its input symmetrically if there is one
    group and all filter scales are equal, and otherwise asymmetrically; no option of the op decides it.

    Quirk: CONV_2D with float32 activations reads a uint8 filter as int8, and ignores the zero points of any filter.

    Quirk: CONV_2D with float32 activations and one int8 filter scale takes the product of a weight -128 and a negative
    code for a negative number, except where the output channels are a multiple of four, and in the last taps that do
    not fill a group of 16.

    Parameters
    ----------
    x
        float32, shape (batch, in_h, in_w, in_c).
    filter_
        int8, or uint8 whose bytes are read as int8, shape (out_c, kernel_h, kernel_w, in_c / groups): quantized.
    bias
        float32, out_c elements.
    conv
        The prepared op.
    note
        Receives the stages.

    Returns
    -------
    float32, shape (batch, out_h, out_w, out_c).

    Notes
    -----
    1. quantized input: the codes of each image by :mod:`kernels.engine.hybrid`, with a scale and a zero point.
    2. accumulator: sum over the window and the channels of ``filter * (code - zero_point)``, plus 256 times the
       negative codes that meet a misread weight; int32. Padding contributes nothing.
    3. scaled back: the accumulator as float32, times filter scale and image scale, in float32 and in the order that
       the arithmetic says.
    4. Add the bias, in XNNPACK with one rounding for the last product and the sum, and clamp to the activation.

    """
    rows = conv.arithmetic.quantize(x, note)
    window, (high, wide) = reachable(conv.window)
    weights, steps = filter_.view(np.int8), padded(rows.steps(np.int64), window, 0)
    sums = convolve(steps, weights[:, high, wide].astype(np.int64), window, conv.groups)
    excess = conv.misread(weights)
    if excess is not None:
        sums += convolve(np.minimum(steps, 0), excess[:, high, wide], window, conv.groups)
    accumulator = note("accumulator", wrap_int32(sums))
    real = conv.arithmetic.with_bias(accumulator, conv.filter_scale, rows, bias, note)
    return finished(real, None, conv.activation, note)


@dataclass(frozen=True, slots=True)
class PointwiseHybridConv2D(Prepared):
    """A hybrid CONV_2D by XNNPACK whose window is one pixel, at every pixel: FULLY_CONNECTED on pixels.

    Quirk: XNNPACK quantizes the float32 input of a hybrid CONV_2D image by image, but pixel by pixel if the filter is
    1x1, the strides are 1 and there is one group.

    """

    pixels: DynamicFullyConnected

    def evaluate(self, inputs: Inputs, note: Note) -> Outputs:
        """Evaluate :func:`~kernels.fully_connected_hybrid.dynamic_fully_connected`."""
        x, filter_, bias = (given(inputs, slot) for slot in range(3))
        return self.pixels.evaluate([x, filter_.reshape(len(filter_), -1), bias], note)

    def products(self, inputs: Inputs, index: tuple[int, ...]) -> Products:
        """Return the filter times the codes of one pixel."""
        x, filter_ = given(inputs, 0), given(inputs, 1)
        codes, _ = self.pixels.products([x, filter_.reshape(len(filter_), -1)], index).factors
        return Products((codes, Reads(1, indices(index[-1], 0, 0, np.arange(x.shape[-1])))), stage="accumulator")

    def compile(self, constants: Inputs) -> Runner:
        """Lay constant weights out once."""
        filter_ = constants[1]
        if filter_ is None:
            return partial(self.evaluate, note=silent)
        run = self.pixels.compile([None, filter_.reshape(len(filter_), -1), None])
        return lambda inputs: run([inputs[0], None, inputs[2]])


def prepare_hybrid(
    operands: Operands, window: Window, groups: int, activation: Activation, profile: Profile
) -> HybridConv2D | PointwiseHybridConv2D:
    """Check what the hybrid form asks for beyond the shapes, and choose its arithmetic."""
    expect_bias(operands, DType.FLOAT32)
    filter_, channels = operands.filter, operands.channels
    scale = np.zeros(1, np.float32) if filter_.quant is None else filter_.quant.scale
    if filter_.dtype is DType.UINT8:
        if groups != 1:
            raise UnsupportedError(
                f"CONV_2D with a uint8 filter and float32 activations covers 1 group, found {groups}"
            )
        scale = scale[:1]
    of_one_pixel = (window.height, window.width)
    if XNNPACK in profile.lineage and groups == 1 and all(s.kernel == s.stride == 1 for s in of_one_pixel):
        return PointwiseHybridConv2D(
            DynamicFullyConnected(Rows(filter_.shape[3], channels, keep_num_dims=True), scale, activation)
        )
    if groups == 1 and (scale == scale[0]).all():
        misreads = MISREADS[profile] and channels % 4 != 0
        return HybridConv2D(window, groups, PER_TENSOR[profile], scale[:1], activation, misreads)
    axis = 0 if filter_.quant is None else filter_.quant.quantized_dimension
    found = f"{scale.size} along dimension {axis}"
    expect(scale.size == channels and axis == 0, f"{channels} filter scales along dimension 0, found {found}")
    return HybridConv2D(window, groups, PER_CHANNEL[profile], scale, activation)
