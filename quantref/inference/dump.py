"""What a device wrote down: inputs, outputs, perhaps tensors in between, cut into invocations.

Arrays are keyed as ``quantref run`` keys them: by the tensor's name, or ``index:name``. Besides, ``input_0``,
``output_0`` (by position) and ``tensor_26`` (by index) are understood, for devices that know no names.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

import fbs
from qmath.errors import InputError
from qmath.types import Array
from quantref.names import tensor_keys
from quantref.samples import as_type, samples_from

_POSITION = re.compile(r"(input|output|tensor)_(\d+)")


@dataclass(frozen=True, slots=True)
class Invocation:
    """One run of a model: its inputs, in order, and the tensors that are known of it, by index."""

    inputs: Sequence[Array]
    tensors: Mapping[int, Array]


@dataclass(frozen=True, slots=True)
class Dump:
    """What is known of some invocations of a model, one after the other.

    Attributes
    ----------
    model
        The model.
    invocations
        In order; variable tensors keep their values in between.
    source
        Where it comes from, in words.

    """

    model: fbs.Model
    invocations: tuple[Invocation, ...]
    source: str = "given outputs"

    @property
    def observed(self) -> frozenset[int]:
        """Indices of the tensors that every invocation has, inputs and constants left out."""
        sets = [frozenset(invocation.tensors) for invocation in self.invocations]
        return frozenset.intersection(*sets) if sets else frozenset()


def read_dump(
    model: fbs.Model,
    inputs: Mapping[str, Array] | None,
    outputs: Mapping[str, Array],
    column: str = "",
    source: str = "given outputs",
) -> Dump:
    """Cut arrays into invocations.

    Parameters
    ----------
    model
        The model that they are of.
    inputs
        Its inputs, samples along axis 0; None if they are among the outputs.
    outputs
        Some of its tensors: of one invocation, or of as many as there are inputs, joined along the first axis where
        that is 1 in the model, along a new first axis otherwise.
    column
        Where one file holds what several runtimes gave: read only the keys ``column__KEY``.
    source
        Where it comes from, in words.

    Raises
    ------
    InputError
        A key means no tensor, an array does not fit its tensor, or there is nothing to compare.

    """
    indices = tensor_indices(model)
    arrays = _of_column(outputs, column)
    graph = model.subgraphs[0]
    given = inputs if inputs is not None else _inputs_among(model, indices, {**outputs, **arrays})
    samples = samples_from(model, _by_key(model, indices, given, graph.inputs))
    known: dict[int, list[Array]] = {}
    for key, array in arrays.items():
        if key not in indices:
            raise InputError(f"expected keys that are names of tensors, such as {_some(model)}, found {key!r}")
        tensor = graph.tensors[indices[key]]
        if tensor.data is None and tensor.dtype.bits and indices[key] not in graph.inputs:
            known[indices[key]] = _cut(tensor, key, array, len(samples))
    if not known:
        raise InputError(f"expected tensors that the model computes, such as {_some(model)}, found {_listed(arrays)}")
    invocations = (
        Invocation(sample, {index: values[number] for index, values in known.items()})
        for number, sample in enumerate(samples)
    )
    return Dump(model, tuple(invocations), source)


def tensor_indices(model: fbs.Model) -> dict[str, int]:
    """Return every key that means a tensor of the main subgraph."""
    graph = model.subgraphs[0]
    signed = {
        name: index
        for signature in model.signatures
        if signature.subgraph_index == 0
        for name, index in (*signature.inputs, *signature.outputs)
    }
    positions = {
        f"{kind}_{position}": index
        for kind, indices in (("input", graph.inputs), ("output", graph.outputs), ("tensor", range(len(graph.tensors))))
        for position, index in enumerate(indices)
    }
    numbered = {f"{index}:{tensor.name}": index for index, tensor in enumerate(graph.tensors)}
    return positions | signed | numbered | {key: index for index, key in enumerate(tensor_keys(graph))}


def _of_column(arrays: Mapping[str, Array], column: str) -> Mapping[str, Array]:
    if not column:
        return arrays
    found = {key.removeprefix(f"{column}__"): array for key, array in arrays.items() if key.startswith(f"{column}__")}
    if not found:
        columns = dict.fromkeys(key.partition("__")[0] for key in arrays if "__" in key)
        raise InputError(f"expected keys that begin with {column}__; found columns {', '.join(columns) or 'none'}")
    return found


def _inputs_among(model: fbs.Model, indices: Mapping[str, int], arrays: Mapping[str, Array]) -> dict[str, Array]:
    inputs = model.subgraphs[0].inputs
    found = {indices[key]: array for key, array in arrays.items() if indices.get(key) in inputs}
    keys = tensor_keys(model.subgraphs[0])
    missing = [keys[index] for index in inputs if index not in found]
    if missing:
        raise InputError(f"expected inputs beside the outputs, found no {', '.join(map(repr, missing))}")
    return {keys[index]: array for index, array in found.items()}


def _by_key(
    model: fbs.Model, indices: Mapping[str, int], arrays: Mapping[str, Array], inputs: Sequence[int]
) -> dict[str, Array]:
    """Return arrays under the keys that :func:`samples_from` knows; other tensors' and notes are left out."""
    keys = tensor_keys(model.subgraphs[0])
    known = {keys[indices[key]]: array for key, array in arrays.items() if indices.get(key) in inputs}
    strange = [key for key in arrays if key not in indices and _POSITION.fullmatch(key) is None]
    return known if known or not strange else dict(arrays)


def _cut(tensor: fbs.Tensor, key: str, array: Array, count: int) -> list[Array]:
    """Cut what several invocations gave, whatever of the ways to join them was taken."""
    values, rank = as_type(tensor, key, np.asarray(array)), len(tensor.shape)
    open_ended = -1 in (tensor.shape_signature or ())
    if values.size == count * math.prod(tensor.shape) and not open_ended:
        return list(values.reshape(count, *tensor.shape))
    if open_ended and values.ndim == rank + 1 and values.shape[0] == count:
        return list(values)
    if open_ended and values.ndim == rank and count == 1:
        return [values]
    if open_ended and values.ndim == rank and values.shape[0] == count:
        return [values[number : number + 1] for number in range(count)]
    wanted = [count, *tensor.shape]
    raise InputError(f"{key!r}: expected shape {wanted} for {count} samples, found {list(values.shape)}")


def _some(model: fbs.Model) -> str:
    graph = model.subgraphs[0]
    keys = tensor_keys(graph)
    return ", ".join(repr(keys[index]) for index in graph.outputs[:3])


def _listed(arrays: Mapping[str, Array]) -> str:
    return ", ".join(repr(key) for key in list(arrays)[:8]) or "nothing"
