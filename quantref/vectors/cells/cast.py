"""Cases of CAST: every pair of types."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np

import fbs
from qmath.types import Array, DType
from quantref.vectors.cells import values
from quantref.vectors.cells.case import Case, Generator
from quantref.vectors.cells.models import one_input

_INTEGERS = (DType.INT8, DType.UINT8, DType.INT16, DType.UINT16, DType.INT32, DType.UINT32, DType.INT64)
_TYPES = (*_INTEGERS, DType.FLOAT16, DType.FLOAT32, DType.FLOAT64, DType.BOOL, DType.COMPLEX64)
_ENDS = [2.0**bits + delta for bits in (7, 8, 15, 16, 31, 32, 63, 64) for delta in (-1, -0.5, 0, 0.5, 1)]


def _numbers(rng: np.random.Generator, dtype: DType) -> Array:
    shape = (*values.shape(rng), 50)
    x = values.plain(rng, dtype, shape)
    if dtype.is_integer or dtype is DType.BOOL:
        return x
    with np.errstate(over="ignore"):
        ends = (rng.choice(_ENDS, shape) * rng.choice([-1, 1], shape)).astype(dtype.storage)
        return np.asarray(np.where(rng.random(shape) < 0.3, ends, x * dtype.storage.type(100)), dtype.storage)


def cast(rng: np.random.Generator, source: DType, target: DType) -> Iterator[Case]:
    """Cast ends of ranges, fractions, infinities and ordinary numbers."""
    while True:
        x = _numbers(rng, source)
        cell = f"CAST {source.name.lower()} to {target.name.lower()}"
        yield Case(cell, one_input("CAST", x, source, target), ({"x": x},))


def narrow(rng: np.random.Generator, dtype: DType, *, back: bool) -> Iterator[Case]:
    """Cast floats to a type of less than 8 bits, or a constant of it to floats."""
    name = dtype.name.lower()
    while True:
        if not back:
            with np.errstate(over="ignore"):
                x = values.plain(rng, DType.FLOAT32, (*values.shape(rng), 50)) * np.float32(2)
            yield Case(f"CAST float32 to {name}", one_input("CAST", x, DType.FLOAT32, dtype), ({"x": x},))
            continue
        builder = fbs.Builder()
        codes = values.codes(rng, dtype, values.stretched(rng, values.shape(rng)))
        output = builder.tensor("y", DType.FLOAT32, codes.shape)
        builder.op("CAST", [builder.constant("x", codes, dtype)], [output])
        yield Case(f"CAST {name} to float32", builder.finish([output]), ({},))


def through_bfloat16(rng: np.random.Generator, source: DType, target: DType) -> Iterator[Case]:
    """Cast to bfloat16 and on; the runtime's Python interface has no such type for inputs and outputs."""
    while True:
        x = _numbers(rng, source)
        builder = fbs.Builder()
        first = builder.input("x", source, x.shape)
        middle = builder.tensor("middle", DType.BFLOAT16, x.shape)
        output = builder.tensor("y", target, x.shape)
        builder.op("CAST", [first], [middle], version=7)
        builder.op("CAST", [middle], [output], version=7)
        cell = f"CAST {source.name.lower()} to bfloat16 to {target.name.lower()}"
        yield Case(cell, builder.finish([output]), ({"x": x},))


def _cells() -> dict[str, Generator]:
    cells: dict[str, Generator] = {}
    for source in _TYPES:
        for target in _TYPES:
            if source is not target:
                cell = f"CAST {source.name.lower()} to {target.name.lower()}"
                cells[cell] = partial(cast, source=source, target=target)
    for dtype in (DType.INT2, DType.INT4, DType.UINT4):
        name = dtype.name.lower()
        cells[f"CAST float32 to {name}"] = partial(narrow, dtype=dtype, back=False)
        cells[f"CAST {name} to float32"] = partial(narrow, dtype=dtype, back=True)
    for source, target in ((DType.FLOAT32, DType.FLOAT32), (DType.INT32, DType.INT8), (DType.FLOAT64, DType.FLOAT16)):
        cell = f"CAST {source.name.lower()} to bfloat16 to {target.name.lower()}"
        cells[cell] = partial(through_bfloat16, source=source, target=target)
    return cells


CELLS = _cells()
