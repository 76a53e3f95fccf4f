"""How the parameters of an op's operands have to relate to one another."""

from __future__ import annotations

import math
from collections.abc import Iterator

import fbs
from qmath.types import DType
from quantref.checks.context import OpContext
from quantref.checks.finding import Finding, Severity
from quantref.checks.rule import ALL, XNNPACK, Effect, Rule
from quantref.checks.runtimes import xnnpack_fails
from quantref.spec import FixedOutput, PowerOfTwo, Role, SameScale

_SPEC = "LiteRT 8-bit quantization specification, table of operators: restrictions"

SAME_DEMANDED = Rule(
    "QR311",
    "same-scale-demanded",
    Severity.ERROR,
    Effect.REFUSES,
    "operands of an op that moves codes have different parameters",
    "Kernels copy or compare codes as they are, so equal codes have to mean equal values; for these ops they check it.",
    f"{_SPEC}; tflite/kernels/concatenation.cc, pack.cc, reduce.cc, pad.cc, space_to_batch_nd.cc (Prepare)",
    "give all operands the scale and zero point of one of them, or put QUANTIZE before the others",
)
SAME_SCALE = Rule(
    "QR312",
    "same-scale",
    Severity.WARNING,
    Effect.WRONG,
    "operands of an op that moves codes have different parameters",
    "Kernels copy or compare codes as they are, so equal codes have to mean equal values; for these ops LiteRT does "
    "not check it, and the results are other values than the inputs. XNNPACK refuses some of them.",
    f"{_SPEC}; TFLiteConverter's same-scale ops",
    "give all operands the scale and zero point of one of them, or put QUANTIZE before the others",
)
FIXED_DEMANDED = Rule(
    "QR313",
    "fixed-output",
    Severity.ERROR,
    Effect.REFUSES,
    "an output has other parameters than its op prescribes",
    "What these ops give lies in a known range, and kernels are written for the one scale that fits it.",
    f"{_SPEC}; tflite/kernels/activations.cc, l2norm.cc (Prepare)",
    "give the output the prescribed parameters, and put QUANTIZE behind it if others are wanted",
)
FIXED = Rule(
    "QR314",
    "fixed-output-laxly",
    Severity.WARNING,
    Effect.DIFFERS,
    "an output has other parameters than the spec prescribes, though kernels take them",
    "LiteRT's kernels look up a table made for the parameters at hand; TFLite Micro and others compute for the "
    "prescribed ones.",
    f"{_SPEC}; tflite/kernels/activations.cc (TanhPrepare)",
    "give the output the prescribed parameters",
    ("tflm", "cmsis-nn"),
)
POWER_OF_TWO = Rule(
    "QR315",
    "power-of-two",
    Severity.ERROR,
    Effect.UNDEFINED,
    "the scale of a cell state is no power of two",
    "The cell state is rescaled by shifting.",
    "tflite/kernels/unidirectional_sequence_lstm.cc (CheckedLog2)",
    "round the cell state's scale up to a power of two",
)
RULES = (SAME_DEMANDED, SAME_SCALE, FIXED_DEMANDED, FIXED, POWER_OF_TWO)

#: How far a logarithm may be from an integer, as the runtime has it.
_LOG_TOLERANCE = 1e-3


def relations(op: OpContext) -> Iterator[Finding]:
    """Check the relations that the op's spec names; those of biases have a family of their own."""
    for relation in () if op.spec is None else op.spec.relations:
        if isinstance(relation, SameScale):
            yield from _same(op, relation)
        elif isinstance(relation, FixedOutput):
            yield from _fixed(op, relation)
        elif isinstance(relation, PowerOfTwo):
            yield from _power_of_two(op, relation)


def _same(op: OpContext, relation: SameScale) -> Iterator[Finding]:
    tensors = op.activations()
    known = [tensor for tensor in tensors if tensor.quant is not None]
    if not known:
        return
    reference = next((y for y in op.view.outputs if y.quant is not None), known[0])
    different = [tensor for tensor in tensors if _params(tensor) != _params(reference)]
    if different:
        expected = f"{_in_words(reference)} as {reference.name!r} has"
        found = f"{_in_words(different[0])} of {different[0].name!r}"
        more = f"and {len(different) - 1} more differ" if len(different) > 1 else ""
        looked_at = [op.input(slot) for slot in relation.slots] if relation.slots else different
        demanded = relation.demanded and any(tensor is x for tensor in different for x in looked_at)
        rule = SAME_DEMANDED if demanded else SAME_SCALE
        mind = None if demanded or not xnnpack_fails(op) else tuple(name for name in ALL if name not in XNNPACK)
        yield op.finding(rule, [*different, reference], expected, found, detail=more, runtimes=mind)


def _params(tensor: fbs.Tensor) -> tuple[bytes, bytes] | None:
    return None if tensor.quant is None else (tensor.quant.scale.tobytes(), tensor.quant.zero_point.tobytes())


def _in_words(tensor: fbs.Tensor) -> str:
    if tensor.quant is None:
        return "no scale"
    return f"scale {tensor.quant.scale[0]:.9g} and zero point {tensor.quant.zero_point[0]}"


def _fixed(op: OpContext, relation: FixedOutput) -> Iterator[Finding]:
    for y in op.view.outputs:
        allowed = [(scale, zero) for dtype, scale, zero in relation.params if dtype is y.dtype]
        if y.quant is None or not allowed:
            continue
        stated, zero_point = float(y.quant.scale[0]), int(y.quant.zero_point[0])
        if any(abs(stated / scale - 1) <= relation.tolerance and zero_point == zero for scale, zero in allowed):
            continue
        expected = " or ".join(f"scale 1/{1 / scale:g} and zero point {zero}" for scale, zero in allowed)
        scale_fits = any(abs(stated / scale - 1) <= relation.tolerance for scale, _ in allowed)
        demanded = relation.demanded and not (relation.any_zero_point and scale_fits)
        # XNNPACK makes LOGISTIC's table for whatever parameters there are.
        left_out = XNNPACK if op.name == "LOGISTIC" and y.dtype is not DType.INT16 else ()
        rule = FIXED_DEMANDED if demanded else FIXED
        mind = tuple(name for name in rule.runtimes if name not in left_out)
        yield op.finding(rule, [y], expected, _in_words(y), runtimes=mind)


def _power_of_two(op: OpContext, relation: PowerOfTwo) -> Iterator[Finding]:
    state = op.input(relation.slot)
    if state is None or state.quant is None or op.spec is None or op.spec.input(relation.slot).role is not Role.STATE:
        return
    scale = float(state.quant.scale[0])
    exponent = math.log2(scale) if scale > 0 else 0.5
    if abs(exponent - round(exponent)) > _LOG_TOLERANCE:
        yield op.finding(POWER_OF_TWO, [state], "a power of two as scale", f"{scale:.9g}")
