"""Cases of SOFTMAX and LOG_SOFTMAX."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np

from qmath.types import Array, DType
from quantref.vectors.cells import values
from quantref.vectors.cells.case import Case, Generator
from quantref.vectors.cells.models import one_input


def rows(rng: np.random.Generator, dtype: DType) -> Array:
    """Choose rows of codes: any, close to each other, or few values apart from the largest."""
    depth = int(rng.choice([1, 2, 3, 10, 17, 100, 255]))
    count = max(1, 400 // depth)
    spread = int(rng.choice([1, 4, 16, 64, 256])) * (1 if dtype.bits == 8 else int(rng.choice([1, 16, 256])))
    center = int(rng.integers(dtype.min, dtype.max + 1))
    codes = rng.integers(center - spread, center + spread + 1, (count, depth))
    leading = values.shape(rng, int(rng.integers(0, 3)), most=2)
    codes = np.broadcast_to(np.clip(codes, dtype.min, dtype.max).astype(dtype.storage), (*leading, count, depth))
    return np.ascontiguousarray(codes if rng.integers(4) else codes[..., 0, :])


def softmax(rng: np.random.Generator, source: DType, target: DType) -> Iterator[Case]:
    """Softmax of codes with any scale and beta."""
    output = {
        DType.INT8: {"scale": 1 / 256, "zero_point": -128},
        DType.UINT8: {"scale": 1 / 256, "zero_point": 0},
        DType.INT16: {"scale": 1 / 32768, "zero_point": 0},
    }[target]
    if target is DType.INT16 and source is not DType.INT16:
        output = {"scale": 1 / 65536, "zero_point": -32768}
    while True:
        x = rows(rng, source)
        scale = values.scale(rng, -18, -2) if source is DType.INT16 else values.scale(rng, -12, 3)
        params = {"scale": scale, "zero_point": 0 if source is DType.INT16 else values.zero_point(rng, source)}
        beta = float(rng.choice([1.0, 1.0, 0.5, 2.0, 0.1, 10.0]))
        cell = f"SOFTMAX {source.name.lower()} to {target.name.lower()}"
        yield Case(cell, one_input("SOFTMAX", x, source, target, params, output, beta=beta), ({"x": x},))


def log_softmax(rng: np.random.Generator, dtype: DType) -> Iterator[Case]:
    """Log-softmax of codes with any scale."""
    output = {"scale": 16 / 256, "zero_point": dtype.max}
    while True:
        x = rows(rng, dtype)
        params = {"scale": values.scale(rng, -10, 3), "zero_point": values.zero_point(rng, dtype)}
        cell = f"LOG_SOFTMAX {dtype.name.lower()}"
        yield Case(cell, one_input("LOG_SOFTMAX", x, dtype, dtype, params, output), ({"x": x},))


def floats(rng: np.random.Generator, op: str, dtype: DType = DType.FLOAT32) -> Iterator[Case]:
    """Softmax of floats."""
    while True:
        shape = (*values.shape(rng, int(rng.integers(0, 3))), int(rng.choice([1, 2, 10, 100])))
        x = values.floats(rng, shape, spread=float(rng.choice([0.1, 4.0, 30.0]))).astype(dtype.storage)
        options: dict[str, Any] = {"beta": float(rng.choice([1.0, 0.5, 3.0]))} if op == "SOFTMAX" else {}
        yield Case(f"{op} {dtype.name.lower()}", one_input(op, x, dtype, dtype, **options), ({"x": x},))


_PAIRS = [
    (DType.INT8, DType.INT8),
    (DType.UINT8, DType.UINT8),
    (DType.INT8, DType.INT16),
    (DType.UINT8, DType.INT16),
    (DType.INT16, DType.INT16),
]


def _cells() -> dict[str, Generator]:
    cells: dict[str, Generator] = {}
    for source, target in _PAIRS:
        name = f"SOFTMAX {source.name.lower()} to {target.name.lower()}"
        cells[name] = partial(softmax, source=source, target=target)
    for op in ("SOFTMAX", "LOG_SOFTMAX"):
        cells[f"{op} float32"] = partial(floats, op=op)
    for dtype in (DType.INT8, DType.UINT8):
        cells[f"LOG_SOFTMAX {dtype.name.lower()}"] = partial(log_softmax, dtype=dtype)
    return cells


CELLS = _cells()
