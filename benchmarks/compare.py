"""Two runs of the benchmarks against each other: what became slower, larger or wrong.

Where both runs measured the reference kernels too, times are compared as ratios to those, so that runs on machines of
different speed, or of different idleness, can be compared; otherwise as they are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from benchmarks.engines import OURS, REFERENCE
from benchmarks.results import Case, Results

#: A figure may grow by this factor before it counts.
TOLERANCE = 1.10


@dataclass(frozen=True, slots=True)
class Change:
    """One figure of both runs; smaller is better.

    Attributes
    ----------
    what
        Which.
    unit
        Of the figures.
    before, after
        The figures.

    """

    what: str
    unit: str
    before: float
    after: float

    @property
    def factor(self) -> float:
        """How many times as large it has become."""
        return self.after / self.before if self.before else float("inf" if self.after else 1)

    def regressed(self, tolerance: float) -> bool:
        """Whether it has become larger than tolerated."""
        return self.factor > tolerance

    def improved(self, tolerance: float) -> bool:
        """Whether it has become smaller by as much."""
        return self.factor * tolerance < 1


def compare(before: Results, after: Results) -> list[Change]:
    """Return every figure that both runs have."""
    old, new = dict(_figures(before)), dict(_figures(after))
    found = []
    for what, by_unit in new.items():
        unit = next((unit for unit in by_unit if unit in old.get(what, {})), None)
        if unit is not None:
            found.append(Change(what, unit, old[what][unit], by_unit[unit]))
    return found


def _figures(results: Results) -> Iterator[tuple[str, Mapping[str, float]]]:
    """Yield what is measured, and its figure in every unit that it has, the preferred one first."""
    for case in (*results.cases, *(point.case for point in results.curves)):
        yield from _of_case(case)
    for start in results.starts:
        yield f"{start.model}, {start.engine}: cold start", {"s": start.first_result}
        yield f"{start.model}, {start.engine}: planning", {"s": start.planning}
    for memory in results.memory:
        yield f"{memory.model}, {memory.engine}: peak memory", {"MB": memory.after_many / 1e6}
    for rate in results.calibration:
        yield f"{rate.model}, batch {rate.batch}: calibration", {"s per image": 1 / rate.images_a_second}


def _of_case(case: Case) -> Iterator[tuple[str, Mapping[str, float]]]:
    where = f"{case.model}, batch {case.batch}, {case.threads} threads"
    for engine, timing in case.timings.items():
        if engine.split()[0] == OURS:
            ratio = case.ratio(engine, REFERENCE)
            of_reference = {} if ratio is None else {f"of {REFERENCE}": ratio}
            yield f"{where}: {engine}", {**of_reference, "ms": timing.minimum * 1e3}
    if case.equal is not None:
        yield f"{where}: unequal to {REFERENCE}", {"outputs": float(not case.equal)}
