"""What runs a suite: a runner says which device to use; the device that it starts runs one case at a time."""

from __future__ import annotations

import abc
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeAlias

from kernels.profiles import PROFILES, profile_named
from qmath.errors import InputError, QuantrefError
from qmath.types import Array
from quantref.conform.arrays import load_invocations
from quantref.conform.trial import Arrays, Trial
from quantref.interpreter import Interpreter
from quantref.names import tensor_keys
from quantref.runtimes import RUNTIMES, LiteRT, RuntimeRefused, find_runtime

if TYPE_CHECKING:
    from typing_extensions import Self

#: What one invocation gave: outputs by name, or in the model's order.
Answer: TypeAlias = "Arrays | Sequence[Array] | Array"
#: One answer an invocation.
Answers: TypeAlias = Sequence[Answer]

#: Seconds that a device has for a case unless told otherwise.
TIMEOUT = 60.0
_FUNCTION = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")
_FORMS = (
    f"a runtime ({', '.join(RUNTIMES)}), quantref:PROFILE, module:function, a folder of outputs (CASE.npz), "
    "or a command with {model} {inputs} {outputs}"
)


class Refusal(RuntimeRefused):
    """A device that declined a model, and the class of error that it named.

    Attributes
    ----------
    kind
        Name of a class of :mod:`qmath.errors`, or empty where the device has no such classes.

    """

    def __init__(self, message: str, *, kind: str = "") -> None:
        super().__init__(message, reason=message)
        self.kind = kind


class Device(abc.ABC):
    """Something that runs cases, one after the other; a context manager that ends it."""

    @abc.abstractmethod
    def run(self, trial: Trial) -> Answers:
        """Run a case, once.

        Raises
        ------
        RuntimeRefused, RuntimeCrashed, RuntimeTimedOut
            The device gave no outputs; the next case starts on a sound one.
        InputError
            What it gave cannot be used.

        """

    def close(self) -> None:  # noqa: B027 - most devices have nothing to end
        """End whatever process the device runs in."""

    def __enter__(self) -> Self:
        """Return the device itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the device."""
        self.close()


class Runner(abc.ABC):
    """Which device to run: a value that can travel to other processes and be started there."""

    @property
    @abc.abstractmethod
    def name(self) -> str:
        """What reports call it."""

    @property
    def profile(self) -> str | None:
        """The profile that it is meant to follow, if that is known."""
        return None

    def check(self) -> None:
        """Find out early whether it can be started here.

        Raises
        ------
        InputError, RuntimeUnavailableError
            It cannot.

        """
        self.start().close()

    @abc.abstractmethod
    def start(self) -> Device:
        """Start the device."""


@dataclass(frozen=True, slots=True)
class LiteRTRunner(Runner):
    """One of LiteRT's op resolvers, in a child process that is kept, and replaced after a crash."""

    runtime: str
    timeout: float = TIMEOUT

    @property
    def name(self) -> str:
        """The runtime's name."""
        return self.runtime

    @property
    def profile(self) -> str | None:
        """The profile that the runtime follows."""
        return find_runtime(self.runtime).profile

    def start(self) -> Device:
        """Prepare to start the child."""
        return _LiteRTDevice(LiteRT(self.runtime), self.timeout)


@dataclass(frozen=True, slots=True)
class _LiteRTDevice(Device):
    litert: LiteRT
    timeout: float

    def run(self, trial: Trial) -> Answers:
        try:
            answers = self.litert.run(
                trial.model, trial.inputs, all_tensors=False, resize=bool(trial.inputs), timeout=self.timeout
            )
        except InputError as error:
            raise Refusal(str(error)) from error
        return [answer.outputs for answer in answers]

    def close(self) -> None:
        self.litert.close()


@dataclass(frozen=True, slots=True)
class QuantrefRunner(Runner):
    """quantref itself under a profile; in this process."""

    own_profile: str

    @property
    def name(self) -> str:
        """``quantref:`` and the profile."""
        return f"quantref:{self.own_profile}"

    @property
    def profile(self) -> str | None:
        """The profile."""
        return self.own_profile

    def start(self) -> Device:
        """Look the profile up."""
        profile_named(self.own_profile)
        return _QuantrefDevice(self.own_profile)


@dataclass(frozen=True, slots=True)
class _QuantrefDevice(Device):
    profile: str

    def run(self, trial: Trial) -> Answers:
        try:
            return run_quantref(trial.model, trial.inputs, self.profile)
        except QuantrefError as error:
            raise Refusal(str(error), kind=type(error).__name__) from error


def run_quantref(model: bytes, inputs: Sequence[Arrays], profile: str) -> list[dict[str, Array]]:
    """Invoke a model under a profile once for each mapping of inputs; variable tensors live on in between.

    Raises
    ------
    QuantrefError
        The model or the inputs are refused.

    """
    interpreter = Interpreter(model, profile)
    graph = interpreter.graph
    keys = tensor_keys(graph.subgraph)
    numbers = {keys[index]: index for index in graph.subgraph.inputs}
    interpreter.allocate_tensors()
    answers = []
    for arrays in inputs:
        if set(arrays) != set(numbers):
            raise InputError(f"expected inputs {', '.join(numbers)}, found {', '.join(arrays)}")
        resized = False
        for name, array in arrays.items():
            current = graph.values[numbers[name]]
            if current is None or current.shape != array.shape:
                interpreter.resize_tensor_input(numbers[name], array.shape)
                resized = True
        if resized:
            interpreter.allocate_tensors()
        for name, array in arrays.items():
            interpreter.set_tensor(numbers[name], array)
        interpreter.invoke()
        answers.append({keys[index]: interpreter.get_tensor(index) for index in graph.subgraph.outputs})
    return answers


@dataclass(frozen=True, slots=True)
class DumpRunner(Runner):
    """Outputs that a device gave before: ``CASE.npz`` in a folder, or ``CASE.error`` with its words of refusal."""

    directory: str

    @property
    def name(self) -> str:
        """The folder."""
        return self.directory

    def start(self) -> Device:
        """Make sure that the folder exists."""
        if not Path(self.directory).is_dir():
            raise InputError(f"expected a folder of outputs, found none at {self.directory}")
        return _DumpDevice(Path(self.directory))


@dataclass(frozen=True, slots=True)
class _DumpDevice(Device):
    directory: Path

    def run(self, trial: Trial) -> Answers:
        outputs, refusal = self.directory / f"{trial.id}.npz", self.directory / f"{trial.id}.error"
        if outputs.exists():
            return load_invocations(outputs, trial.expected or ({},))
        if refusal.exists():
            raise Refusal(refusal.read_text(encoding="utf-8", errors="replace").strip() or "refused")
        raise InputError(f"expected {outputs.name}, or {refusal.name} with the device's refusal, found neither")


#: A device as a Python function of a model's bytes and the inputs of one invocation, or a class made with the bytes
#: and called with the inputs.
DeviceFunction: TypeAlias = "Callable[[bytes, Mapping[str, Array]], Any] | type"


def call(target: DeviceFunction, model: bytes, inputs: Sequence[Arrays]) -> list[Any]:
    """Call a function once for each invocation; a class is made once, so that it may keep state in between.

    Where there is nothing to invoke, as with a file that is no model, the function is called without inputs.
    """
    if isinstance(target, type):
        device = target(model)
        return [device(dict(arrays)) for arrays in inputs]
    return [target(model, dict(arrays)) for arrays in inputs or ({},)]


@dataclass(frozen=True, slots=True)
class InProcessRunner(Runner):
    """A Python function or class in this very process: no time-out, and what kills it kills us."""

    target: DeviceFunction

    @property
    def name(self) -> str:
        """The function's name."""
        return getattr(self.target, "__qualname__", None) or type(self.target).__qualname__

    def start(self) -> Device:
        """Return the device: there is nothing to start."""
        return _InProcessDevice(self.target)


@dataclass(frozen=True, slots=True)
class _InProcessDevice(Device):
    target: DeviceFunction

    def run(self, trial: Trial) -> Answers:
        try:
            return call(self.target, trial.model, trial.inputs)
        except Exception as error:  # whatever a device raises is its way to decline
            raise Refusal(*refused(error)[:1], kind=refused(error)[1]) from error


def refused(error: Exception) -> tuple[str, str]:
    """Return the words of a device's exception, and its class if that is one of quantref's."""
    kind = type(error).__name__
    return f"{kind}: {error}", kind if isinstance(error, QuantrefError) else ""


def find_runner(runner: str | DeviceFunction | Runner, timeout: float = TIMEOUT) -> Runner:
    """Return the runner that a user means.

    Parameters
    ----------
    runner
        A runtime's name; ``quantref:PROFILE``; ``module:function``, run in a child process; a folder of outputs; a
        command with ``{model} {inputs} {outputs}``; a function or class of Python, run in this process; or a runner.
    timeout
        Seconds that the device has for each case.

    Raises
    ------
    InputError
        It is none of these.

    """
    from quantref.conform.command import CommandRunner  # noqa: PLC0415 - they are built on this module
    from quantref.conform.function import FunctionRunner  # noqa: PLC0415 - they are built on this module

    if isinstance(runner, Runner):
        return runner
    if not isinstance(runner, str):
        return InProcessRunner(runner)
    if runner.startswith("quantref:"):
        return QuantrefRunner(profile_named(runner.removeprefix("quantref:")).name)
    forms: list[tuple[bool, Callable[[], Runner]]] = [
        (runner in RUNTIMES, lambda: LiteRTRunner(runner, timeout)),
        (Path(runner).is_dir(), lambda: DumpRunner(runner)),
        ("{" in runner, lambda: CommandRunner(runner, timeout)),
        (_FUNCTION.fullmatch(runner) is not None, lambda: FunctionRunner(runner, timeout)),
    ]
    for meant, make in forms:
        if meant:
            return make()
    hint = f"; did you mean quantref:{runner}?" if runner in PROFILES else ""
    raise InputError(f"expected {_FORMS}, found {runner!r}{hint}")
