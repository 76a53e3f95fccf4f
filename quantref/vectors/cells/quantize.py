"""Cases of QUANTIZE and DEQUANTIZE."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np

import fbs
from qmath.types import DType
from quantref.vectors.cells import values
from quantref.vectors.cells.case import Case, Generator
from quantref.vectors.cells.models import one_input


def _params(rng: np.random.Generator, dtype: DType, shape: tuple[int, ...], *, per_axis: bool) -> dict[str, Any]:
    if not per_axis:
        return {"scale": values.scale(rng), "zero_point": values.zero_point(rng, dtype)}
    axis = int(rng.integers(len(shape)))
    scales = [values.scale(rng) for _ in range(shape[axis])]
    zero_points = [values.zero_point(rng, dtype) for _ in scales]
    return {"scale": scales, "zero_point": zero_points, "quantized_dimension": axis}


def quantize_floats(rng: np.random.Generator, target: DType, *, per_axis: bool = False) -> Iterator[Case]:
    """Quantize ties, ends of the range, values beyond int32 and ordinary ones."""
    cell = f"QUANTIZE float32 to {target.name.lower()}{' per-axis' if per_axis else ''}"
    while True:
        shape = (*values.shape(rng, most=5), 7, 8)
        params = _params(rng, target, shape, per_axis=per_axis)
        scale = np.max(params["scale"])
        half_steps = rng.integers(2 * target.min - 9, 2 * target.max + 9, shape) / 2
        x = (half_steps * scale).astype(np.float32)
        x = np.where(rng.random(shape) < 0.2, np.nextafter(x, np.float32(0)), x)
        extremes = np.array([1e9, -1e9, 1e38, -1e38, np.inf, -np.inf, np.nan, 0.0, -0.0], np.float32)
        x = np.where(rng.random(shape) < 0.05, rng.choice(extremes, shape), x)
        yield Case(cell, one_input("QUANTIZE", x, DType.FLOAT32, target, {}, params), ({"x": x},))


def requantize(rng: np.random.Generator, source: DType, target: DType) -> Iterator[Case]:
    """Requantize every code of 8- and 16-bit types, ends and ordinary values of int32."""
    cell = f"QUANTIZE {source.name.lower()} to {target.name.lower()}"
    symmetric = source is target is DType.INT16
    while True:
        if source is DType.INT32:
            x = rng.integers(-(1 << 31), 1 << 31, (2, 500)) >> rng.integers(0, 31, (2, 500))
            x = x.astype(np.int32)
        else:
            x = values.many_codes(rng, source)
        scale = values.scale(rng)
        ratio = values.scale(rng, -20, 2) if source is DType.INT32 else values.scale(rng, -9, 9)
        params = {"scale": scale, "zero_point": 0 if symmetric else values.zero_point(rng, source)}
        zero_point = 0 if symmetric or target is DType.INT32 else values.zero_point(rng, target)
        out = {"scale": np.float32(scale / ratio), "zero_point": zero_point}
        if rng.integers(8) == 0:
            out["scale"] = scale
        yield Case(cell, one_input("QUANTIZE", x, source, target, params, out), ({"x": x},))


def dequantize(rng: np.random.Generator, source: DType, *, per_axis: bool = False) -> Iterator[Case]:
    """Dequantize every code, or random ones of a per-axis tensor."""
    cell = f"DEQUANTIZE {source.name.lower()}{' per-axis' if per_axis else ''}"
    while True:
        if source is DType.FLOAT16:
            x = rng.integers(0, 1 << 16, (3, 500)).astype(np.uint16).view(np.float16)
            x[np.isnan(x)] = np.nan
            yield Case(cell, one_input("DEQUANTIZE", x, source, DType.FLOAT32), ({"x": x},))
            continue
        shape = (*values.stretched(rng, values.shape(rng)), 7)
        x = values.codes(rng, source, shape) if per_axis or source.bits < 8 else values.many_codes(rng, source)
        params = _params(rng, source, x.shape, per_axis=per_axis)
        if source is DType.INT16:
            params["zero_point"] = 0
        if source.bits >= 8:
            yield Case(cell, one_input("DEQUANTIZE", x, source, DType.FLOAT32, params), ({"x": x},))
            continue
        # LiteRT's Python interface feeds no sub-byte inputs: a constant stands in.
        builder = fbs.Builder()
        first = builder.constant("x", x, source, **params)
        output = builder.tensor("y", DType.FLOAT32, x.shape)
        builder.op("DEQUANTIZE", [first], [output])
        yield Case(cell, builder.finish([output]), ({},))


_PAIRS = [
    (DType.INT8, DType.INT8),
    (DType.INT8, DType.UINT8),
    (DType.INT8, DType.INT16),
    (DType.UINT8, DType.INT8),
    (DType.UINT8, DType.UINT8),
    (DType.UINT8, DType.INT16),
    (DType.INT16, DType.INT8),
    (DType.INT16, DType.INT16),
    (DType.INT16, DType.INT32),
    (DType.INT32, DType.INT8),
    (DType.INT32, DType.INT16),
]


def _cells() -> dict[str, Generator]:
    cells: dict[str, Generator] = {}
    for target in (DType.INT8, DType.UINT8, DType.INT16, DType.INT4, DType.UINT4):
        cells[f"QUANTIZE float32 to {target.name.lower()}"] = partial(quantize_floats, target=target)
    for target in (DType.INT8, DType.UINT8, DType.INT16):
        name = f"QUANTIZE float32 to {target.name.lower()} per-axis"
        cells[name] = partial(quantize_floats, target=target, per_axis=True)
    for source, target in _PAIRS:
        name = f"QUANTIZE {source.name.lower()} to {target.name.lower()}"
        cells[name] = partial(requantize, source=source, target=target)
    for source in (DType.INT2, DType.INT4, DType.UINT4, DType.INT8, DType.UINT8, DType.INT16, DType.FLOAT16):
        cells[f"DEQUANTIZE {source.name.lower()}"] = partial(dequantize, source=source)
    for source in (DType.INT2, DType.INT4, DType.UINT4, DType.INT8, DType.UINT8):
        cells[f"DEQUANTIZE {source.name.lower()} per-axis"] = partial(dequantize, source=source, per_axis=True)
    return cells


CELLS = _cells()
