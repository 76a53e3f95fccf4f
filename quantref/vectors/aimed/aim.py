"""An aim: where its cases come from, and what each of them must hit."""

from __future__ import annotations

from dataclasses import dataclass

from quantref.vectors.cells.case import Generator


@dataclass(frozen=True, slots=True)
class Aim:
    """What a cell of aimed cases is for.

    Attributes
    ----------
    cell
        Its name.
    generate
        Yields cases without end.
    hits
        Marks (see :mod:`quantref.vectors.coverage`) that every case must have under ``profile``: a case that has not
        is not taken.
    profile
        Under which that is looked at.

    """

    cell: str
    generate: Generator
    hits: tuple[str, ...]
    profile: str = "litert-reference"
