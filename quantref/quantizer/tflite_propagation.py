"""How TFLiteConverter's quantizer spreads parameters over a graph: a work list, last in, first out.

The order in which it visits operators decides about results: an op that was visited is not visited again, so what
becomes known later does not reach it (the converter leaves such ops float). A cleaner algorithm would not be identical.

Follows ``QuantizationDriver`` in
``tensorflow/compiler/mlir/lite/quantization/common/quantization_lib/quantization_driver.cc``.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from qmath.scheme import fixed_output_params
from quantref.quantizer.bias import widen_for_bias
from quantref.quantizer.graph import FloatGraph, Use
from quantref.quantizer.op_table import AFFINE_OPS, TFLITE_QUANTIZABLE, TFLITE_SAME_SCALE, AffineOp
from quantref.quantizer.params import Params
from quantref.quantizer.tflite_arithmetic import Arithmetic
from quantref.quantizer.tflite_values import Values


class Position(enum.Enum):
    """Where a value is requantized."""

    #: At its producer, which is bound to other parameters than the value has: every reader gets the copy.
    AT_PRODUCER = enum.auto()
    #: On the way to those readers that are bound to other parameters.
    AT_READERS = enum.auto()


@dataclass(slots=True)
class Requantize:
    """A value is wanted with other parameters than it has."""

    position: Position
    params: Params
    readers: list[Use] = field(default_factory=list)


@dataclass(slots=True)
class State:
    """What is known of a value.

    Attributes
    ----------
    params
        Its parameters, or None.
    fixed
        Whether statistics gave them, so that they stay.
    requantized
        The demands that conflict with them.

    """

    params: Params | None = None
    fixed: bool = False
    requantized: list[Requantize] = field(default_factory=list)


class _Node(NamedTuple):
    """What the work list holds: a constant, or an operator."""

    is_constant: bool
    number: int


class Propagation:
    """Spreads parameters from statistics, constants and fixed outputs.

    Parameters
    ----------
    graph, values
        The float graph and its values.
    given
        Parameters that are known, by tensor: from statistics or from training. They stay.
    arithmetic
        How constants and biases get parameters.

    """

    def __init__(self, graph: FloatGraph, values: Values, given: Mapping[int, Params], arithmetic: Arithmetic) -> None:
        self._graph = graph
        self._values = values
        self._arithmetic = arithmetic
        self.states: dict[int, State] = {tensor: State(params, fixed=True) for tensor, params in given.items()}
        self._operators = [
            op
            for op, operator in enumerate(graph.operators)
            if operator.name in TFLITE_QUANTIZABLE or operator.name in TFLITE_SAME_SCALE
        ]
        self._work = [_Node(is_constant=True, number=value) for value in values.constants]
        self._work += [_Node(is_constant=False, number=op) for op in self._operators]
        self._listed = frozenset(self._work)
        self._visited: set[_Node] = set()

    def run(self) -> Mapping[int, State]:
        """Spread the parameters and return the state of every value that has one."""
        while self._work:
            node = self._work.pop()
            if node in self._visited or node not in self._listed:
                continue
            self._visited.add(node)
            if not (self._visit_constant(node.number) if node.is_constant else self._visit_operator(node.number)):
                self._visited.discard(node)
        return self.states

    def is_result(self, value: int) -> bool:
        """Whether a visited operator makes this value, or it is a constant or an input of the graph."""
        if value in self._values.constants or value in self._graph.subgraph.inputs:
            return True
        producer = self._graph.producers.get(value)
        return producer is not None and _Node(is_constant=False, number=producer) in self._listed

    def state(self, value: int) -> State:
        """Return the state of a value; an empty one if nothing is known."""
        return self.states.setdefault(value, State())

    def operand(self, use: Use) -> State:
        """Return the state of the value that an operand is."""
        return self.state(self._values.operands[use])

    def _visit_constant(self, value: int) -> bool:
        if value in self._values.weights and self.state(value).params is None:
            elements = self._graph.constant(self._values.constants[value])
            if value in self._values.channel_axes:
                params = self._arithmetic.weights(elements, self._values.channel_axes[value])
            else:
                params = self._arithmetic.constant(elements)
            self._set_result(value, params)
        return True

    def _visit_operator(self, op: int) -> bool:
        """Spread over one operator; returns whether it need not be visited again."""
        name = self._graph.operators[op].name
        if name in TFLITE_SAME_SCALE:
            params = self._shared_params(op)
            if params is None:
                return False
            self._set_all(op, params)
        fixed = fixed_output_params(name, self._arithmetic.dtype)
        if fixed is not None:
            for tensor in self._graph.operators[op].outputs:
                self._set_result(tensor, Params.of(fixed))
        if name in AFFINE_OPS:
            return self._set_bias(op, AFFINE_OPS[name])
        return True

    def _shared_params(self, op: int) -> Params | None:
        """Choose the parameters of an op that has one scale for everything.

        Of fixed ones: the only operand's, or else the only result's, or else the first; then of others likewise.
        """
        operator = self._graph.operators[op]
        operands = [self.operand(use) for use in self._operands(op)]
        results = [self.state(tensor) for tensor in operator.outputs]
        for fixed in (True, False):
            among_operands = [state.params for state in operands if state.params and state.fixed is fixed]
            among_results = [state.params for state in results if state.params and state.fixed is fixed]
            if len(operator.inputs) == 1 and len(among_operands) == 1:
                return among_operands[0]
            if len(operator.outputs) == 1 and len(among_results) == 1:
                return among_results[0]
            if among_operands or among_results:
                return (among_operands + among_results)[0]
        return None

    def _set_all(self, op: int, params: Params) -> None:
        for use in self._operands(op):
            if self._graph.is_float(self._graph.operators[op].inputs[use.slot]):
                self._set_operand(use, params)
        for tensor in self._graph.float_outputs(op):
            self._set_result(tensor, params)

    def _set_bias(self, op: int, affine: AffineOp) -> bool:
        inputs = self._graph.operators[op].inputs
        if affine.bias >= len(inputs) or inputs[affine.bias] < 0:
            return True
        use, weights_use = Use(op, affine.bias), Use(op, affine.weights)
        source = self.operand(Use(op, affine.input)).params
        weights = self.operand(weights_use).params
        if source is None or weights is None:
            return False
        value = self._values.operands[use]
        known = self.state(value).params
        bias = self._arithmetic.bias(source, weights) if known is None else known
        both_constant = value in self._values.constants and self._values.operands[weights_use] in self._values.constants
        if both_constant and self._arithmetic.guards_bias:
            elements = self._graph.constant(self._values.constants[value])
            widened, bias = widen_for_bias(elements, weights, bias, source)
            self._set_operand(use, bias)
            if widened != weights:
                self._set_operand(weights_use, widened, override=True)
        else:
            self._set_operand(use, bias)
        return True

    def _set_result(self, value: int, params: Params) -> None:
        state = self.state(value)
        if state.params == params:
            return
        if state.params is not None:
            state.requantized.append(Requantize(Position.AT_PRODUCER, params))
            return
        state.params = params
        self._work.extend(_Node(is_constant=False, number=op) for op in self._values.users.get(value, ()))

    def _set_operand(self, use: Use, params: Params, *, override: bool = False) -> None:
        value = self._values.operands[use]
        state = self.state(value)
        if state.params == params:
            return
        if state.params is not None and not override:
            for demand in state.requantized:
                if demand.params == params:
                    demand.readers.append(use)
                    return
            state.requantized.append(Requantize(Position.AT_READERS, params, [use]))
            return
        state.params = params
        if value in self._values.constants:
            self._work.append(_Node(is_constant=True, number=value))
        elif value in self._graph.producers:
            self._work.append(_Node(is_constant=False, number=self._graph.producers[value]))

    def _operands(self, op: int) -> list[Use]:
        return [Use(op, slot) for slot, tensor in enumerate(self._graph.operators[op].inputs) if tensor >= 0]
