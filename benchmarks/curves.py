"""How time grows with width, resolution and batch, on synthetic MobileNetV2 models; and a plot of it."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import fbs
from benchmarks.engines import OURS, Engine
from benchmarks.models import BenchmarkModel
from benchmarks.results import Point
from benchmarks.speed import Effort, measure
from benchmarks.synthetic import mobilenet_v2
from quantref.runtimes import RUNTIMES

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


def points() -> list[CurvePoint]:
    """Return the points of three curves, each moving one value from width 1.0, resolution 224, batch 1."""
    return [
        *(CurvePoint("width", width, 224, 1) for width in WIDTHS),
        *(CurvePoint("resolution", 1.0, resolution, 1) for resolution in RESOLUTIONS),
        *(CurvePoint("batch", 1.0, 224, batch) for batch in BATCHES),
    ]


def measure_point(point: CurvePoint, engines: Sequence[Engine], effort: Effort) -> Point:
    """Write the model to a temporary file and measure it on one thread."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"synthetic_{point.width:g}_{point.resolution}.tflite"
        fbs.save(mobilenet_v2(point.width, point.resolution), path)
        case = measure(BenchmarkModel(path), point.batch, 1, engines, effort)
    return Point(point.curve, point.value, case)


def plot(found: Sequence[Point], path: Path) -> None:
    """Draw milliseconds per image over each curve's value, both on logarithmic axes; needs matplotlib."""
    import matplotlib as mpl  # noqa: PLC0415 - only with the extra 'bench'

    mpl.use("Agg")
    mpl.rcParams.update({"svg.hashsalt": "quantref", "svg.fonttype": "none"})  # the same bytes for the same figures
    from matplotlib import pyplot as plt  # noqa: PLC0415 - after the choice of a backend

    curves = list(dict.fromkeys(point.curve for point in found))
    figure, panels = plt.subplots(1, len(curves), figsize=(4 * len(curves), 3.6), sharey=True, squeeze=False)
    for panel, curve in zip(panels[0], curves, strict=True):
        here = [point for point in found if point.curve == curve]
        for engine in (OURS, *RUNTIMES):
            line = [(point.value, time * 1e3) for point in here if (time := point.case.per_image(engine)) is not None]
            if line:
                panel.loglog(*zip(*line, strict=True), marker="o", markersize=3, label=engine)
        values = sorted({point.value for point in here})
        panel.set_xticks(values, [f"{value:g}" for value in values])
        panel.minorticks_off()
        panel.set_xlabel(curve)
        panel.grid(alpha=0.3)
    panels[0][0].set_ylabel("ms per image")
    figure.legend(*panels[0][0].get_legend_handles_labels(), loc="upper center", ncol=len(RUNTIMES) + 1, frameon=False)
    figure.tight_layout(rect=(0, 0, 1, 0.93))
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
    plt.close(figure)
