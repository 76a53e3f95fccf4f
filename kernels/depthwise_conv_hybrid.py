"""DEPTHWISE_CONV_2D on float32 activations with an int8 filter: the input is quantized on the fly.

Source: ``tflite/kernels/depthwise_conv.cc`` (EvalHybridPerChannel),
``tflite/kernels/internal/reference/integer_ops/depthwise_conv.h`` (DepthwiseConvHybridPerChannel).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np

from kernels.engine import exact
from kernels.engine.activation import Activation
from kernels.engine.contract import expect, quant_of
from kernels.engine.convolution import Operands, expect_bias, filter_scale, finished, optional_array
from kernels.engine.geometry import Window, padded, reachable
from kernels.engine.hybrid import (
    SCALE_BACK_BY_PRODUCT,
    STEPS,
    HybridArithmetic,
    QuantizedRows,
    quantize_asymmetric,
    quantize_asymmetric_on_arm,
)
from kernels.engine.linear import depthwise_convolve
from kernels.engine.taps import Products, Reads, of_depthwise
from kernels.engine.types import Inputs, Outputs, Prepared, Runner, given
from kernels.profiles import (
    LITERT_OPTIMIZED,
    LITERT_OPTIMIZED_ARM64,
    LITERT_REFERENCE,
    LITERT_REFERENCE_SOUND,
    Profile,
    Rules,
)
from qmath.errors import UnsupportedError
from qmath.fixed_point import wrap_int32
from qmath.stages import Note, silent
from qmath.types import Array, DType, Float32Array


@dataclass(frozen=True, slots=True)
class InBlocks(HybridArithmetic):
    """Vector code and its tail.

    Whole blocks of channels are multiplied by their scale and then by the image's, the channels left over the other
    way round.
    """

    size: int = 8

    def real_values(
        self, accumulator: Array, weights_scale: Float32Array, rows: QuantizedRows, note: Note = silent
    ) -> Float32Array:
        """Return real values, float32, for accumulators of the same number of dimensions as the codes."""
        row_scale, channels = rows.per_row(rows.scale), accumulator.shape[-1]
        in_blocks = np.arange(channels) < channels // self.size * self.size
        first = np.where(in_blocks, weights_scale, row_scale)
        second = np.where(in_blocks, row_scale, weights_scale)
        real = np.asarray((accumulator.astype(np.float32, copy=False) * first) * second)
        terms = {"accumulator": accumulator, "first_scale": first, "second_scale": second}
        rule = "float32(float32(float32(accumulator) * first_scale) * second_scale)"
        return note("scaled back", real, rule, **terms)


HYBRID: Rules[HybridArithmetic] = Rules(
    "DEPTHWISE_CONV_2D with float32 activations",
    {
        LITERT_REFERENCE: HybridArithmetic(quantize_asymmetric, SCALE_BACK_BY_PRODUCT),
        LITERT_OPTIMIZED: InBlocks(quantize_asymmetric, SCALE_BACK_BY_PRODUCT),
        LITERT_OPTIMIZED_ARM64: InBlocks(quantize_asymmetric_on_arm, SCALE_BACK_BY_PRODUCT),
    },
)
#: Where the window is a plain 3x3 one, for which Arm has a kernel of its own; None where it is as any other.
HYBRID_3X3: Rules[HybridArithmetic | None] = Rules(
    "DEPTHWISE_CONV_2D with float32 activations",
    {
        LITERT_REFERENCE: None,
        LITERT_OPTIMIZED_ARM64: HybridArithmetic(quantize_asymmetric_on_arm, SCALE_BACK_BY_PRODUCT),
    },
)
#: Whether one filter scale stands for all channels; LiteRT reads on behind it.
ONE_SCALE_FOR_ALL: Rules[bool] = Rules(
    "DEPTHWISE_CONV_2D with float32 activations", {LITERT_REFERENCE: False, LITERT_REFERENCE_SOUND: True}
)


@dataclass(frozen=True, slots=True, eq=False)
class HybridDepthwiseConv2D(Prepared):
    """A prepared DEPTHWISE_CONV_2D on float32 activations with an int8 filter.

    Attributes
    ----------
    window
        Where windows lie.
    arithmetic
        How the input is quantized and the sums are scaled back.
    filter_scale
        float32, shape ``(out_c,)``.
    activation
        In real values.

    """

    window: Window
    arithmetic: HybridArithmetic
    filter_scale: Float32Array
    activation: Activation

    def evaluate(self, inputs: Inputs, note: Note) -> Outputs:
        """Evaluate :func:`hybrid_depthwise_conv_2d`."""
        x, filter_, bias = given(inputs, 0), given(inputs, 1), optional_array(inputs, 2)
        return (hybrid_depthwise_conv_2d(x, filter_, bias, self, note),)

    def products(self, inputs: Inputs, index: tuple[int, ...]) -> Products:
        """Return the filter times the codes under one window."""
        zero_point = int(self.arithmetic.quantize(given(inputs, 0)).zero_point[index[0]])
        multiplier = given(inputs, 1).shape[3] // given(inputs, 0).shape[3]
        pixels, taps, padding = of_depthwise(self.window, multiplier, index)
        return Products((Reads("quantized input", pixels, zero_point), Reads(1, taps)), padding, "accumulator")

    def compile(self, constants: Inputs) -> Runner:
        """Sum in one exact pass, if the filter is constant and no sum can leave 32 bits."""
        definition = partial(self.evaluate, note=silent)
        if constants[1] is None:
            return definition
        window, taps = reachable(self.window)
        sums = exact.DepthwiseConvolution(constants[1][0][taps].astype(np.int64), window, 0, STEPS)
        if sums.reach.dtype is None or sums.reach.magnitude >= exact.EXACT_INT32:
            return definition

        def run(inputs: Inputs) -> Outputs:
            rows = self.arithmetic.quantize(_some_batch(given(inputs, 0)))
            bias = optional_array(inputs, 2)
            real = self.arithmetic.with_bias(sums(rows.steps(np.float32)), self.filter_scale, rows, bias)
            return (finished(real, None, self.activation),)

        return run


def hybrid_depthwise_conv_2d(
    x: Array, filter_: Array, bias: Array | None, conv: HybridDepthwiseConv2D, note: Note = silent
) -> Array:
    """Quantize each image, convolve its codes, scale the sums back.

    Quirk: DEPTHWISE_CONV_2D with float32 activations and an int8 filter always quantizes its input asymmetrically.

    Quirk: DEPTHWISE_CONV_2D with float32 activations and a per-tensor int8 filter reads past the end of the filter's
    scales, so that its output is another each time; litert-reference refuses it, litert-reference-sound takes the one
    scale for all channels.

    Parameters
    ----------
    x
        float32, shape (batch, in_h, in_w, in_c).
    filter_
        int8, shape (1, kernel_h, kernel_w, in_c * multiplier): quantized.
    bias
        float32, shape (in_c * multiplier,), or None.
    conv
        The prepared op.
    note
        Receives the stages.

    Returns
    -------
    float32, shape (batch, out_h, out_w, in_c * multiplier).

    Notes
    -----
    1. quantized input: the codes of each image by :mod:`kernels.engine.hybrid`, with a scale and a zero point.
    2. accumulator: sum over the window of ``filter * (code - zero_point)``; int32. Padding contributes nothing.
    3. scaled back: the accumulator as float32, times filter scale and image scale, in float32 and in the order that
       the arithmetic says.
    4. Add the bias and clamp to the activation, in float32.

    """
    rows = conv.arithmetic.quantize(_some_batch(x), note)
    window, taps = reachable(conv.window)
    steps = padded(rows.steps(np.int64), window, 0)
    accumulator = wrap_int32(depthwise_convolve(steps, filter_[0][taps].astype(np.int64), window))
    note("accumulator", accumulator)
    real = conv.arithmetic.with_bias(accumulator, conv.filter_scale, rows, bias, note)
    return finished(real, None, conv.activation, note)


def _some_batch(x: Array) -> Array:
    expect(len(x) > 0, "at least one image, found a batch of 0")
    return x


def prepare_hybrid(
    operands: Operands, window: Window, activation: Activation, profile: Profile, *, plain_3x3: bool
) -> HybridDepthwiseConv2D:
    """Check what the hybrid form asks for beyond the shapes, and choose its arithmetic.

    Raises
    ------
    ModelError
        The bias is not one float32 an output channel.
    UnsupportedError
        There are fewer filter scales than output channels.

    """
    expect_bias(operands, DType.FLOAT32)
    found, channels = quant_of(operands.filter).scale.size, operands.channels
    if found != channels and not ONE_SCALE_FOR_ALL[profile]:
        raise UnsupportedError(
            f"DEPTHWISE_CONV_2D with float32 activations needs one filter scale an output channel ({channels}), found"
            f" {found}: LiteRT reads past the end of the scales, so that its output depends on what lies behind them; "
            f"the profile {LITERT_REFERENCE_SOUND.name} takes the scale for all channels"
        )
    arithmetic = (HYBRID_3X3[profile] if plain_3x3 else None) or HYBRID[profile]
    return HybridDepthwiseConv2D(window, arithmetic, filter_scale(operands), activation)
