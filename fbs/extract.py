"""One operator of a model as a model of its own: to find out which op a runtime dies of, or to test it alone."""

from __future__ import annotations

import dataclasses

from fbs.model import Model, Operator, Subgraph
from fbs.view import view
from qmath.errors import InputError


def extract(model: Model, subgraph_index: int, operator_index: int) -> Model:
    """Return a model of one operator.

    Its constants stay constants, its variable tensors stay variable, and what it otherwise reads become the
    inputs, in order. Subgraphs that it calls come along, so their indices stay as they are.

    Raises
    ------
    InputError
        There is no such subgraph or operator.
    ModelError
        The operator refers to a tensor that does not exist.

    """
    subgraph = _subgraph(model, subgraph_index, operator_index)
    operator = subgraph.operators[operator_index]
    seen = view(subgraph, operator)
    used = [index for index in (*operator.inputs, *operator.outputs, *operator.intermediates) if index != -1]
    order = sorted(set(used))
    number = {old: new for new, old in enumerate(order)} | {-1: -1}
    tensors = tuple(subgraph.tensors[index] for index in order)
    inputs = [
        index
        for index, tensor in zip(operator.inputs, seen.inputs, strict=True)
        if tensor is not None and not tensor.is_constant and not tensor.is_variable
    ]
    alone = Subgraph(
        tensors=tensors,
        operators=(_renumbered(operator, number),),
        inputs=tuple(dict.fromkeys(number[index] for index in inputs)),
        outputs=tuple(number[index] for index in operator.outputs),
        name=subgraph.name,
    )
    called = model.subgraphs[1:] if _calls(operator) else ()
    return Model(subgraphs=(alone, *called), description=model.description, version=model.version).pruned()


def _subgraph(model: Model, subgraph_index: int, operator_index: int) -> Subgraph:
    if not 0 <= subgraph_index < len(model.subgraphs):
        msg = f"expected the index of one of {len(model.subgraphs)} subgraphs, found {subgraph_index}"
        raise InputError(msg)
    subgraph = model.subgraphs[subgraph_index]
    if not 0 <= operator_index < len(subgraph.operators):
        msg = f"expected the index of one of {len(subgraph.operators)} operators, found {operator_index}"
        raise InputError(msg)
    return subgraph


def _renumbered(operator: Operator, number: dict[int, int]) -> Operator:
    return dataclasses.replace(
        operator,
        inputs=tuple(number[index] for index in operator.inputs),
        outputs=tuple(number[index] for index in operator.outputs),
        intermediates=tuple(number[index] for index in operator.intermediates),
    )


def _calls(operator: Operator) -> bool:
    """Whether an operator's options name subgraphs."""
    names = (*(operator.options or ()), *(operator.options_2 or ()))
    return any("subgraph" in name or name == "called_computations" for name in names)
