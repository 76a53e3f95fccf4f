"""The engines that are compared, and the child processes that they run in."""

from __future__ import annotations

import pickle
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from kernels.profiles import PROFILES
from qmath.types import Array
from quantref.runtimes import RUNTIMES, RuntimeFailure, RuntimeRefused, litert_installed
from quantref.runtimes.child import Child

if TYPE_CHECKING:
    from typing_extensions import Self

#: Seconds that a child has for one request.
TIMEOUT = 900.0
#: Seconds after which a warm-up ends, if it had the calls that it must have.
WARM_UP = 1.0
#: The engine that the others are compared with, and the one whose arithmetic it follows.
OURS = "quantref"
REFERENCE = "litert-reference"


@dataclass(frozen=True, slots=True)
class Engine:
    """Something that runs a model.

    Attributes
    ----------
    name
        Heading of its column.
    kind
        ``"quantref"`` or ``"litert"``.
    variant
        quantref's profile, or LiteRT's op resolver.
    warm_up, least_warm_up
        Calls before any is measured, and how many of them must be, however long they take: quantref plans a model in
        tiers, and settles in its fifth call.

    """

    name: str
    kind: str
    variant: str
    warm_up: int
    least_warm_up: int


def ours(profile: str = REFERENCE) -> Engine:
    """Return quantref under a profile; under its default one it is called by its plain name."""
    return Engine(OURS if profile == REFERENCE else f"{OURS} {profile}", "quantref", profile, 12, 6)


def engines(*, all_profiles: bool = False) -> list[Engine]:
    """Return quantref and, if it is installed, LiteRT's resolvers; quantref under its other profiles last."""
    litert = [Engine(name, "litert", runtime.resolver.value, 3, 1) for name, runtime in RUNTIMES.items()]
    others = [ours(profile) for profile in PROFILES if profile != REFERENCE] if all_profiles else []
    return [ours(), *(litert if litert_installed() else []), *others]


@dataclass(frozen=True, slots=True)
class Opening:
    """What it took to get ready.

    Attributes
    ----------
    start_seconds
        From the start of the process to the import of the engine: Python's own.
    import_seconds
        Of the engine and of NumPy.
    load_seconds
        Of the model, tensors allocated.
    memory
        Peak before the model was loaded, in bytes.

    """

    start_seconds: float
    import_seconds: float
    load_seconds: float
    memory: int


class Process:
    """A child process in which engines run, one at a time; use it as a context manager.

    Raises
    ------
    RuntimeRefused, RuntimeCrashed, RuntimeTimedOut
        From every method: the engine declined, or the process died.

    """

    def __init__(self) -> None:
        self._born = time.perf_counter()
        script = Path(__file__).with_name("worker.py")
        self._child = Child([sys.executable, str(script)], {})

    def __enter__(self) -> Self:
        """Return the process, which has been started."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End it."""
        self._child.end()

    def open(self, engine: Engine, model: Path, inputs: Sequence[Array], threads: int) -> Opening:
        """Let an engine load a model, with its inputs of the shapes of these arrays, and set them."""
        arrays = pickle.dumps(list(inputs), protocol=5)
        imported, loaded, memory = self._ask("open", engine, engine.kind, engine.variant, str(model), arrays, threads)
        return Opening(time.perf_counter() - self._born - imported - loaded, imported, loaded, memory)

    def calls(
        self, engine: Engine, least: int = 1, seconds: float = 0.0, most: int | None = None
    ) -> list[tuple[float, float]]:
        """Run an engine's model at least so often, and go on so long, or until it has run ``most`` times.

        Returns
        -------
        For each call: seconds to set inputs, invoke and get outputs, and seconds of ``invoke`` alone.

        """
        found: list[tuple[float, float]] = self._ask("calls", engine, least, seconds, most)
        return found

    def warm_up(self, engine: Engine) -> list[tuple[float, float]]:
        """Run an engine's model until it is at its best; fewer times if it takes long."""
        return self.calls(engine, engine.least_warm_up, WARM_UP, engine.warm_up)

    def outputs(self, engine: Engine) -> list[Array]:
        """Return the outputs of an engine's last call."""
        found: list[Array] = self._ask("outputs", engine)
        return found

    def peak_memory(self, engine: Engine) -> int:
        """Return the most memory, in bytes, that the process had in use so far; ``engine`` is named if that fails."""
        return int(self._send(engine, "memory"))

    def ask(self, engine: Engine, module: str, function: str, *arguments: Any) -> Any:
        """Let the child call ``benchmarks.MODULE.FUNCTION(interpreter, *arguments)``."""
        return self._ask("ask", engine, module, function, *arguments)

    def age(self) -> float:
        """Return the seconds since the process was started."""
        return time.perf_counter() - self._born

    def _ask(self, verb: str, engine: Engine, *request: Any) -> Any:
        return self._send(engine, verb, engine.name, *request)

    def _send(self, engine: Engine, *request: Any) -> Any:
        try:
            self._child.send(request, TIMEOUT)
            verdict, answer = self._child.receive(TIMEOUT)
        except RuntimeFailure as failure:
            raise failure.within(engine.name) from failure
        if verdict == "failed":
            raise RuntimeRefused(f"{engine.name}: {answer}", reason=answer)
        return answer
