"""Cases of LOGISTIC, TANH and the RELU family."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np

from qmath.types import DType
from quantref.vectors.cells import values
from quantref.vectors.cells.case import Case, Generator
from quantref.vectors.cells.models import Params, one_input


def unary_params(rng: np.random.Generator, dtype: DType, low: float, high: float) -> Params:
    """Choose scale and zero point of a tensor; 16-bit ones are symmetric."""
    zero_point = 0 if dtype is DType.INT16 else values.zero_point(rng, dtype)
    return {"scale": values.scale(rng, low, high), "zero_point": zero_point}


def sigmoids(rng: np.random.Generator, op: str, dtype: DType) -> Iterator[Case]:
    """Take LOGISTIC or TANH of every code."""
    while True:
        source = unary_params(rng, dtype, -18 if dtype is DType.INT16 else -10, 3)
        if dtype is DType.INT16:
            target: Params = {"scale": 1 / 32768}
            if rng.integers(4) == 0:
                source = {"scale": 2.0 ** int(rng.integers(-14, -8))}
        elif op == "LOGISTIC":
            target = {"scale": 1 / 256, "zero_point": values.zero_point(rng, dtype)}
        else:
            target = unary_params(rng, dtype, -8, -4)
        x = values.many_codes(rng, dtype)
        yield Case(f"{op} {dtype.name.lower()}", one_input(op, x, dtype, dtype, source, target), ({"x": x},))


def relus(rng: np.random.Generator, op: str, dtype: DType) -> Iterator[Case]:
    """Take an op of the RELU family of every code."""
    while True:
        source = unary_params(rng, dtype, -10, 2)
        target = dict(unary_params(rng, dtype, -10, 2))
        target["scale"] = (
            source["scale"] if rng.integers(4) == 0 else np.float32(source["scale"] * values.scale(rng, -5, 5))
        )
        x = values.many_codes(rng, dtype)
        yield Case(f"{op} {dtype.name.lower()}", one_input(op, x, dtype, dtype, source, target), ({"x": x},))


def floats(rng: np.random.Generator, op: str) -> Iterator[Case]:
    """Take a function of floats."""
    while True:
        x = values.floats(rng, (*values.shape(rng), 20), spread=float(rng.choice([0.5, 4.0, 20.0])))
        yield Case(f"{op} float32", one_input(op, x, DType.FLOAT32, DType.FLOAT32), ({"x": x},))


def _cells() -> dict[str, Generator]:
    cells: dict[str, Generator] = {}
    for op in ("LOGISTIC", "TANH"):
        for dtype in (DType.INT8, DType.UINT8, DType.INT16):
            cells[f"{op} {dtype.name.lower()}"] = partial(sigmoids, op=op, dtype=dtype)
    for op in ("RELU", "RELU6", "RELU_N1_TO_1", "RELU_0_TO_1"):
        wide = (DType.INT16,) if op in {"RELU", "RELU6"} else ()
        for dtype in (DType.INT8, DType.UINT8, *wide):
            cells[f"{op} {dtype.name.lower()}"] = partial(relus, op=op, dtype=dtype)
    for op in ("LOGISTIC", "TANH", "RELU", "RELU6", "RELU_N1_TO_1", "RELU_0_TO_1"):
        cells[f"{op} float32"] = partial(floats, op=op)
    return cells


CELLS = _cells()
