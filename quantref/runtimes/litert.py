"""LiteRT, in a child process: it may abort, hang or eat memory without harm to the caller."""

from __future__ import annotations

import importlib.util
import os
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeAlias, TypedDict

import numpy as np

from qmath.errors import InputError, RuntimeUnavailableError
from qmath.types import Array
from quantref.runtimes import litert_worker
from quantref.runtimes.arm64 import foreign_launcher
from quantref.runtimes.child import Child
from quantref.runtimes.failures import RuntimeCrashed, RuntimeFailure, RuntimeRefused
from quantref.runtimes.table import Runtime, find_runtime

if TYPE_CHECKING:
    from typing_extensions import Self, Unpack

#: A model: the bytes of a ``.tflite`` file, or its path.
ModelSource: TypeAlias = bytes | bytearray | memoryview | str | os.PathLike[str]
#: The inputs of one invocation: arrays in input order, or by tensor index, name, or ``"index:name"``.
Sample: TypeAlias = Sequence[Array] | Mapping[int, Array] | Mapping[str, Array]

#: Address space that a child may take, in bytes.
MEMORY_LIMIT = 8 << 30
#: Seconds given to each answer by default.
TIMEOUT = 60.0
#: Seconds given to a Python in an emulator to start.
EMULATED_START = 300.0
_ENVIRONMENT = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


@dataclass(frozen=True, slots=True)
class RuntimeOutputs:
    """What one invocation gave.

    Attributes
    ----------
    outputs
        The model's outputs, in order.
    tensors
        Every tensor of the main subgraph that the runtime kept, by index. Codes of sub-byte types come unpacked,
        one a byte. Indices beyond the model's tensors are the kernels' own scratch memory.

    """

    outputs: tuple[Array, ...]
    tensors: Mapping[int, Array]


class RunOptions(TypedDict, total=False):
    """How to run a model; every entry may be left out.

    Attributes
    ----------
    all_tensors
        Keep every tensor (``experimental_preserve_all_tensors``), not outputs alone; the default. Under XNNPACK
        this makes each op a partition of its own.
    tensors
        Indices of the tensors to bring back; by default all. Leaving out constants saves time.
    resize
        Resize each input to its sample's shape first; variable tensors then start afresh.
    reset
        Set variable tensors to zero before each sample.
    threads
        Threads of the runtime; 1 by default.
    timeout
        Seconds given to load and prepare the model, and again to each sample; 60 by default.

    """

    all_tensors: bool
    tensors: Sequence[int] | None
    resize: bool
    reset: bool
    threads: int
    timeout: float


def litert_installed() -> bool:
    """Whether ``ai_edge_litert`` can be imported here; importing it is left to the child."""
    return importlib.util.find_spec("ai_edge_litert") is not None


class LiteRT:
    """LiteRT with one op resolver, in one child process that is kept between calls.

    A child that died is replaced at the next call. Use it as a context manager, or call :meth:`close`; an object
    may be shared between threads, which then take turns.

    Parameters
    ----------
    runtime
        Name of a runtime (see :data:`quantref.runtimes.RUNTIMES`), or one.
    memory_limit
        Address space that the child may take, in bytes, where the system can limit it.

    Raises
    ------
    RuntimeUnavailableError
        ``ai_edge_litert`` is not installed, or the runtime is for another processor and there is no emulator.

    """

    def __init__(self, runtime: str | Runtime = "litert-reference", *, memory_limit: int = MEMORY_LIMIT) -> None:
        self.runtime = find_runtime(runtime)
        self._memory_limit = memory_limit
        self._child: Child | None = None
        self._version = ""
        self._turn = threading.Lock()
        self._owner: int | None = None
        self._launcher = self.runtime.launcher or foreign_launcher(self.runtime)
        if not self._launcher and not litert_installed():
            raise RuntimeUnavailableError("LiteRT is not installed: pip install 'quantref[litert]'")

    def __enter__(self) -> Self:
        """Return the runtime itself; the child starts at the first call."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the child."""
        self.close()

    def close(self) -> None:
        """End the child, if there is one; a stream that this thread has not read to its end is over too."""
        if self._owner == threading.get_ident():
            self._end_child()
            return
        with self._my_turn():
            self._end_child()

    @property
    def version(self) -> str:
        """Version and machine of the runtime, such as ``"ai-edge-litert 2.3.0, x86_64"``."""
        with self._my_turn():
            self._ready_child()
            return self._version

    def run(self, model: ModelSource, samples: Sequence[Sample], **options: Unpack[RunOptions]) -> list[RuntimeOutputs]:
        """Invoke the model once for each sample; see :meth:`stream`."""
        return list(self.stream(model, samples, **options))

    def stream(
        self, model: ModelSource, samples: Sequence[Sample], **options: Unpack[RunOptions]
    ) -> Iterator[RuntimeOutputs]:
        """Invoke the model once for each sample, in one interpreter, giving each result as it comes.

        Variable tensors keep their values from one sample to the next, as in an application. They
        start at the real value zero: int8 ones at their zero point, others at 0.

        Parameters
        ----------
        model
            Bytes of a model, or its path.
        samples
            One entry an invocation.
        options
            See :class:`RunOptions`.

        Raises
        ------
        InputError
            A sample does not fit the model's inputs; or this thread is still reading another stream.
        RuntimeRefused, RuntimeCrashed, RuntimeTimedOut
            The runtime gave no result. A crash is believed only from a child that served no other model before,
            since a damaged heap may be noticed late.

        """
        tensors = options.get("tensors")
        request = {
            "verb": "run",
            "preserve": options.get("all_tensors", True),
            "tensors": None if tensors is None else [int(index) for index in tensors],
            "reset": options.get("reset", False),
            **self._common(model, samples, options),
        }
        for _, outputs, kept in self._answers(request):
            yield RuntimeOutputs(tuple(outputs), kept)

    def time(
        self, model: ModelSource, sample: Sample, *, repeat: int = 20, warm_up: int = 2, **options: Unpack[RunOptions]
    ) -> list[float]:
        """Return the seconds that each of ``repeat`` invocations took, inside the child, memory plan as usual.

        Of the options, ``resize``, ``threads`` and ``timeout`` (for all invocations together) count.

        Raises
        ------
        InputError, RuntimeRefused, RuntimeCrashed, RuntimeTimedOut
            As for :meth:`stream`.

        """
        common = self._common(model, [sample], options)
        request = {"verb": "time", "preserve": False, "repeat": repeat, "warm_up": warm_up, **common}
        ((_, seconds),) = self._answers(request)
        return list(seconds)

    def _common(self, model: ModelSource, samples: Sequence[Sample], options: RunOptions) -> dict[str, Any]:
        return {
            "model": _sendable(model),
            "samples": [_plain(sample) for sample in samples],
            "resolver": self.runtime.resolver.value,
            "resize": options.get("resize", False),
            "threads": options.get("threads", 1),
            "timeout": options.get("timeout", TIMEOUT),
        }

    def _answers(self, request: dict[str, Any]) -> Iterator[tuple[Any, ...]]:
        """Send a request and yield its results; once more, to a new child, if a used one died of it."""
        delivered = 0
        with self._my_turn():
            while True:
                child = self._ready_child()
                fresh = child.served == 0
                try:
                    for number, result in enumerate(self._results(child, request)):
                        if number >= delivered:
                            delivered += 1
                            yield result
                except RuntimeCrashed:
                    if fresh:
                        raise
                else:
                    return

    def _results(self, child: Child, request: dict[str, Any]) -> Iterator[tuple[Any, ...]]:
        """Yield the results of one request to one child, which is ended if not all of them are taken."""
        timeout = request["timeout"]
        stage = "while loading or preparing the model"
        finished = False
        count = 0
        try:
            child.send(request, timeout)
            while (answer := child.receive(timeout))[0] != "done":
                if answer[0] in {"refused", "input"}:
                    finished = True
                    raise _declined(answer)
                if answer[0] != "ready":
                    yield answer
                    count += 1
                stage = f"at sample {count}" if count < len(request["samples"]) else "after the last sample"
            finished = True
        except RuntimeFailure as failure:
            raise failure.within(stage).within(self.runtime.name) from failure
        finally:
            if not finished:
                self._end_child()

    @contextmanager
    def _my_turn(self) -> Iterator[None]:
        """Wait until no other thread uses the child."""
        if self._owner == threading.get_ident():
            raise InputError(f"{self.runtime.name}: expected the stream to be read to its end before the next call")
        with self._turn:
            self._owner = threading.get_ident()
            try:
                yield
            finally:
                self._owner = None

    def _end_child(self) -> None:
        if self._child is not None:
            self._child.end()
            self._child = None

    def _ready_child(self) -> Child:
        if self._child is None:
            self._child = self._start()
        return self._child

    def _start(self) -> Child:
        script = str(Path(litert_worker.__file__).resolve())
        python = self._launcher or (sys.executable,)
        try:
            child = Child([*python, script, str(self._memory_limit)], _ENVIRONMENT)
            greeting, *words = child.receive(EMULATED_START if self._launcher else TIMEOUT)
        except (RuntimeFailure, RuntimeUnavailableError) as failure:
            raise RuntimeUnavailableError(f"{self.runtime.name} does not start: {failure}") from failure
        if greeting != "hello":
            child.end()
            raise RuntimeUnavailableError(f"{self.runtime.name} does not start: {words[0]}")
        self._version = f"ai-edge-litert {words[0]}, {words[1]}"
        return child


def _sendable(model: ModelSource) -> bytes | str:
    if isinstance(model, bytes | bytearray | memoryview):
        return bytes(model)
    path = Path(model).resolve()
    if not path.is_file():
        raise InputError(f"expected a model file, found nothing at {path}")
    return str(path)


def _plain(sample: Sample) -> dict[int | str, Array] | list[Array]:
    if isinstance(sample, Mapping):
        return {key: np.asarray(value) for key, value in sample.items()}
    return [np.asarray(value) for value in sample]


def _declined(answer: tuple[str, ...]) -> InputError | RuntimeRefused:
    if answer[0] == "input":
        return InputError(answer[1])
    _, stage, reason = answer
    words = " ".join(reason.replace("Node number", " Node number").split()) or "without a reason"
    return RuntimeRefused(f"refused at {stage}: {words}", stage=stage, reason=reason)
