"""LSTM cells in TFLiteConverter's full integer quantization: which operand gets which parameters.

Follows ``tensorflow/compiler/mlir/lite/transforms/prepare_quantize_helper.h`` (``PrepareLstmOutputScale``,
``ConvertLstmStatsToQDQs``) and ``operator_property.cc`` for cells without peepholes, projection and layer
normalization.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from qmath.types import DType
from quantref.quantizer.bias import bias_scale
from quantref.quantizer.graph import FloatGraph
from quantref.quantizer.params import Params
from quantref.quantizer.ranges import tflite_range
from quantref.quantizer.statistics import Range
from quantref.quantizer.weights import symmetric_weights

NAME = "UNIDIRECTIONAL_SEQUENCE_LSTM"
_INPUT_WEIGHTS, _RECURRENT_WEIGHTS, _BIASES = range(1, 5), range(5, 9), range(12, 16)
_PEEPHOLES, _PROJECTION, _LAYER_NORM = range(9, 12), range(16, 18), range(20, 24)
_HIDDEN_STATE, _CELL_STATE = 18, 19
_LARGEST_POWER = 10


def why_not(graph: FloatGraph, op: int) -> str | None:
    """Return why an LSTM is not covered, or None."""
    inputs = graph.operators[op].inputs
    if len(inputs) < 20 or any(inputs[slot] < 0 for slot in (*_RECURRENT_WEIGHTS, *_BIASES)):
        return "an LSTM needs weights and biases of all four gates"
    named = {"peepholes": _PEEPHOLES, "a projection": _PROJECTION, "layer normalization": _LAYER_NORM}
    for feature, slots in named.items():
        if any(slot < len(inputs) and inputs[slot] >= 0 for slot in slots):
            return f"an LSTM with {feature} is not covered"
    weights = [inputs[slot] for slot in (*_INPUT_WEIGHTS, *_RECURRENT_WEIGHTS, *_BIASES)]
    if not all(graph.is_constant(tensor) for tensor in weights if tensor >= 0):
        return "an LSTM's weights and biases have to be constants"
    return None


def joined_ranges(graph: FloatGraph, op: int, ranges: Mapping[int, Range]) -> dict[int, Range]:
    """Return the ranges of the output and of the hidden state that the next step reads: both cover both."""
    operator = graph.operators[op]
    state, output = operator.inputs[_HIDDEN_STATE], operator.outputs[0]
    if state not in ranges or output not in ranges:
        return {}
    joined = ranges[state].union(ranges[output])
    return {state: joined, output: joined}


def lstm_params(graph: FloatGraph, op: int, source: Params, ranges: Mapping[int, Range]) -> dict[int, Params]:
    """Return the parameters of weights, biases and states.

    Weights are symmetric with one scale each; a gate's bias has the scale of the input times that of its input
    weights; the cell state is int16 with a scale that is a power of two.

    Parameters
    ----------
    graph, op
        The LSTM.
    source
        Parameters of its input.
    ranges
        By tensor: after :func:`joined_ranges`.

    """
    inputs = graph.operators[op].inputs
    found: dict[int, Params] = {}
    for slot in (*_INPUT_WEIGHTS, *_RECURRENT_WEIGHTS):
        found[inputs[slot]] = symmetric_weights(graph.constant(inputs[slot]), None)
    for weights, bias in zip(_INPUT_WEIGHTS, _BIASES, strict=True):
        found[inputs[bias]] = bias_scale(source, found[inputs[weights]], DType.INT32)
    found[inputs[_HIDDEN_STATE]] = tflite_range(ranges[inputs[_HIDDEN_STATE]])
    found[inputs[_CELL_STATE]] = _power_of_two(ranges[inputs[_CELL_STATE]])
    return found


def intermediates(output: Params) -> tuple[Params | None, ...]:
    """Return the parameters of the intermediate tensors: only the hidden state's counts, the gates' stay empty."""
    return (None, None, None, None, output)


def has_statistics(graph: FloatGraph, op: int, ranges: Mapping[int, Range]) -> bool:
    """Whether input, output and both states have ranges."""
    operator = graph.operators[op]
    states = [operator.inputs[slot] for slot in (_HIDDEN_STATE, _CELL_STATE)]
    return all(tensor in ranges for tensor in (*states, operator.outputs[0]))


def _power_of_two(bounds: Range) -> Params:
    magnitude = max(abs(float(bounds.min)), abs(float(bounds.max)))
    power = 0 if magnitude <= 1 else min(math.ceil(math.log2(magnitude)), _LARGEST_POWER)
    return Params.single(DType.INT16, 2.0**power / -DType.INT16.min, 0)
