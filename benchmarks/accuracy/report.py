"""The results as a page: tables with means and spreads, what was verified, and what others found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.accuracy.literature import QUANTIZED, SOURCE, SOURCE_FILE, WIDE_ACTIVATIONS

#: One row: the figures of each seed, as plain values.
Row = Sequence[Mapping[str, Any]]
HEADINGS = ("model", "accuracy", "SQNR, dB", "bytes", "gzip", "of int8", "us, quantref", "us, LiteRT", "mismatches")
#: Rows whose gzip size the column ``of int8`` divides by, where a table has one of them.
PLAIN = "int8, style quantref"


def table(rows: Mapping[str, Row]) -> str:
    """Return one network's rows as a table in Markdown."""
    plain = _mean(rows[PLAIN], "gzip_size") if PLAIN in rows else None
    lines = [_line(HEADINGS), _line(["---"] + ["---:"] * (len(HEADINGS) - 1))]
    for name, row in rows.items():
        size, compressed = _mean(row, "size"), _mean(row, "gzip_size")
        share = "" if plain is None else f"{compressed / plain:.2f}"
        times = [_microseconds(row, which) for which in ("ours", "theirs")]
        cells = (name, _accuracy(row), _sqnr(row), f"{size:,.0f}", f"{compressed:,.0f}", share, *times, _verified(row))
        lines.append(_line(cells))
    return "\n".join(lines)


def gains(rows: Mapping[str, Row]) -> str:
    """Say what quantization-aware training wins over quantization after training, seed by seed."""
    lines = []
    for before, after in ((PLAIN, "int8, quantization-aware"), ("int4 weights", "int4 weights, quantization-aware")):
        won = 100 * (np.array(_column(rows[after], "accuracy")) - _column(rows[before], "accuracy"))
        lines.append(f"- {after} against {before}: {won.mean():+.1f} points, spread {_spread(won):.1f}")
    return "\n".join(lines)


def published() -> str:
    """Return the tables of the guide."""
    headings = ("model", "top-1, float32", "after training", "quantization-aware", "MB, float32", "MB, quantized")
    first = [_line(headings), _line(["---"] * len(headings)), *map(_line, QUANTIZED)]
    headings = ("model", "metric", "float32 activations", "int8 activations", "int16 activations")
    second = [_line(headings), _line(["---"] * len(headings)), *map(_line, WIDE_ACTIVATIONS)]
    origin = f"From the [guide of LiteRT]({SOURCE}), Tables 1 and 2 ([its source]({SOURCE_FILE}))."
    return "\n".join([origin, "", *first, "", *second])


def total_verified(networks: Mapping[str, Mapping[str, Row]]) -> tuple[int, int, int]:
    """Return how many models were verified, how many integer elements were compared, and how many differ."""
    verified = [
        figures
        for rows in networks.values()
        for row in rows.values()
        for figures in row
        if figures["elements"] + figures["float_elements"]
    ]
    return (
        len(verified),
        sum(figures["elements"] for figures in verified),
        sum(figures["mismatches"] for figures in verified),
    )


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _column(row: Row, name: str) -> list[float]:
    return [figures[name] for figures in row if figures[name] is not None]


def _mean(row: Row, name: str) -> float:
    return float(np.mean(_column(row, name)))


def _spread(values: Sequence[float]) -> float:
    return float(np.std(values, ddof=1)) if len(values) > 1 else 0.0


def _accuracy(row: Row) -> str:
    percent = [100 * share for share in _column(row, "accuracy")]
    spread = f" ± {_spread(percent):.1f}" if len(percent) > 1 else ""
    return f"{np.mean(percent):.1f} %{spread}"


def _sqnr(row: Row) -> str:
    found = [value for value in _column(row, "sqnr") if np.isfinite(value)]
    return f"{np.mean(found):.1f}" if found else "exact"


def _microseconds(row: Row, which: str) -> str:
    found = _column(row, which)
    return f"{1e6 * min(found):,.0f}" if found else ""


def _verified(row: Row) -> str:
    def parts(kind: str) -> tuple[int, int]:
        return sum(figures[f"{kind}mismatches"] for figures in row), sum(figures[f"{kind}elements"] for figures in row)

    wrong, of = parts("")
    wrong_float, of_float = parts("float_")
    told = [f"{wrong} of {of:,}"] if of else []
    told += [f"{wrong_float} of {of_float:,} floats"] if of_float else []
    return ", ".join(told) or "LiteRT refuses it"
