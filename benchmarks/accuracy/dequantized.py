"""A float32 model from an int8 one: for networks of which only that was published.

Every code is read as the real number that it stands for. The result is the network that the int8 file describes, before
its arithmetic rounds; quantized again, it shows what each mode costs on real data.
"""

from __future__ import annotations

import dataclasses

import fbs
from fbs.model import Buffer
from qmath.affine import dequantize
from qmath.errors import UnsupportedError
from qmath.types import DType

_CONVERSIONS = {"QUANTIZE", "DEQUANTIZE"}


def dequantized(model: fbs.Model) -> fbs.Model:
    """Return a model with float32 tensors and weights.

    Raises
    ------
    UnsupportedError
        The model converts between types inside.

    """
    graph = model.subgraphs[0]
    if any(operator.name in _CONVERSIONS for operator in graph.operators):
        raise UnsupportedError("expected a model that is int8 throughout, found QUANTIZE or DEQUANTIZE")
    tensors = tuple(_real(tensor) for tensor in graph.tensors)
    return dataclasses.replace(model, subgraphs=(dataclasses.replace(graph, tensors=tensors),)).pruned()


def _real(tensor: fbs.Tensor) -> fbs.Tensor:
    quant = tensor.quant
    if quant is None or tensor.dtype not in {DType.INT8, DType.INT32}:
        return tensor
    changes = {"dtype": DType.FLOAT32, "quantization": None}
    if tensor.data is not None:
        axis = min(quant.quantized_dimension, tensor.data.ndim - 1)  # some files give a bias its weights' axis
        values = dequantize(tensor.data, dataclasses.replace(quant, quantized_dimension=axis))
        changes["buffer"] = Buffer.of(values, DType.FLOAT32)
    return dataclasses.replace(tensor, **changes)
