"""From states to forms: which ops TFLiteConverter's quantizer makes integer, and the conversions around them.

Follows ``QuantizationPattern`` in ``.../quantization_lib/quantization_utils.h`` (an op becomes integer if all its float
operands and results have parameters), ``post_quantize.cc``, ``optimize_op_order.cc`` and ``modify_io_nodes.cc``, all
under ``tensorflow/compiler/mlir/lite/transforms``.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from qmath.types import DType
from quantref.quantizer.graph import FloatGraph, Use
from quantref.quantizer.layout import Form, Layout, Placement, given_as
from quantref.quantizer.op_table import FIXED_OUTPUT_OPS, TFLITE_QUANTIZABLE, TFLITE_SAME_SCALE
from quantref.quantizer.params import Params
from quantref.quantizer.tflite_arithmetic import Arithmetic
from quantref.quantizer.tflite_propagation import Position, Propagation, Requantize, State
from quantref.quantizer.tflite_values import Values

#: Says of an operator why it has to stay float, or None.
KeepFloat = Callable[[int], str | None]


class TFLiteLayout:
    """Lays out a graph whose parameters were propagated.

    Parameters
    ----------
    graph, values, propagation
        The float graph, its values and their states.
    arithmetic
        Gives constants their codes.
    input_type, output_type
        Types of the graph's inputs and outputs: FLOAT32, INT8 or UINT8. An input or output without parameters stays
        float32 whatever is asked.
    keep_float
        Says of an operator why it has to stay float, or None.

    """

    def __init__(
        self,
        graph: FloatGraph,
        values: Values,
        propagation: Propagation,
        arithmetic: Arithmetic,
        input_type: DType,
        output_type: DType,
        keep_float: KeepFloat,
    ) -> None:
        self._graph = graph
        self._values = values
        self._propagation = propagation
        self._arithmetic = arithmetic
        self._input_type = input_type
        self._output_type = output_type
        self._reasons = {op: self._why_float(op, keep_float) for op in range(len(graph.operators))}
        self._constants: dict[int, Form] = {}
        self._activations: dict[int, _Activation] = {}

    def layout(self) -> Layout:
        """Return the layout."""
        graph = self._graph
        placement = Placement(eager=True, outputs_last=self._output_type is DType.UINT8)
        reasons = {op: reason for op, reason in self._reasons.items() if reason is not None}
        layout = Layout(placement=placement, reasons=reasons, shares_versions=True)
        for tensor in range(len(graph.tensors)):
            if graph.is_float(tensor) and not graph.is_constant(tensor):
                self._activations[tensor] = self._activation(tensor)
                layout.given[tensor] = self._activations[tensor].given
        for op in range(len(graph.operators)):
            for use, tensor in graph.float_inputs(op):
                if tensor in self._activations:
                    layout.reads[use] = self._activations[tensor].read(use, integer=self._reasons[op] is None)
                elif self._reasons[op] is None:
                    layout.reads[use] = self._constant(use)
        for position, tensor in enumerate(graph.subgraph.outputs):
            if tensor in self._activations:
                layout.outputs[position] = self._activations[tensor].leave(self._output_type)
        push_down_dequantize(graph, layout)
        return layout

    def _why_float(self, op: int, keep_float: KeepFloat) -> str | None:
        """Return why an op stays float, or None if it becomes integer."""
        graph, name = self._graph, self._graph.operators[op].name
        if name not in TFLITE_QUANTIZABLE:
            return f"{name} has no integer form in the converter"
        floats = [*graph.float_inputs(op), *graph.float_outputs(op)]
        if not floats:
            return "it has no float operands"
        for use, tensor in graph.float_inputs(op):
            if self._seen(use) is None:
                return f"nothing is known of its operand {graph.tensors[tensor].name!r}"
        for tensor in graph.float_outputs(op):
            if not self._has_state(tensor):
                return f"nothing is known of its result {graph.tensors[tensor].name!r}"
        return keep_float(op)

    def _has_state(self, value: int) -> bool:
        state = self._propagation.state(value)
        return state.params is not None and (state.fixed or self._propagation.is_result(value))

    def _seen(self, use: Use) -> Params | None:
        """Return the parameters that an operand has for its reader."""
        value = self._values.operands[use]
        if not self._has_state(value):
            return None
        state = self._propagation.state(value)
        demand = _demand(state, use, self._use_count(value))
        return state.params if demand is None else demand.params

    def _use_count(self, value: int) -> int:
        return self._values.use_counts.get(value, 0) + (value in self._graph.subgraph.outputs)

    def _constant(self, use: Use) -> Form:
        """Return the codes of a constant operand; one tensor for readers that see the same parameters."""
        value, params = self._values.operands[use], self._seen(use)
        assert params is not None, "an integer op's operands have parameters"  # noqa: S101 - see _why_float
        held = self._constants.get(value)
        if held is None or held.params != params:
            tensor = self._graph.operators[use.op].inputs[use.slot]
            codes = self._arithmetic.codes(self._graph.constant(tensor), params)
            held = Form(tensor, params.dtype, params, values=codes)
            self._constants[value] = held
        return held

    def _activation(self, tensor: int) -> _Activation:
        graph, state = self._graph, self._propagation.state(tensor)
        producer = graph.producers.get(tensor)
        if not self._has_state(tensor):
            return _Activation(graph, tensor, State(), 0, DType.FLOAT32, by_integer_op=False)
        by_integer_op = producer is not None and self._reasons[producer] is None
        is_input = tensor in graph.subgraph.inputs or graph.tensors[tensor].is_variable
        given = self._input_type if is_input and not graph.tensors[tensor].is_variable else DType.FLOAT32
        if by_integer_op or graph.tensors[tensor].is_variable:
            given = self._arithmetic.dtype
        return _Activation(graph, tensor, state, self._use_count(tensor), given, by_integer_op=by_integer_op)


class _Activation:
    """The forms of one activation."""

    def __init__(
        self, graph: FloatGraph, tensor: int, state: State, use_count: int, given: DType, *, by_integer_op: bool
    ) -> None:
        self._state = state
        self._use_count = use_count
        self._only_leaves = use_count == 1 and tensor in graph.subgraph.outputs
        self._floats: dict[Form, Form] = {}
        producer = graph.operators[graph.producers[tensor]].name if tensor in graph.producers else ""
        self._at_producer: Form | None = None
        self._for_readers: dict[Params, Form] = {}
        if state.params is None:
            self.given = self._main = Form(tensor)
            return
        demands = _consistent(state.requantized)
        emitted = state.params
        if demands and demands[0].position is Position.AT_PRODUCER:
            emitted = demands[0].params
        free = producer and producer not in FIXED_OUTPUT_OPS and producer not in TFLITE_SAME_SCALE
        readers = [demand for demand in demands if demand.position is Position.AT_READERS]
        if by_integer_op and free and len(readers) == 1 and use_count <= 1:
            emitted, readers = readers[0].params, []
            self._state = State(emitted)
        self.given, first = self._as_given(tensor, emitted, given)
        self._main = first
        if self._state.params != emitted and self._state.params is not None:
            self._at_producer, self._main = first, first.quantized(self._state.params)
        for demand in readers:
            self._for_readers[demand.params] = self._main.quantized(demand.params)

    @staticmethod
    def _as_given(tensor: int, params: Params, dtype: DType) -> tuple[Form, Form]:
        """Return the form that the producer gives, and the first form with these parameters."""
        if dtype is DType.FLOAT32:
            given = Form(tensor)
            return given, given.quantized(params)
        if dtype is DType.UINT8 and params.dtype is DType.INT8:
            given = given_as(tensor, params.unsigned())
            return given, given.quantized(params)
        given = given_as(tensor, params)
        return given, given

    def read(self, use: Use, *, integer: bool) -> Form:
        """Return the form that an operand reads."""
        codes = self._codes(use)
        return codes if integer else self._as_float(codes)

    def leave(self, dtype: DType) -> Form:
        """Return the form in which the value leaves the graph."""
        codes = self._codes(None)
        if codes.params is None or dtype is DType.FLOAT32:
            return self._as_float(codes)
        if not self._only_leaves:
            if codes.source is self.given and self.given.params is None:
                return self.given
            if codes is self._main and self._at_producer is not None:
                codes = self._at_producer
        if dtype is DType.UINT8 and codes.params is not None and codes.params.dtype is DType.INT8:
            return codes.quantized(codes.params.unsigned())
        return codes

    def _codes(self, use: Use | None) -> Form:
        demand = _demand(self._state, use, self._use_count) if self._for_readers else None
        return self._main if demand is None else self._for_readers[demand.params]

    def _as_float(self, codes: Form) -> Form:
        """Return the float form that stands for these codes.

        A QUANTIZE that was inserted for the value's own parameters is stepped over, so that float ops read what a
        float op gives; one that a conflict called for is not.
        """
        if codes.params is None:
            return codes
        if codes is self._main:
            if codes.source is self.given and self.given.params is None:
                return self.given
            if self._at_producer is not None:
                codes = self._at_producer
        return self._floats.setdefault(codes, codes.dequantized())


def _consistent(demands: list[Requantize]) -> list[Requantize]:
    """Return the demands, or none if some are for the producer and some for readers."""
    return demands if len({demand.position for demand in demands}) == 1 else []


def _demand(state: State, use: Use | None, use_count: int) -> Requantize | None:
    """Return which demand a reader gets; None if it reads the value with its own parameters.

    If there are no more readers than demands, the first demand's copy replaces the value for those that asked for
    nothing.
    """
    demands = _consistent(state.requantized)
    if not demands or demands[0].position is Position.AT_PRODUCER:
        return None
    replaces = use_count <= len(demands)
    for demand in demands[replaces:]:
        if use in demand.readers:
            return demand
    return demands[0] if replaces else None


def push_down_dequantize(graph: FloatGraph, layout: Layout) -> None:
    """Move DEQUANTIZE behind float ops with one scale for everything where that makes its work smaller.

    An op qualifies if it has one result, which is smaller than the operand, and is the only reader of that
    DEQUANTIZE. Changes the layout.
    """
    readers: dict[Form, int] = {}
    for read in (*layout.reads.values(), *layout.outputs.values()):
        readers[read] = readers.get(read, 0) + 1
    for op, operator in enumerate(graph.operators):
        if operator.name not in TFLITE_SAME_SCALE or len(operator.outputs) != 1:
            continue
        result = operator.outputs[0]
        for use, tensor in graph.float_inputs(op):
            form = layout.reads.get(use)
            if form is None or form.params is not None or form.source is None or readers[form] != 1:
                continue
            shrinks = math.prod(graph.tensors[tensor].shape) > math.prod(graph.tensors[result].shape)
            if form.source.params is None or not shrinks or not graph.is_float(result):
                continue
            layout.reads[use] = form.source
            old, codes = layout.given.get(result, Form(result)), given_as(result, form.source.params)
            floats = codes.dequantized()
            layout.given[result] = codes
            for reader in graph.uses[result]:
                layout.reads.setdefault(reader, old)
            for position, output in enumerate(graph.subgraph.outputs):
                if output == result:
                    layout.outputs.setdefault(position, old)
            _replace(layout, {old: floats})
            readers[floats] = sum(found is floats for found in (*layout.reads.values(), *layout.outputs.values()))
            break


def _replace(layout: Layout, replaced: dict[Form, Form]) -> None:
    """Let readers of some forms, and of what is converted from them, read others; changes the layout."""
    for use, form in layout.reads.items():
        layout.reads[use] = _replacement(form, replaced)
    for position, form in layout.outputs.items():
        layout.outputs[position] = _replacement(form, replaced)


def _replacement(form: Form, replaced: dict[Form, Form]) -> Form:
    if form not in replaced:
        source = None if form.source is None else _replacement(form.source, replaced)
        unchanged = source is form.source
        replaced[form] = form if unchanged else Form(form.tensor, form.dtype, form.params, source)
    return replaced[form]
