"""Which op and which tensor of a quantized model stand for which of the float model that it was made from."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import fbs
from qmath.errors import InputError

#: Ops that change how values are written and not what they are; quantizers put them in and take them out.
CONVERSIONS = frozenset({"QUANTIZE", "DEQUANTIZE", "FAKE_QUANT"})
#: What quantizers append to a tensor's name.
_SUFFIX = re.compile(r"(_int8|_int16|_uint8|_quantized|_requant|_requantized|_dequant|_dequantized|\d)$")


@dataclass(frozen=True, slots=True)
class OpPair:
    """The same op in both models: indices of operators of the main subgraphs."""

    float_op: int
    quantized_op: int


def pair_ops(float_graph: fbs.Subgraph, quantized_graph: fbs.Subgraph) -> list[OpPair]:
    """Return the ops that both graphs have, in the quantized graph's order.

    1. Without the ops that only convert, both graphs usually are the same sequence of ops with outputs of the same
       shapes: then they belong together by position.
    2. Otherwise ops of the same kind whose first output has the same shape and name belong together, the name
       without what quantizers append to it.
    """
    ours, theirs = _essential(float_graph), _essential(quantized_graph)
    if [_look(float_graph, index) for index in ours] == [_look(quantized_graph, index) for index in theirs]:
        return [OpPair(*pair) for pair in zip(ours, theirs, strict=True)]
    named: dict[tuple[str, str], list[int]] = {}
    for index in ours:
        named.setdefault((float_graph.operators[index].name, _name(float_graph, index)), []).append(index)
    pairs = []
    for index in theirs:
        candidates = _candidates(named, quantized_graph, index)
        fitting = [other for other in candidates if _look(float_graph, other) == _look(quantized_graph, index)]
        if fitting:
            candidates.remove(fitting[0])
            pairs.append(OpPair(fitting[0], index))
    return pairs


def _essential(graph: fbs.Subgraph) -> list[int]:
    return [index for index, operator in enumerate(graph.operators) if operator.name not in CONVERSIONS]


def _look(graph: fbs.Subgraph, index: int) -> tuple[str, tuple[tuple[int, ...], ...]]:
    """Return an op's name and its outputs' shapes."""
    operator = graph.operators[index]
    return operator.name, tuple(graph.tensors[number].shape for number in operator.outputs if number >= 0)


def _name(graph: fbs.Subgraph, index: int) -> str:
    outputs = graph.operators[index].outputs
    return graph.tensors[outputs[0]].name if outputs else ""


def _candidates(named: dict[tuple[str, str], list[int]], graph: fbs.Subgraph, index: int) -> list[int]:
    """Return the float ops with an op's name, or with what is left of it without suffixes."""
    kind, name = graph.operators[index].name, _name(graph, index)
    while name:
        if named.get((kind, name)):
            return named[kind, name]
        shorter = _SUFFIX.sub("", name)
        if shorter == name:
            break
        name = shorter
    return []


def pair_inputs(float_graph: fbs.Subgraph, quantized_graph: fbs.Subgraph) -> list[int]:
    """Return for each input of the quantized graph the position of the float graph's input that feeds it.

    Inputs belong together by name if both graphs have the same names, otherwise by position.

    Raises
    ------
    InputError
        The graphs do not have the same number of inputs.

    """
    return _positions(float_graph, float_graph.inputs, quantized_graph, quantized_graph.inputs, "inputs")


def pair_outputs(float_graph: fbs.Subgraph, quantized_graph: fbs.Subgraph) -> list[int]:
    """Return for each output of the quantized graph the position of the float graph's: as :func:`pair_inputs`."""
    return _positions(float_graph, float_graph.outputs, quantized_graph, quantized_graph.outputs, "outputs")


def _positions(
    float_graph: fbs.Subgraph, ours: Sequence[int], quantized_graph: fbs.Subgraph, theirs: Sequence[int], what: str
) -> list[int]:
    if len(ours) != len(theirs):
        raise InputError(f"expected models with the same number of {what}, found {len(ours)} and {len(theirs)}")
    names = [float_graph.tensors[number].name for number in ours]
    others = [quantized_graph.tensors[number].name for number in theirs]
    if sorted(names) == sorted(others) and len(set(names)) == len(names):
        return [names.index(name) for name in others]
    return list(range(len(ours)))
