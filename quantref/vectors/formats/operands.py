"""The tensors of a case by place: ``in0`` is the op's first input, constant or not, ``out0`` its first output."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

import fbs
from qmath.types import Array
from quantref.names import tensor_keys
from quantref.vectors.running import Answer


@dataclass(frozen=True, slots=True)
class Operand:
    """One tensor.

    Attributes
    ----------
    place
        ``in0``, ``in1`` ... by the op's slots (of a whole model, by the model's inputs), ``out0`` ...
    name, tensor
        Its name in the files of arrays, and what the model says of it.
    values
        One array an invocation; of a constant one alone; of an output those of each profile that differs.
    constant
        Whether it lies in the model.

    """

    place: str
    name: str
    tensor: fbs.Tensor
    values: tuple[Array, ...]
    constant: bool = False

    def numbered(self) -> list[tuple[str, Array]]:
        """Return each array with its place: ``in1``, or ``in0_2`` at the third invocation."""
        if self.constant:
            return [(self.place, self.values[0])]
        return [(f"{self.place}_{number}", value) for number, value in enumerate(self.values)]


def operands(model: fbs.Model, samples: Sequence[Mapping[str, Array]]) -> list[Operand]:
    """Return the inputs; absent ones and variables are left out."""
    graph = model.subgraphs[0]
    keys = tensor_keys(graph)
    slots = graph.operators[0].inputs if len(graph.operators) == 1 else graph.inputs
    found = []
    for slot, index in enumerate(slots):
        tensor = graph.tensors[index] if index >= 0 else None
        if tensor is None or tensor.is_variable:
            continue
        if tensor.data is not None:
            found.append(Operand(f"in{slot}", keys[index], tensor, (tensor.data,), constant=True))
        elif index in graph.inputs:
            found.append(Operand(f"in{slot}", keys[index], tensor, tuple(sample[keys[index]] for sample in samples)))
    return found


def results(model: fbs.Model, answer: Answer) -> list[Operand]:
    """Return the outputs under a profile."""
    graph = model.subgraphs[0]
    keys = tensor_keys(graph)
    return [
        Operand(f"out{n}", keys[i], graph.tensors[i], tuple(outputs[keys[i]] for outputs in answer.outputs))
        for n, i in enumerate(graph.outputs)
    ]


def distinct(model: fbs.Model, answers: Mapping[str, Answer]) -> dict[str, str]:
    """Return for each profile the first one that gives the same outputs."""
    first: dict[bytes, str] = {}
    found = {}
    for profile, answer in answers.items():
        arrays = [array for operand in results(model, answer) for array in operand.values]
        content = b"".join(str(array.shape).encode() + np.ascontiguousarray(array).tobytes() for array in arrays)
        found[profile] = first.setdefault(content, profile)
    return found
