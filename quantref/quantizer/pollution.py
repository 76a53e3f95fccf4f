"""Ranges that TFLiteConverter's calibrator records for tensors that an op has overwritten.

The calibrator looks at an op's inputs once more after the op ran. Where the memory planner lets the op write its
output over an input, it sees the output there, and the input's range takes in the output's. That costs resolution:
a convolution in front of a residual ADD gets the range of the sum.

Source: ``tflite/tools/optimize/calibration/calibrator.cc``; the planner is TensorFlow's ``arena_planner.cc``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import fbs
from qmath.calibration import Extent

#: Ops that may write over their first inputs: over how many of them.
_OVERWRITING = {
    "ADD": 2,
    "SUB": 2,
    "MUL": 2,
    "DIV": 2,
    "SOFTMAX": 1,
    "LOG_SOFTMAX": 1,
    "DYNAMIC_UPDATE_SLICE": 1,
}
#: Ops whose output may be their first input's memory, unchanged.
_SHARING = frozenset({"RESHAPE", "SQUEEZE", "EXPAND_DIMS", "BITCAST"})
#: Tensors of no more bytes than this are never overwritten.
_TOO_SMALL = 4


@dataclass(frozen=True, slots=True)
class Overwrite:
    """An op that writes its output where its input was.

    Attributes
    ----------
    op_index
        The op.
    source, target
        The tensor that it reads, and the one that it writes.

    """

    op_index: int
    source: int
    target: int


def overwritten_inputs(subgraph: fbs.Subgraph, sizes: Mapping[int, int] | None = None) -> list[Overwrite]:
    """Return which ops overwrite which of their inputs, by the rules of the runtime's memory planner.

    1. An op may write over the first of its inputs that is no input of the graph, no constant and no variable, as
       large as the output and more than 4 bytes, and that nobody else reads; unless the output is one of the graph.
    2. RESHAPE and its kin share their input's memory whatever its size. If that memory is overwritten through their
       output, it must not be read elsewhere either.

    Parameters
    ----------
    subgraph
        The graph.
    sizes
        Bytes of tensors where they are not those of the declared shape.

    """
    planner = _Planner(subgraph, sizes or {})
    return [found for index in range(len(subgraph.operators)) if (found := planner.place(index)) is not None]


class _Planner:
    """Places the outputs of ops, one op after the other."""

    def __init__(self, subgraph: fbs.Subgraph, sizes: Mapping[int, int]) -> None:
        self._graph = subgraph
        self._sizes = sizes
        read = [number for operator in subgraph.operators for number in operator.inputs]
        self._readers = Counter([*read, *subgraph.outputs])
        self._owners: dict[int, int] = {}

    def place(self, index: int) -> Overwrite | None:
        """Place an op's first output, and return what it overwrites, if anything."""
        operator = self._graph.operators[index]
        changes = operator.name in _OVERWRITING
        if not (changes or operator.name in _SHARING) or not operator.outputs:
            return None
        target = operator.outputs[0]
        candidates = operator.inputs[: _OVERWRITING.get(operator.name, 1)]
        source = next((number for number in candidates if self._may_share(number, target, changes=changes)), None)
        if source is None:
            return None
        owner = self._owners.get(source, source)
        if changes and self._readers[owner] > 1:
            return None
        self._owners[target] = owner
        return Overwrite(index, source, target) if changes else None

    def _may_share(self, source: int, target: int, *, changes: bool) -> bool:
        if source < 0 or source in self._graph.inputs or target in self._graph.outputs:
            return False
        tensor = self._graph.tensors[source]
        if tensor.is_constant or tensor.is_variable:
            return False
        size = self._bytes(source)
        return not changes or (_TOO_SMALL < size == self._bytes(target) and self._readers[source] == 1)

    def _bytes(self, number: int) -> int:
        if number in self._sizes:
            return self._sizes[number]
        tensor = self._graph.tensors[number]
        elements = 1
        for size in tensor.shape:
            elements *= size
        return elements * tensor.dtype.bits // 8


def polluted(extents: Mapping[int, Extent], overwrites: list[Overwrite]) -> dict[int, Extent]:
    """Return ranges as TFLiteConverter records them: those of overwritten tensors take in what replaced them."""
    found = dict(extents)
    for overwrite in overwrites:
        if overwrite.source in extents and overwrite.target in extents:
            found[overwrite.source] = found[overwrite.source] | extents[overwrite.target]
    return found
