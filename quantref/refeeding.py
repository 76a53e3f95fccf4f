"""Run a model on both sides and compare op by op, feeding our operators with the runtime's own tensors."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from operator import add

import fbs
from qmath.errors import QuantrefError
from qmath.types import Array
from quantref.difference import Difference, difference
from quantref.interpreter import Interpreter, load
from quantref.runtimes import LiteRT, Runtime, RuntimeFailure, RuntimeOutputs


@dataclass(frozen=True, slots=True)
class Task:
    """Samples to compare in one process.

    Attributes
    ----------
    model
        Path or bytes.
    runtime, profile
        The two sides.
    samples
        One list of arrays an invocation.
    timeout
        Seconds that the runtime has for each.
    first
        Number of the first sample.
    running
        A running runtime to use, and to leave running; without one, the task starts its own.

    """

    model: str | bytes
    runtime: Runtime
    profile: str
    samples: Sequence[Sequence[Array]]
    timeout: float
    first: int = 0
    running: LiteRT | None = None


@dataclass(frozen=True, slots=True)
class Findings:
    """What a task found; the findings of consecutive tasks add up.

    Attributes
    ----------
    ops, outputs
        One difference an operator and an output of the model.
    not_compared
        For each operator why something was left out, or empty.
    refusal
        Why quantref itself did not run the whole model, or empty.
    version
        Of the runtime.
    failure
        How the runtime failed, if it did.
    """

    ops: tuple[Difference, ...]
    outputs: tuple[Difference, ...]
    not_compared: tuple[str, ...]
    refusal: str = ""
    version: str = ""
    failure: RuntimeFailure | None = None

    @classmethod
    def none(cls, model: fbs.Model) -> Findings:
        """Return the findings of no samples."""
        graph = model.subgraphs[0]
        operators, outputs = len(graph.operators), len(graph.outputs)
        return cls((Difference(),) * operators, (Difference(),) * outputs, ("",) * operators)

    def __add__(self, other: Findings) -> Findings:
        """Return the findings of both; after a failure nothing is compared, as in one process."""
        if self.failure is not None:
            return replace(self, refusal=self.refusal or other.refusal)
        return Findings(
            tuple(map(add, self.ops, other.ops)),
            tuple(map(add, self.outputs, other.outputs)),
            tuple(ours or theirs for ours, theirs in zip(self.not_compared, other.not_compared, strict=True)),
            self.refusal or other.refusal,
            self.version or other.version,
            other.failure,
        )


def compare(task: Task, progress: Callable[[int], None] | None = None) -> Findings:
    """Run a task's samples on both sides; each side goes on if the other cannot.

    Parameters
    ----------
    task
        What to run.
    progress
        Called with the number of samples done.

    Raises
    ------
    RuntimeUnavailableError
        The runtime does not start.
    InputError
        The samples do not fit the model.

    """
    ours = Interpreter(load(task.model), task.profile)
    ours.allocate_tensors()
    refeeder = Refeeder(ours)
    findings = Findings.none(ours.model)
    with LiteRT(task.runtime) if task.running is None else nullcontext(task.running) as litert:
        findings = replace(findings, version=litert.version)
        answers = litert.stream(task.model, task.samples, tensors=refeeder.tensors, timeout=task.timeout)
        for number, sample in enumerate(task.samples, task.first):
            outputs, refusal = _invoke(ours, sample)
            findings = replace(findings, refusal=findings.refusal or refusal)
            if findings.failure is None:
                answer = _next(answers)
                if isinstance(answer, RuntimeOutputs):
                    findings += refeeder.compare(answer, outputs, number)
                else:
                    findings = replace(findings, failure=answer)
            if progress is not None:
                progress(number + 1)
        if findings.failure is None:
            failure = _next(answers)  # the runtime takes the model down, and may die of that
            if isinstance(failure, RuntimeFailure):
                findings = replace(findings, failure=failure)
    return findings


def _next(answers: Iterator[RuntimeOutputs]) -> RuntimeOutputs | RuntimeFailure | None:
    """Return the runtime's next answer, or how it failed; None at the end."""
    try:
        return next(answers, None)
    except RuntimeFailure as failure:
        return failure


def _invoke(interpreter: Interpreter, sample: Sequence[Array]) -> tuple[list[Array] | None, str]:
    """Return our outputs, or None and why there are none."""
    graph = interpreter.model.subgraphs[0]
    for number, value in zip(graph.inputs, sample, strict=True):
        interpreter.set_tensor(number, value)
    try:
        interpreter.invoke()
    except QuantrefError as error:
        places = [place for place in error.context if place != str(interpreter.model.path)]
        return None, ": ".join((*places, error.message))
    return [interpreter.get_tensor(number) for number in graph.outputs], ""


class Refeeder:
    """Runs our operators one by one on the tensors that a runtime kept, and compares what they give.

    Parameters
    ----------
    ours
        The model under a profile, allocated.

    Attributes
    ----------
    tensors
        Indices of the tensors that it needs from the runtime.

    """

    def __init__(self, ours: Interpreter) -> None:
        self._ours = ours
        self._graph = ours.model.subgraphs[0]
        used = {index for operator in self._graph.operators for index in (*operator.inputs, *operator.outputs)}
        self.tensors = sorted(index for index in used if index >= 0 and self._has_values(index))
        variables = [index for index in self.tensors if self._graph.tensors[index].is_variable]
        self._state = {index: ours.get_tensor(index) for index in variables}
        self._first = True
        self._folded = _folded(ours)
        self._last_use = {
            number: index
            for index, operator in enumerate(self._graph.operators)
            for number in (*operator.inputs, *operator.outputs)
        }

    def compare(self, theirs: RuntimeOutputs, outputs: Sequence[Array] | None, sample: int) -> Findings:
        """Compare one invocation, op by op and end to end.

        Parameters
        ----------
        theirs
            What the runtime gave.
        outputs
            The model's outputs as we compute them, or None if we do not.
        sample
            Number of the invocation.

        """
        kept = theirs.tensors
        reports = [self._compare_op(index, kept, sample) for index in range(len(self._graph.operators))]
        self._state = {index: kept[index] for index in self._state if index in kept}
        self._first = False
        return Findings(
            tuple(found for found, _ in reports),
            self._compare_outputs(theirs.outputs, outputs, sample),
            tuple(reason for _, reason in reports),
        )

    def _has_values(self, number: int) -> bool:
        """Whether a tensor is computed, and of elements: not of handles or strings."""
        tensor = self._graph.tensors[number]
        return tensor.data is None and tensor.dtype.bits > 0

    @staticmethod
    def _compare_outputs(theirs: Sequence[Array], ours: Sequence[Array] | None, sample: int) -> tuple[Difference, ...]:
        if ours is None:
            return (Difference(),) * len(theirs)
        return tuple(difference(*pair, sample) for pair in zip(theirs, ours, strict=True))

    def _compare_op(self, index: int, kept: Mapping[int, Array], sample: int) -> tuple[Difference, str]:
        """Return the difference of what an op writes, and why something could not be compared."""
        if index in self._folded:
            return Difference(), ""  # the delegate did this when it took the graph, and keeps no tensor of it
        inputs: list[Array | None] = []
        for number in self._graph.operators[index].inputs:
            if number >= 0 and not self._graph.tensors[number].dtype.bits:
                return Difference(), "what lies behind a handle is compared by the model's outputs alone"
            value = self._value(number, kept)
            if value is None and number >= 0:
                return Difference(), f"the runtime does not keep its input {self._graph.tensors[number].name!r}"
            inputs.append(value)
        try:
            produced = self._ours.run_op(index, inputs)
        except QuantrefError as error:
            return Difference(), f"quantref does not run it: {error.message}"
        total, missing = Difference(), ""
        for number, value in self._ours.graph.updated_by(index, produced).items():
            tensor = self._graph.tensors[number]
            if not tensor.dtype.bits:
                continue  # a handle has no elements
            if tensor.is_variable and self._last_use[number] > index:
                missing = f"a later op may overwrite {tensor.name!r}"
                if self._first:  # the runtime dequantizes the constant start of a state once
                    self._state[number] = value
            elif number in kept:
                total += difference(kept[number], value, sample)
            else:
                missing = f"the runtime does not keep {tensor.name!r}"
        return total, missing

    def _value(self, number: int, kept: Mapping[int, Array]) -> Array | None:
        """Return what an op read: a constant, a variable as it was before the invocation, or what was kept."""
        if number < 0:
            return None
        tensor = self._graph.tensors[number]
        if tensor.is_variable:
            return self._state.get(number)
        for index, values in self._folded.items():
            if number in self._graph.operators[index].outputs:
                return values
        return kept.get(number) if tensor.data is None else tensor.data


def _folded(ours: Interpreter) -> dict[int, Array]:
    """Return by operator what a delegate computes once: it takes weights of float16 or int8 out of a DEQUANTIZE.

    The tensor that such an op writes is then never written, and its readers' results tell whether the delegate had it
    right.
    """
    graph, profile = ours.model.subgraphs[0], ours.profile
    folded: dict[int, Array] = {}
    for index, operator in enumerate(graph.operators):
        data = graph.tensors[operator.inputs[0]].data if operator.inputs and operator.inputs[0] >= 0 else None
        if profile.fallback is not None and operator.name == "DEQUANTIZE" and data is not None:
            folded[index] = ours.run_op(index, [data])[0]
    return folded
