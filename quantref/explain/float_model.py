"""What a float model gives for the same element."""

from __future__ import annotations

import numpy as np

import fbs
from qmath.affine import dequantize
from qmath.errors import InputError
from qmath.types import Array, DType
from quantref.api import prepared_interpreter
from quantref.execution import Graph
from quantref.explain.explanation import Element, FloatValue
from quantref.interpreter import ModelSource, load
from quantref.names import tensor_keys


def float_value(source: ModelSource, quantized: Graph, element: Element) -> FloatValue:
    """Run a float model on the real values of a quantized model's inputs and return its value of an element.

    Inputs belong together by name, or by their order where names differ. The tensor has to have the same name, but for
    digits at the end.

    Raises
    ------
    InputError
        The models take different inputs.

    """
    model = load(source)
    graph = model.subgraphs[0]
    keys = tensor_keys(graph)
    interpreter = prepared_interpreter(model, _real_inputs(quantized, graph, keys), "litert-reference")
    interpreter.invoke()
    name = next((name for name in _names(element.tensor) if name in keys), None)
    if name is None:
        return FloatValue(None, f"it has no tensor named {element.tensor!r}")
    number = keys.index(name)
    value = interpreter.graph.values[number]
    if value is None or graph.tensors[number].dtype is not DType.FLOAT32:
        return FloatValue(None, f"its {name!r} holds no real numbers")
    try:
        return FloatValue(float(value[element.index]), "" if name == element.tensor else f"in {name!r}")
    except IndexError:
        return FloatValue(None, f"its {name!r} has shape {list(value.shape)}")


def _names(tensor: str) -> tuple[str, str]:
    """Return what a tensor may be called: the converter puts a digit behind names that it makes twice."""
    return tensor, tensor.rstrip("0123456789")


def _real_inputs(quantized: Graph, graph: fbs.Subgraph, keys: list[str]) -> dict[str, Array]:
    given = quantized.subgraph.inputs
    if len(given) != len(graph.inputs):
        raise InputError(f"expected a float model with {len(given)} inputs, found {len(graph.inputs)}")
    own = tensor_keys(quantized.subgraph)
    by_name = {own[number]: number for number in given}
    same = all(keys[number] in by_name for number in graph.inputs)
    found = {}
    for position, number in enumerate(graph.inputs):
        source = by_name[keys[number]] if same else given[position]
        tensor, codes = quantized.subgraph.tensors[source], quantized.value(source)
        real = dequantize(codes, tensor.quant) if tensor.quant is not None and tensor.dtype.is_integer else codes
        found[keys[number]] = np.asarray(real, graph.tensors[number].dtype.storage)
    return found
