"""Hold a quantized model against another tool's: parameters, codes, ops, wherever the tensors stand in the file.

Tensor numbers, names and the place of a QUANTIZE among its neighbours may differ; nothing else may. The ops other than
QUANTIZE and DEQUANTIZE come in the same order in both, so every operand of one has its counterpart in the other, and
what leads to it (conversions, then an op's result, a graph input or a constant) is compared along with it.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

import fbs

CONVERSIONS = {"QUANTIZE", "DEQUANTIZE"}


@dataclass
class Sameness:
    """What was found.

    Attributes
    ----------
    equal, compared
        By kind: ops, activations (operands and results), constants, options, versions, outputs, and whether the whole
        sequence of op names is the same.
    differences
        The first few, in words.

    """

    equal: Counter[str] = field(default_factory=Counter)
    compared: Counter[str] = field(default_factory=Counter)
    differences: list[str] = field(default_factory=list)

    def note(self, kind: str, where: str, *pairs: tuple[object, object]) -> None:
        """Count one comparison of all these pairs."""
        self.compared[kind] += 1
        wrong = [f"{ours!r} for {theirs!r}" for ours, theirs in pairs if not _same(ours, theirs)]
        if wrong:
            self.differences.append(f"{kind} of {where}: {'; '.join(wrong)[:200]}")
        else:
            self.equal[kind] += 1

    def __str__(self) -> str:
        """Return the counts."""
        return ", ".join(f"{kind} {self.equal[kind]}/{count}" for kind, count in sorted(self.compared.items()))


def _same(ours: object, theirs: object) -> bool:
    if isinstance(ours, np.ndarray) and isinstance(theirs, np.ndarray):
        return ours.dtype == theirs.dtype and ours.tobytes() == theirs.tobytes()
    return type(ours) is type(theirs) and ours == theirs


class _View:
    """A model with its main ops set apart from conversions."""

    def __init__(self, model: fbs.Model) -> None:
        self.subgraph = model.subgraphs[0]
        self.tensors = self.subgraph.tensors
        self.main = [op for op in self.subgraph.operators if op.name not in CONVERSIONS]

    @cached_property
    def producers(self) -> dict[int, fbs.Operator]:
        return {tensor: op for op in self.subgraph.operators for tensor in op.outputs}

    @cached_property
    def results(self) -> dict[int, tuple[int, int]]:
        return {tensor: (n, slot) for n, op in enumerate(self.main) for slot, tensor in enumerate(op.outputs)}

    def origin(self, index: int) -> tuple[object, ...]:
        """Describe what leads to a tensor."""
        if index < 0:
            return ("absent",)
        tensor = self.tensors[index]
        if tensor.is_constant:
            return ("constant", *self.stored(index), _bytes(tensor.data))
        if index in self.results:
            return ("result", self.results[index], *self.stored(index))
        if index in self.producers:
            op = self.producers[index]
            return (op.name, op.version, *self.stored(index), *self.origin(op.inputs[0]))
        position = self.subgraph.inputs.index(index) if index in self.subgraph.inputs else -1
        return ("input", position, tensor.is_variable, *self.stored(index))

    def stored(self, index: int) -> tuple[object, ...]:
        """Return type, shape and quantization of a tensor."""
        tensor = self.tensors[index]
        quant = tensor.quant
        if quant is None:
            return (tensor.dtype.name, tensor.shape)
        axis = quant.quantized_dimension if quant.per_axis else None
        codes = tuple(map(int, quant.zero_point))
        return (tensor.dtype.name, tensor.shape, axis, quant.scale.tobytes(), codes)


def _bytes(data: np.ndarray | None) -> bytes:
    return b"" if data is None else np.ascontiguousarray(data).tobytes()


def compare(ours: fbs.Model, theirs: fbs.Model) -> Sameness:
    """Compare two quantized forms of one model."""
    one, other, found = _View(ours), _View(theirs), Sameness()
    found.note("sequence", "ops", *_pair([op.name for op in m.subgraph.operators] for m in (one, other)))
    found.note("conversions", "graph", *_pair(_conversions(m) for m in (one, other)))
    for number, (op, their_op) in enumerate(zip(one.main, other.main, strict=False)):
        where = f"op {number} {op.name}"
        found.note("ops", where, (op.name, their_op.name), (len(op.inputs), len(their_op.inputs)))
        found.note("versions", where, (op.version, their_op.version))
        if op.options is not None and their_op.options is not None:
            found.note("options", where, (dict(op.options), dict(their_op.options)))
        for slot, pair in enumerate(zip(op.inputs, their_op.inputs, strict=False)):
            kind = "constants" if pair[1] >= 0 and _leads_to_constant(other, pair[1]) else "activations"
            found.note(kind, f"{where} input {slot}", (one.origin(pair[0]), other.origin(pair[1])))
        for slot, pair in enumerate(zip(op.outputs, their_op.outputs, strict=False)):
            found.note("activations", f"{where} output {slot}", (one.stored(pair[0]), other.stored(pair[1])))
        for slot, pair in enumerate(zip(op.intermediates, their_op.intermediates, strict=False)):
            found.note("activations", f"{where} intermediate {slot}", (one.stored(pair[0]), other.stored(pair[1])))
    for position, pair in enumerate(zip(one.subgraph.outputs, other.subgraph.outputs, strict=True)):
        found.note("outputs", f"output {position}", (one.origin(pair[0]), other.origin(pair[1])))
    for position, pair in enumerate(zip(one.subgraph.inputs, other.subgraph.inputs, strict=True)):
        found.note("inputs", f"input {position}", (one.origin(pair[0]), other.origin(pair[1])))
    return found


def _pair(values: object) -> list[tuple[object, object]]:
    one, other = values  # type: ignore[misc]
    return [(one, other)]


def _conversions(view: _View) -> dict[str, int]:
    return dict(Counter(op.name for op in view.subgraph.operators if op.name in CONVERSIONS))


def _leads_to_constant(view: _View, index: int) -> bool:
    while index in view.producers and view.producers[index].name in CONVERSIONS:
        index = view.producers[index].inputs[0]
    return view.tensors[index].is_constant
