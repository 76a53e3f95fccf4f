"""Every tensor of a model, and inside every op every stage."""

from __future__ import annotations

import html
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import Any

import numpy as np
import numpy.typing as npt

from kernels.engine.registry import profile_running
from kernels.profiles import LITERT_REFERENCE, Profile
from qmath.errors import InputError
from qmath.types import Array, QuantParams
from quantref.api import prepared_interpreter
from quantref.control_flow import HANDLERS
from quantref.execution import Graph
from quantref.interpreter import ModelSource
from quantref.names import tensor_keys
from quantref.npz import save_npz
from quantref.parameters import Parameter, parameters
from quantref.recording import Ends, Stage, evaluate_all, range_of


@dataclass(frozen=True, slots=True)
class TensorTrace:
    """A tensor of the main subgraph and its value after the run.

    Attributes
    ----------
    index, name, dtype
        As in the file; ``name`` is unique: ``index:name`` where the file repeats one.
    value
        Its elements.
    quant
        Quantization parameters, or None.

    """

    index: int
    name: str
    dtype: str
    value: Array
    quant: QuantParams | None

    def to_json(self) -> dict[str, Any]:
        """Return plain values: the range, not the elements."""
        plain = {"index": self.index, "name": self.name, "dtype": self.dtype, "shape": list(self.value.shape)}
        return plain | range_of(self.value)


@dataclass(frozen=True, slots=True)
class OpTrace:
    """What happened inside one op.

    Attributes
    ----------
    index, name
        Place in the main subgraph, and what it is.
    profile
        The profile whose kernels ran it: for a delegate, its own or the one that it leaves ops to.
    inputs, outputs
        Names of tensors, as in :class:`TensorTrace`; an absent input is empty.
    parameters
        Every number that the prepared op holds, by its place: multipliers, shifts, zero points, ranges.
    stages
        In the order of the definition. Ops that call other subgraphs have none.

    """

    index: int
    name: str
    profile: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    parameters: Mapping[str, Parameter]
    stages: tuple[Stage, ...]

    @property
    def ends(self) -> Ends:
        """How many elements met an end of their range, over all stages."""
        return reduce(add, (stage.ends for stage in self.stages), Ends())

    def stage(self, name: str) -> Array:
        """Return the value of a stage.

        Raises
        ------
        InputError
            The op has no such stage.

        """
        for stage in self.stages:
            if stage.name == name:
                return stage.value
        known = ", ".join(stage.name for stage in self.stages)
        raise InputError(f"expected a stage of op {self.index} {self.name} among {known}, found {name!r}")

    def to_json(self) -> dict[str, Any]:
        """Return plain values: of stages the range, not the elements."""
        return {
            "index": self.index,
            "name": self.name,
            "profile": self.profile,
            "inputs": list(self.inputs),
            "outputs": list(self.outputs),
            "parameters": {
                name: value.tolist() if isinstance(value, np.ndarray) else value
                for name, value in self.parameters.items()
            },
            "stages": [stage.to_json() for stage in self.stages],
            "ends": self.ends.to_json(),
        }


@dataclass(frozen=True, slots=True)
class Trace:
    """A run of a model with nothing hidden.

    Attributes
    ----------
    model
        Name of the file, if it has one.
    profile
        The arithmetic.
    tensors
        Every tensor of the main subgraph that has a value.
    ops
        Every operator of the main subgraph, in order.

    """

    model: str
    profile: str
    tensors: tuple[TensorTrace, ...]
    ops: tuple[OpTrace, ...]

    def tensor(self, name: str) -> Array:
        """Return the value of a tensor by its name.

        Raises
        ------
        InputError
            There is no such tensor.

        """
        for tensor in self.tensors:
            if tensor.name == name:
                return tensor.value
        raise InputError(f"expected a tensor among {[tensor.name for tensor in self.tensors]}, found {name!r}")

    def arrays(self) -> dict[str, Array]:
        """Return everything as arrays by key.

        - ``tensor/NAME``: the value of a tensor; the handle of a variable is text.
        - ``op/003:CONV_2D/parameter/PLACE``: a parameter of op 3; words are arrays of text.
        - ``op/003:CONV_2D/stage/02:NAME``: its third stage.
        - ``op/003:CONV_2D/ends/02:NAME``: how many elements of that stage wrapped, were clamped to the lowest, and to
          the highest value; only where there are any.
        """
        found = {
            f"tensor/{tensor.name}": tensor.value.astype(np.str_) if tensor.value.dtype == object else tensor.value
            for tensor in self.tensors
        }
        for op in self.ops:
            place = f"op/{op.index:03}:{op.name}"
            found |= {f"{place}/parameter/{name}": np.asarray(value) for name, value in op.parameters.items()}
            for number, stage in enumerate(op.stages):
                found[f"{place}/stage/{number:02}:{stage.name}"] = stage.value
                if stage.ends:
                    counts = np.array([stage.ends.wrapped, stage.ends.below, stage.ends.above])
                    found[f"{place}/ends/{number:02}:{stage.name}"] = counts
        return found

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write :meth:`arrays` as an ``.npz``, whole or not at all.

        Raises
        ------
        InputError
            The file cannot be written.

        """
        save_npz(path, self.arrays())

    def to_json(self) -> dict[str, Any]:
        """Return plain values: of tensors and stages the range, not the elements."""
        return {
            "model": self.model,
            "profile": self.profile,
            "tensors": [tensor.to_json() for tensor in self.tensors],
            "ops": [op.to_json() for op in self.ops],
        }

    def summary(self) -> str:
        """Return a line for the whole and one for each op where a value met the end of its range."""
        stages = sum(len(op.stages) for op in self.ops)
        lines = [
            f"{self.model} under {self.profile}: {len(self.tensors)} tensors, {len(self.ops)} ops, {stages} stages"
        ]
        lines += [f"op {op.index} {op.name}: {in_words(op.ends)}" for op in self.ops if op.ends]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        """Return a table of the ops for notebooks."""
        head = "".join(f"<th>{name}</th>" for name in HEAD)
        rows = "".join(
            "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in cells(op)) + "</tr>" for op in self.ops
        )
        first = html.escape(self.summary().splitlines()[0])
        return f"<p>{first}</p><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"


#: What a table of the ops shows.
HEAD = ("", "op", "gives", "stages", "accumulator", "wrapped", "clamped low", "clamped high")


def cells(op: OpTrace) -> tuple[str, ...]:
    """Return an op's row of the table with :data:`HEAD`."""
    reach = next((range_of(stage.value) for stage in op.stages if stage.name == "accumulator"), {"min": None})
    accumulator = "" if reach["min"] is None else f"{reach['min']:g} to {reach['max']:g}"
    ends = tuple(f"{count:,}" if count else "" for count in (op.ends.wrapped, op.ends.below, op.ends.above))
    stages = ", ".join(stage.name for stage in op.stages)
    return str(op.index), op.name, ", ".join(op.outputs), stages, accumulator, *ends


def in_words(ends: Ends) -> str:
    """Say how many elements met which end."""
    counts = ((ends.wrapped, "wrapped"), (ends.below, "clamped to the lowest"), (ends.above, "clamped to the highest"))
    return ", ".join(f"{count:,} {what}" for count, what in counts if count) or "none met an end"


def trace(model: ModelSource, inputs: Mapping[str, npt.ArrayLike], profile: str | Profile = LITERT_REFERENCE) -> Trace:
    """Run a model once by the literal definitions of its ops, and keep every tensor and every stage.

    Parameters
    ----------
    model
        A path, the bytes of a file, or a model.
    inputs
        An array for each input by its tensor's name (``"index:name"`` where names repeat).
    profile
        Which runtime's arithmetic.

    Raises
    ------
    InputError
        Names, types or shapes do not fit.
    ModelError, UnsupportedError
        The model is damaged, or not covered under the profile.

    """
    interpreter = prepared_interpreter(model, inputs, profile)
    graph = interpreter.graph
    keys = tensor_keys(graph.subgraph)
    with interpreter.in_file():
        ops = tuple(
            _op(graph, index, [None if x is None else x.shape for x in read], recorder.stages, keys)
            for index, read, _, recorder in evaluate_all(graph, keep_terms=False)
        )
        tensors = tuple(
            TensorTrace(number, keys[number], tensor.dtype.name.lower(), value.copy(), tensor.quant)
            for number, (tensor, value) in enumerate(zip(graph.subgraph.tensors, graph.values, strict=True))
            if value is not None
        )
    name = interpreter.model.path.name if interpreter.model.path else "model"
    return Trace(name, interpreter.profile.name, tensors, ops)


def _op(
    graph: Graph, index: int, shapes: list[tuple[int, ...] | None], stages: tuple[Stage, ...], keys: list[str]
) -> OpTrace:
    operator, profile = graph.subgraph.operators[index], graph.session.profile
    found: dict[str, Parameter] = {}
    if operator.name not in HANDLERS:
        found = parameters(graph.prepared(index))
        profile = profile_running(graph.view(index, shapes), profile)
    named = ("" if number < 0 else keys[number] for number in operator.inputs)
    outputs = (keys[number] for number in operator.outputs if number >= 0)
    return OpTrace(index, operator.name, profile.name, tuple(named), tuple(outputs), found, stages)
