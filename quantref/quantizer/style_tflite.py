"""Full integer quantization as TFLiteConverter does it by default: calibrated model, MLIR quantizer, int8."""

from __future__ import annotations

from collections.abc import Mapping

from qmath.types import DType
from quantref.quantizer import tflite_lstm
from quantref.quantizer.graph import FloatGraph
from quantref.quantizer.layout import Layout
from quantref.quantizer.params import Params
from quantref.quantizer.ranges import tflite_range
from quantref.quantizer.statistics import Range
from quantref.quantizer.tflite_arithmetic import Arithmetic, CalibratedArithmetic
from quantref.quantizer.tflite_layout import KeepFloat, TFLiteLayout
from quantref.quantizer.tflite_propagation import Propagation
from quantref.quantizer.tflite_statistics import effective_ranges
from quantref.quantizer.tflite_values import Values, values_of


def lay_out_int8(
    graph: FloatGraph,
    ranges: Mapping[int, Range],
    *,
    input_type: DType,
    output_type: DType,
    keep_float: KeepFloat,
    per_channel: bool = True,
    per_channel_dense: bool = True,
) -> Layout:
    """Lay out a calibrated model.

    Parameters
    ----------
    graph
        The float graph.
    ranges
        Statistics, by tensor.
    input_type, output_type
        FLOAT32, INT8 or UINT8.
    keep_float
        Says of an operator why it has to stay float, or None.
    per_channel, per_channel_dense
        Whether weights, and those of FULLY_CONNECTED, have a scale a channel.

    """
    lstms = {
        op: tflite_lstm.why_not(graph, op)
        for op, operator in enumerate(graph.operators)
        if operator.name == tflite_lstm.NAME
    }
    counting = effective_ranges(graph, ranges)
    for op in lstms:
        counting |= tflite_lstm.joined_ranges(graph, op, ranges)
    given = {tensor: tflite_range(bounds) for tensor, bounds in counting.items()}
    for op, why_not in lstms.items():
        source = given.get(graph.operators[op].inputs[0])
        if why_not is None and source is not None and tflite_lstm.has_statistics(graph, op, counting):
            given |= tflite_lstm.lstm_params(graph, op, source, counting)
    values = values_of(graph, per_channel=per_channel, per_channel_dense=per_channel_dense)
    layout = lay_out_params(
        graph,
        values,
        given,
        CalibratedArithmetic(),
        input_type,
        output_type,
        lambda op: lstms.get(op) or keep_float(op),
    )
    for op in lstms:
        output = layout.given[graph.operators[op].outputs[0]].params
        if output is not None:
            layout.intermediates[op] = tflite_lstm.intermediates(output)
    return layout


def unused_results(graph: FloatGraph, op: int) -> str | None:
    """Return that an op stays float because of a result that nothing reads, or None.

    The converter decides by chance whether such an op becomes integer (``SPLIT`` in three runs of twelve).
    """
    for tensor in graph.float_outputs(op):
        if not graph.uses[tensor] and tensor not in graph.subgraph.outputs:
            return f"nothing reads its result {graph.tensors[tensor].name!r}"
    return None


def lay_out_params(
    graph: FloatGraph,
    values: Values,
    given: Mapping[int, Params],
    arithmetic: Arithmetic,
    input_type: DType,
    output_type: DType,
    keep_float: KeepFloat,
) -> Layout:
    """Spread parameters that are known over the graph, and lay it out."""
    propagation = Propagation(graph, values, given, arithmetic)
    propagation.run()
    return TFLiteLayout(graph, values, propagation, arithmetic, input_type, output_type, keep_float).layout()
