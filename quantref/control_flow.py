"""Ops that call other subgraphs or keep state beside the tensors: the interpreter runs them, not a kernel.

IF, WHILE, CALL_ONCE, STABLEHLO_COMPOSITE (by its decomposition), VAR_HANDLE, READ_VARIABLE, ASSIGN_VARIABLE.

Source: ``tflite/kernels/{if,while,call_once,stablehlo_composite,var_handle,read_variable,assign_variable}.cc``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from kernels.engine.types import Inputs, Outputs, given
from qmath.errors import ModelError, UnsupportedError
from qmath.types import Array

if TYPE_CHECKING:
    from quantref.execution import Graph

#: A loop that runs longer than this is taken for one that never ends.
MAX_ITERATIONS = 1_000_000
#: From so many iterations on, values are remembered now and then, to see whether they come again.
_SEEMS_ENDLESS = 1024


def _option(graph: Graph, index: int, name: str) -> Any:
    operator = graph.subgraph.operators[index]
    options = operator.options if operator.options is not None else operator.options_2
    if options is None or name not in options:
        raise ModelError(f"expected the option {name} of {operator.name}, found none")
    return options[name]


def _call(graph: Graph, subgraph: int, inputs: list[Array]) -> tuple[Array, ...]:
    callee = graph.session.graph(subgraph)
    if callee is graph or len(callee.subgraph.inputs) != len(inputs):
        raise ModelError(
            f"expected subgraph {subgraph} to be another one with {len(inputs)} inputs, "
            f"found {len(callee.subgraph.inputs)} inputs"
        )
    return callee.run(inputs)


def _all_given(inputs: Inputs) -> list[Array]:
    return [given(inputs, slot) for slot in range(len(inputs))]


def _condition(value: Array) -> bool:
    if value.size != 1:
        raise ModelError(f"expected one condition, found shape {value.shape}")
    return bool(value.reshape(-1)[0])


def if_(graph: Graph, index: int, inputs: Inputs) -> Outputs:
    """Run one of two subgraphs by the condition in slot 0 on the inputs that follow."""
    condition, *rest = _all_given(inputs)
    branch = "then_subgraph_index" if _condition(condition) else "else_subgraph_index"
    return _call(graph, _option(graph, index, branch), rest)


def while_(graph: Graph, index: int, inputs: Inputs) -> Outputs:
    """Run the body on its own outputs for as long as the condition subgraph gives true."""
    state = _all_given(inputs)
    condition, body = _option(graph, index, "cond_subgraph_index"), _option(graph, index, "body_subgraph_index")
    remembered, kept_at = None, 0
    for iteration in range(MAX_ITERATIONS):
        (go_on, *_) = _call(graph, condition, state)
        if not _condition(go_on):
            return tuple(state)
        state = list(_call(graph, body, state))
        if remembered is not None and all(map(_same, state, remembered)):
            raise ModelError(f"the loop never ends: after {iteration + 1} iterations its values are as after {kept_at}")
        if iteration + 1 >= max(_SEEMS_ENDLESS, 2 * kept_at) and _depends_on_values_alone(graph, condition, body):
            remembered, kept_at = [value.copy() for value in state], iteration + 1
    raise UnsupportedError(f"expected the loop to end within {MAX_ITERATIONS} iterations")


def _same(value: Array, other: Array) -> bool:
    return value.dtype == other.dtype and value.shape == other.shape and value.tobytes() == other.tobytes()


def _depends_on_values_alone(graph: Graph, *subgraphs: int) -> bool:
    """Whether what subgraphs give depends on nothing but their inputs: no state, no call of another."""
    parts = [graph.session.model.subgraphs[number] for number in subgraphs]
    return not any(
        any(operator.name in HANDLERS for operator in part.operators)
        or any(tensor.is_variable for tensor in part.tensors)
        for part in parts
    )


def call_once(graph: Graph, index: int, inputs: Inputs) -> Outputs:
    """Run an initialization subgraph the first time."""
    del inputs
    subgraph = _option(graph, index, "init_subgraph_index")
    if subgraph not in graph.session.done_once:
        _call(graph, subgraph, [])
        graph.session.done_once.add(subgraph)
    return ()


def composite(graph: Graph, index: int, inputs: Inputs) -> Outputs:
    """Run the decomposition of a STABLEHLO_COMPOSITE."""
    return _call(graph, _option(graph, index, "decomposition_subgraph_index"), _all_given(inputs))


def var_handle(graph: Graph, index: int, inputs: Inputs) -> Outputs:
    """Return the handle of a resource: here its container and name."""
    del inputs
    container, name = _option(graph, index, "container"), _option(graph, index, "shared_name")
    return (np.array(f"{container or ''}/{name or ''}", dtype=object),)


def read_variable(graph: Graph, index: int, inputs: Inputs) -> Outputs:
    """Return the value of a resource."""
    del index
    handle = _handle(inputs)
    if handle not in graph.session.resources:
        raise ModelError(f"expected the variable {handle!r} to be assigned before it is read")
    return (graph.session.resources[handle],)


def assign_variable(graph: Graph, index: int, inputs: Inputs) -> Outputs:
    """Set the value of a resource."""
    del index
    graph.session.resources[_handle(inputs)] = given(inputs, 1).copy()
    return ()


def _handle(inputs: Inputs) -> str:
    handle = given(inputs, 0)
    if handle.dtype != object or handle.size != 1:
        raise ModelError("expected the handle of a variable")
    return str(handle.reshape(-1)[0])


HANDLERS: Mapping[str, Callable[[Graph, int, Inputs], Outputs]] = MappingProxyType(
    {
        "IF": if_,
        "WHILE": while_,
        "CALL_ONCE": call_once,
        "STABLEHLO_COMPOSITE": composite,
        "VAR_HANDLE": var_handle,
        "READ_VARIABLE": read_variable,
        "ASSIGN_VARIABLE": assign_variable,
    }
)
