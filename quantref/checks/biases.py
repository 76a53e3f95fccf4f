"""Biases: they are added to the accumulator, so they are counted in its steps."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

import fbs
from qmath.types import DType
from quantref.checks.channels import AFFINE
from quantref.checks.context import OpContext, in_words, listed
from quantref.checks.finding import Finding, Severity
from quantref.checks.rule import ALL, LITERT, MICRO, Effect, Rule
from quantref.spec import BiasScale, Operand, Role

_SPEC = "LiteRT 8-bit quantization specification, table of operators: bias"

BIAS_TYPE = Rule(
    "QR301",
    "bias-type",
    Severity.ERROR,
    Effect.UNDEFINED,
    "the bias has a type that the kernel does not take",
    "A bias has the accumulator's type: int32 with 8-bit activations; int64 with int16 ones, where CONV_2D, "
    "TRANSPOSE_CONV and FULLY_CONNECTED take int32, too, and DEPTHWISE_CONV_2D does not.",
    f"{_SPEC}; tflite/kernels/conv.cc, depthwise_conv.cc, fully_connected.cc (Prepare)",
    "store the same codes as int32, or as int64 with int16 activations",
)
BIAS_SCALE = Rule(
    "QR302",
    "bias-scale",
    Severity.ERROR,
    Effect.WRONG,
    "the bias is counted in other steps than the accumulator",
    "Kernels add the codes of the bias to the sum of products without looking at the bias's scale: it must be input "
    "scale times weight scale, channel by channel. Kernels of uint8 refuse a difference above 0.02 output steps.",
    f"{_SPEC}; tflite/kernels/kernel_util.cc (GetQuantizedConvolutionMultipler)",
    "quantize the bias with input scale times weight scale",
)
BIAS_ZERO_POINT = Rule(
    "QR303",
    "bias-zero-point",
    Severity.ERROR,
    Effect.UNDEFINED,
    "the bias has a zero point other than 0",
    "The codes of the bias are added as they are.",
    f"{_SPEC}; tflite/kernels/conv.cc (Prepare)",
    "subtract the zero point from the codes",
)
BIAS_LENGTH = Rule(
    "QR305",
    "bias-length",
    Severity.ERROR,
    Effect.REFUSES,
    "the bias does not have one entry for each output channel",
    "One is added to each output channel.",
    "tflite/kernels/conv.cc, depthwise_conv.cc, fully_connected.cc (Prepare)",
    "give the bias one entry for each output channel",
)
NO_BIAS = Rule(
    "QR306",
    "no-bias",
    Severity.WARNING,
    Effect.REFUSES,
    "a convolution has no bias",
    "LiteRT's CONV_2D refuses that, and its optimized DEPTHWISE_CONV_2D reads through a null pointer; TFLite Micro "
    "runs it.",
    "tflite/kernels/conv.cc (Prepare), depthwise_conv.cc",
    "add a bias of zeros",
    LITERT,
)
BIAS_WIDTH_UNSAID = Rule(
    "QR307",
    "bias-width-unsaid",
    Severity.ERROR,
    Effect.WRONG,
    "an int32 bias of a 16x8 op is read as int64",
    "Kernels choose the accumulator by the option quantized_bias_type, not by the tensor; where it is unset they sum "
    "in 64 bits and read 8 bytes for each entry of the bias, beyond its end.",
    "tflite/kernels/conv.cc, fully_connected.cc (quantized_bias_type)",
    "set quantized_bias_type to INT32, or store the bias as int64",
    LITERT,
)
BIAS_CUT = Rule(
    "QR308",
    "bias-at-limit",
    Severity.WARNING,
    Effect.WRONG,
    "the bias holds the lowest or the highest number of its type",
    "That is what is left of a bias that did not fit: clamped, or wrapped to the other sign. It happens where input "
    "scale times weight scale is tiny.",
    "ai-edge-quantizer (symmetric bias quantization), TFLiteConverter's guard against it",
    "widen the scale of the channel's weights until the bias fits",
)
SHARED_BIAS = Rule(
    "QR309",
    "bias-shared",
    Severity.WARNING,
    Effect.WRONG,
    "several ops share a bias, and it is counted in the steps of another op's accumulator",
    "TFLiteConverter stores equal constants once, and its flatbuffer quantizer, which makes all 16x8 models, quantizes "
    "such a bias for the first op that reads it. The others add its codes in steps of their own accumulator: their "
    "biases are too large or too small by the ratio of the scales.",
    "TFLiteConverter's flatbuffer quantizer (quantize_model.cc); found in models that it writes",
    "give each op a bias of its own, quantized with its input scale times its weight scale",
)
RULES = (SHARED_BIAS, BIAS_TYPE, BIAS_SCALE, BIAS_ZERO_POINT, BIAS_LENGTH, NO_BIAS, BIAS_WIDTH_UNSAID, BIAS_CUT)

#: Relative: scales are float32, products of them may have been rounded twice.
_TOLERANCE = 1e-5
#: Ops that need a bias, and the runtimes that do not run them without one.
_NEED_BIAS = {
    "CONV_2D": LITERT,
    "DEPTHWISE_CONV_2D": tuple(name for name in LITERT if name != "litert-reference"),
}
#: Ops with the option quantized_bias_type.
_SAY_WIDTH = frozenset({"CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV"})


def biases(op: OpContext) -> Iterator[Finding]:
    """Check the biases of an op."""
    if op.spec is None:
        return
    for slot, tensor in enumerate(op.view.inputs):
        operand = op.spec.input(slot)
        if operand.role is not Role.BIAS or tensor is None:
            continue
        if tensor.dtype not in operand.dtypes:
            yield _wrong_type(op, operand, tensor)
            continue
        if tensor.quant is not None and tensor.quant.zero_point.any():
            yield op.finding(BIAS_ZERO_POINT, [tensor], "zero point 0", str(tensor.quant.zero_point.max()))
        yield from _limits(op, tensor)
    for relation in op.spec.relations:
        if isinstance(relation, BiasScale):
            yield from _of_accumulator(op, relation)


def _wrong_type(op: OpContext, operand: Operand, bias: fbs.Tensor) -> Finding:
    expected, found = in_words(operand.dtypes), in_words([bias.dtype])
    if op.name == "FULLY_CONNECTED" and bias.dtype is DType.INT64:
        detail = "LiteRT's FULLY_CONNECTED takes it"
        return op.finding(BIAS_TYPE, [bias], expected, found, detail=detail, severity=Severity.WARNING, runtimes=MICRO)
    return op.finding(BIAS_TYPE, [bias], expected, found)


def _limits(op: OpContext, bias: fbs.Tensor) -> Iterator[Finding]:
    if bias.data is None or not bias.dtype.is_integer:
        return
    at = np.flatnonzero((bias.data.ravel() == bias.dtype.min) | (bias.data.ravel() == bias.dtype.max))
    if at.size:
        value = int(bias.data.ravel()[at[0]])
        low, high = bias.dtype.min, bias.dtype.max
        yield op.finding(
            BIAS_CUT, [bias], f"codes between {low} and {high}", f"{value} at {listed(at.tolist())}", runtimes=ALL
        )


def _of_accumulator(op: OpContext, relation: BiasScale) -> Iterator[Finding]:
    source, weights, bias = (op.input(slot) for slot in (relation.input, relation.weights, relation.bias))
    if source is None or weights is None:
        return
    if bias is None:
        if op.name in _NEED_BIAS:
            yield op.finding(NO_BIAS, [weights], "a bias", "none", runtimes=_NEED_BIAS[op.name])
        return
    channels = _channels(op.name, weights)
    count = int(np.prod(bias.shape))
    if channels is not None and count != channels:
        yield op.finding(BIAS_LENGTH, [bias], f"{channels} entries", str(count))
        return
    if source.dtype is DType.INT16 and bias.dtype is DType.INT32:
        yield from _width(op, bias)
    if bias.data is not None and bias.data.dtype.kind == "i":
        yield from _scale(op, source, weights, bias)


def _channels(name: str, weights: fbs.Tensor) -> int | None:
    axis = AFFINE[name][3]
    return weights.shape[axis] if len(weights.shape) > axis else None


def _width(op: OpContext, bias: fbs.Tensor) -> Iterator[Finding]:
    said = op.view.options.get("quantized_bias_type", 0)
    if op.name in _SAY_WIDTH and said != DType.INT32.value:
        found = "nothing" if said == 0 else str(said)
        yield op.finding(BIAS_WIDTH_UNSAID, [bias], "quantized_bias_type INT32", found)


def _scale(op: OpContext, source: fbs.Tensor, weights: fbs.Tensor, bias: fbs.Tensor) -> Iterator[Finding]:
    if source.quant is None or weights.quant is None or bias.quant is None or bias.data is None:
        return
    sizes = {params.quant.scale.size for params in (weights, bias) if params.quant is not None} | {bias.data.size}
    if len(sizes - {1}) > 1:
        return
    accumulator = source.quant.scale.astype(np.float64)[0] * weights.quant.scale.astype(np.float64)
    stated = bias.quant.scale.astype(np.float64)
    with np.errstate(all="ignore"):
        ratio = np.broadcast_to(stated / accumulator, np.broadcast_shapes(stated.shape, accumulator.shape))
    used = np.broadcast_to(bias.data.ravel() != 0, np.broadcast_shapes(ratio.shape, (bias.data.size,)))
    wrong = np.flatnonzero(~(np.abs(ratio - 1) <= _TOLERANCE) & used & np.isfinite(ratio))
    if wrong.size:
        first = int(wrong[0])
        expected = f"the scale {np.broadcast_to(accumulator, used.shape)[first]:.6g}"
        found = f"{np.broadcast_to(stated, used.shape)[first]:.6g}"
        detail = f"at {listed(wrong.tolist())} of {used.size}" if used.size > 1 else ""
        rule = SHARED_BIAS if _shared(op, bias) else BIAS_SCALE
        yield op.finding(rule, [bias], expected, found, detail=detail)


def _shared(op: OpContext, bias: fbs.Tensor) -> bool:
    """Whether more than one op reads the bias."""
    slots = [index for index in op.view.operator.inputs if index >= 0 and op.graph.tensors[index] is bias]
    return any(op.readers.get(index, 0) > 1 for index in slots)
