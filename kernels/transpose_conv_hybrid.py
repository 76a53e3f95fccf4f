"""TRANSPOSE_CONV on float32 activations with an int8 filter: the input is quantized on the fly.

Source: ``tflite/kernels/transpose_conv.cc`` (EvalHybrid), ``tflite/kernels/internal/reference/transpose_conv.h``
(HybridTransposeConv).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kernels.engine.activation import Activation
from kernels.engine.contract import expect
from kernels.engine.convolution import Operands, expect_bias, filter_scale, finished, optional_array
from kernels.engine.hybrid import SCALE_BACK_IN_TURN, HybridArithmetic, quantize_asymmetric, quantize_asymmetric_on_arm
from kernels.engine.hybrid_xnnpack import XNNPACK_HYBRID
from kernels.engine.linear import transpose_convolve, transpose_convolve_in_order
from kernels.engine.spreading import Spreading
from kernels.engine.types import Inputs, Outputs, Prepared, given
from kernels.profiles import LITERT_OPTIMIZED_ARM64, LITERT_REFERENCE, XNNPACK, Profile, Rules
from qmath.stages import Note, silent
from qmath.types import Array, DType, Float32Array

HYBRID: Rules[HybridArithmetic] = Rules(
    "TRANSPOSE_CONV with float32 activations",
    {
        LITERT_REFERENCE: HybridArithmetic(quantize_asymmetric, SCALE_BACK_IN_TURN),
        LITERT_OPTIMIZED_ARM64: HybridArithmetic(quantize_asymmetric_on_arm, SCALE_BACK_IN_TURN),
    },
)


@dataclass(frozen=True, slots=True, eq=False)
class HybridTransposeConv(Prepared):
    """A prepared TRANSPOSE_CONV on float32 activations with an int8 filter.

    Attributes
    ----------
    spreading
        Where windows lie.
    arithmetic
        How the input is quantized and products are scaled back.
    filter_scale
        float32, shape ``(out_c,)``.
    activation
        In real values.

    """

    spreading: Spreading
    arithmetic: HybridArithmetic
    filter_scale: Float32Array
    activation: Activation

    def evaluate(self, inputs: Inputs, note: Note) -> Outputs:
        """Evaluate :func:`hybrid_transpose_conv`."""
        shape, filter_, x = (given(inputs, slot) for slot in range(3))
        return (hybrid_transpose_conv(shape, filter_, x, optional_array(inputs, 3), self, note),)


def hybrid_transpose_conv(
    output_shape: Array, filter_: Array, x: Array, bias: Array | None, conv: HybridTransposeConv, note: Note = silent
) -> Array:
    """Quantize each image, spread its codes, each product scaled back before it is added.

    Quirk: TRANSPOSE_CONV with float32 activations and an int8 filter adds in float32, product after product, so that
    its sums depend on the order and are not those of integers.

    Parameters
    ----------
    output_shape
        int32, 4 elements: (batch, out_h, out_w, out_c).
    filter_
        int8, shape (out_c, kernel_h, kernel_w, in_c): quantized.
    x
        float32, shape (batch, in_h, in_w, in_c).
    bias
        float32, out_c elements, or None.
    conv
        The prepared op.
    note
        Receives the stages.

    Returns
    -------
    float32, shape ``output_shape``.

    Notes
    -----
    1. quantized input: the codes of each image by :mod:`kernels.engine.hybrid`, with a scale and a zero point.
    2. sum: for each input pixel in order, each input channel and each tap, add
       ``filter * (code - zero_point)``, as float32, times filter scale and image scale, to the output at
       ``pixel * stride + tap - padding``, if it lies inside.
    3. Add the bias and clamp to the activation, in float32.

    """
    expect(len(x) > 0, "at least one image, found a batch of 0")
    rows = conv.arithmetic.quantize(x, note)

    def product(steps: Array, weights: Array) -> Array:
        # Products of codes are below 2**24, hence exact in float32.
        return conv.arithmetic.real_values(steps * weights, conv.filter_scale, rows)

    window = conv.spreading.window(output_shape)
    sums = transpose_convolve_in_order(rows.steps(np.float32), filter_.astype(np.float32), window, product)
    return finished(note("sum", sums), bias, conv.activation, note)


@dataclass(frozen=True, slots=True)
class DynamicTransposeConv(Prepared):
    """A prepared TRANSPOSE_CONV on float32 activations with an int8 filter, as XNNPACK computes it.

    Attributes
    ----------
    spreading
        Where windows lie.
    filter_scale
        float32, shape ``(out_c,)``.
    activation
        In real values.

    """

    spreading: Spreading
    filter_scale: Float32Array
    activation: Activation

    def evaluate(self, inputs: Inputs, note: Note) -> Outputs:
        """Evaluate :func:`dynamic_transpose_conv`."""
        shape, filter_, x = (given(inputs, slot) for slot in range(3))
        return (dynamic_transpose_conv(shape, filter_, x, optional_array(inputs, 3), self, note),)


def dynamic_transpose_conv(
    output_shape: Array, filter_: Array, x: Array, bias: Array | None, conv: DynamicTransposeConv, note: Note = silent
) -> Array:
    """Quantize each image, spread its codes, scale the sums back: XNNPACK.

    1. quantized input: each image by :func:`~kernels.engine.hybrid_xnnpack.quantize_in_float32`.
    2. accumulator: what every input spreads, ``filter * (code - zero_point)``, added up as integers.
    3. Times the image's scale, in float32; then times the filter's scale plus the bias, rounded once to float32.
    4. Clamp to the activation.
    """
    rows = XNNPACK_HYBRID.quantize(x, note)
    note("quantized input", rows.codes)
    window = conv.spreading.window(output_shape)
    sums = transpose_convolve(rows.steps(np.int64), filter_.astype(np.int64), window)
    accumulator = note("accumulator", sums)
    real = XNNPACK_HYBRID.with_bias(accumulator, conv.filter_scale, rows, bias, note)
    return finished(real, None, conv.activation, note)


def prepare_hybrid(
    operands: Operands, spreading: Spreading, activation: Activation, profile: Profile
) -> HybridTransposeConv | DynamicTransposeConv:
    """Check what the hybrid form asks for beyond the shapes, and choose its arithmetic."""
    expect_bias(operands, DType.FLOAT32)
    if XNNPACK in profile.lineage:
        return DynamicTransposeConv(spreading, filter_scale(operands), activation)
    return HybridTransposeConv(spreading, HYBRID[profile], filter_scale(operands), activation)
