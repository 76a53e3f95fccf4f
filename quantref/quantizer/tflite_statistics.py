"""Which statistics TFLiteConverter's quantizer uses: ops with one scale for everything make some redundant.

Follows ``RemoveRedundantStatsOps`` in
``tensorflow/compiler/mlir/lite/quantization/common/quantization_lib/quantization_utils.cc``.
"""

from __future__ import annotations

from collections.abc import Mapping

from quantref.quantizer.graph import FloatGraph
from quantref.quantizer.op_table import FIXED_OUTPUT_OPS, TFLITE_SAME_SCALE
from quantref.quantizer.statistics import Range


def effective_ranges(graph: FloatGraph, ranges: Mapping[int, Range]) -> dict[int, Range]:
    """Return the ranges that count.

    1. Forward: an output that the op fixes needs none; nor does the result of an op with one scale for everything
       and only one float operand, because it takes the operand's.
    2. Backward: where such an op's result still has a range, the operands lose theirs, and so on upstream. Hence
       with CONCATENATION or MAXIMUM the range of the result replaces those of what is joined.
    """
    forward = _redundant_results(graph, ranges)
    left = {tensor: bounds for tensor, bounds in ranges.items() if tensor not in forward}
    backward = _redundant_operands(graph, left, set(ranges))
    return {tensor: bounds for tensor, bounds in left.items() if tensor not in backward}


def _redundant_results(graph: FloatGraph, ranges: Mapping[int, Range]) -> set[int]:
    redundant: set[int] = set()
    work = list(ranges)
    while work:
        tensor = work.pop()
        if tensor in graph.producers and graph.operators[graph.producers[tensor]].name in FIXED_OUTPUT_OPS:
            redundant.add(tensor)
        for op in {use.op for use in graph.uses[tensor]}:
            operator = graph.operators[op]
            if operator.name not in TFLITE_SAME_SCALE or len(list(graph.float_inputs(op))) > 1:
                continue
            for result in operator.outputs:
                if result in ranges and result not in redundant:
                    redundant.add(result)
                    work.append(result)
    return redundant


def _redundant_operands(graph: FloatGraph, left: Mapping[int, Range], with_ranges: set[int]) -> set[int]:
    redundant: set[int] = set()
    work, seen = list(left), set[int]()
    while work:
        tensor = work.pop()
        if tensor in seen:
            continue
        seen.add(tensor)
        producer = graph.producers.get(tensor)
        if producer is None or graph.operators[producer].name not in TFLITE_SAME_SCALE:
            continue
        for operand in graph.operators[producer].inputs:
            if operand in with_ranges:
                redundant.add(operand)
                work.append(operand)
    return redundant
