"""Multipliers that kernels cannot take, or that a runtime limits."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

import fbs
from qmath.multiplier import quantize_multiplier, reduced_multiplier
from qmath.types import BoolArray, DType, Float64Array
from quantref.checks.channels import Channels
from quantref.checks.context import OpContext, in_channels
from quantref.checks.finding import Finding, Severity
from quantref.checks.rule import LITERT, MICRO, XNNPACK, Effect, Rule

_QUANTIZE_MULTIPLIER = "tflite/kernels/internal/quantization_util.cc"

VANISHING = Rule(
    "QR401",
    "multiplier-vanishes",
    Severity.WARNING,
    Effect.WASTE,
    "a multiplier is below 2^-32 and becomes 0",
    "Multipliers are 31 bits and a shift to the right of at most 31; what is smaller is 0, and so is every output.",
    f"{_QUANTIZE_MULTIPLIER} (QuantizeMultiplier)",
    "check the scales: input times weight scale is smaller than the output's by nine decimal digits",
)
TOO_LARGE = Rule(
    "QR402",
    "multiplier-too-large",
    Severity.ERROR,
    Effect.UNDEFINED,
    "a multiplier is 2^30 or above",
    "It would be a shift to the left of 31 bits or more, which int32 does not have.",
    f"{_QUANTIZE_MULTIPLIER} (QuantizeMultiplier); tflite/kernels/internal/common.h",
    "check the scales: the output's is smaller than input times weight scale by nine decimal digits",
)
XNNPACK_LIMIT = Rule(
    "QR403",
    "xnnpack-requantization",
    Severity.WARNING,
    Effect.REFUSES,
    "a multiplier is 256 or above, which XNNPACK does not take",
    "Its kernels convert the scaled sum from float32; the operator is not made, and the delegate fails.",
    "XNNPACK/src/operators/convolution-nhwc.c, fully-connected-nc.c, deconvolution-nhwc.c",
    "widen the output's scale: with this one nearly every output saturates",
    XNNPACK,
)
XNNPACK_RATIO = Rule(
    "QR404",
    "xnnpack-scale-ratio",
    Severity.NOTE,
    Effect.DIFFERS,
    "XNNPACK leaves the op to other kernels, because of its scales",
    "It takes ADD and SUB with input scales from 1/1024 to 256 of the output's, MUL with products of them from 1/65536 "
    "to 256, LEAKY_RELU and QUANTIZE to the same type from 1/256 to 128; others run on LiteRT's own kernels, which "
    "round otherwise.",
    "tflite/delegates/xnnpack/xnnpack_delegate.cc (CheckTensorsInputOutputScale)",
    "bring the scales closer together, if XNNPACK is to run the op",
    XNNPACK,
)
NOT_BELOW_ONE = Rule(
    "QR405",
    "multiplier-not-below-one",
    Severity.ERROR,
    Effect.REFUSES,
    "a multiplier that has to be below 1 is not",
    "These kernels encode their multipliers with a function that aborts the process at 1 and above.",
    f"{_QUANTIZE_MULTIPLIER} (QuantizeMultiplierSmallerThanOneExp); tflite/kernels/add.cc, comparisons.cc",
    "widen the output's scale, or make comparisons' scales smaller than 1",
)
REDUCED = Rule(
    "QR406",
    "reduced-multiplier",
    Severity.NOTE,
    Effect.DIFFERS,
    "the 16-bit form of a multiplier is off by half a step or more at the end of the range",
    "With a 64-bit accumulator the 31-bit multiplier is rounded to 15 bits. Outputs near the end of the int16 range "
    "may differ by one from those of the full multiplier, in all of these kernels alike.",
    "tflite/kernels/internal/common.cc (MultiplyByQuantizedMultiplier for int64); CMSIS-NN/Include/"
    "arm_nnsupportfunctions.h (arm_nn_requantize_s64)",
    "nothing needs mending; an output scale that makes the multiplier a power of two avoids it",
    (*LITERT, *MICRO),
)
WIDE_SHIFT = Rule(
    "QR407",
    "wide-shift",
    Severity.WARNING,
    Effect.WRONG,
    "a multiplier of a 64-bit accumulator is 128 or above",
    "The 64-bit form is written for shifts below 8: builds with assertions stop, others go on.",
    "tflite/kernels/internal/common.cc (MultiplyByQuantizedMultiplier for int64)",
    "widen the output's scale",
)
COMPARED_FINELY = Rule(
    "QR408",
    "comparison-collapses",
    Severity.NOTE,
    Effect.WRONG,
    "neighbouring codes compare as equal",
    "Comparisons shift codes left by 8 bits and multiply by the operand's own scale: where a scale is below 1/512, "
    "codes that differ by one may give the same integer.",
    "tflite/kernels/comparisons.cc; tflite/kernels/internal/reference/comparisons.h",
    "compare in float, or requantize the operands to a coarser scale",
)
SOFTMAX_CUT = Rule(
    "QR409",
    "softmax-multiplier-cut",
    Severity.WARNING,
    Effect.WRONG,
    "input scale times beta is 32 or above, and is cut",
    "The difference to the largest input is scaled into 5 integer bits; a larger multiplier is cut to the largest "
    "int32.",
    f"{_QUANTIZE_MULTIPLIER} (PreprocessSoftmaxScaling)",
    "a step of this size makes SOFTMAX an arg-max: check the input's scale",
)
RULES = (
    VANISHING,
    TOO_LARGE,
    XNNPACK_LIMIT,
    XNNPACK_RATIO,
    NOT_BELOW_ONE,
    REDUCED,
    WIDE_SHIFT,
    COMPARED_FINELY,
    SOFTMAX_CUT,
)

_EIGHT_BITS = frozenset({DType.INT8, DType.UINT8})
#: By how much ADD shifts its inputs left.
_LEFT_SHIFT = {DType.INT8: 20, DType.UINT8: 20, DType.INT16: 15}
#: SUB and comparisons of LiteRT take multipliers of 1 and above, those of TFLite Micro do not.
_IN_MICRO: dict[str, Any] = {"severity": Severity.WARNING, "runtimes": MICRO}
_COMPARISONS = frozenset({"EQUAL", "NOT_EQUAL", "GREATER", "GREATER_EQUAL", "LESS", "LESS_EQUAL"})
#: Input scale over output scale, or for MUL the product of both, that XNNPACK takes: from, and below.
_RATIOS = {"ADD": (2.0**-10, 256.0), "SUB": (2.0**-10, 256.0), "MUL": (2.0**-16, 256.0)}


def multipliers(op: OpContext) -> Iterator[Finding]:
    """Check the multipliers of an op."""
    if op.channels is not None:
        yield from _of_channels(op, op.channels)
    elif op.scheme is not None and op.view.outputs:
        yield from _of_scales(op)


def _of_channels(op: OpContext, channels: Channels) -> Iterator[Finding]:
    y, real = op.view.outputs[0], channels.real
    alive = np.isfinite(real) & (real > 0) & ~channels.zero
    vanished = alive & (_multiplier(real, alive) == 0)
    weights = op.input(1)
    if vanished.any():
        found = f"{real[vanished].min():.3g}"
        yield op.finding(VANISHING, [weights, y], "multipliers of at least 2^-32", found, detail=in_channels(vanished))
    large = alive & (real >= 2.0**30)
    if large.any():
        found = f"{real[large].max():.3g}"
        yield op.finding(TOO_LARGE, [weights, y], "multipliers below 2^30", found, detail=in_channels(large))
        return
    if channels.codes in _EIGHT_BITS:
        wide = alive & (real.astype(np.float32) >= 256)
        if wide.any():
            found = f"{real[wide].max():.6g}"
            yield op.finding(XNNPACK_LIMIT, [weights, y], "multipliers below 256", found, detail=in_channels(wide))
    elif channels.wide:
        yield from _of_wide(op, channels, alive)


def _multiplier(real: Float64Array, alive: BoolArray) -> Float64Array:
    return quantize_multiplier(np.where(alive, real, 1.0)).multiplier.astype(np.float64)


def _of_wide(op: OpContext, channels: Channels, alive: BoolArray) -> Iterator[Finding]:
    y, weights = op.view.outputs[0], op.input(1)
    wide = alive & (channels.real >= 128)
    if wide.any():
        found = f"{channels.real[wide].max():.6g}"
        yield op.finding(WIDE_SHIFT, [weights, y], "multipliers below 128", found, detail=in_channels(wide))
    fixed = quantize_multiplier(np.where(alive, channels.real, 1.0)).multiplier
    reach = np.maximum(np.abs(channels.low), np.abs(channels.high)) * np.where(alive, channels.real, 0.0)
    reach = np.minimum(reach, float(y.dtype.max))
    error = np.abs(reduced_multiplier(fixed) * 65536.0 / np.maximum(fixed, 1) - 1) * reach
    coarse = alive & (error >= 0.5)
    if coarse.any():
        found = f"up to {error.max():.2g} steps"
        yield op.finding(REDUCED, [weights, y], "less than half a step", found, detail=in_channels(coarse))


def _scale(tensor: fbs.Tensor | None) -> float | None:
    return None if tensor is None or tensor.quant is None else float(tensor.quant.scale[0])


def _of_scales(op: OpContext) -> Iterator[Finding]:
    inputs = [tensor for tensor in op.view.inputs if tensor is not None]
    scales = [_scale(tensor) for tensor in inputs]
    if op.name in {"ADD", "SUB", "MUL"} and len(inputs) == 2:
        yield from _of_pair(op, inputs)
    elif op.name in {"LEAKY_RELU", "QUANTIZE"} and len(inputs) == 1:
        yield from _of_copy(op, inputs[0])
    elif op.name in _COMPARISONS:
        for tensor, scale in zip(inputs, scales, strict=True):
            if scale is not None:
                yield from _of_comparison(op, tensor, scale)
    elif op.name == "SOFTMAX" and scales[:1] != [None] and op.main is not None and op.main.dtype is not DType.INT16:
        step = float(scales[0] or 0.0) * float(op.view.options.get("beta", 1.0))
        if step >= 32:
            yield op.finding(SOFTMAX_CUT, inputs[:1], "input scale times beta below 32", f"{step:g}")


def _of_pair(op: OpContext, inputs: list[fbs.Tensor]) -> Iterator[Finding]:
    y = op.view.outputs[0]
    scales, out = [_scale(tensor) for tensor in inputs], _scale(y)
    if out is None or any(scale is None for scale in scales) or y.dtype not in _LEFT_SHIFT:
        return
    known = [float(scale) for scale in scales if scale is not None]
    with np.errstate(all="ignore"):
        largest = 2 * max(known) / (2.0 ** _LEFT_SHIFT[y.dtype] * out)
    if op.name in {"ADD", "SUB"} and largest >= 1 and not _shifts(op):
        who = {} if op.name == "ADD" else _IN_MICRO
        yield op.finding(NOT_BELOW_ONE, [*inputs, y], "an output multiplier below 1", f"{largest:.6g}", **who)
    elif y.dtype in _EIGHT_BITS:
        low, high = _RATIOS[op.name]
        ratios = [np.prod(known) / out] if op.name == "MUL" else [scale / out for scale in known]
        wrong = [ratio for ratio in ratios if not low <= np.float32(ratio) < high]
        if wrong:
            what = "product of scales" if op.name == "MUL" else "input scale"
            expected = f"{what} over output scale from {low:.3g} to {high:g}"
            yield op.finding(XNNPACK_RATIO, [*inputs, y], expected, f"{wrong[0]:.6g}")


def _of_copy(op: OpContext, x: fbs.Tensor) -> Iterator[Finding]:
    """LEAKY_RELU, and QUANTIZE from one type to the same: XNNPACK has 8-bit multipliers for them."""
    y = op.view.outputs[0]
    source, target = _scale(x), _scale(y)
    if x.dtype is not y.dtype or x.dtype not in _EIGHT_BITS or not source or not target:
        return
    ratios = [source / target]
    if op.name == "LEAKY_RELU":
        ratios.append(abs(ratios[0] * float(op.view.options.get("alpha", 0.0))))
    wrong = [ratio for ratio in ratios if not 2.0**-8 <= np.float32(ratio) <= 128]
    if wrong:
        yield op.finding(XNNPACK_RATIO, [x, y], "input scale over output scale from 1/256 to 128", f"{wrong[0]:.6g}")


def _shifts(op: OpContext) -> bool:
    """Whether an int16 ADD whose scales are powers of two only shifts."""
    tensors = [*op.view.inputs, *op.view.outputs]
    if not op.view.options.get("pot_scale_int16", True) or op.view.outputs[0].dtype is not DType.INT16:
        return False
    return all((scale := _scale(tensor)) is not None and np.frexp(scale)[0] == 0.5 for tensor in tensors)


def _of_comparison(op: OpContext, tensor: fbs.Tensor, scale: float) -> Iterator[Finding]:
    if scale >= 1:
        yield op.finding(NOT_BELOW_ONE, [tensor], "a scale below 1", f"{scale:g}", **_IN_MICRO)
    elif 0 < scale < 1 / 512:
        yield op.finding(COMPARED_FINELY, [tensor], "a scale of at least 1/512", f"1/{1 / scale:.4g}")
