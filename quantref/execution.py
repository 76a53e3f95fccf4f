"""Runs the subgraphs of a model: binds ops to kernels, keeps tensor values, feeds one op from the other."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import fbs
from kernels.engine import program, registry
from kernels.engine.contract import checked_shape
from kernels.engine.planes import PlaneSum
from kernels.engine.requantized import RequantizedSum, Reshaped
from kernels.engine.threads import Team, working_as
from kernels.engine.types import Inputs, OpView, Outputs, Prepared, Runner
from kernels.engine.ufuncs import silent_context
from kernels.profiles import Profile
from qmath.errors import InputError, ModelError
from qmath.stages import Note, silent
from qmath.types import Array, DType
from quantref import control_flow
from quantref.arena import Arena, MovedError, arena
from quantref.locations import located
from quantref.unwritten import expect_written

#: Runs after which a graph is laid out: by then its ops have the forms that they will keep.
RUNS_UNTIL_LAID_OUT = 6


@dataclass(frozen=True, slots=True)
class Step:
    """An op bound to the shapes that it meets.

    Attributes
    ----------
    shapes
        Of its inputs; None where one is absent.
    prepared, run
        The prepared op, and its compiled form.
    outputs
        Tensors that take the op's outputs, then those of the variables that it updates.
    kept
        Whether the outputs of the first run stay, because nothing that they depend on can change.
    arrays
        What the op reads, in order: constants stand there already.
    changing
        Slot, tensor and shape of each input that is not a constant.

    """

    shapes: tuple[tuple[int, ...] | None, ...]
    prepared: Prepared
    run: Runner
    outputs: tuple[int, ...]
    kept: bool
    arrays: list[Array | None]
    changing: tuple[tuple[int, int, tuple[int, ...]], ...]


@dataclass
class Session:
    """A model under a profile, with what its subgraphs share.

    Attributes
    ----------
    model, profile
        What is run, and whose arithmetic.
    resources, graphs, done_once
        Values of resource variables by name, subgraphs in executable form, and subgraphs that have had their one run.
    prepare
        Prepares an op of the subgraph of that number, at that place; by default as the profile does. To run some ops
        otherwise than the rest.

    """

    model: fbs.Model
    profile: Profile
    team: Team | None = None
    searches: bool = True
    resources: dict[str, Array] = field(default_factory=dict)
    graphs: dict[int, Graph] = field(default_factory=dict)
    done_once: set[int] = field(default_factory=set)
    prepare: Callable[[int, int, OpView], Prepared] | None = None

    def prepared(self, graph: int, op: int, view: OpView) -> Prepared:
        """Return an op prepared for the shapes that it meets."""
        if self.prepare is not None:
            return self.prepare(graph, op, view)
        expect_written(self.model.subgraphs[graph], op, self.profile)
        return registry.prepare(view, self.profile)

    def graph(self, index: int) -> Graph:
        """Return the executable form of a subgraph.

        Raises
        ------
        ModelError
            There is no such subgraph.

        """
        found = self.graphs.get(index)
        if found is None:
            if not 0 <= index < len(self.model.subgraphs):
                raise ModelError(f"expected a subgraph below {len(self.model.subgraphs)}, found {index}")
            found = self.graphs[index] = Graph(self, index)
        return found


class Graph:
    """One subgraph: its tensors' values and its ops, prepared when first met with a set of input shapes."""

    def __init__(self, session: Session, index: int) -> None:
        self.session = session
        self.index = index
        self.subgraph = session.model.subgraphs[index]
        self._values: list[Array | None] = [None] * len(self.subgraph.tensors)
        #: Tensors whose codes lie in the arena, and nowhere else yet.
        self._hidden: dict[int, Array] = {}
        #: Tensors whose codes lay there, and must be calculated once more.
        self._lost: frozenset[int] = frozenset()
        self._arena: Arena | None = None
        self._runs_until_laid_out = RUNS_UNTIL_LAID_OUT if session.searches else -1
        self._steps: dict[int, Step] = {}
        self._done: set[int] = set()
        #: Tensors that ops gave which run once: as good as constants.
        self._fixed: set[int] = set()
        self._constants_loaded = False
        self._running = False
        self._silent = silent_context()

    @property
    def is_laid_out(self) -> bool:
        """Whether it runs on fixed memory (:mod:`quantref.arena`)."""
        return self._arena is not None

    @property
    def values(self) -> list[Array | None]:
        """The tensors' values at hand, by index."""
        self._find_lost()
        for number in tuple(self._hidden):
            self.value(number)
        return self._values

    def current(self, number: int) -> Array | None:
        """Return the value of a tensor, or None if it has none yet."""
        return self.value(number) if number in self._hidden or number in self._lost else self._values[number]

    def shape(self, number: int) -> tuple[int, ...]:
        """Return the shape that a tensor has come to."""
        value = self._values[number]
        if self._arena is not None and (number in self._hidden or number in self._lost):
            value = self._arena.homes[number]
        return self.subgraph.tensors[number].shape if value is None else value.shape

    def assign(self, number: int, value: Array) -> None:
        """Give a tensor its value."""
        self._hidden.pop(number, None)
        if number in self._lost:
            self._lost -= {number}
        self._values[number] = value

    def show(self, number: int, home: Array) -> None:
        """Give a tensor the codes that lie in the arena as its value."""
        self._values[number] = home.astype(self.subgraph.tensors[number].dtype.storage)

    def load_constants(self) -> None:
        """Take constants from the file and set variable tensors to their initial state."""
        if self._constants_loaded:
            return
        for number, tensor in enumerate(self.subgraph.tensors):
            with located(f"subgraph {self.index}", f"tensor {number} ({tensor.name!r})"):
                self._values[number] = tensor.data
        self.reset_variables()
        self._constants_loaded = True

    def forget(self) -> None:
        """Drop what ops have computed, since it is not of the shapes that inputs have now."""
        self._hidden, self._lost, self._arena = {}, frozenset(), None
        self._runs_until_laid_out = RUNS_UNTIL_LAID_OUT if self.session.searches else -1
        kept = {*self.subgraph.inputs, *(n for n, tensor in enumerate(self.subgraph.tensors) if tensor.is_constant)}
        for number in {n for operator in self.subgraph.operators for n in operator.outputs if n >= 0} - kept:
            self._values[number] = None
        self.reset_variables()

    def reset_variables(self) -> None:
        """Set variable tensors to zero; int8 ones to the lowest byte of their zero point, as the runtime does."""
        self._done.clear()
        for number, tensor in enumerate(self.subgraph.tensors):
            if tensor.is_variable and tensor.dtype.bits:
                quant = tensor.quant if tensor.dtype is DType.INT8 else None
                start = quant.zero_point[:1].astype(np.int8) if quant else 0
                with located(f"subgraph {self.index}", f"tensor {number} ({tensor.name!r})"):
                    self.assign(number, np.full(checked_shape(tensor.shape), start, tensor.dtype.storage))

    def run(self, inputs: Sequence[Array]) -> tuple[Array, ...]:
        """Run the subgraph on its inputs, in order, and return its outputs."""
        if self._running:
            raise ModelError(f"expected subgraph {self.index} not to call itself")
        self.load_constants()
        for number, value in zip(self.subgraph.inputs, inputs, strict=True):
            self.assign(number, value)
        self._running = True
        try:
            self.run_steps()
        finally:
            self._running = False
        return tuple(self.value(number) for number in self.subgraph.outputs)

    def run_steps(self) -> None:
        """Run every op on the values at hand.

        What :meth:`run_op` does, with the least work for an op that meets the shapes it was prepared for: small
        models spend most of their time between ops.
        """
        self._silent.run(self._run_from_arena)

    def _run_from_arena(self) -> None:
        start = self._run_arena()
        if start < len(self.subgraph.operators):
            with working_as(self.session.team):
                for index in range(start, len(self.subgraph.operators)):
                    self.run_step(index)
            if start == 0:
                self._count_run()

    def run_alone(self, index: int) -> None:
        """Run one op that the arena does not lay out."""
        with working_as(self.session.team):
            self.run_step(index)

    def time_steps(self) -> list[float]:
        """Run every op as :meth:`run_steps` does, and return the seconds that each took."""
        seconds = []
        laid_out = self._arena
        with np.errstate(all="ignore"), working_as(self.session.team):
            for index in range(len(self.subgraph.operators)):
                start = time.perf_counter()
                if laid_out is None:
                    self.run_step(index)
                else:
                    program.run(laid_out.programs[index])
                seconds.append(time.perf_counter() - start)
        if laid_out is not None:
            self._hide(laid_out)
        return seconds

    def _run_arena(self) -> int:
        """Run the ops that are laid out, and return the first that has not run: 0 if there is no arena."""
        laid_out = self._arena
        if laid_out is None:
            return 0
        try:
            program.run(laid_out.program)
        except MovedError as moved:
            self._hide(laid_out)
            self._leave_arena()
            return moved.op
        self._hide(laid_out)
        return len(self.subgraph.operators)

    def _hide(self, laid_out: Arena) -> None:
        self._hidden, self._lost = laid_out.hidden.copy(), laid_out.lost

    def _leave_arena(self) -> None:
        """Take what ops of the arena made, those that did not run too: their values of the run before give way."""
        self._find_lost()
        for number in tuple(self._hidden):
            self.value(number)
        self._arena = None
        self._runs_until_laid_out = RUNS_UNTIL_LAID_OUT

    def _find_lost(self) -> None:
        """Calculate lost tensors once more, and keep them from now on: who asks for one asks for others, and again."""
        if not self._lost or self._arena is None:
            return
        whole = arena(self, self._steps_in_order(), instead_of=self._arena)
        if whole is not None:
            with np.errstate(all="ignore"):
                whole.calculate_from(self._arena)
            self._hidden.update((number, whole.homes[number]) for number in self._lost)
            self._arena, self._lost = whole, frozenset()

    def _steps_in_order(self) -> list[Step | None]:
        return [self._steps.get(index) for index in range(len(self.subgraph.operators))]

    def _count_run(self) -> None:
        """Lay the graph out when it has run often enough, on the values that this run has left."""
        self._runs_until_laid_out -= 1
        if self._runs_until_laid_out == 0:
            self._arena = arena(self, self._steps_in_order())

    def run_step(self, index: int) -> None:
        """Run one op on the values at hand."""
        step = self._steps.get(index)
        if step is None or (step.kept and index not in self._done) or not self._fill_in(step):
            self.store(index, self.run_op(index, self.inputs_of(index)))
        elif not step.kept:
            try:
                results = step.run(step.arrays)
            except Exception:
                with self._located(index):
                    raise
            values = self._values
            for number, value in zip(step.outputs, results, strict=True):
                if number >= 0:
                    values[number] = value

    def _fill_in(self, step: Step) -> bool:
        """Put the values at hand where the op reads them, and return whether they have the shapes it is bound to."""
        values, arrays = self._values, step.arrays
        for slot, number, shape in step.changing:
            value = values[number]
            if value is None or value.shape != shape:
                return False
            arrays[slot] = value
        return True

    def run_op(self, index: int, inputs: Inputs) -> Outputs:
        """Run one op on given arrays; the values of variable tensors that it updates follow its outputs."""
        with self._located(index), np.errstate(all="ignore"):
            flow = control_flow.HANDLERS.get(self.subgraph.operators[index].name)
            if flow is not None:
                return flow(self, index, inputs)
            return self.step(index, inputs).run(inputs)

    def evaluate_op(self, index: int, inputs: Inputs, note: Note = silent) -> Outputs:
        """Run one op by its literal definition, naming its stages to ``note``."""
        with self._located(index), np.errstate(all="ignore"):
            flow = control_flow.HANDLERS.get(self.subgraph.operators[index].name)
            if flow is not None:
                return flow(self, index, inputs)
            return self.step(index, inputs).prepared.evaluate(inputs, note)

    def step(self, index: int, inputs: Inputs) -> Step:
        """Return the op prepared for the shapes of its inputs."""
        shapes = tuple(None if value is None else value.shape for value in inputs)
        step = self._steps.get(index)
        if step is None or step.shapes != shapes:
            operator, tensors = self.subgraph.operators[index], self.subgraph.tensors
            prepared = self.session.prepared(self.index, index, self.view(index, shapes))
            constants = [tensors[n].data if n >= 0 and not tensors[n].is_variable else None for n in operator.inputs]
            outputs = (*operator.outputs, *(operator.inputs[slot] for slot in prepared.updates))
            kept = prepared.runs_once and all(constant is not None for constant in constants)
            constants = [
                value if n in self._fixed else constant
                for n, value, constant in zip(operator.inputs, inputs, constants, strict=True)
            ]
            changing = tuple(
                (slot, number, shape)
                for slot, (number, shape, constant) in enumerate(zip(operator.inputs, shapes, constants, strict=True))
                if number >= 0 and shape is not None and constant is None
            )
            run = prepared.compile(constants)
            if not self.session.searches and isinstance(_inner(run), RequantizedSum):
                _inner(run).stay_quick()
            step = Step(shapes, prepared, run, outputs, kept, list(inputs), changing)
            self._steps[index] = step
        return step

    def view(self, index: int, shapes: Sequence[tuple[int, ...] | None]) -> fbs.OpView:
        """Return an op as its kernel sees it, its inputs of the given shapes."""
        operator = self.subgraph.operators[index]
        actual = {n: s for n, s in zip(operator.inputs, shapes, strict=True) if n >= 0 and s is not None}
        return fbs.view(self.subgraph, operator, actual)

    def prepared(self, index: int) -> Prepared:
        """Return an op that has run as it was prepared for the shapes that it met."""
        return self._steps[index].prepared

    def form_of(self, index: int) -> str:
        """Say in a few words how an op that has run computes."""
        step = self._steps.get(index)
        if step is None:
            return "runs subgraphs"
        run = _inner(step.run)
        if isinstance(run, RequantizedSum):
            return run.words
        if isinstance(run, PlaneSum) and self._arena is not None and run.words:
            return run.words
        if getattr(run, "func", None) == step.prepared.evaluate or type(step.prepared).compile is Prepared.compile:
            return "the definition"
        return (type(step.prepared).compile.__doc__ or "").partition("\n")[0].rstrip(".")

    def value(self, number: int) -> Array:
        """Return the value of a tensor.

        Raises
        ------
        InputError
            It has none yet.

        """
        if number in self._lost:
            self._find_lost()
        if (home := self._hidden.pop(number, None)) is not None:
            self.show(number, home)
        value = self._values[number] if 0 <= number < len(self._values) else None
        if value is None:
            raise InputError(f"tensor {number} of subgraph {self.index} has no value yet: invoke the interpreter first")
        return value

    def updated_by(self, index: int, outputs: Outputs) -> dict[int, Array]:
        """Return which tensors take the outputs of an op: those it writes, then the variables it updates."""
        step = self._steps.get(index)
        numbers = self.subgraph.operators[index].outputs if step is None else step.outputs
        return {number: value for number, value in zip(numbers, outputs, strict=True) if number >= 0}

    def inputs_of(self, index: int) -> Inputs:
        """Return what an op reads of the values at hand.

        Raises
        ------
        ModelError
            Something that it reads has no value.

        """
        return [None if number < 0 else self._present(number) for number in self.subgraph.operators[index].inputs]

    def _present(self, number: int) -> Array:
        value = self.current(number)
        if value is None:
            name = self.subgraph.tensors[number].name
            raise ModelError(f"expected tensor {number} ({name!r}) to be an input, a constant or an op's output")
        return value

    def store(self, index: int, outputs: Outputs) -> None:
        """Keep what an op gave as the values of its tensors."""
        step = self._steps.get(index)
        if step is not None and step.kept:
            self._done.add(index)
            self._fixed.update(n for n in step.outputs if not self.subgraph.tensors[n].is_variable)
        for number, value in self.updated_by(index, outputs).items():
            self.assign(number, value)

    @contextmanager
    def _located(self, index: int) -> Iterator[None]:
        operator = self.subgraph.operators[index]
        first = operator.outputs[0] if operator.outputs else -1
        giving = f" giving {self.subgraph.tensors[first].name!r}" if first >= 0 else ""
        with located(f"subgraph {self.index}", f"op {index} ({operator.name}){giving}"):
            yield


def _inner(run: Runner) -> Any:
    return run.inner if isinstance(run, Reshaped) else run
