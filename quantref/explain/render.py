"""Sections of lines and tables as text, Markdown and HTML."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of cells. A column whose head ends in ``>`` is set to the right."""

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def widths(self) -> list[int]:
        """Return how wide each column is."""
        names = tuple(name.rstrip(">") for name in self.head)
        return [max(len(row[column]) for row in (names, *self.rows)) for column in range(len(names))]

    def aligned(self, row: Sequence[str], widths: Sequence[int]) -> str:
        """Return a row as text."""
        cells = (
            cell.rjust(width) if name.endswith(">") else cell.ljust(width)
            for cell, width, name in zip(row, widths, self.head, strict=True)
        )
        return "  ".join(cells).rstrip()

    def lines(self) -> list[str]:
        """Return the table as text."""
        widths = self.widths()
        rows = (tuple(name.rstrip(">") for name in self.head), *self.rows)
        return [self.aligned(row, widths) for row in rows]


@dataclass(frozen=True, slots=True)
class Section:
    """A title, then lines of formulas and a table, either of which may be missing."""

    title: str
    lines: tuple[str, ...] = ()
    table: Table | None = None


def as_text(headline: str, parts: Sequence[Section]) -> str:
    """Return a headline and sections as text."""
    lines = [headline]
    for part in parts:
        lines += ["", part.title]
        lines += [f"  {line}" for line in (*(part.table.lines() if part.table else ()), *part.lines)]
    return "\n".join(lines)


def as_markdown(headline: str, parts: Sequence[Section]) -> str:
    """Return a headline and sections as Markdown."""
    lines = [f"**{_escaped(headline)}**"]
    for part in parts:
        lines += ["", f"### {part.title}", ""]
        if part.table:
            rule = ["--:" if name.endswith(">") else "---" for name in part.table.head]
            names = [name.rstrip(">") for name in part.table.head]
            lines += [_row(names), _row(rule), *(_row([_escaped(cell) for cell in row]) for row in part.table.rows)]
        if part.table and part.lines:
            lines.append("")
        if part.lines:
            lines += ["```text", *part.lines, "```"]
    return "\n".join(lines) + "\n"


def as_html(headline: str, parts: Sequence[Section]) -> str:
    """Return a headline and sections as HTML."""
    found = [f"<h3>{html.escape(headline)}</h3>"]
    for part in parts:
        found.append(f"<h4>{html.escape(part.title)}</h4>")
        if part.table:
            found.append(_html_table(part.table))
        if part.lines:
            found.append(f"<pre>{html.escape(chr(10).join(part.lines))}</pre>")
    return "".join(found)


def _html_table(table: Table) -> str:
    sides = ["right" if name.endswith(">") else "left" for name in table.head]

    def row(cells: Sequence[str], tag: str) -> str:
        found = (
            f'<{tag} style="text-align:{side}">{html.escape(cell)}</{tag}>'
            for cell, side in zip(cells, sides, strict=True)
        )
        return f"<tr>{''.join(found)}</tr>"

    names = [name.rstrip(">") for name in table.head]
    return f"<table>{row(names, 'th')}{''.join(row(cells, 'td') for cells in table.rows)}</table>"


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _escaped(text: str) -> str:
    return "".join(f"\\{letter}" if letter in "\\|*_`<[" else letter for letter in text)
