"""Each operand by itself: type, granularity, axis, zero point, narrow range."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

import fbs
from qmath.types import DType
from quantref.checks.channels import AFFINE
from quantref.checks.context import OpContext, in_words
from quantref.checks.finding import Finding, Severity
from quantref.checks.rule import MICRO, Effect, Rule
from quantref.checks.structure import AXIS
from quantref.spec import EIGHT_BIT, Granularity, Operand, Role, ZeroPoint

_SPEC = "LiteRT 8-bit quantization specification"

OPERAND_TYPE = Rule(
    "QR201",
    "operand-type",
    Severity.ERROR,
    Effect.UNDEFINED,
    "no kernel takes an operand of this type here",
    "Each kernel is written for certain types together; others are refused when it is prepared.",
    f"{_SPEC}, table of operators; tflite/kernels/*.cc (Prepare)",
    "quantize the op's operands alike, or put QUANTIZE or DEQUANTIZE between",
)
NO_FORM = Rule(
    "QR202",
    "no-such-form",
    Severity.ERROR,
    Effect.REFUSES,
    "no runtime has a form of the op for activations of this type",
    "Not every op that exists for int8 exists for int16 or uint8.",
    "tflite/kernels/*.cc (Prepare); quantref.spec",
    "leave the op in float, between DEQUANTIZE and QUANTIZE, or use int8",
)
NO_PARAMETERS = Rule(
    "QR203",
    "parameters-missing",
    Severity.ERROR,
    Effect.REFUSES,
    "an operand has codes but no scale",
    "The op computes with its operands' scales: without them there is no multiplier.",
    f"{_SPEC}; tflite/kernels/kernel_util.cc (PopulateConvolutionQuantizationParams)",
    "give the tensor a scale and a zero point",
)
GRANULARITY = Rule(
    "QR204",
    "per-axis-operand",
    Severity.ERROR,
    Effect.UNDEFINED,
    "an operand that has to have one scale has several",
    "Only weights and biases may be quantized per axis. Kernels read the first scale of an activation and ignore the "
    "others.",
    f"{_SPEC}, Per-axis vs per-tensor",
    "quantize the tensor with one scale",
)
WEIGHTS_ZERO_POINT = Rule(
    "QR206",
    "per-axis-zero-point",
    Severity.ERROR,
    Effect.UNDEFINED,
    "weights with a scale per channel have zero points other than 0",
    "Symmetric weights save the product of zero point and inputs in the inner loop; no kernel subtracts a zero point "
    "per channel. CONV_2D of LiteRT refuses it, the others ignore it.",
    f"{_SPEC}, Symmetric vs asymmetric; tflite/kernels/conv.cc",
    "quantize weights symmetrically",
)
ASYMMETRIC_WEIGHTS = Rule(
    "QR207",
    "asymmetric-weights",
    Severity.WARNING,
    Effect.REFUSES,
    "int8 weights have a zero point other than 0",
    "The converter writes them for quantization-aware training with one fake quantization per tensor and a narrow "
    "range, whose limits it does not make symmetric. FULLY_CONNECTED subtracts the zero point. CONV_2D of LiteRT "
    "refuses it; the other convolutions, and all of TFLite Micro's, ignore it, and every output is off by zero point "
    "times the sum of inputs.",
    f"{_SPEC}, Symmetric vs asymmetric; tflite/kernels/conv.cc, depthwise_conv.cc, transpose_conv.cc",
    "train with symmetric limits (per-channel fake quantization is), or quantize the weights anew",
)
ACTIVATION_ZERO_POINT = Rule(
    "QR208",
    "zero-point-of-16-bits",
    Severity.ERROR,
    Effect.REFUSES,
    "a zero point has to be 0 and is not",
    "int16 codes are symmetric around 0, so that kernels need no offsets; they check it, or ignore the zero point.",
    "the 16x8 scheme of TFLiteConverter; tflite/kernels/conv.cc, add.cc, activations.cc (Prepare)",
    "quantize int16 tensors with the range -m to m",
)
NARROW = Rule(
    "QR209",
    "weights-lowest-code",
    Severity.WARNING,
    Effect.DIFFERS,
    "int8 weights use the code -128",
    "The spec restricts weights to -127 to 127, so that two products of int8 and int8 fit an int16 sum; kernels for "
    "Arm and DSPs are written for that.",
    f"{_SPEC}, table of operators: weights in [-127, 127]",
    "divide the largest magnitude by 127 and clamp to -127",
)
RULES = (
    OPERAND_TYPE,
    NO_FORM,
    NO_PARAMETERS,
    GRANULARITY,
    WEIGHTS_ZERO_POINT,
    ASYMMETRIC_WEIGHTS,
    ACTIVATION_ZERO_POINT,
    NARROW,
)

_CODES = frozenset({DType.INT8, DType.INT16, DType.UINT8})
_EIGHT_BITS = frozenset({DType.INT8, DType.UINT8})
#: Ops that take float activations with integer weights.
_HYBRID = frozenset({*AFFINE, "BATCH_MATMUL", "SVDF", "UNIDIRECTIONAL_SEQUENCE_LSTM"})


def operands(op: OpContext) -> Iterator[Finding]:
    """Check each operand of an op against what its scheme says of it."""
    if op.spec is None:
        yield from _without_spec(op)
        return
    for operand, tensor in op.operands():
        if operand.dtypes and tensor.dtype not in operand.dtypes:
            if operand.role is not Role.BIAS:
                expected = f"{in_words(operand.dtypes)} as {operand.name}"
                yield op.finding(OPERAND_TYPE, [tensor], expected, in_words([tensor.dtype]))
        elif operand.quantized:
            yield from _parameters(op, operand, tensor)


def _without_spec(op: OpContext) -> Iterator[Finding]:
    """Check ops that their scheme has no form of, and float ops with integer weights."""
    known = EIGHT_BIT.get(op.name)
    if known is None or op.main is None:
        return
    if op.scheme is not None:
        if op.quantized:
            expected = f"{op.name} of int8 or float32"
            yield op.finding(NO_FORM, [op.main], expected, f"{op.name} of {in_words([op.main.dtype])}")
        return
    if op.main.dtype is not DType.FLOAT32:
        return
    for slot, tensor in enumerate(op.view.inputs):
        operand = known.input(slot)
        if tensor is None or tensor.dtype not in _CODES or not operand.quantized or tensor.quant is None:
            continue
        if op.name not in _HYBRID:
            yield op.finding(OPERAND_TYPE, [tensor], f"float32 as {operand.name}", in_words([tensor.dtype]))
        elif operand.role is Role.WEIGHTS and op.name in AFFINE:
            yield from _axis(op, operand, tensor)


def _parameters(op: OpContext, operand: Operand, tensor: fbs.Tensor) -> Iterator[Finding]:
    if tensor.quant is None:
        needed = op.spec is not None and op.spec.strict and operand.role is not Role.BIAS
        if needed and tensor.dtype.bits <= 16 and (op.quantized or tensor.dtype in _EIGHT_BITS):
            yield op.finding(NO_PARAMETERS, [tensor], f"a scale for {operand.name}", "none")
        return
    if operand.role is Role.BIAS:
        return
    if tensor.quant.per_axis and operand.granularity is Granularity.PER_TENSOR:
        found = f"{tensor.quant.scale.size} scales"
        yield op.finding(GRANULARITY, [tensor], f"one scale for {operand.name}", found)
        return
    yield from _axis(op, operand, tensor)
    yield from _zero_point(op, operand, tensor)
    if operand.narrow and tensor.dtype is DType.INT8 and tensor.data is not None:
        lowest = int(np.count_nonzero(tensor.data == tensor.dtype.min))
        if lowest:
            yield op.finding(NARROW, [tensor], "codes from -127", f"{lowest} of {tensor.data.size} are -128")


def _axis(op: OpContext, operand: Operand, tensor: fbs.Tensor) -> Iterator[Finding]:
    quant = tensor.quant
    if quant is not None and quant.per_axis and quant.quantized_dimension != operand.axis:
        expected = f"quantized_dimension {operand.axis} of {operand.name}"
        yield op.finding(AXIS, [tensor], expected, str(quant.quantized_dimension))


def _zero_point(op: OpContext, operand: Operand, tensor: fbs.Tensor) -> Iterator[Finding]:
    if tensor.quant is None or operand.zero_point is not ZeroPoint.ZERO or not tensor.quant.zero_point.any():
        return
    found = str(tensor.quant.zero_point[np.flatnonzero(tensor.quant.zero_point)[0]])
    if operand.role is not Role.WEIGHTS:
        if tensor.dtype is DType.INT16:
            yield op.finding(ACTIVATION_ZERO_POINT, [tensor], f"zero point 0 of {operand.name}", found)
    elif tensor.quant.per_axis:
        yield op.finding(WEIGHTS_ZERO_POINT, [tensor], f"zero points 0 of {operand.name}", found)
    elif op.name == "FULLY_CONNECTED":
        detail = "LiteRT's FULLY_CONNECTED subtracts it where there is one scale"
        yield op.finding(ASYMMETRIC_WEIGHTS, [tensor], "zero point 0", found, detail=detail, runtimes=MICRO)
    else:
        refused = "LiteRT refuses it" if op.name == "CONV_2D" else "the kernels ignore it"
        detail = f"of {operand.name}; {refused}, TFLite Micro ignores it"
        yield op.finding(ASYMMETRIC_WEIGHTS, [tensor], "zero point 0", found, detail=detail)
