"""The cells that cases come from: those of the support table, and those aimed at one thing each."""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Mapping
from functools import cache
from types import MappingProxyType

from quantref.vectors import aimed, cells
from quantref.vectors.aimed.aim import Aim
from quantref.vectors.cells.case import Generator


@cache
def table_cells() -> Mapping[str, Generator]:
    """Return the case generator of every cell of the support table."""
    found: dict[str, Generator] = {}
    for module in pkgutil.iter_modules(cells.__path__):
        found.update(getattr(importlib.import_module(f"quantref.vectors.cells.{module.name}"), "CELLS", {}))
    return MappingProxyType(found)


@cache
def aims() -> Mapping[str, Aim]:
    """Return every aim by its cell, such as ``"CONV_2D int8 aimed at ties"``."""
    found: dict[str, Aim] = {}
    for module in pkgutil.iter_modules(aimed.__path__):
        found.update(
            {
                aim.cell: aim
                for aim in getattr(importlib.import_module(f"quantref.vectors.aimed.{module.name}"), "AIMS", ())
            }
        )
    return MappingProxyType(found)


@cache
def all_cells() -> Mapping[str, Generator]:
    """Return every case generator by its cell, those of the table first; in order."""
    table, aimed_at = table_cells(), aims()
    ordered = {cell: table[cell] for cell in sorted(table)}
    return MappingProxyType(ordered | {cell: aimed_at[cell].generate for cell in sorted(aimed_at)})


def slug(cell: str) -> str:
    """Return a cell's name as part of a file name; no two cells have the same."""
    return re.sub(r"[^a-z0-9_.]+", "-", cell.lower()).strip("-")
