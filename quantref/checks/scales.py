"""Scales that no arithmetic can use, tensor by tensor."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

import fbs
from qmath.errors import QuantrefError
from qmath.types import BoolArray, Float32Array
from quantref.checks.context import Scope, listed
from quantref.checks.finding import Finding, Severity
from quantref.checks.rule import Effect, Rule
from quantref.checks.structure import first_uses, place_of

_SPEC = "LiteRT 8-bit quantization specification: real_value = (code - zero_point) * scale"

NOT_FINITE = Rule(
    "QR101",
    "scale-not-finite",
    Severity.ERROR,
    Effect.UNDEFINED,
    "a scale is infinite, or no number",
    "Every real value of the tensor would be so, too; multipliers cannot be derived from it.",
    _SPEC,
    "look for NaN and infinities in the weights and in the representative data, and quantize anew",
)
NEGATIVE = Rule(
    "QR102",
    "scale-negative",
    Severity.ERROR,
    Effect.UNDEFINED,
    "a scale is negative",
    "Codes grow with real values; comparisons, maxima and fused activations rely on it.",
    _SPEC,
    "negate the codes instead of the scale",
)
ZERO = Rule(
    "QR103",
    "scale-zero",
    Severity.ERROR,
    Effect.UNDEFINED,
    "a scale is 0 though codes are not",
    "All codes stand for 0; where it is an output's scale the multiplier divides by it.",
    _SPEC,
    "give a range that is wider than a point; tools take one of at least 1e-6",
)
ZERO_OF_ZEROS = Rule(
    "QR104",
    "scale-zero-of-zeros",
    Severity.WARNING,
    Effect.WASTE,
    "a scale is 0, as are all the codes that it is for",
    "It means what it says, but the multiplier vanishes, and tools that divide by scales stumble over it.",
    "TFLiteConverter's flatbuffer quantizer (quantization_utils.cc), which has no guard for channels of zeros",
    "give such channels any positive scale, or remove them",
)
DENORMAL = Rule(
    "QR105",
    "scale-denormal",
    Severity.WARNING,
    Effect.DIFFERS,
    "a scale is a denormal number",
    "Processors that flush denormals to zero take it for 0, and its reciprocal may be infinite.",
    "IEEE 754; tflite/kernels/internal/reference/quantize.h divides by scales",
    "widen the range: a tensor so small is 0 in effect",
)
HUGE = Rule(
    "QR106",
    "scale-huge",
    Severity.WARNING,
    Effect.WRONG,
    "a scale is so large that codes stand for infinite values",
    "Real values are float32: the largest code times the scale is beyond them.",
    _SPEC,
    "look for outliers in the representative data, such as the lowest float for a mask",
)
RULES = (NOT_FINITE, NEGATIVE, ZERO, ZERO_OF_ZEROS, DENORMAL, HUGE)


def scales(graph: fbs.Subgraph, index: int, scope: Scope) -> Iterator[tuple[int, Finding]]:
    """Yield the tensors of a subgraph whose scales cannot be used, by index, and why."""
    uses = first_uses(graph)
    for number, tensor in enumerate(graph.tensors):
        scale = None if tensor.quantization is None else tensor.quantization.scale
        if scale is None or scale.size == 0:
            continue
        for rule, wrong, expected in _faults(tensor, scale):
            place = place_of(graph, fbs.Place(index, tensor=number), uses)
            entries = np.flatnonzero(wrong)
            where = f"at {listed(entries.tolist())} of {scale.size}" if scale.size > 1 else ""
            yield number, scope.finding(rule, place, expected, f"{scale[entries[0]]:g}", detail=where)


def _faults(tensor: fbs.Tensor, scale: Float32Array) -> Iterator[tuple[Rule, BoolArray, str]]:
    finite = np.isfinite(scale)
    tiny = np.finfo(np.float32).tiny
    zero = scale == 0
    zeros = zero & _only_zeros(tensor, scale.size) if zero.any() else zero
    found = (
        (NOT_FINITE, ~finite, "a finite scale"),
        (NEGATIVE, finite & (scale < 0), "a scale above 0"),
        (ZERO, zero & ~zeros, "a scale above 0"),
        (ZERO_OF_ZEROS, zeros, "a scale above 0"),
        (DENORMAL, (scale > 0) & (scale < tiny), f"a scale of at least {tiny:.3g}"),
        (HUGE, finite & (scale > 0) & ~_representable(tensor, scale), "codes that stand for finite values"),
    )
    yield from ((rule, wrong, expected) for rule, wrong, expected in found if wrong.any())


def _representable(tensor: fbs.Tensor, scale: Float32Array) -> BoolArray:
    """Whether the whole range of an 8- or 16-bit type is finite in float32; biases are left to their own rules."""
    if not tensor.dtype.is_integer or tensor.dtype.bits > 16:
        return np.ones(scale.shape, bool)
    with np.errstate(over="ignore", invalid="ignore"):
        return np.asarray(np.isfinite(scale * np.float32(tensor.dtype.max - tensor.dtype.min)), np.bool_)


def _only_zeros(tensor: fbs.Tensor, scales: int) -> BoolArray:
    """Whether a constant holds the zero point alone, scale by scale."""
    nothing = np.zeros(scales, bool)
    try:
        data, quant = tensor.data, tensor.quant
    except QuantrefError:
        return nothing
    if data is None or quant is None or not tensor.dtype.is_integer:
        return nothing
    if scales == 1:
        return np.asarray([not np.any(data != quant.zero_point[0])])
    axis = quant.quantized_dimension if quant.quantized_dimension < data.ndim else 0
    if data.ndim == 0 or data.shape[axis] != scales:
        return nothing
    others = tuple(dimension for dimension in range(data.ndim) if dimension != axis)
    return np.asarray(~np.any(data, axis=others))
