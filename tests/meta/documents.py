"""The documents of the checkout, and the blocks of commands and of Python that they show."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from tests.meta.house import ROOT

_FENCE = re.compile(r"^(?P<indent> *)```(?P<language>\w*)\s*$")


@dataclass(frozen=True)
class Block:
    """A fenced block.

    Attributes
    ----------
    language
        What follows the fence: ``"sh"``, ``"python"``, ``"text"`` ..., or empty.
    text
        The lines in it.
    line
        Line of the document that the first of them is.

    """

    language: str
    text: str
    line: int


def documents() -> list[Path]:
    """Return the documents whose commands and snippets have to work."""
    docs = ROOT / "docs"
    return [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "benchmarks/README.md", *sorted(docs.rglob("*.md"))]


def blocks(document: Path) -> list[Block]:
    """Return the fenced blocks of a document, in order."""
    found: list[Block] = []
    language, inside, start = "", None, 0
    for number, line in enumerate(document.read_text(encoding="utf-8").splitlines(), 1):
        fence = _FENCE.match(line)
        if inside is None and fence:
            language, inside, start = fence["language"], [], number + 1
        elif inside is not None and fence and not fence["language"]:
            found.append(Block(language, "\n".join(inside) + "\n", start))
            inside = None
        elif inside is not None:
            inside.append(line)
    assert inside is None, f"{document}: the block that begins on line {start} has no end"
    return found


def commands(block: Block) -> list[str]:
    """Return the commands of a block of shell: its lines, with continued ones joined, comments left out."""
    joined = block.text.replace("\\\n", " ")
    return [line.strip() for line in joined.splitlines() if line.strip() and not line.lstrip().startswith("#")]
