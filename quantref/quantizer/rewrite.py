"""From a layout to a graph: retype tensors, store constants, insert QUANTIZE and DEQUANTIZE."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping

import fbs
from qmath.types import DType
from quantref.quantizer.graph import FloatGraph, Use
from quantref.quantizer.layout import Form, Layout
from quantref.quantizer.params import Params


def rewrite(model: fbs.Model, layouts: Mapping[int, Layout]) -> fbs.Model:
    """Apply layouts to a model's subgraphs.

    Parameters
    ----------
    model
        The float model.
    layouts
        By index of the subgraph.

    Returns
    -------
    A model whose inputs and outputs keep their names and their places in signatures.

    """
    subgraphs = list(model.subgraphs)
    signatures = list(model.signatures)
    for index, layout in layouts.items():
        rewriter = _Rewriter(FloatGraph(model, index), layout)
        subgraphs[index], renumbered = rewriter.run()
        signatures = [_signature(found, renumbered) if found.subgraph_index == index else found for found in signatures]
    # What a file says of the oldest runtime for its ops no longer holds.
    metadata = tuple(item for item in model.metadata if item.name != "min_runtime_version")
    changed = dataclasses.replace(
        model, subgraphs=tuple(subgraphs), signatures=tuple(signatures), metadata=metadata, path=None
    )
    return changed.pruned()


@dataclasses.dataclass(frozen=True, slots=True)
class _Renumbered:
    """Where tensors of the float graph went: as inputs, and as outputs."""

    inputs: Mapping[int, int]
    outputs: Mapping[int, int]


def _signature(signature: fbs.Signature, renumbered: _Renumbered) -> fbs.Signature:
    return dataclasses.replace(
        signature,
        inputs=tuple((name, renumbered.inputs.get(index, index)) for name, index in signature.inputs),
        outputs=tuple((name, renumbered.outputs.get(index, index)) for name, index in signature.outputs),
    )


class _Rewriter:
    """Builds the new subgraph operator by operator; forms become tensors when they are first wanted."""

    def __init__(self, graph: FloatGraph, layout: Layout) -> None:
        self._graph = graph
        self._layout = layout
        self._tensors = list(graph.tensors)
        self._operators: list[fbs.Operator] = []
        self._places: dict[Form, int] = {}
        self._taken = self._constants_read_as_they_are()
        self._names = {tensor.name for tensor in graph.tensors}
        self._forms = _forms_by_tensor((*layout.reads.values(), *layout.outputs.values()))
        self._read, self._leaving = set(layout.reads.values()), set(layout.outputs.values())
        self._kept_names = self._forms_that_keep_their_name()

    def run(self) -> tuple[fbs.Subgraph, _Renumbered]:
        graph, layout = self._graph, self._layout
        for form in layout.given.values():
            self._place(form)
        self._convert(graph.subgraph.inputs, at_front=True)
        if layout.placement.eager:
            self._convert(self._leading_constants())
        for op, operator in enumerate(graph.operators):
            self._operators.append(self._operator(op, operator))
            if layout.placement.eager:
                self._convert(operator.outputs)
            elif not layout.placement.outputs_last:
                self._convert_outputs(operator.outputs)
        outputs = tuple(
            self._place(layout.outputs[position]) if position in layout.outputs else tensor
            for position, tensor in enumerate(graph.subgraph.outputs)
        )
        subgraph = dataclasses.replace(
            graph.subgraph, tensors=tuple(self._tensors), operators=tuple(self._operators), outputs=outputs
        )
        subgraph = _versioned(subgraph, layout)
        compact, number = _without_unused_tensors(subgraph)
        renumbered = _Renumbered(
            {tensor: number[tensor] for tensor in graph.subgraph.inputs},
            {old: number[new] for old, new in zip(graph.subgraph.outputs, outputs, strict=True)},
        )
        return compact, renumbered

    def _constants_read_as_they_are(self) -> set[int]:
        """Return constants that keep their tensor because somebody still reads it; other forms are further tensors."""
        graph, layout = self._graph, self._layout
        uses = [(use, tensor) for tensor, uses in graph.uses.items() for use in uses]
        read = {tensor for use, tensor in uses if use not in layout.reads and graph.is_constant(tensor)}
        return read | {tensor for tensor in graph.subgraph.outputs if graph.is_constant(tensor)}

    def _leading_constants(self) -> list[int]:
        """Return constants; states that become constants are among them if they stand before the first result."""
        first = min((tensor for op in self._graph.operators for tensor in op.outputs if tensor >= 0), default=0)
        leading = [tensor for tensor in self._forms if self._graph.tensors[tensor].is_variable and tensor < first]
        constants = [tensor for tensor in range(len(self._graph.tensors)) if self._graph.is_constant(tensor)]
        return constants + leading

    def _operator(self, op: int, operator: fbs.Operator) -> fbs.Operator:
        inputs = tuple(
            self._place(self._layout.reads[Use(op, slot)]) if Use(op, slot) in self._layout.reads else tensor
            for slot, tensor in enumerate(operator.inputs)
        )
        changes = self._layout.options.get(op)
        options = operator.options
        if changes:
            table = fbs.options.table_of(operator.name) or ""
            options = fbs.Options(table, {**(options or fbs.Options(table)), **changes})
        intermediates = operator.intermediates
        if op in self._layout.intermediates:
            intermediates = tuple(self._intermediate(op, params) for params in self._layout.intermediates[op])
        return dataclasses.replace(operator, inputs=inputs, options=options, intermediates=intermediates)

    def _intermediate(self, op: int, params: Params | None) -> int:
        name = self._unique(f"{self._graph.tensors[self._graph.operators[op].outputs[0]].name}_intermediate")
        tensor = fbs.Tensor(name, DType.FLOAT32 if params is None else params.dtype, (0,))
        self._tensors.append(dataclasses.replace(tensor, quantization=_stored(params), has_rank=True))
        return len(self._tensors) - 1

    def _place(self, form: Form) -> int:
        """Return the tensor that a form is, with the conversions that lead to it."""
        if form not in self._places:
            self._places[form] = self._root(form) if form.source is None else self._conversion(form, form.source)
        return self._places[form]

    def _root(self, form: Form) -> int:
        old = self._graph.tensors[form.tensor]
        buffer = old.buffer if form.values is None else fbs.Buffer.of(form.values, form.dtype)
        tensor = dataclasses.replace(
            old, name=self._name(form), dtype=form.dtype, buffer=buffer, quantization=_stored(form.params)
        )
        if form.values is not None:
            tensor = dataclasses.replace(tensor, sparsity=None, is_variable=False)
        if form.tensor in self._taken:
            self._tensors.append(dataclasses.replace(tensor, name=self._unique(tensor.name)))
            return len(self._tensors) - 1
        self._taken.add(form.tensor)
        self._tensors[form.tensor] = tensor
        return form.tensor

    def _conversion(self, form: Form, source: Form) -> int:
        before = self._place(source)
        old = self._graph.tensors[form.tensor]
        self._tensors.append(
            fbs.Tensor(
                name=self._name(form),
                dtype=form.dtype,
                shape=old.shape,
                quantization=_stored(form.params),
                is_variable=old.is_variable,
                shape_signature=old.shape_signature,
                has_rank=old.has_rank,
            )
        )
        after = len(self._tensors) - 1
        name = "DEQUANTIZE" if form.params is None else "QUANTIZE"
        options = fbs.Options(fbs.options.table_of(name) or "")
        self._operators.append(fbs.Operator(fbs.OperatorCode(name), (before,), (after,), options))
        return after

    def _convert(self, tensors: Iterable[int], *, at_front: bool = False) -> None:
        """Insert the conversions of values now; of inputs that are not to be eager, only the leading QUANTIZE."""
        placement = self._layout.placement
        for form in (form for tensor in tensors for form in self._forms.get(tensor, ())):
            if placement.outputs_last and form in self._leaving and form not in self._read:
                continue
            leading = form.params is not None and form.source is not None and form.source.source is None
            if not at_front or placement.eager or (placement.inputs_first and leading):
                self._place(form)

    def _convert_outputs(self, tensors: Iterable[int]) -> None:
        for position, tensor in enumerate(self._graph.subgraph.outputs):
            if tensor in tensors and position in self._layout.outputs:
                self._place(self._layout.outputs[position])

    def _forms_that_keep_their_name(self) -> set[Form]:
        """Return the forms that callers see; another form of the same value needs a name of its own."""
        inputs = {self._layout.given[tensor] for tensor in self._graph.subgraph.inputs if tensor in self._layout.given}
        named = {form.tensor for form in self._leaving}
        roots = {form for form in self._layout.given.values() if form.tensor not in named}
        constants = {form for form in self._read if form.values is not None}
        return self._leaving | inputs | roots | constants

    def _name(self, form: Form) -> str:
        name = self._graph.tensors[form.tensor].name
        if form in self._kept_names:
            return name
        return self._unique(f"{name}_{form.dtype.name.lower()}")

    def _unique(self, name: str) -> str:
        number, found = 1, name
        while found in self._names:
            found, number = f"{name}_{number}", number + 1
        self._names.add(found)
        return found


def _forms_by_tensor(forms: Iterable[Form]) -> dict[int, list[Form]]:
    """Return every form of each value: what something is converted from first, codes before floats."""
    found: dict[int, dict[Form, None]] = {}
    for form in forms:
        link: Form | None = form
        while link is not None:
            found.setdefault(form.tensor, {}).setdefault(link)
            link = link.source
    return {
        tensor: sorted(several, key=lambda form: (form.params is None, _depth(form)))
        for tensor, several in found.items()
    }


def _depth(form: Form) -> int:
    return 0 if form.source is None else 1 + _depth(form.source)


def _stored(params: Params | None) -> fbs.Quantization | None:
    return None if params is None else fbs.Quantization.of(params.stored())


def _versioned(subgraph: fbs.Subgraph, layout: Layout) -> fbs.Subgraph:
    versions = [layout.version(fbs.view(subgraph, operator)) for operator in subgraph.operators]
    if layout.shares_versions:
        highest: dict[str, int] = {}
        for operator, version in zip(subgraph.operators, versions, strict=True):
            highest[operator.name] = max(version, highest.get(operator.name, 1))
        versions = [highest[operator.name] for operator in subgraph.operators]
    operators = tuple(
        dataclasses.replace(operator, code=dataclasses.replace(operator.code, version=version))
        for operator, version in zip(subgraph.operators, versions, strict=True)
    )
    return dataclasses.replace(subgraph, operators=operators)


def _without_unused_tensors(subgraph: fbs.Subgraph) -> tuple[fbs.Subgraph, dict[int, int]]:
    """Drop tensors that nothing refers to; returns the new number of each tensor that stays."""
    used = {*subgraph.inputs, *subgraph.outputs}
    for operator in subgraph.operators:
        used.update((*operator.inputs, *operator.outputs, *operator.intermediates))
    kept = [index for index in range(len(subgraph.tensors)) if index in used]
    number = {old: new for new, old in enumerate(kept)} | {-1: -1}
    operators = tuple(
        dataclasses.replace(
            operator,
            inputs=tuple(number[index] for index in operator.inputs),
            outputs=tuple(number[index] for index in operator.outputs),
            intermediates=tuple(number[index] for index in operator.intermediates),
        )
        for operator in subgraph.operators
    )
    compact = dataclasses.replace(
        subgraph,
        tensors=tuple(subgraph.tensors[index] for index in kept),
        operators=operators,
        inputs=tuple(number[index] for index in subgraph.inputs),
        outputs=tuple(number[index] for index in subgraph.outputs),
    )
    return compact, number
