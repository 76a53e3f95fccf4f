"""Integer quantization as the quantization spec has it: one pass forward, one back, and no surprises.

1. Forward, each op decides for itself. An op that cannot be integer, or has to stay float, gives float. Every other
   gives codes: with the parameters of its own range, of its input, or those it prescribes.
2. Backward, a value whose readers all want it with the same other parameters (because they join it with something)
   is given with those at once, as far up as ops allow; a QUANTIZE is only left where an op is bound.
3. A reader that wants another form than what is given gets it by QUANTIZE or DEQUANTIZE; equal wishes share one.

What follows is that no op is left float for want of information that comes from a neighbour, that statistics of
one tensor never stand in for another's, and that every code is the nearest one under the stored scale. Only biases,
where the means of activations are known, also make up for what rounding does to the weights on average
(:mod:`quantref.quantizer.bias_correction`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from qmath.affine import dequantize
from qmath.errors import InputError
from qmath.scheme import asymmetric_params, fixed_output_params, symmetric_params
from qmath.types import DType, Float32Array, Float64Array
from quantref.quantizer import tflite_lstm
from quantref.quantizer.bias import LARGEST_WIDE, bias_scale, float64_bias, widen_for_bias
from quantref.quantizer.bias_correction import output_shift
from quantref.quantizer.feasibility import SMALLEST, Ranges
from quantref.quantizer.graph import FloatGraph, Use
from quantref.quantizer.layout import Form, Layout, Placement, given_as
from quantref.quantizer.op_support import INT4_WEIGHTS, SUPPORT, WIDE_BIAS_ONLY, Binding
from quantref.quantizer.op_table import AFFINE_OPS, AffineOp
from quantref.quantizer.params import Params
from quantref.quantizer.weights import nearest_codes, symmetric_weights, tflite_constant


@dataclass(frozen=True, slots=True)
class QuantrefSettings:
    """What is asked of each operator.

    Attributes
    ----------
    op_dtypes
        By operator: the type of its activations' codes, INT8 or INT16, or None where it stays float.
    ranges
        What is known of activations.
    reasons
        By operator that stays float: why.
    input_type, output_type
        Of the graph: FLOAT32, INT8, INT16 or UINT8.
    weights_dtype
        INT8 or INT4, where kernels take that.
    bias_dtype
        Of 16x8 ops: INT64 or INT32.
    per_channel
        Whether weights have a scale a channel.
    means
        By activation: the means of its channels, where biases are to be corrected by them.

    """

    op_dtypes: Mapping[int, DType]
    ranges: Ranges
    reasons: Mapping[int, str] = field(default_factory=dict)
    input_type: DType = DType.FLOAT32
    output_type: DType = DType.FLOAT32
    weights_dtype: DType = DType.INT8
    bias_dtype: DType = DType.INT64
    per_channel: bool = True
    means: Mapping[int, Float64Array] = field(default_factory=dict)


def lay_out_quantref(graph: FloatGraph, settings: QuantrefSettings) -> Layout:
    """Lay out a graph.

    Raises
    ------
    InputError
        An activation whose range is needed has no statistics.

    """
    return _Quantref(graph, settings).run()


@dataclass
class _Quantref:
    graph: FloatGraph
    settings: QuantrefSettings
    #: By activation: with which parameters it is given; absent if it is float.
    given: dict[int, Params] = field(default_factory=dict)
    #: By operand of an integer op: with which parameters it is read.
    wanted: dict[Use, Params] = field(default_factory=dict)
    constants: dict[Use, Form] = field(default_factory=dict)
    lstm: dict[int, Params] = field(default_factory=dict)
    corrected: set[Use] = field(default_factory=set)

    def run(self) -> Layout:
        """Decide forward, then backward, then on constants, which depend on activations."""
        for tensor in self.graph.subgraph.inputs:
            self._give_input(tensor)
        for op in range(len(self.graph.operators)):
            if op in self.settings.op_dtypes:
                self._decide(op, self.settings.op_dtypes[op])
        for op in reversed(range(len(self.graph.operators))):
            if op in self.settings.op_dtypes:
                self._follow_readers(op)
        for op in self.settings.op_dtypes:
            self._quantize_constants(op)
        return self._layout()

    def _give_input(self, tensor: int) -> None:
        """Let an input be given with the codes that its first integer reader takes."""
        readers = [use.op for use in self.graph.uses[tensor] if use.op in self.settings.op_dtypes]
        if self.graph.is_float(tensor) and readers:
            self.given[tensor] = self._own(tensor, self.settings.op_dtypes[readers[0]])

    def _own(self, tensor: int, dtype: DType) -> Params:
        """Return the parameters that follow from an activation's own range."""
        params = self.settings.ranges.params(tensor, dtype)
        if params is None:
            raise InputError(f"expected statistics of tensor {self.graph.tensors[tensor].name!r}, found none")
        return params

    def _decide(self, op: int, dtype: DType) -> None:
        name, results = self.graph.operators[op].name, self.graph.float_outputs(op)
        if name == tflite_lstm.NAME:
            self._decide_lstm(op)
            return
        binding = SUPPORT[name].binding
        operands = [(use, tensor) for use, tensor in self.graph.float_inputs(op) if not self.graph.is_constant(tensor)]
        if binding is Binding.OUTPUT:
            shared = self._own(results[0], dtype)
            self.wanted |= {use: shared for use, _ in operands}
            self.given |= dict.fromkeys(results, shared)
            return
        for use, tensor in operands:
            known = self.given.get(tensor)
            self.wanted[use] = known if known is not None and known.dtype is dtype else self._own(tensor, dtype)
        if binding is Binding.INPUT:
            shared = self.wanted[operands[0][0]] if operands else self._own(results[0], dtype)
            self.given |= dict.fromkeys(results, shared)
        elif binding is Binding.FIXED:
            fixed = fixed_output_params(name, dtype)
            assert fixed is not None, f"{name} has a fixed output"  # noqa: S101 - see SUPPORT
            self.given |= dict.fromkeys(results, Params.of(fixed))
        else:
            self.given |= {tensor: self._own(tensor, dtype) for tensor in results}

    def _follow_readers(self, op: int) -> None:
        """Give results the parameters that all readers want, where the op is free to."""
        name = self.graph.operators[op].name
        binding = SUPPORT[name].binding
        for tensor in self.graph.float_outputs(op):
            wishes = {self.wanted.get(use) for use in self.graph.uses[tensor]}
            if len(wishes) != 1 or tensor in self.graph.subgraph.outputs or name == tflite_lstm.NAME:
                continue
            (wish,) = wishes
            if wish is None or wish.dtype is not self.settings.op_dtypes[op] or wish == self.given[tensor]:
                continue
            if binding is Binding.OWN:
                self.given[tensor] = wish
            elif binding is Binding.INPUT and len(self.graph.float_outputs(op)) == 1:
                self.given[tensor] = wish
                self.wanted |= {use: wish for use, _ in self.graph.float_inputs(op)}

    def _quantize_constants(self, op: int) -> None:
        operator, dtype = self.graph.operators[op], self.settings.op_dtypes[op]
        if operator.name == tflite_lstm.NAME:
            for use, tensor in self.graph.float_inputs(op):
                if self.graph.is_constant(tensor):
                    self._set_constant(use, tensor, self.lstm[tensor])
            return
        affine = AFFINE_OPS.get(operator.name)
        if affine is not None:
            self._quantize_affine(op, affine, dtype)
            return
        shared = SUPPORT[operator.name].binding in {Binding.INPUT, Binding.OUTPUT}
        for use, tensor in self.graph.float_inputs(op):
            if self.graph.is_constant(tensor):
                params = self.given[operator.outputs[0]] if shared else self._constant_params(use, tensor, dtype)
                self._set_constant(use, tensor, params)

    def _constant_params(self, use: Use, tensor: int, dtype: DType) -> Params:
        values = self.graph.constant(tensor)
        if self.graph.operators[use.op].name == "PRELU":
            return symmetric_weights(values, None)
        if dtype is DType.INT8:
            return tflite_constant(values)
        low, high = values.min(), values.max()
        return Params.of(symmetric_params(low, high, dtype, smallest=SMALLEST), narrow=True)

    def _quantize_affine(self, op: int, affine: AffineOp, dtype: DType) -> None:
        """Quantize weights and bias, widening weight scales where the bias would not fit."""
        operator = self.graph.operators[op]
        weights_use, bias_use = Use(op, affine.weights), Use(op, affine.bias)
        weights_tensor = operator.inputs[affine.weights]
        weights = self._weight_params(operator.name, weights_tensor, affine, dtype)
        if affine.bias < len(operator.inputs) and operator.inputs[affine.bias] >= 0:
            tensor = operator.inputs[affine.bias]
            values: Float32Array = self.graph.constant(tensor)
            source = self.wanted[Use(op, affine.input)]
            bias = bias_scale(source, weights, self._bias_dtype(operator.name, dtype), float32=False)
            limit = LARGEST_WIDE if bias.dtype is DType.INT64 else None
            weights, bias = widen_for_bias(values, weights, bias, source, limit)
            codes = float64_bias(self._corrected(op, affine, weights, values), bias, limit)
            self.constants[bias_use] = Form(tensor, bias.dtype, bias, values=codes)
        self._set_constant(weights_use, weights_tensor, weights)

    def _corrected(self, op: int, affine: AffineOp, weights: Params, bias: Float32Array) -> Float64Array:
        """Return a bias less what rounded weights add to the output on average, where that is known."""
        operator, wide = self.graph.operators[op], bias.astype(np.float64)
        means = self.settings.means.get(operator.inputs[affine.input])
        if means is None:
            return wide
        values = self.graph.constant(operator.inputs[affine.weights])
        error = dequantize(nearest_codes(values, weights), weights.stored()).astype(np.float64) - values
        shape = self.graph.tensors[operator.inputs[affine.input]].shape
        shift = output_shift(operator.name, shape, error, means, self.graph.options(op))
        if shift is None or shift.shape != wide.shape:
            return wide
        self.corrected.add(Use(op, affine.bias))
        return wide - shift

    def _weight_params(self, name: str, tensor: int, affine: AffineOp, dtype: DType) -> Params:
        trained = self.settings.ranges.trained.get(tensor)
        if trained is not None and dtype is DType.INT8:
            return trained.to_params(dtype, symmetric=True)
        narrow = self.settings.weights_dtype is DType.INT4 and name in INT4_WEIGHTS[dtype]
        axis = affine.axis if self.settings.per_channel else None
        return symmetric_weights(self.graph.constant(tensor), axis, DType.INT4 if narrow else DType.INT8)

    def _bias_dtype(self, name: str, dtype: DType) -> DType:
        if dtype is DType.INT8:
            return DType.INT32
        return DType.INT64 if name in WIDE_BIAS_ONLY else self.settings.bias_dtype

    def _set_constant(self, use: Use, tensor: int, params: Params) -> None:
        codes = nearest_codes(self.graph.constant(tensor), params)
        self.constants[use] = Form(tensor, params.dtype, params, values=codes)

    def _decide_lstm(self, op: int) -> None:
        """Give an LSTM's operands their parameters; output and hidden state share theirs."""
        operator = self.graph.operators[op]
        known = self.given.get(operator.inputs[0])
        source = known if known is not None and known.dtype is DType.INT8 else self._own(operator.inputs[0], DType.INT8)
        self.wanted[Use(op, 0)] = source
        statistics = self.settings.ranges.statistics
        ranges = dict(statistics) | tflite_lstm.joined_ranges(self.graph, op, statistics)
        if not tflite_lstm.has_statistics(self.graph, op, ranges):
            raise InputError(f"expected statistics of the states of {self.graph.describe(op)}, found none")
        found = tflite_lstm.lstm_params(self.graph, op, source, ranges)
        self.lstm |= found
        for use, tensor in self.graph.float_inputs(op):
            if tensor in found and not self.graph.is_constant(tensor):
                self.given[tensor] = self.wanted[use] = found[tensor]
        low, high = ranges[operator.outputs[0]].min, ranges[operator.outputs[0]].max
        self.given[operator.outputs[0]] = Params.of(asymmetric_params(low, high))

    def _layout(self) -> Layout:
        layout = Layout(placement=Placement(), reasons=dict(self.settings.reasons), corrected=frozenset(self.corrected))
        shared: dict[tuple[int, Params | None, Use | None], Form] = {}
        for use, form in self.constants.items():
            own = use if use in self.corrected else None
            layout.reads[use] = shared.setdefault((form.tensor, form.params, own), form)
        for tensor in range(len(self.graph.tensors)):
            if self.graph.is_float(tensor) and not self.graph.is_constant(tensor):
                self._meet(tensor, layout)
        for op, dtype in self.settings.op_dtypes.items():
            name = self.graph.operators[op].name
            layout.options[op] = _options(name, dtype, self._bias_dtype(name, dtype))
            if name == tflite_lstm.NAME:
                layout.intermediates[op] = tflite_lstm.intermediates(self.given[self.graph.operators[op].outputs[0]])
        return layout

    def _meet(self, tensor: int, layout: Layout) -> None:
        """Let every reader of an activation find the form that it wants."""
        given, main = self._boundary(tensor)
        layout.given[tensor] = given
        forms: dict[Params | None, Form] = {given.params: given, main.params: main}
        for use in self.graph.uses[tensor]:
            wish = self.wanted.get(use)
            if wish not in forms:
                forms[wish] = main.dequantized() if wish is None else main.quantized(wish)
            layout.reads[use] = forms[wish]
        for position, output in enumerate(self.graph.subgraph.outputs):
            if output == tensor:
                layout.outputs[position] = self._leaving(main, forms)

    def _boundary(self, tensor: int) -> tuple[Form, Form]:
        """Return how a value is given, and the form that others follow from."""
        params = self.given.get(tensor)
        asked = self.settings.input_type
        if params is None or tensor not in self.graph.subgraph.inputs or asked is params.dtype:
            given = given_as(tensor, params)
            return given, given
        given = given_as(tensor, params.unsigned() if asked is DType.UINT8 else None)
        return given, given.quantized(params)

    def _leaving(self, main: Form, forms: dict[Params | None, Form]) -> Form:
        asked = self.settings.output_type
        if main.params is None or main.params.dtype is asked:
            return main
        if asked is DType.UINT8 and main.params.dtype is DType.INT8:
            return main.quantized(main.params.unsigned())
        return forms.setdefault(None, main.dequantized())


def _options(name: str, dtype: DType, bias_dtype: DType) -> dict[str, object]:
    """Return the options that an op in 16 bits needs: the type of an absent bias, no scales of powers of two."""
    if dtype is not DType.INT16:
        return {}
    if name in {"ADD", "SUB"}:
        return {"pot_scale_int16": False}
    return {"quantized_bias_type": bias_dtype.value} if name in {"CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV"} else {}
