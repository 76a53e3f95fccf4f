"""Integer quantization as TFLiteConverter's older quantizer does it: all 16x8 models, and int8 on request.

One sweep over the operators in order of execution; what it finds is changed in place, so an operator that is left
float can end up reading codes that a later operator asked for. The converter writes such models; here they are
refused unless asked for.

Follows ``tflite/tools/optimize/quantize_model.cc`` and ``quantization_utils.cc``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

import fbs
from qmath.constants import WeightRounding, quantize_weights
from qmath.errors import InputError
from qmath.rounding import round_half_away_from_zero
from qmath.scheme import fixed_output_params, largest_magnitude, symmetric_params
from qmath.types import Array, DType, Float32Array
from quantref.quantizer import tflite_lstm
from quantref.quantizer.bias import bias_scale, old_magnitude_for_bias, tflite_bias
from quantref.quantizer.graph import FloatGraph, Use
from quantref.quantizer.layout import Form, Layout, Placement, Versioner, given_as
from quantref.quantizer.op_table import AFFINE_OPS, OLD_OPS, OldOp
from quantref.quantizer.params import Params
from quantref.quantizer.ranges import old_range
from quantref.quantizer.statistics import Range
from quantref.quantizer.tflite_layout import KeepFloat


@dataclass(frozen=True, slots=True)
class OldSettings:
    """What the older quantizer is asked for.

    Attributes
    ----------
    dtype
        Of activations: INT8 or INT16.
    bias_dtype
        INT32, or INT64 for 16x8 models.
    input_type, output_type
        Of the graph: FLOAT32, the activations' type, or UINT8.
    per_channel, per_channel_dense
        Whether weights, and those of FULLY_CONNECTED, have a scale a channel.

    """

    dtype: DType
    bias_dtype: DType
    input_type: DType = DType.FLOAT32
    output_type: DType = DType.FLOAT32
    per_channel: bool = True
    per_channel_dense: bool = True


def lay_out_old(graph: FloatGraph, ranges: Mapping[int, Range], settings: OldSettings, keep_float: KeepFloat) -> Layout:
    """Lay out a calibrated model.

    Raises
    ------
    InputError
        An activation of an op to be quantized has no statistics.

    """
    return _OldQuantizer(graph, ranges, settings, keep_float).run()


@dataclass(frozen=True, slots=True)
class _Constant:
    params: Params
    codes: Array


@dataclass
class _OldQuantizer:
    graph: FloatGraph
    ranges: Mapping[int, Range]
    settings: OldSettings
    keep_float: KeepFloat
    params: dict[int, Params] = field(default_factory=dict)
    constants: dict[int, _Constant] = field(default_factory=dict)
    #: By operand: parameters of the QUANTIZEs in front of it, one after the other; None for a DEQUANTIZE.
    conversions: dict[Use, list[Params | None]] = field(default_factory=dict)
    biases: dict[Use, _Constant] = field(default_factory=dict)
    reasons: dict[int, str] = field(default_factory=dict)

    def run(self) -> Layout:
        """Sweep over the operators, then give biases their scale."""
        for op, operator in enumerate(self.graph.operators):
            reason = self._why_float(op)
            if reason is not None:
                self.reasons[op] = reason
            if operator.name == tflite_lstm.NAME:
                self._share_lstm_range(op)
        for op in range(len(self.graph.operators)):
            self._sweep(op)
        for op in reversed(range(len(self.graph.operators))):
            self._requantize_joined(op)
        for op in range(len(self.graph.operators)):
            self._quantize_bias(op)
        return self._layout()

    def _why_float(self, op: int) -> str | None:
        name = self.graph.operators[op].name
        if name not in OLD_OPS or (name == tflite_lstm.NAME and tflite_lstm.why_not(self.graph, op)):
            return f"{name} has no integer form in the converter's older quantizer"
        if self.settings.dtype is DType.INT16 and not OLD_OPS[name].int16:
            return f"{name} has no 16x8 form in the converter"
        return self.keep_float(op)

    def _is_real(self, op: int) -> bool:
        """Whether an operator has to do with real numbers at all."""
        return any(True for _ in self.graph.float_inputs(op)) or bool(self.graph.float_outputs(op))

    def _sweep(self, op: int) -> None:
        if not self._is_real(op):
            return
        if op in self.reasons:
            for use, tensor in self.graph.float_inputs(op):
                if tensor in self.params or tensor in self.constants:
                    self.conversions.setdefault(use, []).append(None)
            return
        name = self.graph.operators[op].name
        entry = OLD_OPS[name]
        if name == tflite_lstm.NAME:
            self._quantize_lstm(op)
            return
        slots = range(len(self.graph.operators[op].inputs)) if entry.inputs is None else entry.inputs
        for slot in slots:
            self._quantize_input(Use(op, slot), entry)
        if entry.outputs:
            for tensor in self.graph.float_outputs(op):
                if tensor not in self.params:
                    self.params[tensor] = self._output_params(op, tensor, entry)

    def _quantize_input(self, use: Use, entry: OldOp) -> None:
        tensor = self.graph.operators[use.op].inputs[use.slot]
        if not self.graph.is_float(tensor) or tensor in self.params or tensor in self.constants:
            return
        if self.graph.is_constant(tensor):
            as_activation = entry.same_scale or entry.constants_as_activations
            wide = self.settings.dtype is DType.INT16 and as_activation
            self.constants[tensor] = self._wide(tensor) if wide else self._narrow(use, tensor)
        elif tensor in self.graph.subgraph.inputs:
            self.params[tensor] = self._own(tensor)
        else:
            self.conversions.setdefault(use, []).append(self._own(tensor))

    def _own(self, tensor: int) -> Params:
        """Return the parameters that follow from a tensor's own range."""
        if tensor not in self.ranges:
            raise InputError(f"expected statistics of tensor {self.graph.tensors[tensor].name!r}, found none")
        return old_range(self.ranges[tensor], self.settings.dtype)

    def _output_params(self, op: int, tensor: int, entry: OldOp) -> Params:
        operator = self.graph.operators[op]
        if entry.same_scale and entry.inputs is not None:
            shared = self._read_params(Use(op, entry.inputs[0]))
            return replace(shared, dtype=self.settings.dtype)
        fixed = fixed_output_params(operator.name, self.settings.dtype)
        return self._own(tensor) if fixed is None else Params.of(fixed)

    def _read_params(self, use: Use) -> Params:
        """Return the parameters with which an operand is read."""
        steps = self.conversions.get(use)
        if steps and steps[-1] is not None:
            return steps[-1]
        tensor = self.graph.operators[use.op].inputs[use.slot]
        return self.constants[tensor].params if tensor in self.constants else self.params[tensor]

    def _narrow(self, use: Use, tensor: int) -> _Constant:
        """Quantize a constant to symmetric int8, its scale widened if the op's bias would not fit."""
        values, name = self.graph.constant(tensor), self.graph.operators[use.op].name
        affine = AFFINE_OPS.get(name)
        is_weights = affine is not None and use.slot == affine.weights
        dense = name == "FULLY_CONNECTED"
        per_channel = is_weights and self.settings.per_channel and (self.settings.per_channel_dense or not dense)
        axis = affine.axis if affine is not None and per_channel else None
        magnitude = largest_magnitude(values, axis)
        if is_weights:
            magnitude = self._magnitude_for_bias(use.op, magnitude)
        quant = symmetric_params(-magnitude, magnitude, DType.INT8, quantized_dimension=axis or 0)
        params = Params.of(quant, axis=axis, narrow=True)
        return _Constant(params, quantize_weights(values, quant, WeightRounding.STEPS_OVER_MAX, magnitude))

    def _magnitude_for_bias(self, op: int, magnitude: Float32Array) -> Float32Array:
        operator = self.graph.operators[op]
        affine = AFFINE_OPS[operator.name]
        if affine.bias >= len(operator.inputs) or not self.graph.is_constant(operator.inputs[affine.bias]):
            return magnitude
        bias = self.graph.constant(operator.inputs[affine.bias])
        source = self._own(operator.inputs[affine.input])
        return old_magnitude_for_bias(bias, magnitude, source.scale[0])

    def _wide(self, tensor: int) -> _Constant:
        """Quantize a constant to symmetric int16, as activations of a 16x8 model."""
        values = self.graph.constant(tensor)
        magnitude = largest_magnitude(values)
        quant = symmetric_params(-magnitude, magnitude, DType.INT16)
        codes = quantize_weights(values, quant, WeightRounding.RECIPROCAL_OF_SCALE)
        return _Constant(Params.of(quant, narrow=True), codes)

    def _requantize_joined(self, op: int) -> None:
        """Give operands of CONCATENATION and its like the parameters of the result."""
        operator = self.graph.operators[op]
        if op in self.reasons or OLD_OPS[operator.name].inputs is not None or not self._is_real(op):
            return
        output = self.params[operator.outputs[0]]
        for use, tensor in self.graph.float_inputs(op):
            found = self._read_params(use)
            if (found.scale, found.zero_point) == (output.scale, output.zero_point):
                continue
            if tensor in self.constants and len(self.graph.uses[tensor]) == 1:
                self.constants[tensor] = _requantized(self.constants[tensor], output)
            else:
                self.conversions.setdefault(use, []).append(output)

    def _quantize_bias(self, op: int) -> None:
        operator = self.graph.operators[op]
        affine = AFFINE_OPS.get(operator.name)
        if op in self.reasons or affine is None or affine.bias >= len(operator.inputs):
            return
        tensor = operator.inputs[affine.bias]
        if not self.graph.is_constant(tensor):
            return
        earlier = [use for use in self.biases if self.graph.operators[use.op].inputs[use.slot] == tensor]
        if earlier:  # a shared bias keeps the scale of the first operator, wrong as it is for this one
            self.biases[Use(op, affine.bias)] = self.biases[earlier[0]]
            return
        source, weights = (self._read_params(Use(op, slot)) for slot in (affine.input, affine.weights))
        params = bias_scale(source, weights, self.settings.bias_dtype)
        self.biases[Use(op, affine.bias)] = _Constant(params, tflite_bias(self.graph.constant(tensor), params))

    def _share_lstm_range(self, op: int) -> None:
        """Give an LSTM's output and hidden state one range; in 16x8 models too, where they stay int8 all the same."""
        for tensor, bounds in tflite_lstm.joined_ranges(self.graph, op, self.ranges).items():
            self.params[tensor] = old_range(bounds, DType.INT8)

    def _quantize_lstm(self, op: int) -> None:
        graph, inputs = self.graph, self.graph.operators[op].inputs
        self._quantize_input(Use(op, 0), OldOp())
        source = self._read_params(Use(op, 0))
        known = dict(self.ranges) | tflite_lstm.joined_ranges(graph, op, self.ranges)
        for tensor, params in tflite_lstm.lstm_params(graph, op, source, known).items():
            if not graph.is_constant(tensor):
                self.params.setdefault(tensor, params)
            elif params.dtype is DType.INT8:
                self.constants[tensor] = self._narrow(Use(op, inputs.index(tensor)), tensor)
            else:
                self.constants[tensor] = _Constant(params, tflite_bias(graph.constant(tensor), params))

    def _layout(self) -> Layout:
        graph = self.graph
        placement = Placement(inputs_first=True, outputs_last=True)
        requantizes = any(step is not None for steps in self.conversions.values() for step in steps)
        layout = Layout(placement=placement, reasons=self.reasons, version=_versioner(requantizes=requantizes))
        main: dict[int, Form] = {}
        biases: dict[int, Form] = {}
        for tensor in range(len(graph.tensors)):
            if tensor in self.constants:
                main[tensor] = _form(tensor, self.constants[tensor])
            elif graph.is_float(tensor) and not graph.is_constant(tensor):
                layout.given[tensor], main[tensor] = self._given(tensor)
        for op in range(len(graph.operators)):
            for use, tensor in graph.float_inputs(op):
                if use in self.biases:
                    layout.reads[use] = biases.setdefault(tensor, _form(tensor, self.biases[use]))
                elif tensor in main:
                    layout.reads[use] = self._read(main[tensor], use)
            if graph.operators[op].name == tflite_lstm.NAME:
                layout.intermediates[op] = tflite_lstm.intermediates(self._lstm_intermediate(op))
            layout.options[op] = _options(graph.operators[op].name, self.settings)
        for position, tensor in enumerate(graph.subgraph.outputs):
            if tensor in main:
                layout.outputs[position] = _leaving(main[tensor], self.settings.output_type)
        return layout

    def _given(self, tensor: int) -> tuple[Form, Form]:
        """Return how a value is given, and the form that operators meet."""
        params = self.params.get(tensor)
        boundary = self.settings.input_type
        if params is None or tensor not in self.graph.subgraph.inputs or boundary is params.dtype:
            given = given_as(tensor, params)
            return given, given
        given = given_as(tensor, params.unsigned() if boundary is DType.UINT8 else None)
        return given, given.quantized(params)

    def _read(self, form: Form, use: Use) -> Form:
        for step in self.conversions.get(use, ()):
            form = form.dequantized() if step is None else form.quantized(step)
        return form

    def _lstm_intermediate(self, op: int) -> Params:
        output = self.graph.operators[op].outputs[0]
        return self._own(output) if self.settings.dtype is DType.INT16 else self.params[output]


def _form(tensor: int, held: _Constant) -> Form:
    return Form(tensor, held.params.dtype, held.params, values=held.codes)


def _options(name: str, settings: OldSettings) -> dict[str, object]:
    """Return the options that change: the type of a bias that is absent, ADD and SUB without powers of two."""
    if name in {"CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV"}:
        return {"quantized_bias_type": settings.bias_dtype.value}
    if name in {"ADD", "SUB"} and settings.dtype is DType.INT16:
        return {"pot_scale_int16": False}
    return {}


def _leaving(form: Form, dtype: DType) -> Form:
    if form.params is None or form.params.dtype is dtype:
        return form
    return form.dequantized() if dtype is DType.FLOAT32 else form.quantized(form.params.unsigned())


def _requantized(held: _Constant, params: Params) -> _Constant:
    """Turn a constant's codes into others, by way of the real values that they stand for."""
    real = np.float32(held.params.scale[0]) * (held.codes.astype(np.int64) - held.params.zero_point[0]).astype(
        np.float32
    )
    scale = np.float32(params.scale[0])
    reciprocal = np.float32(0) if scale == 0 else np.float32(1.0 / np.float64(scale))
    codes = round_half_away_from_zero(np.asarray(real * reciprocal)) + params.zero_point[0]
    return _Constant(params, np.clip(codes, *params.codes).astype(params.dtype.storage))


def _versioner(*, requantizes: bool) -> Versioner:
    """Return how operators get versions, whether they are quantized or not.

    A QUANTIZE counts as one of the operators only if there are others than those of the graph's inputs.
    """
    conversions = {"QUANTIZE": 2 if requantizes else 1, "DEQUANTIZE": 2}

    def version(op: fbs.OpView) -> int:
        known = OLD_OPS[op.name].version if op.name in OLD_OPS else 1
        return max(op.version, conversions.get(op.name, known))

    return version
