"""Quantization of constants alone: dynamic range, weight-only, float16. Activations stay float32, no statistics needed.

Follows ``tensorflow/compiler/mlir/lite/transforms/prepare_quantize_dynamic_range.cc`` (the converter),
``.../quantization/lite/toco_legacy/quantize_weights.cc`` (its older form) and ``ai_edge_quantizer/default_policy.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

import fbs
from qmath.constants import WeightRounding, quantize_weights
from qmath.types import Array, DType, Float32Array
from quantref.quantizer.graph import FloatGraph, Use
from quantref.quantizer.layout import Form, Layout, Placement, Versioner
from quantref.quantizer.op_support import INT4_WEIGHTS
from quantref.quantizer.op_table import (
    AEQ_DYNAMIC_INT4,
    AEQ_WEIGHT_ONLY_INT4,
    AEQ_WEIGHTS_INT8,
    AFFINE_OPS,
    OLD_DYNAMIC,
    OLD_DYNAMIC_VERSIONS,
    TFLITE_ASYMMETRIC_INPUTS,
    TFLITE_DYNAMIC,
)
from quantref.quantizer.params import Params
from quantref.quantizer.style_aeq import weights_axis
from quantref.quantizer.tflite_layout import KeepFloat, push_down_dequantize
from quantref.quantizer.versions import schema_version
from quantref.quantizer.weights import (
    aeq_codes,
    aeq_weights,
    float64_codes,
    nearest_codes,
    symmetric_weights,
    symmetric_weights_float64,
)

_LARGEST_FLOAT16 = np.float32(65504)


@dataclass(frozen=True, slots=True)
class WeightRules:
    """Which constants become codes, and how.

    Attributes
    ----------
    axis_of
        Says of a constant operand whether it counts as weights: ``(True, axis)``, with None for per-tensor scales.
    params, codes
        Give weights their parameters (from values and axis) and codes.
    keeps_float
        Ops whose kernels take no integer weights beside float activations: they read a DEQUANTIZE.
    smallest
        Fewest elements that are worth quantizing.
    asymmetric_inputs
        Ops that are told to quantize their activations asymmetrically when they run.
    version
        Gives operators their versions.
    placement
        Where DEQUANTIZE ops stand.
    shares_versions
        Whether operators of one name share their version.

    """

    axis_of: Callable[[FloatGraph, Use], tuple[bool, int | None]]
    params: Callable[[Float32Array, int | None], Params]
    codes: Callable[[Float32Array, Params], Array]
    keeps_float: frozenset[str] = frozenset()
    smallest: int = 0
    asymmetric_inputs: frozenset[str] = frozenset()
    version: Versioner = schema_version
    placement: Placement = field(default_factory=Placement)
    shares_versions: bool = False


def lay_out_weights(graph: FloatGraph, rules: WeightRules, keep_float: KeepFloat) -> Layout:
    """Lay out a graph whose weights become codes, by some rules."""
    layout = Layout(placement=rules.placement, version=rules.version, shares_versions=rules.shares_versions)
    forms: dict[tuple[int, Params], Form] = {}
    for op, operator in enumerate(graph.operators):
        chosen = [(use, tensor, axis) for use, tensor, axis in _weights(graph, op, rules)]
        reason = _why_float(graph, op, chosen, rules) or keep_float(op)
        if reason is not None:
            layout.reasons[op] = reason
            continue
        for use, tensor, axis in chosen:
            values = graph.constant(tensor)
            params = rules.params(values, axis)
            codes = Form(tensor, params.dtype, params, values=rules.codes(values, params))
            held = forms.setdefault((tensor, params), codes)
            layout.reads[use] = held.dequantized() if operator.name in rules.keeps_float else held
        if operator.name in rules.asymmetric_inputs:
            layout.options[op] = {"asymmetric_quantize_inputs": True}
    push_down_dequantize(graph, layout)
    return layout


def _weights(graph: FloatGraph, op: int, rules: WeightRules) -> list[tuple[Use, int, int | None]]:
    found = []
    for use, tensor in graph.float_inputs(op):
        counts, axis = rules.axis_of(graph, use)
        if counts and graph.is_constant(tensor) and graph.constant(tensor).size >= max(rules.smallest, 1):
            found.append((use, tensor, axis))
    return found


def _why_float(graph: FloatGraph, op: int, chosen: list[tuple[Use, int, int | None]], rules: WeightRules) -> str | None:
    if chosen:
        wrong = [tensor for _, tensor, _ in chosen if not np.all(np.isfinite(graph.constant(tensor)))]
        return f"{graph.tensors[wrong[0]].name!r} is not finite" if wrong else None
    constant = [tensor for use, tensor in graph.float_inputs(op) if rules.axis_of(graph, use)[0]]
    sizes = [graph.constant(tensor).size for tensor in constant if graph.is_constant(tensor)]
    if sizes:
        return f"its weights have {max(sizes)} elements, fewer than {rules.smallest}"
    return "it has no constant weights" if constant else f"{graph.operators[op].name} has no weights to quantize"


def lay_out_float16(
    graph: FloatGraph, keep_float: KeepFloat, *, only_weights: bool = False, states: bool = False
) -> Layout:
    """Lay out a graph whose float constants become float16, each with a DEQUANTIZE.

    Parameters
    ----------
    graph
        The float graph.
    keep_float
        Says of an operator why it has to stay float, or None.
    only_weights
        Whether only weights are taken, as AI Edge Quantizer does, and values beyond float16 become infinite; else
        every constant, and those values are clamped.
    states
        Whether the zeros that states begin with count as constants, so that every invocation begins with them.

    """
    placement = Placement(eager=not only_weights)
    layout = Layout(placement=placement, version=_as_they_are if only_weights else schema_version)
    forms: dict[int, Form] = {}
    for op in range(len(graph.operators)):
        variables = [tensor for _, tensor in graph.float_inputs(op) if states and graph.tensors[tensor].is_variable]
        operands = [item for item in graph.float_inputs(op) if graph.is_constant(item[1]) or item[1] in variables]
        if only_weights:
            operands = [(use, tensor) for use, tensor in operands if _is_cast_by_aeq(graph, use)]
        reason = keep_float(op) if operands else "it has no constants to store as float16"
        if reason is not None:
            layout.reasons[op] = reason
            continue
        for use, tensor in operands:
            if tensor not in forms:
                found = np.zeros(graph.tensors[tensor].shape) if tensor in variables else graph.constant(tensor)
                values = float16_values(found.astype(np.float32), clamp=not only_weights)
                forms[tensor] = Form(tensor, DType.FLOAT16, values=values).dequantized()
            layout.reads[use] = forms[tensor]
    return layout


def float16_values(values: Float32Array, *, clamp: bool = True) -> Array:
    """Round to float16, half to even; values beyond its range are clamped, or become infinite."""
    with np.errstate(over="ignore"):
        inside = np.clip(values, -_LARGEST_FLOAT16, _LARGEST_FLOAT16) if clamp else values
        return np.asarray(inside.astype(np.float16))


# --- The rules of each tool -------------------------------------------------------------------------------------------


def _from_table(
    table: Mapping[tuple[str, int], int | None], *, per_channel: bool = True
) -> Callable[[FloatGraph, Use], tuple[bool, int | None]]:
    def axis_of(graph: FloatGraph, use: Use) -> tuple[bool, int | None]:
        key = (graph.operators[use.op].name, use.slot)
        return key in table, table.get(key) if per_channel else None

    return axis_of


def tflite_dynamic(*, per_channel: bool = True) -> WeightRules:
    """Return the rules of TFLiteConverter's dynamic range quantization: weights of 1024 elements or more."""
    return WeightRules(
        axis_of=_from_table(TFLITE_DYNAMIC, per_channel=per_channel),
        params=symmetric_weights_float64,
        codes=float64_codes,
        keeps_float=frozenset({"GATHER"}),
        smallest=1024,
        asymmetric_inputs=TFLITE_ASYMMETRIC_INPUTS,
        placement=Placement(eager=True),
        shares_versions=True,
    )


def tflite_old_dynamic() -> WeightRules:
    """Return the rules of the converter's older dynamic range quantization: one scale in more ops."""

    def version(op: fbs.OpView) -> int:
        return max(op.version, OLD_DYNAMIC_VERSIONS.get(op.name, 1))

    return WeightRules(
        axis_of=_from_table(OLD_DYNAMIC),
        params=lambda values, axis: symmetric_weights(values, axis, smallest=0),
        codes=lambda values, params: quantize_weights(values, params.stored(), WeightRounding.STEPS_OVER_MAX),
        keeps_float=frozenset({"TRANSPOSE_CONV", "GATHER"}),
        smallest=1024,
        asymmetric_inputs=TFLITE_ASYMMETRIC_INPUTS,
        placement=Placement(outputs_last=True),
        version=version,
    )


def aeq_weight_rules(dtype: DType, *, weight_only: bool) -> WeightRules:
    """Return the rules of AI Edge Quantizer's dynamic range or weight-only recipes: int8 or int4, of any size."""
    covered = AEQ_WEIGHTS_INT8
    if dtype is DType.INT4:
        covered = AEQ_WEIGHT_ONLY_INT4 if weight_only else AEQ_DYNAMIC_INT4

    def axis_of(graph: FloatGraph, use: Use) -> tuple[bool, int | None]:
        axis = weights_axis(graph, use)
        return graph.operators[use.op].name in covered and axis is not None, axis

    return WeightRules(
        axis_of=axis_of,
        params=lambda values, axis: aeq_weights(values, axis or 0, dtype),
        codes=aeq_codes,
        keeps_float=covered if weight_only else frozenset(),
        version=_as_they_are,
    )


def quantref_weight_rules(dtype: DType, *, weight_only: bool, per_channel: bool = True) -> WeightRules:
    """Return the rules of style quantref: symmetric weights, each code the nearest one.

    int8 weights beside activations that are quantized while the model runs are those of 1024 elements or more, as
    the converter chooses them: for fewer, quantizing activations costs more than it saves.
    """
    table = TFLITE_DYNAMIC
    if dtype is DType.INT4:
        covered = INT4_WEIGHTS[DType.FLOAT32]
        table = {(name, slot): axis for (name, slot), axis in TFLITE_DYNAMIC.items() if name in covered}
    names = frozenset(name for name, _ in table)
    return WeightRules(
        axis_of=_from_table(table, per_channel=per_channel),
        params=lambda values, axis: symmetric_weights(values, axis, dtype),
        codes=nearest_codes,
        keeps_float=names if weight_only else frozenset({"GATHER"}),
        smallest=0 if weight_only or dtype is DType.INT4 else 1024,
        asymmetric_inputs=frozenset() if weight_only else TFLITE_ASYMMETRIC_INPUTS,
    )


def _as_they_are(op: fbs.OpView) -> int:
    return op.version


def _is_cast_by_aeq(graph: FloatGraph, use: Use) -> bool:
    name = graph.operators[use.op].name
    return name in {*AFFINE_OPS, "EMBEDDING_LOOKUP"} and weights_axis(graph, use) is not None
