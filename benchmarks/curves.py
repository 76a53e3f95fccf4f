"""How time grows with width, resolution and batch, on synthetic MobileNetV2 models."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import fbs
from benchmarks.engines import Engine
from benchmarks.models import BenchmarkModel
from benchmarks.results import Case, Point
from benchmarks.speed import Effort, measure
from benchmarks.synthetic import mobilenet_v2

WIDTHS = (0.35, 0.5, 0.75, 1.0, 1.4)
RESOLUTIONS = (96, 128, 160, 224, 320, 448)
BATCHES = (1, 2, 4, 8, 16, 32, 64)


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """What to measure: a model, a batch size, and the curve that it belongs to."""

    curve: str
    width: float
    resolution: int
    batch: int

    @property
    def value(self) -> float:
        """What the curve runs over."""
        return {"width": self.width, "resolution": self.resolution, "batch": self.batch}[self.curve]


def points(most: int) -> list[CurvePoint]:
    """Return up to ``most`` points of three curves, each moving one value from width 1.0, resolution 224, batch 1."""
    return [
        *(CurvePoint("width", width, 224, 1) for width in WIDTHS[:most]),
        *(CurvePoint("resolution", 1.0, resolution, 1) for resolution in RESOLUTIONS[:most]),
        *(CurvePoint("batch", 1.0, 224, batch) for batch in BATCHES[:most]),
    ]


def measurements(engines: Sequence[Engine], effort: Effort) -> dict[CurvePoint, Callable[[], Point]]:
    """Return what measures each point; the point at which the curves meet is measured once."""

    @cache
    def case(width: float, resolution: int, batch: int) -> Case:
        return _measured(width, resolution, batch, engines, effort)

    def measured(point: CurvePoint) -> Point:
        return Point(point.curve, point.value, case(point.width, point.resolution, point.batch))

    return {point: partial(measured, point) for point in points(effort.points)}


def _measured(width: float, resolution: int, batch: int, engines: Sequence[Engine], effort: Effort) -> Case:
    """Write a model to a temporary file and measure it on one thread."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"synthetic_{width:g}_{resolution}.tflite"
        fbs.save(mobilenet_v2(width, resolution), path)
        return measure(BenchmarkModel(path), batch, 1, engines, effort)
