"""Run a model once more, giving each op what a device wrote down of its inputs, and what we computed otherwise.

So a difference does not spread beyond the next tensor that is known. With every tensor known each op stands alone;
with the model's outputs known the model is run as a whole; and everything between the two.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import fbs
from kernels.engine import registry
from kernels.engine.types import Inputs, OpView, Prepared
from kernels.profiles import Profile
from qmath.errors import QuantrefError
from qmath.types import Array
from quantref.control_flow import HANDLERS
from quantref.execution import Graph, Session
from quantref.inference.dump import Invocation
from quantref.inference.sharing import Shared


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one op gave in one invocation.

    Attributes
    ----------
    tensors
        Of the tensors that are known of the device: what we compute, by index.
    inputs
        What the op was given.
    blocked
        Why there is nothing, or empty.

    """

    tensors: Mapping[int, Array]
    inputs: Inputs = ()
    blocked: str = ""


class Replay:
    """A model under a profile, run on what a device wrote down.

    Parameters
    ----------
    model, profile
        What is run, and whose arithmetic.
    prepare
        Prepares some ops otherwise (see :class:`quantref.execution.Session`).
    shared
        What this has in common with runs under other profiles that keep step with it, op by op.

    """

    def __init__(
        self,
        model: fbs.Model,
        profile: Profile,
        prepare: Callable[[int, int, OpView], Prepared] | None = None,
        shared: Shared | None = None,
    ) -> None:
        self._shared = shared
        self._prepared: dict[int, tuple[tuple[tuple[int, ...] | None, ...], Prepared]] = {}
        self._profile = profile
        self.graph: Graph = Session(model, profile, prepare=self._prepare if shared else prepare).graph(0)
        self.graph.load_constants()
        self._tensors = self.graph.subgraph.tensors
        self._state = {n: self.graph.value(n) for n, t in enumerate(self._tensors) if t.is_variable and t.dtype.bits}

    def outcomes(self, invocation: Invocation) -> Iterator[Outcome]:
        """Run each op in order on one invocation, and yield what it gives of the tensors that are known."""
        graph, known = self.graph, invocation.tensors
        values: dict[int, Array] = dict(zip(graph.subgraph.inputs, invocation.inputs, strict=True))
        blocked: dict[int, str] = {}
        state = dict(self._state)
        for index, operator in enumerate(graph.subgraph.operators):
            why = next((blocked[number] for number in operator.inputs if number in blocked and number not in known), "")
            if why:
                blocked.update(dict.fromkeys(operator.outputs, why))
                yield Outcome({}, (), why)
                continue
            inputs = [self._value(number, known, values, state) for number in operator.inputs]
            try:
                updated = self._run(index, inputs)
            except QuantrefError as error:
                why = f"op {index} {operator.name}: {error.message}"
                blocked.update(dict.fromkeys(operator.outputs, why))
                yield Outcome({}, inputs, why)
                continue
            state.update((number, value) for number, value in updated.items() if number in state)
            values |= updated
            yield Outcome({number: value for number, value in updated.items() if number in known}, inputs)
        self._state = {number: known.get(number, value) for number, value in state.items()}

    def _run(self, index: int, inputs: Inputs) -> Mapping[int, Array]:
        """Run an op, unless another profile that prepares it alike has just done so."""
        graph = self.graph
        name = graph.subgraph.operators[index].name
        if self._shared is None or name in HANDLERS:
            return graph.updated_by(index, graph.run_op(index, inputs))
        shapes = tuple(None if value is None else value.shape for value in inputs)
        prepared = self._as_others(index, graph.view(index, shapes), shapes)
        known = self._shared.recall(index, prepared, inputs)
        if known is None:
            known = graph.updated_by(index, graph.run_op(index, inputs))
            self._shared.remember(prepared, inputs, known)
        return known

    def _prepare(self, graph: int, index: int, view: OpView) -> Prepared:
        """Prepare an op for the graph: as the representative of those prepared alike."""
        if graph != 0:
            return registry.prepare(view, self._profile)
        return self._as_others(index, view, tuple(None if x is None else tuple(x.shape) for x in view.inputs))

    def _as_others(self, index: int, view: OpView, shapes: tuple[tuple[int, ...] | None, ...]) -> Prepared:
        found = self._prepared.get(index)
        if found is None or found[0] != shapes:
            prepared = registry.prepare(view, self._profile)
            if self._shared is not None:
                prepared = self._shared.representative(index, prepared)
            found = self._prepared[index] = shapes, prepared
        return found[1]

    def _value(
        self, number: int, known: Mapping[int, Array], values: Mapping[int, Array], state: Mapping[int, Array]
    ) -> Array | None:
        """Return what an op reads: a constant, a variable as it is by then, what is known, or what we computed."""
        if number < 0:
            return None
        tensor = self._tensors[number]
        if tensor.data is not None and not tensor.is_variable:
            return tensor.data
        if number in state:
            return state[number]
        return known[number] if number in known else values.get(number)


def segments(model: fbs.Model, observed: frozenset[int]) -> dict[int, tuple[int, ...]]:
    """Return the ops that give a known tensor, each with all ops since the tensors known before it, itself included."""
    graph = model.subgraphs[0]
    writer = {number: index for index, op in enumerate(graph.operators) for number in op.outputs if number >= 0}

    def since(index: int) -> set[int]:
        found, waiting = {index}, [index]
        while waiting:
            for number in graph.operators[waiting.pop()].inputs:
                before = None if number in observed else writer.get(number)
                if before is not None and before not in found:
                    found.add(before)
                    waiting.append(before)
        return found

    ends = [index for index, op in enumerate(graph.operators) if observed.intersection(_written(graph, op))]
    return {index: tuple(sorted(since(index))) for index in ends}


def _written(graph: fbs.Subgraph, operator: fbs.Operator) -> Sequence[int]:
    """Return the tensors that an op writes; those of variables that it may update among them."""
    variables = [number for number in operator.inputs if number >= 0 and graph.tensors[number].is_variable]
    return (*operator.outputs, *variables)
