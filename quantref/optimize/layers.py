"""The weights of a float model that pruning and clustering work on."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

import fbs
from qmath.errors import InputError
from qmath.types import Array, DType, Float32Array

#: Input slots of an op that hold weights, and the axis that its output channels run along.
WEIGHTS: Mapping[str, tuple[tuple[int, ...], int]] = {
    "CONV_2D": ((1,), 0),
    "CONV_3D": ((1,), 4),
    "DEPTHWISE_CONV_2D": ((1,), 3),
    "TRANSPOSE_CONV": ((1,), 0),
    "FULLY_CONNECTED": ((1,), 0),
    "BATCH_MATMUL": ((1,), -1),
    "EMBEDDING_LOOKUP": ((1,), 0),
    "SVDF": ((1, 2), 0),
    "LSTM": (tuple(range(1, 9)), 0),
    "UNIDIRECTIONAL_SEQUENCE_LSTM": (tuple(range(1, 9)), 0),
    "BIDIRECTIONAL_SEQUENCE_LSTM": ((*range(1, 9), *range(18, 26)), 0),
    "RNN": ((1, 2), 0),
    "UNIDIRECTIONAL_SEQUENCE_RNN": ((1, 2), 0),
}
_QUANTIZED = {DType.INT8, DType.UINT8, DType.INT4, DType.INT16, DType.INT2, DType.FLOAT16}


@dataclass(frozen=True, slots=True)
class Layer:
    """One constant of weights.

    Attributes
    ----------
    subgraph, tensor
        Where it is.
    name
        Of the tensor.
    op
        The op that reads it first.
    channel_axis
        Along which the op's output channels run.
    values
        The weights: float32, or codes if the model is quantized.

    """

    subgraph: int
    tensor: int
    name: str
    op: str
    channel_axis: int
    values: Array

    def by_channel(self) -> Array:
        """Return the weights as (channels, weights of a channel)."""
        return np.moveaxis(self.values, self.channel_axis, 0).reshape(self.values.shape[self.channel_axis], -1)

    def from_channels(self, rows: Array) -> Array:
        """Undo :meth:`by_channel`."""
        moved = np.moveaxis(self.values, self.channel_axis, 0).shape
        return np.ascontiguousarray(np.moveaxis(rows.reshape(moved), 0, self.channel_axis))


def layers_of(model: fbs.Model) -> tuple[Layer, ...]:
    """Return every constant that an op reads as weights, itself or dequantized, once, in the order of the ops."""
    found: dict[tuple[int, int], Layer] = {}
    for number, subgraph in enumerate(model.subgraphs):
        stored = {op.outputs[0]: op.inputs[0] for op in subgraph.operators if op.name == "DEQUANTIZE"}
        for operator in subgraph.operators:
            slots, axis = WEIGHTS.get(operator.name, ((), 0))
            for read in (operator.inputs[slot] for slot in slots if slot < len(operator.inputs)):
                index = stored.get(read, read)
                tensor = subgraph.tensors[index] if index >= 0 else None
                if tensor is not None and tensor.is_constant and tensor.data is not None and tensor.data.size:
                    axis_here = axis % len(tensor.shape)
                    layer = Layer(number, index, tensor.name, operator.name, axis_here, tensor.data)
                    found.setdefault((number, index), layer)
    return tuple(found.values())


def chosen_layers(model: fbs.Model, exclude: Sequence[str] = ()) -> tuple[Layer, ...]:
    """Return the float32 weights of a model, but for those whose name a pattern matches.

    Parameters
    ----------
    model
        A float model.
    exclude
        Regular expressions, searched for in names of weights.

    Raises
    ------
    InputError
        The model is quantized or has no weights, a pattern is malformed, or matches no layer.

    """
    layers = layers_of(model)
    quantized = [layer for layer in layers if model.subgraphs[layer.subgraph].tensors[layer.tensor].dtype in _QUANTIZED]
    if quantized:
        raise InputError(
            f"expected a float model, found {quantized[0].values.dtype} weights {quantized[0].name!r}: "
            "prune and cluster first, quantize after"
        )
    floats = [layer for layer in layers if layer.values.dtype == np.float32]
    if not floats:
        raise InputError("expected a model with float32 weights, found none")
    for pattern in exclude:
        try:
            expression = re.compile(pattern)
        except re.error as error:
            raise InputError(f"expected a regular expression, found {pattern!r}: {error}") from error
        if not any(expression.search(layer.name) for layer in floats):
            names = ", ".join(layer.name for layer in floats)
            raise InputError(f"expected a pattern of a layer's name, found {pattern!r}, which matches none of {names}")
    return tuple(layer for layer in floats if not any(re.search(pattern, layer.name) for pattern in exclude))


def with_weights(model: fbs.Model, values: Mapping[tuple[int, int], Float32Array]) -> fbs.Model:
    """Return a model in which some constants, by subgraph and tensor, have other values."""
    subgraphs = []
    for number, subgraph in enumerate(model.subgraphs):
        tensors = list(subgraph.tensors)
        for (where, index), array in values.items():
            if where == number:
                buffer = fbs.Buffer.of(np.asarray(array, np.float32), DType.FLOAT32)
                tensors[index] = dataclasses.replace(tensors[index], buffer=buffer, sparsity=None)
        subgraphs.append(dataclasses.replace(subgraph, tensors=tuple(tensors)))
    return with_subgraphs(model, subgraphs)


def with_subgraphs(model: fbs.Model, subgraphs: Sequence[fbs.Subgraph]) -> fbs.Model:
    """Return a model with other subgraphs, without the buffers that only the old ones used."""
    used = {id(tensor.buffer) for subgraph in subgraphs for tensor in subgraph.tensors}
    before = {id(tensor.buffer) for subgraph in model.subgraphs for tensor in subgraph.tensors}
    buffers = tuple(buffer for buffer in model.buffers if id(buffer) in used or id(buffer) not in before)
    return dataclasses.replace(model, subgraphs=tuple(subgraphs), buffers=buffers)
