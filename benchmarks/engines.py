"""The engines that are compared, each in a child process of its own."""

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
    warm_up
        Calls before any is measured: quantref plans a model in tiers, and settles after some calls.

    """

    name: str
    kind: str
    variant: str
    warm_up: int


def ours(profile: str = REFERENCE) -> Engine:
    """Return quantref under a profile; under its default one it is called by its plain name."""
    return Engine(OURS if profile == REFERENCE else f"{OURS} {profile}", "quantref", profile, warm_up=12)


def engines(*, all_profiles: bool = False) -> list[Engine]:
    """Return quantref and, if it is installed, LiteRT's resolvers; quantref under its other profiles last."""
    litert = [Engine(name, "litert", runtime.resolver.value, warm_up=3) for name, runtime in RUNTIMES.items()]
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
    """An engine in a child process of its own; use it as a context manager.

    Parameters
    ----------
    engine
        What to run.

    Raises
    ------
    RuntimeRefused, RuntimeCrashed, RuntimeTimedOut
        From every method: the engine declined, or the process died.

    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
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

    def open(self, model: Path, inputs: Sequence[Array], threads: int) -> Opening:
        """Load a model, with its inputs of the shapes of these arrays, and set them."""
        arrays = pickle.dumps(list(inputs), protocol=5)
        imported, loaded, memory = self._ask("open", self.engine.kind, self.engine.variant, str(model), arrays, threads)
        return Opening(time.perf_counter() - self._born - imported - loaded, imported, loaded, memory)

    def calls(self, least: int = 1, seconds: float = 0.0) -> list[tuple[float, float]]:
        """Run the model at least so often and so long.

        Returns
        -------
        For each call: seconds to set inputs, invoke and get outputs, and seconds of ``invoke`` alone.

        """
        found: list[tuple[float, float]] = self._ask("calls", least, seconds)
        return found

    def outputs(self) -> list[Array]:
        """Return the outputs of the last call."""
        found: list[Array] = self._ask("outputs")
        return found

    def peak_memory(self) -> int:
        """Return the most memory, in bytes, that the process had in use so far."""
        return int(self._ask("memory"))

    def ask(self, module: str, function: str, *arguments: Any) -> Any:
        """Let the child call ``benchmarks.MODULE.FUNCTION(interpreter, *arguments)``."""
        return self._ask("ask", module, function, *arguments)

    def age(self) -> float:
        """Return the seconds since the process was started."""
        return time.perf_counter() - self._born

    def _ask(self, *request: Any) -> Any:
        try:
            self._child.send(request, TIMEOUT)
            verdict, answer = self._child.receive(TIMEOUT)
        except RuntimeFailure as failure:
            raise failure.within(self.engine.name) from failure
        if verdict == "failed":
            raise RuntimeRefused(f"{self.engine.name}: {answer}", reason=answer)
        return answer
