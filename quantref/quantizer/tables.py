"""Tables as text and as HTML, for results that print themselves."""

from __future__ import annotations

import html
from collections.abc import Sequence


def text_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table in aligned columns."""
    widths = [max(map(len, column)) for column in zip(headings, *rows, strict=True)]
    return "\n".join("  ".join(map(str.ljust, cells, widths)).rstrip() for cells in (headings, *rows))


def html_page(lines: Sequence[str], headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return lines of text and a table below them."""
    text = "<br>".join(html.escape(line) for line in lines)
    head = "".join(f"<th>{html.escape(heading)}</th>" for heading in headings)
    body = "".join("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in cells) + "</tr>" for cells in rows)
    return f"<p>{text}</p><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
