"""Which operators style ``quantref`` can make integer: supported, with constant weights, with ranges that are known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from qmath.scheme import asymmetric_params, symmetric_params
from qmath.types import DType
from quantref.quantizer import tflite_lstm
from quantref.quantizer.fake_quant_ranges import TrainedRange
from quantref.quantizer.graph import FloatGraph
from quantref.quantizer.op_support import BROKEN, SUPPORT, Binding
from quantref.quantizer.op_table import AFFINE_OPS
from quantref.quantizer.params import Params
from quantref.quantizer.statistics import Range

#: A range is taken to be at least this wide.
SMALLEST = 1e-6


def why_float(graph: FloatGraph, op: int, dtype: DType) -> str | None:
    """Return why an operator cannot be integer with activations of a type, or None if it can."""
    name = graph.operators[op].name
    support = SUPPORT.get(name)
    if support is None:
        return BROKEN.get(name, f"no runtime has an integer {name}")
    if dtype not in support.dtypes:
        return f"{name} has no {'16x8' if dtype is DType.INT16 else dtype.name.lower()} form"
    if name == tflite_lstm.NAME:
        return tflite_lstm.why_not(graph, op)
    if not any(True for _ in graph.float_inputs(op)) and not graph.float_outputs(op):
        return "it has no float operands"
    for _, tensor in graph.float_inputs(op):
        if graph.is_constant(tensor) and not np.all(np.isfinite(graph.constant(tensor))):
            return f"{graph.tensors[tensor].name!r} is not finite"
    return _computed_operand(graph, op) if name in AFFINE_OPS else None


def _computed_operand(graph: FloatGraph, op: int) -> str | None:
    """Return which operand of an op with weights would have to be constant and is not, or None."""
    affine, inputs = AFFINE_OPS[graph.operators[op].name], graph.operators[op].inputs
    for what, slot in (("weights", affine.weights), ("bias", affine.bias)):
        if slot < len(inputs) and inputs[slot] >= 0 and not graph.is_constant(inputs[slot]):
            return f"its {what} are computed, not constant"
    return None


@dataclass(frozen=True)
class Ranges:
    """What is known of activations: from training first, then from statistics.

    A value of which nothing is known, but which only moves on (RESHAPE and its like) to one that has a range, has
    that range.

    Attributes
    ----------
    graph
        The float graph.
    statistics
        By tensor.
    trained
        By tensor.

    """

    graph: FloatGraph
    statistics: Mapping[int, Range]
    trained: Mapping[int, TrainedRange]

    def params(self, tensor: int, dtype: DType) -> Params | None:
        """Return the parameters that follow from an activation's range, or None."""
        if tensor in self.trained and dtype is DType.INT8:
            return self.trained[tensor].to_params(dtype)
        if tensor in self.statistics:
            bounds = self.statistics[tensor]
            if dtype is DType.INT8:
                return Params.of(asymmetric_params(bounds.min, bounds.max))
            return Params.of(symmetric_params(bounds.min, bounds.max, dtype, smallest=SMALLEST))
        moved = self._moved(tensor)
        return None if moved is None else self.params(moved, dtype)

    def _moved(self, tensor: int) -> int | None:
        """Return the only thing that becomes of a value, if that is the same value at another place."""
        uses = self.graph.uses[tensor]
        if len(uses) != 1 or tensor in self.graph.subgraph.outputs:
            return None
        support = SUPPORT.get(self.graph.operators[uses[0].op].name)
        outputs = self.graph.float_outputs(uses[0].op)
        if support is None or support.binding is not Binding.INPUT or len(outputs) != 1:
            return None
        return outputs[0]


def without_unknown(
    graph: FloatGraph, op_dtypes: Mapping[int, DType], ranges: Ranges
) -> tuple[dict[int, DType], dict[int, str]]:
    """Take out the operators that would need a range that is not known; also returns why, by operator."""
    left, reasons = dict(op_dtypes), dict[int, str]()
    changed = True
    while changed:
        changed = False
        for op, dtype in list(left.items()):
            unknown = [tensor for tensor in _needed(graph, op, left) if ranges.params(tensor, dtype) is None]
            if unknown:
                reasons[op] = f"nothing is known of the range of {graph.tensors[unknown[0]].name!r}"
                del left[op]
                changed = True
    return left, reasons


def _needed(graph: FloatGraph, op: int, op_dtypes: Mapping[int, DType]) -> list[int]:
    """Return the activations whose range an operator needs: its own results', and operands' that come as float."""
    binding = SUPPORT[graph.operators[op].name].binding
    needed = graph.float_outputs(op) if binding in {Binding.OWN, Binding.OUTPUT} else []
    if binding is Binding.OUTPUT:
        return needed
    for _, tensor in graph.float_inputs(op):
        producer = graph.producers.get(tensor)
        if not graph.is_constant(tensor) and (producer is None or op_dtypes.get(producer) is not op_dtypes[op]):
            needed = [*needed, tensor]
    return needed
