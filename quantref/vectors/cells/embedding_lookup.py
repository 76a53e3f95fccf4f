"""Cases of EMBEDDING_LOOKUP."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np

import fbs
from qmath.types import DType
from quantref.vectors.cells import build, values
from quantref.vectors.cells.case import Case, Generator

CODES = (DType.INT8, DType.UINT8, DType.INT4, DType.INT2)
COPIED = (DType.FLOAT32, DType.INT8, DType.UINT8, DType.INT16, DType.INT32, DType.INT64, DType.BOOL, DType.FLOAT16)


def cases(cell: str, table: DType, output: DType, per_axis: bool, rng: np.random.Generator) -> Iterator[Case]:
    """Yield cases of a type of table and output."""
    while True:
        rows = int(rng.integers(1, 20))
        columns = tuple(int(size) for size in rng.integers(1, 12, rng.integers(1, 4)))
        b = fbs.Builder()
        x = b.input("x", DType.INT32, (1,))
        scale = [values.scale(rng, -20, 3) for _ in range(rows if per_axis and rows > 1 else 1)]
        quantized = {"scale": scale, "zero_point": 0} if table in CODES else {}
        w = b.constant("w", build.elements(rng, table, (rows, *columns)), table, **quantized)
        same: dict[str, Any] = {"scale": scale[0]} if output in CODES else {}
        y = b.tensor("y", output, (1, *columns), **same)
        b.op("EMBEDDING_LOOKUP", [x, w], [y], version=4)
        samples = [rng.integers(0, rows, rng.integers(0, 30)).astype(np.int32) for _ in range(3)]
        yield Case(cell, b.finish(outputs=[y]), tuple({"x": sample} for sample in samples))


def _cells() -> dict[str, Generator]:
    cells: dict[str, Generator] = {}
    for table in CODES:
        for output in (DType.FLOAT32, DType.FLOAT16):
            for per_axis in (False, True):
                axis = "per-axis" if per_axis else "per-tensor"
                cell = f"EMBEDDING_LOOKUP {table.name.lower()} to {output.name.lower()} {axis}"
                cells[cell] = partial(cases, cell, table, output, per_axis)
    for copied in COPIED:
        cell = f"EMBEDDING_LOOKUP {copied.name.lower()}"
        cells[cell] = partial(cases, cell, copied, copied, False)  # noqa: FBT003
    return cells


CELLS = _cells()
