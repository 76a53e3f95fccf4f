"""How a delegate divides a graph: which ops it takes, why it leaves the others, and in how many pieces.

A delegate is asked about every op (:mod:`kernels.engine.delegate`); then the graph is cut into pieces of ops that it
takes and of ops that it leaves, such that each piece can run at once: as many ops of one kind as have their inputs
ready, then as many of the other kind, and so on. Each piece that it takes is handed over as a whole.
"""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

import fbs
from kernels.engine import registry
from kernels.engine.types import OpView, SparsityView, TensorView
from kernels.profiles import Profile, profile_named
from qmath.errors import InputError, QuantrefError
from qmath.types import Array, DType, QuantParams
from quantref.control_flow import HANDLERS
from quantref.interpreter import ModelSource, load
from quantref.locations import located
from quantref.names import tensor_keys

#: Types of constants that XNNPACK unpacks to float32 before it runs.
_UNPACKED = frozenset({DType.FLOAT16, DType.INT8})


@dataclass(frozen=True, slots=True)
class Placement:
    """Where one op runs.

    Attributes
    ----------
    index, name, types, output
        The op, the element types of its inputs and outputs, and the tensor that it gives.
    runs_under
        The profile whose kernels run it.
    reason
        Why the delegate leaves it; empty if it takes it.
    piece
        Number of the piece of the graph that it is part of.

    """

    index: int
    name: str
    types: str
    output: str
    runs_under: str
    reason: str
    piece: int

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "index": self.index,
            "name": self.name,
            "types": self.types,
            "output": self.output,
            "runs_under": self.runs_under,
            "taken": not self.reason,
            "reason": self.reason,
            "piece": self.piece,
        }


@dataclass(frozen=True, slots=True)
class Piece:
    """Ops that run at once: all taken by the delegate, or all left.

    Attributes
    ----------
    number
        In the order in which they run.
    runs_under
        The profile whose kernels run it.
    taken
        Whether the delegate has it.
    ops
        Indices of its ops, in order.
    inputs, outputs
        Tensors that come from other pieces or the caller, constants left out; those that others or the caller need.

    """

    number: int
    runs_under: str
    taken: bool
    ops: tuple[int, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "number": self.number,
            "runs_under": self.runs_under,
            "taken": self.taken,
            "ops": list(self.ops),
            "inputs": list(self.inputs),
            "outputs": list(self.outputs),
        }


@dataclass(frozen=True, slots=True)
class Partition:
    """How the main subgraph of a model is divided between a delegate and the profile that it falls back on.

    Attributes
    ----------
    model, profile, fallback
        Name of the file, of the delegate's profile, and of the one that runs the rest.
    ops
        Every op, in order.
    pieces
        In the order in which they run.

    """

    model: str
    profile: str
    fallback: str
    ops: tuple[Placement, ...]
    pieces: tuple[Piece, ...]

    @property
    def taken(self) -> int:
        """How many ops the delegate takes."""
        return sum(not op.reason for op in self.ops)

    @property
    def partitions(self) -> int:
        """How many pieces the delegate is handed."""
        return sum(piece.taken for piece in self.pieces)

    def summary(self) -> str:
        """Return the counts, and each reason with the ops that it left."""
        count = f"{self.taken} of {len(self.ops)} ops in {self.partitions} partition{'s' * (self.partitions != 1)}"
        lines = [f"{self.model}: {self.profile} takes {count}; {len(self.ops) - self.taken} run under {self.fallback}"]
        reasons: dict[str, list[str]] = {}
        for op in self.ops:
            if op.reason:
                reasons.setdefault(op.reason, []).append(f"{op.index} {op.name}")
        return "\n".join([*lines, *(f"{reason}: {', '.join(ops)}" for reason, ops in reasons.items())])

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "model": self.model,
            "profile": self.profile,
            "fallback": self.fallback,
            "taken": self.taken,
            "partitions": self.partitions,
            "ops": [op.to_json() for op in self.ops],
            "pieces": [piece.to_json() for piece in self.pieces],
        }

    def _repr_html_(self) -> str:
        """Return a table for notebooks."""
        head = "".join(f"<th>{name}</th>" for name in ("", "op", "types", "gives", "piece", "runs under", "why"))
        rows = "".join(
            "<tr>"
            + "".join(
                f"<td>{html.escape(str(cell))}</td>"
                for cell in (op.index, op.name, op.types, op.output, op.piece, op.runs_under, op.reason)
            )
            + "</tr>"
            for op in self.ops
        )
        lines = "<br>".join(html.escape(line) for line in self.summary().splitlines())
        return f"<p>{lines}</p><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"


def partition(model: ModelSource, profile: str | Profile) -> Partition:
    """Divide a model's main subgraph as a delegate does.

    Parameters
    ----------
    model
        Path, bytes, or a model.
    profile
        One of a delegate: ``xnnpack`` or ``xnnpack-arm64``.

    Raises
    ------
    InputError
        The profile is none of a delegate.
    ModelError, UnsupportedError
        The model cannot be read.

    """
    loaded, delegate = load(model), profile_named(profile)
    if delegate.fallback is None:
        raise InputError(f"expected the profile of a delegate, such as xnnpack, found {delegate.name}")
    graph = loaded.subgraphs[0]
    reasons = reasons_left(graph, delegate)
    numbers = pieces_of(graph, [not reason for reason in reasons])
    keys = tensor_keys(graph)
    names = [delegate.fallback.name if reason else delegate.name for reason in reasons]
    ops = tuple(
        Placement(
            index,
            op.name,
            _types(graph, op),
            keys[op.outputs[0]] if op.outputs else "",
            names[index],
            reasons[index],
            at,
        )
        for index, (op, at) in enumerate(zip(graph.operators, numbers, strict=True))
    )
    pieces = tuple(_piece(graph, number, ops, keys) for number in range(max(numbers, default=-1) + 1))
    return Partition(loaded.path.name if loaded.path else "model", delegate.name, delegate.fallback.name, ops, pieces)


def reasons_left(graph: fbs.Subgraph, delegate: Profile) -> list[str]:
    """Return for every op why a delegate leaves it; empty if it takes it.

    Constants that are dequantized first count as constants: the delegate unpacks them itself, if every op that reads
    them is one that it takes.
    """
    unpacked = {
        op.outputs[0]: index
        for index, op in enumerate(graph.operators)
        if op.name == "DEQUANTIZE" and _is_constant(graph, op) and graph.tensors[op.inputs[0]].dtype in _UNPACKED
    }
    reasons = [_reason(graph, op, delegate, unpacked) for op in graph.operators]
    for tensor, index in unpacked.items():
        readers = [number for number, op in enumerate(graph.operators) if tensor in op.inputs]
        left = [number for number in readers if reasons[number]]
        reasons[index] = f"op {left[0]} {graph.operators[left[0]].name}, which reads it, is left" if left else ""
    return reasons


def _is_constant(graph: fbs.Subgraph, operator: fbs.Operator) -> bool:
    return len(operator.inputs) == 1 and operator.inputs[0] >= 0 and graph.tensors[operator.inputs[0]].data is not None


def _reason(graph: fbs.Subgraph, operator: fbs.Operator, delegate: Profile, unpacked: Mapping[int, int]) -> str:
    if operator.name in HANDLERS:
        return f"XNNPACK does not take {operator.name}"
    view: OpView = fbs.view(graph, operator)
    stored = [number in unpacked for number in operator.inputs]
    if any(stored):
        view = _Unpacked(view, tuple(_Constant(x) if s and x else x for x, s in zip(view.inputs, stored, strict=True)))
    try:
        with located():
            return registry.kernel_of(view).refused_by(view, delegate) or ""
    except QuantrefError as error:
        return error.message


def pieces_of(graph: fbs.Subgraph, taken: Sequence[bool]) -> list[int]:
    """Return for every op the number of the piece that it runs in.

    1. The first op that is not in a piece and whose inputs are ready opens the next piece, of its kind.
    2. Every op of that kind whose inputs are ready joins it, in order, again and again until none does.
    3. Go on until every op is in a piece.

    Ops that change what others read in ways that tensors do not show keep their places among one another.
    """
    ready = {number for number, tensor in enumerate(graph.tensors) if tensor.data is not None or tensor.is_variable}
    ready |= {-1, *graph.inputs}
    written = {number for op in graph.operators for number in op.outputs}
    ready |= set(range(len(graph.tensors))) - written
    found = [-1] * len(graph.operators)
    piece = 0
    while -1 in found:
        kind: bool | None = None
        before = -1
        while before != found.count(-1):
            before = found.count(-1)
            for index, operator in enumerate(graph.operators):
                may = found[index] < 0 and ready.issuperset(operator.inputs) and _in_turn(graph, found, index)
                if may and kind in {None, taken[index]}:
                    kind, found[index] = taken[index], piece
                    ready.update(operator.outputs)
        if kind is None:  # a cycle, which validation refuses
            break
        piece += 1
    return found


def _in_turn(graph: fbs.Subgraph, found: Sequence[int], index: int) -> bool:
    """Whether an op with effects that tensors do not show comes behind all those before it."""
    if graph.operators[index].name not in HANDLERS:
        return True
    return all(found[number] >= 0 for number in range(index) if graph.operators[number].name in HANDLERS)


def _piece(graph: fbs.Subgraph, number: int, ops: Sequence[Placement], keys: Sequence[str]) -> Piece:
    inside = [op for op in ops if op.piece == number]
    indices = {op.index for op in inside}
    written = {n for index in indices for n in graph.operators[index].outputs}
    read = dict.fromkeys(n for index in sorted(indices) for n in graph.operators[index].inputs if n >= 0)
    inputs = tuple(keys[n] for n in read if n not in written and graph.tensors[n].data is None)
    outside = {n for index, op in enumerate(graph.operators) if index not in indices for n in op.inputs}
    needed = outside | set(graph.outputs)
    outputs = tuple(keys[n] for index in sorted(indices) for n in graph.operators[index].outputs if n in needed)
    return Piece(number, inside[0].runs_under, not inside[0].reason, tuple(sorted(indices)), inputs, outputs)


def _types(graph: fbs.Subgraph, operator: fbs.Operator) -> str:
    sides = (operator.inputs, operator.outputs)
    words = [[graph.tensors[number].dtype.name.lower() for number in side if number >= 0] for side in sides]
    return " -> ".join(", ".join(dict.fromkeys(side)) for side in words)


class _Constant:
    """A tensor as an op sees it whose value the delegate has unpacked; only that it is there counts."""

    def __init__(self, tensor: TensorView) -> None:
        self.name: str = tensor.name
        self.dtype: DType = tensor.dtype
        self.shape: tuple[int, ...] = tensor.shape
        self.quant: QuantParams | None = tensor.quant
        self.data: Array | None = np.broadcast_to(np.zeros((), tensor.dtype.storage), tensor.shape)
        self.sparsity: SparsityView | None = None
        self.is_variable: bool = False


class _Unpacked:
    """An op some of whose inputs the delegate has unpacked."""

    def __init__(self, op: OpView, inputs: Sequence[TensorView | None]) -> None:
        self.name: str = op.name
        self.version: int = op.version
        self.inputs: Sequence[TensorView | None] = inputs
        self.outputs: Sequence[TensorView] = op.outputs
        self.intermediates: Sequence[TensorView] = op.intermediates
        self.options: Mapping[str, Any] = op.options
        self.custom_options: bytes = op.custom_options
