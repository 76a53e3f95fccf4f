"""The scaling curves as a drawing, by matplotlib: the same bytes for the same figures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmarks.engines import OURS
from benchmarks.results import Point
from qmath.errors import RuntimeUnavailableError
from quantref.runtimes import RUNTIMES

#: Engines, in the order of the legend, and their colours, which the colour-blind can tell apart.
COLOURS = dict(zip((OURS, *RUNTIMES), ("#0072b2", "#d55e00", "#009e73", "#cc79a7"), strict=True))


def draw(found: Sequence[Point], path: Path) -> None:
    """Draw milliseconds per image over each curve's value, both on logarithmic axes, if anything was measured.

    Raises
    ------
    RuntimeUnavailableError
        matplotlib is not installed.

    """
    times = [(p.curve, p.value, engine, p.case.per_image(engine)) for p in found for engine in COLOURS]
    lines = [(curve, value, engine, seconds * 1e3) for curve, value, engine, seconds in times if seconds is not None]
    if not lines:
        return
    try:
        import matplotlib as mpl  # noqa: PLC0415 - only with the extra 'bench'
    except ImportError as error:
        raise RuntimeUnavailableError("drawing needs matplotlib: pip install 'quantref[bench]'") from error
    mpl.use("Agg")
    mpl.rcParams.update({"svg.hashsalt": "quantref", "svg.fonttype": "none"})
    from matplotlib import pyplot as plt  # noqa: PLC0415 - after the choice of a backend

    curves = list(dict.fromkeys(curve for curve, *_ in lines))
    figure, panels = plt.subplots(1, len(curves), figsize=(4 * len(curves), 3.6), sharey=True, squeeze=False)
    for panel, curve in zip(panels[0], curves, strict=True):
        here = [line for line in lines if line[0] == curve]
        for engine, colour in COLOURS.items():
            points = sorted((value, time) for _, value, name, time in here if name == engine)
            if points:
                panel.loglog(*zip(*points, strict=True), marker="o", markersize=3, label=engine, color=colour)
        values = sorted({value for _, value, _, _ in here})
        panel.set_xticks(values, [f"{value:g}" for value in values])
        panel.minorticks_off()
        panel.set_xlabel("batch size" if curve == "batch" else curve)
        panel.grid(alpha=0.3)
    panels[0][0].set_ylabel("ms per image")
    figure.legend(*panels[0][0].get_legend_handles_labels(), loc="upper center", ncol=len(COLOURS), frameon=False)
    figure.tight_layout(rect=(0, 0, 1, 0.93))
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
    plt.close(figure)
