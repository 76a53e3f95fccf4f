"""The child process that a benchmark measures: engines with a model each, told by their parent what to do next.

It is started as a script, by :class:`benchmarks.engines.Process`, and imports an engine only when told to, so that
import time and memory are the engine's own. Requests are tuples that begin with a verb; answers begin with ``"done"``,
or are ``("failed", reason)``.
"""

from __future__ import annotations

import importlib.util
import os
import pickle
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

ROOT = Path(__file__).resolve().parent.parent


class Engine:
    """A model in a runtime: the methods that ``tf.lite.Interpreter`` and quantref's share, timed."""

    interpreter: Any
    open: Callable[[], Any]

    def __init__(self, inputs: Sequence[Any]) -> None:
        self.inputs = inputs

    def allocate(self) -> None:
        """Give the inputs the shapes of the arrays at hand, and then their values."""
        details = self.interpreter.get_input_details()
        for detail, array in zip(details, self.inputs, strict=True):
            if tuple(detail["shape"]) != array.shape:
                self.interpreter.resize_tensor_input(detail["index"], array.shape)
        self.interpreter.allocate_tensors()
        self.slots = [detail["index"] for detail in details]
        self.results = [detail["index"] for detail in self.interpreter.get_output_details()]
        self.feed()

    def feed(self) -> None:
        """Set the inputs."""
        for slot, array in zip(self.slots, self.inputs, strict=True):
            self.interpreter.set_tensor(slot, array)

    def fetch(self) -> list[Any]:
        """Return the outputs."""
        return [self.interpreter.get_tensor(index) for index in self.results]

    def call(self) -> tuple[float, float]:
        """Feed, invoke, fetch; return the seconds that all of it took, and those of ``invoke`` alone."""
        start = time.perf_counter()
        self.feed()
        before = time.perf_counter()
        self.interpreter.invoke()
        after = time.perf_counter()
        self.fetch()
        return time.perf_counter() - start, after - before

    def calls(self, least: int, seconds: float, most: int | None) -> list[tuple[float, float]]:
        """Call at least ``least`` times, and go on until so many seconds are over, or ``most`` calls made."""
        end = time.perf_counter() + seconds
        found: list[tuple[float, float]] = []
        while len(found) < least or (time.perf_counter() < end and (most is None or len(found) < most)):
            found.append(self.call())
        return found

    def ready(self) -> None:
        """Load and prepare the model."""
        self.interpreter = self.open()
        self.allocate()


class Quantref(Engine):
    """quantref under a profile."""

    def __init__(self, profile: str, model: str, inputs: Sequence[Any], threads: int) -> None:
        super().__init__(inputs)
        import quantref  # noqa: PLC0415 - its time and memory are measured

        self.threads = threads
        self.open = lambda: quantref.Interpreter(model, profile, num_threads=threads)

    def ready(self) -> None:
        """Load and prepare the model; BLAS has as many threads as the engine, unless quantref says otherwise."""
        from threadpoolctl import threadpool_limits  # noqa: PLC0415 - as above

        threadpool_limits(self.threads, "blas")
        super().ready()


class LiteRT(Engine):
    """LiteRT with one of its op resolvers."""

    def __init__(self, resolver: str, model: str, inputs: Sequence[Any], threads: int) -> None:
        super().__init__(inputs)
        from ai_edge_litert.interpreter import Interpreter, OpResolverType  # noqa: PLC0415 - not in quantref's child

        kind = OpResolverType[resolver]
        self.open = lambda: Interpreter(model, num_threads=threads, experimental_op_resolver_type=kind)


ENGINES: dict[str, Callable[..., Engine]] = {"quantref": Quantref, "litert": LiteRT}


def peak_memory() -> int:
    """Return the most memory, in bytes, that this process had in use at once.

    On Linux from ``/proc``: ``getrusage`` counts there what the process was before it became this program.
    """
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii")
        return int(status.partition("VmHWM:")[2].split()[0]) * 1024
    except (OSError, IndexError):
        import resource  # noqa: PLC0415 - not on every system

        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


class Worker:
    """Carries out requests."""

    def __init__(self) -> None:
        self.engines: dict[str, Engine] = {}

    def open(
        self, name: str, kind: str, variant: str, model: str, inputs: bytes, threads: int
    ) -> tuple[float, float, int]:
        """Import the engine and load the model; return the seconds of each, and the peak of memory in between."""
        start = time.perf_counter()
        # Arrays come pickled by themselves: numpy is imported here, as part of the engine, and not before.
        engine = ENGINES[kind](variant, model, pickle.loads(inputs), threads)  # noqa: S301 - our own parent's
        imported, memory = time.perf_counter(), peak_memory()
        before = time.perf_counter()
        engine.ready()
        self.engines[name] = engine
        return imported - start, time.perf_counter() - before, memory

    def calls(self, name: str, least: int, seconds: float, most: int | None) -> list[tuple[float, float]]:
        """Call an engine; return for each call the seconds in all, and of ``invoke``."""
        return self.engines[name].calls(least, seconds, most)

    def outputs(self, name: str) -> list[Any]:
        """Return the outputs of an engine's last call."""
        return self.engines[name].fetch()

    def memory(self) -> int:
        """Return the peak so far, in bytes."""
        return peak_memory()

    def ask(self, name: str, module: str, function: str, *arguments: Any) -> Any:
        """Call ``benchmarks.MODULE.FUNCTION(interpreter, *arguments)``: measurements of quantref's insides."""
        found = getattr(importlib.import_module(f"benchmarks.{module}"), function)
        return found(self.engines[name].interpreter, *arguments)


def _frames() -> ModuleType:
    """Return the module with the pipes' framing, found by its path: importing it would import all of quantref."""
    path = ROOT / "quantref" / "runtimes" / "litert_worker.py"
    spec = importlib.util.spec_from_file_location("_frames", path)
    if spec is None or spec.loader is None:
        raise ImportError(f"cannot load {path}")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def main() -> None:
    """Answer requests until stdin ends."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever an engine prints must not come between the answers
    warnings.simplefilter("ignore")
    sys.path[0] = str(ROOT)
    frames, worker = _frames(), Worker()
    while (request := frames.read_frame(sys.stdin.buffer)) is not None:
        verb, *arguments = request
        try:
            answer = ("done", getattr(worker, verb)(*arguments))
        except Exception as error:  # noqa: BLE001 - the parent decides what a failure means
            answer = ("failed", f"{type(error).__name__}: {' '.join(str(error).split())}")
        frames.write_frame(answers, answer)


if __name__ == "__main__":
    main()
