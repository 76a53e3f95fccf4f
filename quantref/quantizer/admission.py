"""What a float model has to be for quantization, and what is made of it first."""

from __future__ import annotations

import dataclasses

import numpy as np

import fbs
from qmath.errors import ModelError, UnsupportedError
from qmath.types import DType
from quantref.quantizer.fake_quant_ranges import TrainedModel, take_trained_ranges
from quantref.quantizer.request import ACTIVATIONS, Mode

_CODES = frozenset({DType.INT8, DType.UINT8, DType.INT16, DType.INT4, DType.UINT4, DType.INT2})


def admit(model: fbs.Model, mode: Mode) -> TrainedModel:
    """Prepare a model for quantization.

    1. Constants that are stored as float16 become float32 again, without their DEQUANTIZE.
    2. For modes with integer activations, ranges from training are taken out of the graph.
    3. A model that has codes already is refused.

    Dimensions that are open stay open, and ops that call other subgraphs stay as they are.

    Raises
    ------
    ModelError
        There is no graph.
    UnsupportedError
        The model is quantized already, or its training ranges are not covered.

    """
    if not model.subgraphs or not model.subgraphs[0].operators:
        raise ModelError("expected a model with operators, found none")
    widened = widen_float16(model)
    trained = take_trained_ranges(widened) if mode in ACTIVATIONS else TrainedModel(widened, {})
    _refuse_codes(trained.model)
    return trained


def widen_float16(model: fbs.Model) -> fbs.Model:
    """Replace the DEQUANTIZE of float16 constants in the main subgraph by float32 constants."""
    subgraph = model.subgraphs[0]
    tensors = list(subgraph.tensors)
    kept = []
    for operator in subgraph.operators:
        source = tensors[operator.inputs[0]] if operator.inputs and operator.inputs[0] >= 0 else None
        if operator.name != "DEQUANTIZE" or source is None or source.dtype is not DType.FLOAT16 or source.data is None:
            kept.append(operator)
            continue
        values = np.asarray(source.data, np.float32)
        result = operator.outputs[0]
        tensors[result] = dataclasses.replace(tensors[result], buffer=fbs.Buffer.of(values, DType.FLOAT32))
    if len(kept) == len(subgraph.operators):
        return model
    changed = dataclasses.replace(subgraph, tensors=tuple(tensors), operators=tuple(kept))
    return dataclasses.replace(model, subgraphs=(changed, *model.subgraphs[1:]))


def _refuse_codes(model: fbs.Model) -> None:
    read = {tensor for op in model.subgraphs[0].operators for tensor in (*op.inputs, *op.outputs) if tensor >= 0}
    found = [
        tensor
        for index, tensor in enumerate(model.subgraphs[0].tensors)
        if index in read and tensor.dtype in _CODES and tensor.quant is not None
    ]
    if found:
        example = f"{len(found)} tensors of codes, such as {found[0].name!r} ({found[0].dtype.name.lower()})"
        raise UnsupportedError(f"expected a float model, found {example}: quantize the model that it was made from")
