"""Cases of the elementwise ops of two inputs other than ADD, SUB and MUL."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np

import fbs
from qmath.types import Array, DType
from quantref.vectors.cells import values
from quantref.vectors.cells.add import operands
from quantref.vectors.cells.case import Case, Generator
from quantref.vectors.cells.models import Params, two_inputs

_CODES = (DType.INT8, DType.UINT8, DType.INT16)
_COMPARISONS = ("EQUAL", "NOT_EQUAL", "LESS", "LESS_EQUAL", "GREATER", "GREATER_EQUAL")


def _zero_point(rng: np.random.Generator, dtype: DType) -> int:
    return 0 if dtype is DType.INT16 else values.zero_point(rng, dtype)


def _pair(rng: np.random.Generator, dtype: DType) -> tuple[Array, Array]:
    shapes = values.broadcast_pair(rng)
    return values.plain(rng, dtype, shapes[0]), values.plain(rng, dtype, shapes[1])


def _without(zero: int, divisor: Array) -> Array:
    """Replace what stands for 0 by its neighbour."""
    return np.where(divisor == zero, zero + (1 if zero < 100 else -1), divisor).astype(divisor.dtype)


def div(rng: np.random.Generator, dtype: DType) -> Iterator[Case]:
    """Divide codes, without a divisor of 0."""
    while True:
        first, second = operands(rng, dtype)
        zero_points = [_zero_point(rng, dtype) for _ in range(3)]
        second = _without(zero_points[1], second)
        scales = [values.scale(rng, -8, 2), values.scale(rng, -8, 2)]
        scales.append(np.float32(scales[0] / scales[1] * values.scale(rng, -9, 7)))
        p1, p2, p3 = ({"scale": s, "zero_point": z} for s, z in zip(scales, zero_points, strict=True))
        options = {"fused_activation_function": int(rng.choice([0, 0, 1, 2, 3]))}
        arrays, types = (first, second), (dtype, dtype)
        constant = rng.choice(np.array([None, None, None, 0, 1], object))
        model, sample = two_inputs("DIV", arrays, types, dtype, (p1, p2, p3), constant=constant, **options)
        yield Case(f"DIV {dtype.name.lower()}", model, (sample,))


def squared_difference(rng: np.random.Generator) -> Iterator[Case]:
    """Square differences of int8 codes of any scales."""
    dtype = DType.INT8
    while True:
        first = values.scale(rng, -8, 2)
        second = values.related_scale(rng, first, -5, 5)
        output = np.float32(np.square(max(first, second)) * values.scale(rng, -11, 16))
        params = [{"scale": s, "zero_point": _zero_point(rng, dtype)} for s in (first, second, output)]
        types = (dtype, dtype)
        model, sample = two_inputs(
            "SQUARED_DIFFERENCE", operands(rng, dtype), types, dtype, (params[0], params[1], params[2])
        )
        yield Case("SQUARED_DIFFERENCE int8", model, (sample,))


def comparisons(rng: np.random.Generator, op: str, dtype: DType) -> Iterator[Case]:
    """Compare codes: of one scale or two, near each other."""
    while True:
        first = min(values.scale(rng, -20, -0.6), np.float32(0.9))
        if dtype is not DType.INT16 and rng.integers(8) == 0:
            first = np.float32(rng.uniform(1.1, 1000))
        same = {"scale": first, "zero_point": _zero_point(rng, dtype)}
        other = {
            "scale": min(values.related_scale(rng, first, -2, 2), np.float32(0.9)),
            "zero_point": _zero_point(rng, dtype),
        }
        params: tuple[Params, Params, Params] = (same, same if rng.integers(2) else other, {})
        x1, x2 = operands(rng, dtype)
        if x1.shape == x2.shape and rng.integers(2):
            x2 = np.where(rng.random(x1.shape) < 0.5, x1, x2)
        model, sample = two_inputs(op, (x1, x2), (dtype, dtype), DType.BOOL, params)
        yield Case(f"{op} {dtype.name.lower()}", model, (sample,))


def codes_as_they_are(rng: np.random.Generator, op: str, dtype: DType) -> Iterator[Case]:
    """Choose the larger or smaller code; scales may differ."""
    while True:
        params = [{"scale": values.scale(rng), "zero_point": _zero_point(rng, dtype)} for _ in range(3)]
        model, sample = two_inputs(op, operands(rng, dtype), (dtype, dtype), dtype, (params[0], params[1], params[2]))
        yield Case(f"{op} {dtype.name.lower()}", model, (sample,))


def plain(rng: np.random.Generator, op: str, dtype: DType, target: DType | None = None) -> Iterator[Case]:
    """Take an op of plain numbers that broadcast."""
    target = target or dtype
    while True:
        first, second = _pair(rng, dtype)
        options: dict[str, Any] = {}
        if op == "DIV":
            options = {"fused_activation_function": int(rng.choice([0, 0, 1, 2, 3]))}
        if op == "FLOOR_DIV" or (op in {"FLOOR_MOD", "DIV"} and dtype.is_integer):
            second = _without(0, second)
            if dtype.is_integer:
                first = np.where(first == dtype.min, first + 1, first).astype(first.dtype)
        if op in _COMPARISONS and first.shape == second.shape:
            second = np.where(rng.random(first.shape) < 0.5, first, second)
        if op == "RIGHT_SHIFT":
            second = (second % 50 - (0 if dtype.min == 0 else 10)).astype(second.dtype)
        if op == "POW":
            first, second = _powers(rng, first, second)
        model, sample = two_inputs(op, (first, second), (dtype, dtype), target, **options)
        yield Case(f"{op} plain {dtype.name.lower()}", model, (sample,))


def _powers(rng: np.random.Generator, base: Array, exponent: Array) -> tuple[Array, Array]:
    if np.issubdtype(base.dtype, np.integer):
        exponent = rng.integers(0, 12, exponent.shape).astype(base.dtype)
        if rng.integers(2):
            exponent = exponent.reshape(-1)[:1]
        return base >> rng.integers(0, 30, base.shape).astype(base.dtype), exponent
    if rng.integers(2):
        return base, rng.choice(np.array([1, 2, 3, 10, 0, -1, -2, 0.5, 2.000001], np.float32), 1)
    return np.abs(base), (exponent / 2).astype(np.float32)


def atan2(rng: np.random.Generator) -> Iterator[Case]:
    """Take angles of points."""
    while True:
        shape = values.stretched(rng, values.shape(rng))
        arrays = values.plain(rng, DType.FLOAT32, shape), values.plain(rng, DType.FLOAT32, shape)
        model, sample = two_inputs("ATAN2", arrays, (DType.FLOAT32, DType.FLOAT32), DType.FLOAT32)
        yield Case("ATAN2 plain float32", model, (sample,))


def add_n(rng: np.random.Generator, dtype: DType) -> Iterator[Case]:
    """Add two to seven tensors."""
    while True:
        shape, count = values.stretched(rng, values.shape(rng)), int(rng.integers(2, 8))
        arrays = {f"x{n}": values.plain(rng, dtype, shape) for n in range(count)}
        builder = fbs.Builder()
        inputs = [builder.input(name, dtype, shape) for name in arrays]
        output = builder.tensor("y", dtype, shape)
        builder.op("ADD_N", inputs, [output])
        yield Case(f"ADD_N plain {dtype.name.lower()}", builder.finish([output]), (arrays,))


_INTEGERS = (DType.INT8, DType.UINT8, DType.INT16, DType.UINT16, DType.INT32, DType.UINT32)
_PLAIN = {
    "DIV": (DType.INT32, DType.FLOAT32),
    "MAXIMUM": (DType.INT32, DType.INT64, DType.FLOAT32, DType.FLOAT16),
    "MINIMUM": (DType.INT32, DType.INT64, DType.FLOAT32, DType.FLOAT16),
    "SQUARED_DIFFERENCE": (DType.INT32, DType.FLOAT32),
    "FLOOR_DIV": (DType.INT8, DType.INT16, DType.INT32, DType.FLOAT32),
    "FLOOR_MOD": (DType.INT8, DType.INT16, DType.INT32, DType.INT64, DType.FLOAT32),
    "POW": (DType.INT32, DType.FLOAT32),
    "LOGICAL_AND": (DType.BOOL,),
    "LOGICAL_OR": (DType.BOOL,),
    "BITWISE_XOR": _INTEGERS,
    "RIGHT_SHIFT": _INTEGERS,
}


def _cells() -> dict[str, Generator]:
    cells: dict[str, Generator] = {}
    for dtype in _CODES:
        cells[f"DIV {dtype.name.lower()}"] = partial(div, dtype=dtype)
        for op in ("MAXIMUM", "MINIMUM"):
            cells[f"{op} {dtype.name.lower()}"] = partial(codes_as_they_are, op=op, dtype=dtype)
    cells["SQUARED_DIFFERENCE int8"] = squared_difference
    for op in _COMPARISONS:
        for dtype in (*_CODES, DType.FLOAT32, DType.FLOAT16, DType.INT32, DType.INT64, DType.BOOL):
            if dtype in {DType.INT8, DType.UINT8, DType.INT16}:
                cells[f"{op} {dtype.name.lower()}"] = partial(comparisons, op=op, dtype=dtype)
            elif dtype is not DType.BOOL or op in {"EQUAL", "NOT_EQUAL"}:
                cells[f"{op} plain {dtype.name.lower()}"] = partial(plain, op=op, dtype=dtype, target=DType.BOOL)
    cells["EQUAL plain int16"] = partial(plain, op="EQUAL", dtype=DType.INT16, target=DType.BOOL)
    for op, types in _PLAIN.items():
        for dtype in types:
            cells[f"{op} plain {dtype.name.lower()}"] = partial(plain, op=op, dtype=dtype)
    cells["ATAN2 plain float32"] = atan2
    for dtype in (DType.INT32, DType.FLOAT32):
        cells[f"ADD_N plain {dtype.name.lower()}"] = partial(add_n, dtype=dtype)
    return cells


CELLS = _cells()
