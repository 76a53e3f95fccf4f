"""What a run of the benchmarks found, and the JSON it is kept in."""

from __future__ import annotations

import dataclasses
import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from qmath.errors import InputError

#: Raised when the meaning of a field changes.
FORMAT = 2


@dataclass(frozen=True, slots=True)
class Timing:
    """How long an engine took for one call; seconds.

    Attributes
    ----------
    calls
        How many were measured.
    minimum, median
        Of ``invoke`` alone.
    whole_minimum, whole_median
        Of setting the inputs, ``invoke`` and getting the outputs.

    """

    calls: int
    minimum: float
    median: float
    whole_minimum: float
    whole_median: float

    @classmethod
    def of(cls, calls: Sequence[tuple[float, float]]) -> Timing:
        """Summarise calls, each given as seconds in all and seconds of ``invoke``."""
        whole, invoke = zip(*calls, strict=True)
        return cls(len(calls), min(invoke), statistics.median(invoke), min(whole), statistics.median(whole))


@dataclass(frozen=True, slots=True)
class Case:
    """One model, one batch size, one number of threads: every engine in turn, on the same inputs.

    Attributes
    ----------
    timings
        By the engine's name.
    failures
        By the engine's name, why it has no timing.
    equal
        Whether quantref's outputs are the reference's: integers equal, floats within 1e-5; None if not compared.

    """

    model: str
    batch: int
    threads: int
    timings: Mapping[str, Timing] = field(default_factory=dict)
    failures: Mapping[str, str] = field(default_factory=dict)
    equal: bool | None = None

    def per_image(self, engine: str) -> float | None:
        """Return the seconds of the fastest ``invoke``, by image; None without a timing."""
        return self.timings[engine].minimum / self.batch if engine in self.timings else None

    def ratio(self, engine: str, other: str) -> float | None:
        """Return an engine's time by another's, fastest by fastest; None if one has no timing."""
        if engine not in self.timings or other not in self.timings:
            return None
        return self.timings[engine].minimum / self.timings[other].minimum


@dataclass(frozen=True, slots=True)
class Start:
    """From the start of a process to its first result, on one image; seconds, the fastest of several processes.

    Attributes
    ----------
    first_result
        Wall time from starting the process until its first output is there.
    python, imports, load, first_call
        Parts of it: Python's own start, importing the engine and NumPy, loading the model, the first call.
    planning
        What all calls until the plan has settled took beyond as many settled ones.
    settled
        One call then.

    """

    model: str
    engine: str
    first_result: float
    python: float
    imports: float
    load: float
    first_call: float
    planning: float
    settled: float


@dataclass(frozen=True, slots=True)
class Memory:
    """The most memory that a process had in use at once; bytes.

    Attributes
    ----------
    after_import
        With the engine imported and the model not loaded.
    after_one, after_many
        After one call, and after many.

    """

    model: str
    engine: str
    after_import: int
    after_one: int
    after_many: int


@dataclass(frozen=True, slots=True)
class OpTime:
    """One op of a model, timed where it stands in a run; seconds.

    Attributes
    ----------
    index, op
        Which.
    shape
        Of its first output.
    macs
        Multiplications, for the ops that sum products; otherwise 0.
    seconds
        The fastest run.
    form
        How the op computes, in a few words.

    """

    index: int
    op: str
    shape: tuple[int, ...]
    macs: int
    seconds: float
    form: str


@dataclass(frozen=True, slots=True)
class Ops:
    """Where the time of a model goes; ``whole`` is one ``invoke``, in seconds."""

    model: str
    whole: float
    ops: tuple[OpTime, ...]


@dataclass(frozen=True, slots=True)
class Calibration:
    """Images a second on a float32 model, with the minimum and maximum of every activation taken."""

    model: str
    batch: int
    images_a_second: float


@dataclass(frozen=True, slots=True)
class Point:
    """One point of a scaling curve: a synthetic MobileNetV2."""

    curve: str
    value: float
    case: Case


@dataclass(frozen=True, slots=True)
class Results:
    """A run of the benchmarks; what was not asked for is empty."""

    machine: Mapping[str, Any]
    cases: tuple[Case, ...] = ()
    starts: tuple[Start, ...] = ()
    memory: tuple[Memory, ...] = ()
    ops: tuple[Ops, ...] = ()
    calibration: tuple[Calibration, ...] = ()
    curves: tuple[Point, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {"format": FORMAT, **dataclasses.asdict(self)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Results:
        """Return what :meth:`to_json` gave.

        Raises
        ------
        InputError
            It is something else.

        """
        found = data.get("format") if isinstance(data, Mapping) else type(data).__name__
        if found != FORMAT:
            raise InputError(f"expected results of format {FORMAT}, found {found!r}")
        try:
            return cls(
                data["machine"],
                tuple(_case(entry) for entry in data["cases"]),
                tuple(Start(**entry) for entry in data["starts"]),
                tuple(Memory(**entry) for entry in data["memory"]),
                tuple(_ops(entry) for entry in data["ops"]),
                tuple(Calibration(**entry) for entry in data["calibration"]),
                tuple(Point(entry["curve"], entry["value"], _case(entry["case"])) for entry in data["curves"]),
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise InputError(f"expected results of the benchmarks, found a file without its fields: {error}") from error

    def save(self, path: Path) -> None:
        """Write JSON, all of it or nothing."""
        partial = path.with_name(f"{path.name}.partial")
        partial.write_text(json.dumps(self.to_json(), indent=1) + "\n", encoding="utf-8")
        partial.replace(path)

    @classmethod
    def load(cls, path: Path) -> Results:
        """Read what :meth:`save` wrote.

        Raises
        ------
        InputError
            The file is something else.

        """
        try:
            return cls.from_json(json.loads(path.read_text(encoding="utf-8")))
        except ValueError as error:
            raise InputError(f"{path}: expected JSON, found something else: {error}") from error


def _case(entry: Mapping[str, Any]) -> Case:
    timings = {engine: Timing(**timing) for engine, timing in entry["timings"].items()}
    return Case(**{**entry, "timings": timings})


def _ops(entry: Mapping[str, Any]) -> Ops:
    ops = tuple(OpTime(**{**op, "shape": tuple(op["shape"])}) for op in entry["ops"])
    return Ops(entry["model"], entry["whole"], ops)
