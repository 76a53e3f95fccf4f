"""Ops of which no formula says where their ties are: cases of the table's own cells, taken when they hit both signs."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np

from quantref.vectors.aimed.aim import Aim
from quantref.vectors.cells import add, batch_matmul, binary, quantize, reduction, resize, unary
from quantref.vectors.cells.case import Case, Generator

#: Cells, and the stage whose ties are looked for: of both signs, or ``+`` where values are never negative.
_TABLE = {
    "LEAKY_RELU int8": "if positive: shifted right",
    "LEAKY_RELU int16": "if negative: shifted right",
    "PRELU int8": "if positive: shifted right",
    "HARD_SWISH int8": "reluish: high multiply",
    "ABS int8": "shifted right +",
    "MEAN int8": "shifted right",
    "MEAN int16": "shifted right",
    "RESIZE_BILINEAR int8": "divided",
    "RESIZE_BILINEAR int16": "divided",
    "SQUARED_DIFFERENCE int8": "shifted right +",
    "DIV int8": "shifted right",
    "BATCH_MATMUL int8 x int8 to int8": "shifted right",
    "ADD int16 powers of two": "input 1 shifted",
    "QUANTIZE float32 to int8": "steps",
    "QUANTIZE float32 to int16": "steps",
    "QUANTIZE float32 to uint8": "steps",
    "L2_NORMALIZATION int8": "shifted right",
}
_MODULES = (add, batch_matmul, binary, quantize, reduction, resize, unary)


def _renamed(cell: str, generate: Generator, rng: np.random.Generator) -> Iterator[Case]:
    for case in generate(rng):
        yield Case(cell, case.model, case.samples, case.runtime)


def _aims() -> Iterator[Aim]:
    known: dict[str, Generator] = {}
    for module in _MODULES:
        known |= module.CELLS
    for source, stage in _TABLE.items():
        cell = f"{source} aimed at ties"
        signs = ("tie positive",) if stage.endswith(" +") else ("tie negative", "tie positive")
        hits = tuple(f"{sign}: {stage.removesuffix(' +')}" for sign in signs)
        yield Aim(cell, partial(_renamed, cell, known[source]), hits)


AIMS = tuple(_aims())
