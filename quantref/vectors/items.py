"""The items of a plan: what each case is made from, in the order in which a suite holds them."""

from __future__ import annotations

import fnmatch
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np

from qmath.errors import InputError
from quantref.vectors.catalogue import all_cells, slug
from quantref.vectors.negative import negative_cells
from quantref.vectors.plan import Options, Plan, Selection, WholeModel


@dataclass(frozen=True, slots=True)
class Item:
    """What one case is made from.

    Attributes
    ----------
    kind
        ``"op"``, ``"model"`` or ``"negative"``.
    cell
        The cell; of a whole model its name.
    number
        Which case of the cell.
    options
        Options that the op must have.
    content
        A whole model's file.

    """

    kind: str
    cell: str
    number: int
    options: Options = ()
    content: bytes = b""

    @property
    def id(self) -> str:
        """Unique in a suite."""
        told = "".join(f"-{slug(name)}-{slug(str(value))}" for name, value in self.options)
        return f"{slug(self.cell)}{told}-{self.number:04}"

    def rng(self, seed: int) -> np.random.Generator:
        """Return the source of the case's random choices: it depends on the plan's seed and on the item alone."""
        words = (self.cell, repr(self.options))
        return np.random.default_rng([seed, self.number, *(zlib.crc32(word.encode()) for word in words)])


def items(plan: Plan) -> Iterator[Item]:
    """Yield whole models, negative cases, and then the cells in rounds: the first case of each, the second, ...

    So a budget that ends a suite early takes from every cell, and not all of some.

    Raises
    ------
    InputError
        A pattern fits no cell, or a model cannot be read.

    """
    for model in plan.models:
        yield from _whole(model, plan)
    for cell in negative_cells(plan.negative):
        yield Item("negative", cell, 0)
    wanted = _counts(plan)
    for number in range(max(wanted.values(), default=0)):
        for (cell, options), count in wanted.items():
            if number < count:
                yield Item("op", cell, number, options)


def _counts(plan: Plan) -> dict[tuple[str, Options], int]:
    """Return how many cases each cell and combination of options gets; of entries that fit both, the last counts."""
    found: dict[tuple[str, Options], int] = {}
    for number, selection in enumerate(plan.selections):
        names = [cell for cell in all_cells() if _fits(cell, selection)]
        if not names:
            patterns = ", ".join((*selection.cells, *selection.dtypes))
            raise InputError(f"cells {number}: expected patterns of some of {len(all_cells())} cells, found {patterns}")
        found |= {(cell, options): selection.count for cell in names for options in selection.combinations()}
    return found


def _fits(cell: str, selection: Selection) -> bool:
    named = any(fnmatch.fnmatchcase(cell, pattern) for pattern in selection.cells)
    return named and (not selection.dtypes or bool(set(cell.split()) & set(selection.dtypes)))


def _whole(model: WholeModel, plan: Plan) -> Iterator[Item]:
    bundled, _, name = model.path.rpartition("bundled:")
    if bundled or model.path.startswith("bundled:"):
        file = resources.files("quantref") / "data" / f"{name}.tflite"
    else:
        file = Path(plan.folder) / model.path
    try:
        content = file.read_bytes()
    except OSError as error:
        raise InputError(f"{model.path}: expected a readable model, found: {error.strerror or error}") from error
    stem = Path(name).stem
    for number in range(model.samples):
        yield Item("model", f"MODEL {stem}", number, (), content)
