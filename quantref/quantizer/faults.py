"""Models that no runtime runs, or that compute something else than meant: converters write them without a word."""

from __future__ import annotations

import numpy as np

import fbs
from qmath.affine import dequantize
from qmath.types import DType
from quantref.quantizer.graph import FloatGraph
from quantref.quantizer.layout import Layout
from quantref.quantizer.op_support import BROKEN, SUPPORT, WIDE_BIAS_ONLY, Binding
from quantref.quantizer.op_table import AFFINE_OPS

_CONVERSIONS = frozenset({"QUANTIZE", "DEQUANTIZE"})
#: Ops with constants of another type than their activations.
_WITH_WEIGHTS = frozenset({*AFFINE_OPS, "BATCH_MATMUL", "UNIDIRECTIONAL_SEQUENCE_LSTM", "SVDF"})
#: Codes that are further from the real value than this many steps stand for something else.
_STEPS = 2
#: Scales of biases may differ by this much from the product of the others: they are rounded to float32.
_SCALE_TOLERANCE = 1e-5
#: Operators that are named of those with the same fault.
_NAMED = 4


def find_faults(graph: FloatGraph, layout: Layout, quantized: fbs.Subgraph) -> list[str]:
    """Say what is wrong with a quantized graph, one line a kind of fault; empty if nothing is known to be.

    Operators go by their numbers in the quantized graph.

    Parameters
    ----------
    graph, layout
        The float graph and what was decided.
    quantized
        The graph that came out.

    """
    found: dict[str, list[str]] = {}
    read = {tensor for operator in quantized.operators for tensor in operator.inputs} | set(quantized.outputs)
    for number, operator in enumerate(quantized.operators):
        if operator.name in _CONVERSIONS:
            continue
        op = fbs.view(quantized, operator)
        results = [op.outputs[n] for n, tensor in enumerate(operator.outputs) if tensor in read]
        checks = (_types(op, results), _several_scales(op, results), _weights(op), _bias(op), _broken(op))
        for fault in filter(None, checks):
            found.setdefault(fault, []).append(f"op {number} ({op.name})")
    return _misrepresented(graph, layout) + [f"{_several(ops)}: {fault}" for fault, ops in found.items()]


def _several(names: list[str]) -> str:
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")


def _types(op: fbs.OpView, results: list[fbs.Tensor]) -> str | None:
    """Types that no kernel takes together, or no scale; float activations with integer weights are fine."""
    operands = [tensor for tensor in op.inputs if tensor is not None]
    activations = [tensor for tensor in operands if not tensor.is_constant]
    codes = [tensor for tensor in (*activations, *results) if tensor.quant is not None]
    floats = [tensor for tensor in (*operands, *results) if tensor.dtype is DType.FLOAT32]
    if codes and floats:
        return f"{codes[0].name!r} is {codes[0].dtype.name.lower()}, but {floats[0].name!r} is float32"
    alike = codes if op.name in _WITH_WEIGHTS else [tensor for tensor in (*operands, *results) if tensor.quant]
    types = {tensor.dtype for tensor in alike} - {DType.INT16 if op.name.endswith("LSTM") else None}
    if len(types) > 1:
        return f"its operands are of {' and '.join(sorted(dtype.name.lower() for dtype in types))}"
    without_scale = [tensor for tensor in operands if tensor.quant is not None and not np.all(tensor.quant.scale)]
    return f"{without_scale[0].name!r} has the scale 0" if without_scale else None


def _several_scales(op: fbs.OpView, results: list[fbs.Tensor]) -> str | None:
    support = SUPPORT.get(op.name)
    if support is None or support.binding not in {Binding.INPUT, Binding.OUTPUT}:
        return None
    tensors = [tensor for tensor in (*op.inputs, *results) if tensor is not None and tensor.quant is not None]
    params = {(t.quant.scale.tobytes(), t.quant.zero_point.tobytes()) for t in tensors if t.quant is not None}
    return "its operands and results have different scales or zero points" if len(params) > 1 else None


def _weights(op: fbs.OpView) -> str | None:
    affine = AFFINE_OPS.get(op.name)
    weights = op.inputs[affine.weights] if affine is not None else None
    if weights is None or weights.quant is None:
        return None
    if weights.dtype is DType.UINT8 and weights.quant.per_axis:
        return "its uint8 weights have a scale a channel"
    if weights.dtype is not DType.INT8:
        return None
    wrong = weights.quant.zero_point[weights.quant.zero_point != 0]
    if wrong.size and op.name != "FULLY_CONNECTED":
        return f"its int8 weights have the zero point {wrong[0]}, not 0"
    return None


def _bias(op: fbs.OpView) -> str | None:
    """A type that the kernel does not take, or another scale than the accumulator's; of zeros any will do."""
    affine = AFFINE_OPS.get(op.name)
    if affine is None or affine.bias >= len(op.inputs):
        return None
    source, weights, bias = (op.inputs[slot] for slot in (affine.input, affine.weights, affine.bias))
    if bias is None or bias.quant is None or source is None or source.quant is None or weights is None:
        return None
    if bias.dtype is DType.INT32 and source.dtype is DType.INT16 and op.name in WIDE_BIAS_ONLY:
        return "its bias is int32, the kernel takes int64"
    if weights.quant is None or not np.any(bias.data):
        return None
    accumulator = source.quant.scale.astype(np.float64) * weights.quant.scale
    same = np.allclose(bias.quant.scale, accumulator, rtol=_SCALE_TOLERANCE, atol=0)
    return None if same else "its bias has another scale than its accumulator"


def _broken(op: fbs.OpView) -> str | None:
    codes = op.inputs[0] is not None and op.inputs[0].quant is not None
    return BROKEN.get(op.name) if codes else None


def _misrepresented(graph: FloatGraph, layout: Layout) -> list[str]:
    """Weights and biases whose codes do not stand for their values."""
    found = []
    for op, operator in enumerate(graph.operators):
        affine = AFFINE_OPS.get(operator.name)
        if affine is None:
            continue
        for use, tensor in graph.float_inputs(op):
            form = layout.reads.get(use)
            if (
                use.slot == affine.input
                or use in layout.corrected
                or form is None
                or form.values is None
                or form.params is None
            ):
                continue
            params, values = form.params.stored(), graph.constant(tensor)
            scale = params.scale if not params.per_axis else params.scale.max()
            if not np.all(
                np.abs(dequantize(form.values, params) - values) <= _STEPS * np.abs(scale) + 1e-6 * np.abs(values)
            ):
                found.append(f"the codes of {graph.tensors[tensor].name!r} do not stand for its values")
    return found
