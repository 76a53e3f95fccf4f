"""The scaling curves as a drawing: plain SVG, the same bytes for the same figures."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.engines import OURS
from benchmarks.results import Point
from quantref.runtimes import RUNTIMES

#: Engines, in the order of the legend, and their colours, which the colour-blind can tell apart.
COLOURS = dict(zip((OURS, *RUNTIMES), ("#0072b2", "#d55e00", "#009e73", "#cc79a7"), strict=True))
#: Pixels: of a panel, and around it.
WIDE, HIGH, LEFT, TOP, GAP, BOTTOM = 260, 240, 62, 44, 34, 48
LABELS = {"width": "width", "resolution": "resolution", "batch": "batch size"}

#: Engine, and its points: value of the curve, and milliseconds an image.
Lines = Mapping[str, Sequence[tuple[float, float]]]


@dataclass(frozen=True, slots=True)
class Axis:
    """A logarithmic axis: from values to pixels.

    Attributes
    ----------
    low, high
        Values at its ends; not equal.
    start, end
        Pixels there.

    """

    low: float
    high: float
    start: float
    end: float

    @classmethod
    def over(cls, values: Sequence[float], start: float, end: float) -> Axis:
        """Return an axis on which all values have room."""
        low, high = min(values), max(values)
        margin = max((high / low) ** 0.06, 1.05)
        return cls(low / margin, high * margin, start, end)

    def __call__(self, value: float) -> float:
        """Return where a value lies."""
        share = math.log(value / self.low) / math.log(self.high / self.low)
        return round(self.start + share * (self.end - self.start), 1)

    def ticks(self) -> list[float]:
        """Return round values on the axis, about three a decade."""
        decades = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        round_values = (float(f"{digit}e{decade}") for decade in decades for digit in (1, 2, 5))
        return [value for value in round_values if self.low <= value <= self.high]


def draw(found: Sequence[Point], path: Path) -> None:
    """Draw milliseconds an image over each curve's value, both on logarithmic axes, and write the file."""
    panels = {point.curve: _lines(found, point.curve) for point in found}
    panels = {curve: lines for curve, lines in panels.items() if lines}
    if panels:
        path.write_text("\n".join(_drawing(panels)) + "\n", encoding="utf-8")


def _lines(found: Sequence[Point], curve: str) -> Lines:
    lines: dict[str, list[tuple[float, float]]] = {}
    for engine in COLOURS:
        for point in sorted((point for point in found if point.curve == curve), key=lambda point: point.value):
            seconds = point.case.per_image(engine)
            if seconds is not None:
                lines.setdefault(engine, []).append((point.value, seconds * 1e3))
    return lines


def _drawing(panels: Mapping[str, Lines]) -> Iterator[str]:
    width, height = LEFT + len(panels) * (WIDE + GAP), TOP + HIGH + BOTTOM
    times = [time for lines in panels.values() for points in lines.values() for _, time in points]
    up = Axis.over(times, TOP + HIGH, TOP)
    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}"'
        ' font-family="sans-serif" font-size="11">'
    )
    yield f'<rect width="{width}" height="{height}" fill="white"/>'
    yield _text(14, TOP + HIGH / 2, "ms per image", f'transform="rotate(-90 14 {TOP + HIGH / 2:g})"')
    for number, (name, colour) in enumerate(COLOURS.items()):
        x = LEFT + number * 140
        yield f'<line x1="{x}" y1="18" x2="{x + 20}" y2="18" stroke="{colour}" stroke-width="2"/>'
        yield _text(x + 26, 22, name, anchor="start")
    for number, (curve, lines) in enumerate(panels.items()):
        yield from _panel(LEFT + number * (WIDE + GAP), curve, lines, up, labelled=number == 0)
    yield "</svg>"


def _panel(left: float, curve: str, lines: Lines, up: Axis, *, labelled: bool) -> Iterator[str]:
    values = sorted({value for points in lines.values() for value, _ in points})
    along = Axis.over(values, left, left + WIDE)
    for tick in up.ticks():
        yield f'<path d="M{left} {up(tick)}h{WIDE}" stroke="#dddddd"/>'
        if labelled:
            yield _text(left - 6, up(tick) + 4, f"{tick:g}", anchor="end")
    for value in values:
        yield f'<path d="M{along(value)} {TOP}v{HIGH}" stroke="#dddddd"/>'
        yield _text(along(value), TOP + HIGH + 16, f"{value:g}")
    yield f'<rect x="{left}" y="{TOP}" width="{WIDE}" height="{HIGH}" fill="none" stroke="#444444"/>'
    yield _text(left + WIDE / 2, TOP + HIGH + 36, LABELS.get(curve, curve))
    for engine, points in lines.items():
        places = [(along(value), up(time)) for value, time in points]
        line = " ".join(f"{x:g},{y:g}" for x, y in places)
        yield f'<polyline points="{line}" fill="none" stroke="{COLOURS[engine]}" stroke-width="2"/>'
        for x, y in places:
            yield f'<circle cx="{x:g}" cy="{y:g}" r="3" fill="{COLOURS[engine]}"/>'


def _text(x: float, y: float, words: str, more: str = "", *, anchor: str = "middle") -> str:
    return f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}" {more}>{words}</text>'.replace(" >", ">")
