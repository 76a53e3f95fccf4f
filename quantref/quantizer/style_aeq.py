"""Integer quantization as AI Edge Quantizer does it: each op says what it wants, tensor by tensor the wishes are met.

A producer gives codes with its own parameters or float; each reader wants codes with some parameters or float. Equal
wishes share a tensor, other parameters cost a QUANTIZE, float a DEQUANTIZE. The graph's inputs and outputs count as
operators, so a model takes and gives integers unless they are kept float.

Follows ``ai_edge_quantizer/params_generator.py``, ``transformation_instruction_generator.py`` and
``algorithms/uniform_quantize`` of release 0.10.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from qmath.errors import InputError
from qmath.scheme import fixed_output_params
from qmath.types import DType
from quantref.quantizer.bias import aeq_bias, bias_scale
from quantref.quantizer.graph import FloatGraph, Use
from quantref.quantizer.layout import Form, Layout, given_as
from quantref.quantizer.op_table import (
    AEQ_FIXED_OUTPUT,
    AEQ_INT8,
    AEQ_INT16,
    AEQ_SAME_AS_INPUT,
    AEQ_SAME_AS_OUTPUT,
    AEQ_STATIC_INT4,
    AFFINE_OPS,
)
from quantref.quantizer.params import Params
from quantref.quantizer.ranges import aeq_range
from quantref.quantizer.statistics import Range
from quantref.quantizer.tflite_layout import KeepFloat
from quantref.quantizer.weights import aeq_codes, aeq_constant, aeq_weights


@dataclass(frozen=True, slots=True)
class AEQSettings:
    """What AI Edge Quantizer is asked for.

    Attributes
    ----------
    dtype
        Of activations: INT8 or INT16.
    weights_dtype
        INT8 or INT4.
    float_inputs, float_outputs
        Whether the graph's inputs and outputs stay float32.

    """

    dtype: DType
    weights_dtype: DType = DType.INT8
    float_inputs: bool = False
    float_outputs: bool = False


def lay_out_aeq(graph: FloatGraph, ranges: Mapping[int, Range], settings: AEQSettings, keep_float: KeepFloat) -> Layout:
    """Lay out a model from its statistics.

    Raises
    ------
    InputError
        An activation of an op to be quantized has no statistics.

    """
    return _AEQ(graph, ranges, settings, keep_float).run()


@dataclass(frozen=True, slots=True)
class _Wish:
    """Parameters that a producer gives or a reader wants.

    Attributes
    ----------
    params
        The parameters.
    rank
        Of the statistics that they follow from; the tool takes parameters of statistics of another rank for others.
    float64
        Whether they follow from a fixed output, whose scale the tool keeps in float64.

    """

    params: Params
    rank: int
    float64: bool = field(default=False, compare=False)


@dataclass
class _AEQ:
    graph: FloatGraph
    ranges: Mapping[int, Range]
    settings: AEQSettings
    keep_float: KeepFloat
    #: Tensors whose statistics another tensor's stand in for, and outputs that an op fixes.
    stand_ins: dict[int, int] = field(default_factory=dict)
    fixed: dict[int, _Wish] = field(default_factory=dict)
    given: dict[int, _Wish] = field(default_factory=dict)
    wanted: dict[Use, _Wish] = field(default_factory=dict)
    leaving: dict[int, _Wish] = field(default_factory=dict)
    constants: dict[Use, Form] = field(default_factory=dict)
    reasons: dict[int, str] = field(default_factory=dict)

    def run(self) -> Layout:
        """Collect the wishes of all operators, then those of the graph's inputs and outputs; then meet them."""
        for op in range(len(self.graph.operators)):
            reason = self._why_float(op)
            if reason is None:
                self._collect(op)
            else:
                self.reasons[op] = reason
        if not self.settings.float_inputs:
            self.given |= {t: self._own(t) for t in self.graph.subgraph.inputs if self.graph.is_float(t)}
        if not self.settings.float_outputs:
            self.leaving |= {t: self._own(t) for t in self.graph.subgraph.outputs if self.graph.is_float(t)}
        return self._layout()

    def _why_float(self, op: int) -> str | None:
        name = self.graph.operators[op].name
        covered = AEQ_INT8 if self.settings.dtype is DType.INT8 else AEQ_INT16
        if self.settings.weights_dtype is DType.INT4:
            covered = AEQ_STATIC_INT4
        if name not in covered:
            return f"{name} has no integer form in AI Edge Quantizer with these types"
        return self.keep_float(op)

    def _collect(self, op: int) -> None:
        name = self.graph.operators[op].name
        operands = list(self.graph.float_inputs(op))
        results = self.graph.float_outputs(op)
        if name in AEQ_SAME_AS_OUTPUT:
            shared = self._own(results[0])
            for use, tensor in operands:
                self._want(use, tensor, shared)
            self.given |= dict.fromkeys(results, shared)
        elif name in AEQ_SAME_AS_INPUT:
            use, tensor = operands[0]
            shared = self._operand(use, tensor)
            self.given |= dict.fromkeys(results, shared)
            self.stand_ins |= dict.fromkeys(results, tensor)
        else:
            for use, tensor in operands:
                self._operand(use, tensor)
            if name in AEQ_FIXED_OUTPUT:
                fixed = fixed_output_params(name, self.settings.dtype)
                assert fixed is not None, f"{name} has a fixed output"  # noqa: S101 - see AEQ_FIXED_OUTPUT
                self.fixed |= {tensor: _Wish(Params.of(fixed), rank=0, float64=True) for tensor in results}
            self.given |= {tensor: self._own(tensor) for tensor in results}

    def _own(self, tensor: int) -> _Wish:
        """Return the parameters that follow from an activation's statistics."""
        while tensor in self.stand_ins:
            tensor = self.stand_ins[tensor]
        if tensor in self.fixed:
            return self.fixed[tensor]
        if self.graph.is_constant(tensor):
            return _Wish(aeq_constant(self.graph.constant(tensor), self.settings.dtype), rank=0)
        if tensor not in self.ranges:
            raise InputError(f"expected statistics of tensor {self.graph.tensors[tensor].name!r}, found none")
        return _Wish(aeq_range(self.ranges[tensor], self.settings.dtype), len(self.graph.tensors[tensor].shape))

    def _operand(self, use: Use, tensor: int) -> _Wish:
        """Let an operand have the parameters of its own statistics, content or role."""
        affine = AFFINE_OPS.get(self.graph.operators[use.op].name)
        if affine is not None and use.slot == affine.bias and self.graph.is_constant(tensor):
            return self._bias(use, tensor)
        if self.graph.is_constant(tensor):
            wish = _Wish(self._constant_params(use, tensor), rank=0)
        else:
            wish = self._own(tensor)
        self._want(use, tensor, wish)
        return wish

    def _want(self, use: Use, tensor: int, wish: _Wish) -> None:
        self.wanted[use] = wish
        if self.graph.is_constant(tensor):
            codes = aeq_codes(self.graph.constant(tensor), wish.params)
            self.constants[use] = Form(tensor, wish.params.dtype, wish.params, values=codes)

    def _constant_params(self, use: Use, tensor: int) -> Params:
        values = self.graph.constant(tensor)
        axis = weights_axis(self.graph, use)
        if axis is None:
            return aeq_constant(values, self.settings.dtype)
        return aeq_weights(values, axis, self.settings.weights_dtype)

    def _bias(self, use: Use, tensor: int) -> _Wish:
        affine = AFFINE_OPS[self.graph.operators[use.op].name]
        source, weights = (self.wanted[Use(use.op, slot)] for slot in (affine.input, affine.weights))
        dtype = DType.INT64 if self.settings.dtype is DType.INT16 else DType.INT32
        params = bias_scale(source.params, weights.params, dtype, float32=not source.float64)
        codes = aeq_bias(self.graph.constant(tensor), params, float64=source.float64)
        self.wanted[use] = _Wish(params, rank=0)
        self.constants[use] = Form(tensor, dtype, params, values=codes)
        return self.wanted[use]

    def _layout(self) -> Layout:
        layout = Layout(reasons=self.reasons, version=lambda op: op.version)
        layout.reads |= _shared(self.constants)
        for tensor in range(len(self.graph.tensors)):
            if self.graph.is_float(tensor) and not self.graph.is_constant(tensor):
                self._meet(tensor, layout)
        return layout

    def _meet(self, tensor: int, layout: Layout) -> None:
        """Decide in which forms an activation is present, from what is given and what its readers want."""
        readers: list[tuple[Use | None, _Wish | None]] = [
            (use, self.wanted.get(use)) for use in self.graph.uses[tensor]
        ]
        if tensor in self.graph.subgraph.outputs:
            readers.append((None, self.leaving.get(tensor)))
        give = self.given.get(tensor) if readers else None
        wishes = {wish for _, wish in readers}
        if give is not None and len(wishes) == 1 and None not in wishes and self._may_change(tensor):
            (give,) = wishes
        given = given_as(tensor, give.params if give is not None else None)
        layout.given[tensor] = given
        forms: dict[_Wish | None, Form] = {give: given}
        for use, wish in readers:
            form = forms.setdefault(wish, given.dequantized() if wish is None else given.quantized(wish.params))
            if use is not None:
                layout.reads[use] = form
        # The tool lets an output follow the first conversion that it inserts for any reader.
        converted = [form for form in forms.values() if form is not given]
        for position, output in enumerate(self.graph.subgraph.outputs):
            if output == tensor:
                layout.outputs[position] = converted[0] if converted else given

    def _may_change(self, tensor: int) -> bool:
        """Whether a value's producer can give the parameters that all readers want instead of its own."""
        producer = self.graph.producers.get(tensor)
        constrained = AEQ_SAME_AS_INPUT | AEQ_SAME_AS_OUTPUT | AEQ_FIXED_OUTPUT
        return producer is not None and self.graph.operators[producer].name not in constrained


def weights_axis(graph: FloatGraph, use: Use) -> int | None:
    """Return the axis that an op's constant weights have scales along, or None if the operand is no weights."""
    operator = graph.operators[use.op]
    affine = AFFINE_OPS.get(operator.name)
    if affine is not None:
        return affine.axis if use.slot == affine.weights else None
    tensor = operator.inputs[use.slot]
    if operator.name == "BATCH_MATMUL" and graph.is_constant(tensor):
        rank = len(graph.tensors[tensor].shape)
        return rank - 2 if graph.options(use.op)["adj_y"] else rank - 1
    return 0 if operator.name == "EMBEDDING_LOOKUP" and use.slot == 1 else None


def _shared(constants: Mapping[Use, Form]) -> dict[Use, Form]:
    """Let operands that are the same constant with the same parameters read one tensor."""
    forms: dict[tuple[int, Params | None], Form] = {}
    return {use: forms.setdefault((form.tensor, form.params), form) for use, form in constants.items()}
