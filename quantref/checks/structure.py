"""The structure of the file: what :func:`fbs.examine` finds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import fbs
from quantref.checks.context import Scope
from quantref.checks.finding import Finding, Location, Severity
from quantref.checks.rule import LITERT, Effect, Rule

_READER = "tflite/core/interpreter_builder.cc, tflite/core/subgraph.cc"

STRUCTURE = Rule(
    "QR001",
    "structure",
    Severity.ERROR,
    Effect.UNDEFINED,
    "the model contradicts the format, or itself",
    "Indices, shapes, sizes of buffers and the order of operators have to fit before anything can run.",
    _READER,
    "write the model anew with the tool that made it; a file that was cut or edited cannot be trusted",
)
ODDITY = Rule(
    "QR002",
    "oddity",
    Severity.NOTE,
    Effect.DIFFERS,
    "something is odd about the structure, though it runs",
    "Readers pass over it, each in its own way.",
    _READER,
    "write the model anew with a current tool",
)
ZERO_POINT_RANGE = Rule(
    "QR210",
    "zero-point-range",
    Severity.ERROR,
    Effect.UNDEFINED,
    "a zero point is no code of its tensor's type",
    "The real value 0 must have a code: padding and ReLU use it.",
    "LiteRT 8-bit quantization specification, section on zero points",
    "choose the range so that it includes 0, and clamp the zero point to the type",
)
AXIS_BEYOND_RANK = Rule(
    "QR304",
    "axis-beyond-rank",
    Severity.WARNING,
    Effect.REFUSES,
    "scales run along a dimension that the tensor does not have",
    "Older converters gave a bias, which has one dimension, the quantized_dimension of its filter, such as 3 in a "
    "depthwise convolution. What is meant is plain: one dimension leaves no choice, and a single scale needs none. "
    "TFLite Micro ignores the field; LiteRT refuses to load the model.",
    "tflite/core/interpreter_builder.cc (ParseQuantization)",
    "set quantized_dimension to 0",
    LITERT,
)
AXIS = Rule(
    "QR205",
    "axis",
    Severity.ERROR,
    Effect.UNDEFINED,
    "scales run along another dimension than output channels do",
    "Kernels look up the scale of output channel c at index c: along another dimension there is another number of "
    "scales, or they belong to something else.",
    "LiteRT 8-bit quantization specification, table of operators; tflite/kernels/kernel_util.cc",
    "quantize per output channel: dimension 0 of CONV_2D, FULLY_CONNECTED and TRANSPOSE_CONV, 3 of DEPTHWISE_CONV_2D",
)
RULES = (STRUCTURE, ODDITY, ZERO_POINT_RANGE, AXIS_BEYOND_RANK, AXIS)


def structure(model: fbs.Model, scope: Scope, found: tuple[fbs.Finding, ...]) -> Iterator[Finding]:
    """Turn what was found in the file into findings; scales have rules of their own."""
    uses = [first_uses(graph) for graph in model.subgraphs]
    for item in found:
        rule = _rule(item)
        if rule is not None:
            expected, what = _expectation(rule, item)
            yield scope.finding(rule, _location(model, item, uses), expected, what)


def _rule(item: fbs.Finding) -> Rule | None:
    if item.subject is fbs.Subject.SCALE:
        return None
    if item.subject is fbs.Subject.ZERO_POINT:
        return ZERO_POINT_RANGE
    if item.subject is fbs.Subject.AXIS:
        return AXIS if item.wrong else AXIS_BEYOND_RANK
    return STRUCTURE if item.wrong else ODDITY


def _expectation(rule: Rule, item: fbs.Finding) -> tuple[str, str]:
    """Return what was expected and what was found, in words."""
    if item.wrong:
        expected, _, found = item.message.removeprefix("expected ").rpartition(", found ")
        return expected or "what the format says", found or item.message
    if rule is AXIS_BEYOND_RANK:
        return "quantized_dimension 0", f"a tensor that {item.message}"
    if rule is ZERO_POINT_RANGE:
        return "zero points within the type", f"a tensor that {item.message}"
    where = item.where.rpartition(": ")[2]
    return "nothing unusual", f"{where} {item.message}"


def _location(model: fbs.Model, item: fbs.Finding, uses: Sequence[Mapping[int, int]]) -> Location:
    place = item.place
    if place.subgraph is None:
        return Location()
    graph = model.subgraphs[place.subgraph]
    if place.operator is not None:
        return Location(place.subgraph, place.operator, graph.operators[place.operator].name)
    return Location(place.subgraph) if place.tensor is None else place_of(graph, place, uses[place.subgraph])


def first_uses(graph: fbs.Subgraph) -> dict[int, int]:
    """Return the operator that writes each tensor, or else the first that reads it, by the tensor's index."""
    found: dict[int, int] = {}
    for index, op in enumerate(graph.operators):
        for tensor in op.inputs:
            found.setdefault(tensor, index)
    for index, op in enumerate(graph.operators):
        found.update(dict.fromkeys(op.outputs, index))
    return found


def place_of(graph: fbs.Subgraph, place: fbs.Place, uses: Mapping[int, int]) -> Location:
    """Return the location of a tensor: at the operator that it is first used by, if there is one."""
    tensor = place.tensor or 0
    index = uses.get(tensor)
    op = "" if index is None else graph.operators[index].name
    return Location(place.subgraph, index, op, (graph.tensors[tensor].name,))
