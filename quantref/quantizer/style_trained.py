"""int8 and uint8 models whose ranges are given, not calibrated: by training, by input statistics, by default.

As TFLiteConverter makes them: scales stay float64 until they are stored, parameters spread by the same work list as
after calibration, and what is then still unknown takes the default range.

Follows ``tensorflow/compiler/mlir/lite/transforms/prepare_quantize.cc`` and ``default_quant_params.cc``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from qmath.errors import InputError
from qmath.types import DType
from quantref.quantizer.fake_quant_ranges import TrainedRange
from quantref.quantizer.graph import FloatGraph, Use
from quantref.quantizer.layout import Layout
from quantref.quantizer.op_table import AFFINE_OPS, TFLITE_QUANTIZABLE
from quantref.quantizer.params import Params
from quantref.quantizer.ranges import input_stats_range, trained_range
from quantref.quantizer.tflite_arithmetic import Arithmetic, TrainedArithmetic
from quantref.quantizer.tflite_layout import KeepFloat, TFLiteLayout
from quantref.quantizer.tflite_propagation import Propagation, State
from quantref.quantizer.tflite_values import values_of


@dataclass(frozen=True, slots=True)
class TrainedSettings:
    """What is given instead of statistics.

    Attributes
    ----------
    dtype
        Of activations: INT8 or UINT8.
    trained
        By tensor: what training says.
    input_stats
        For each input of the graph ``(mean, std)``: its codes are ``real * std + mean``; empty to leave that to
        training.
    default_range
        For activations of which nothing is known, or None.
    input_type, output_type
        Of the graph: FLOAT32, INT8 or UINT8.
    symmetric_weights
        Whether trained ranges of int8 weights are made symmetric, and those of uint8 weights one for all channels;
        the converter leaves them as they are, and no runtime takes its convolutions then.

    """

    dtype: DType
    trained: Mapping[int, TrainedRange]
    input_stats: Sequence[tuple[float, float]] = ()
    default_range: tuple[float, float] | None = None
    input_type: DType = DType.FLOAT32
    output_type: DType = DType.FLOAT32
    symmetric_weights: bool = False


def lay_out_trained(graph: FloatGraph, settings: TrainedSettings, keep_float: KeepFloat) -> Layout:
    """Lay out a graph whose ranges are given.

    Raises
    ------
    InputError
        ``input_stats`` are of another number than the inputs.

    """
    arithmetic = TrainedArithmetic(settings.dtype)
    given = {
        tensor: trained.to_params(settings.dtype, symmetric=settings.symmetric_weights and _is_weights(graph, tensor))
        for tensor, trained in settings.trained.items()
    }
    given |= _input_params(graph, settings)
    values = values_of(graph, per_channel=settings.dtype is DType.INT8, per_channel_dense=True)
    propagation = Propagation(graph, values, given, arithmetic)
    propagation.run()
    if settings.default_range is not None:
        _fill_in(graph, propagation, trained_range(*settings.default_range, settings.dtype), arithmetic)
    layout = TFLiteLayout(graph, values, propagation, arithmetic, settings.input_type, settings.output_type, keep_float)
    return layout.layout()


def _input_params(graph: FloatGraph, settings: TrainedSettings) -> dict[int, Params]:
    if not settings.input_stats:
        return {}
    inputs = [tensor for tensor in graph.subgraph.inputs if graph.is_float(tensor)]
    if len(settings.input_stats) != len(inputs):
        expected = f"expected (mean, std) for each of {len(inputs)} float inputs"
        raise InputError(f"{expected}, found {len(settings.input_stats)}")
    return {
        tensor: trained_range(*input_stats_range(mean, std, settings.dtype), settings.dtype)
        for tensor, (mean, std) in zip(inputs, settings.input_stats, strict=True)
        if tensor not in settings.trained
    }


def _is_weights(graph: FloatGraph, tensor: int) -> bool:
    uses = [(graph.operators[use.op].name, use.slot) for use in graph.uses[tensor]]
    return any(name in AFFINE_OPS and AFFINE_OPS[name].weights == slot for name, slot in uses)


def _fill_in(graph: FloatGraph, propagation: Propagation, default: Params, arithmetic: Arithmetic) -> None:
    """Give activations of which nothing is known the default, then biases that waited for them their scale."""
    results = [
        tensor
        for op, operator in enumerate(graph.operators)
        if operator.name in TFLITE_QUANTIZABLE
        for tensor in graph.float_outputs(op)
    ]
    for tensor in (*graph.subgraph.inputs, *results):
        if graph.is_float(tensor) and propagation.state(tensor).params is None:
            propagation.states[tensor] = State(default, fixed=True)
    for op, operator in enumerate(graph.operators):
        affine = AFFINE_OPS.get(operator.name)
        if affine is None or affine.bias >= len(operator.inputs) or operator.inputs[affine.bias] < 0:
            continue
        source, weights = (propagation.operand(Use(op, slot)).params for slot in (affine.input, affine.weights))
        bias = propagation.operand(Use(op, affine.bias))
        if bias.params is None and source is not None and weights is not None:
            bias.params = arithmetic.bias(source, weights)
