"""Cases of ops that choose by index or find indices: GATHER, SCATTER, segments, ONE_HOT, ARG_MAX, TOPK_V2, WHERE ..."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from functools import partial

import numpy as np

from qmath.types import Array, DType
from quantref.vectors.cells.build import Operand, Result, elements, long_shape, one_op, quantization, scalar, vector
from quantref.vectors.cells.build import shape as shape_of
from quantref.vectors.cells.case import Case, Generator

COMMON = (DType.INT8, DType.UINT8, DType.INT16, DType.INT32, DType.INT64, DType.FLOAT32, DType.BOOL)
INDEX = (DType.INT32, DType.INT64)


def _operand(rng: np.random.Generator, dtype: DType, shape: tuple[int, ...]) -> Operand:
    # LiteRT's Python interface feeds no sub-byte inputs: a constant stands in.
    x = elements(rng, dtype, shape)
    return Operand(x, dtype, constant=dtype.bits < 8, params=quantization(rng, dtype))


def _indices(
    rng: np.random.Generator, high: Array | int, shape: tuple[int, ...], dtype: DType = DType.INT32
) -> Operand:
    return Operand(rng.integers(0, high, shape).astype(dtype.storage), dtype, constant=bool(rng.integers(2)))


def gathers(rng: np.random.Generator, dtype: DType) -> Iterator[Case]:
    """Gather along any axis, with or without batch dims."""
    while True:
        shape = long_shape(rng)
        if dtype is DType.INT4:
            shape = (*shape, 4)
        x = _operand(rng, dtype, shape)
        axis = int(rng.integers(len(shape) - (dtype is DType.INT4)))
        batch = int(rng.integers(axis + 1))
        kind = (DType.INT16, *INDEX)[int(rng.integers(3))]
        inner = shape_of(rng, int(rng.integers(0 if batch else 1, 3)), most=5)
        indices = _indices(rng, shape[axis], (*shape[:batch], *inner), kind)
        result = Result(dtype, x.params)
        if rng.integers(3) == 0 and batch < len(indices.array.shape):
            batch -= indices.array.ndim
        named = axis - len(shape) if rng.integers(2) else axis
        cell = f"GATHER {dtype.name.lower()}"
        yield one_op(cell, "GATHER", [x, indices], [result], axis=named, batch_dims=batch)


def gathers_nd(rng: np.random.Generator, dtype: DType) -> Iterator[Case]:
    """Gather slices by vectors of indices of any length."""
    while True:
        shape = long_shape(rng)
        depth = int(rng.integers(1, len(shape) + 1))
        kind = (DType.INT16, *INDEX)[int(rng.integers(3))]
        limits = np.array(shape[:depth], np.int64)
        indices = _indices(rng, limits, (*shape_of(rng, int(rng.integers(0, 3))), depth), kind)
        x = _operand(rng, dtype, shape)
        yield one_op(f"GATHER_ND {dtype.name.lower()}", "GATHER_ND", [x, indices], [Result(dtype, x.params)])


def scatters(rng: np.random.Generator, dtype: DType) -> Iterator[Case]:
    """Scatter slices, several of them onto one place."""
    while True:
        shape = long_shape(rng)
        depth = int(rng.integers(1, len(shape) + 1))
        outer = shape_of(rng, int(rng.integers(1, 3)))
        indices = _indices(rng, np.array(shape[:depth]), (*outer, depth))
        updates = _operand(rng, dtype, (*outer, *shape[depth:]))
        operands = [indices, updates, vector(*shape, constant=bool(rng.integers(2)))]
        yield one_op(f"SCATTER_ND {dtype.name.lower()}", "SCATTER_ND", operands, [Result(dtype, updates.params)])


def densifications(rng: np.random.Generator, dtype: DType) -> Iterator[Case]:
    """Put values into a dense tensor, one for each place or one for all."""
    while True:
        shape = long_shape(rng)
        kind = INDEX[int(rng.integers(2))]
        if len(shape) == 1 and rng.integers(2):
            indices = _indices(rng, shape[0], (int(rng.integers(1, 7)),), kind)
        else:
            indices = _indices(rng, np.array(shape), (int(rng.integers(1, 7)), len(shape)), kind)
        count = indices.array.shape[0]
        updates = Operand(np.asarray(elements(rng, dtype, () if rng.integers(3) == 0 else (count,))), dtype)
        default = Operand(np.asarray(elements(rng, dtype, ())), dtype, constant=bool(rng.integers(2)))
        target = vector(*shape, constant=bool(rng.integers(2)), dtype=INDEX[int(rng.integers(2))])
        cell = f"SPARSE_TO_DENSE {dtype.name.lower()}"
        yield one_op(cell, "SPARSE_TO_DENSE", [indices, target, updates, default], [Result(dtype)])


def segments(rng: np.random.Generator, op: str, dtype: DType) -> Iterator[Case]:
    """Combine slices by segments, some empty, some negative."""
    while True:
        shape = long_shape(rng)
        rank, count = int(rng.integers(1, len(shape) + 1)), int(rng.choice([1, 2, 3, 5, 100]))
        numbers = rng.integers(-1, count, shape[:rank]).astype(np.int32)
        ids = Operand(numbers, constant=bool(rng.integers(2)))
        x = elements(rng, dtype, shape)
        if dtype is DType.INT32:
            x = x % 1000
        operands = [Operand(x, dtype), ids, scalar(count, constant=bool(rng.integers(2)))]
        yield one_op(f"{op} {dtype.name.lower()}", op, operands, [Result(dtype)])


def sorted_segments(rng: np.random.Generator, dtype: DType) -> Iterator[Case]:
    """Sum rows by segments in order, some empty."""
    while True:
        shape = long_shape(rng)
        ids = np.sort(rng.integers(0, int(rng.integers(1, 9)), shape[0])).astype(np.int32)
        x = elements(rng, dtype, shape)
        if dtype is DType.INT32:
            x = x % 1000
        operands = [Operand(x, dtype), Operand(ids, constant=bool(rng.integers(2)))]
        case = one_op(f"SEGMENT_SUM {dtype.name.lower()}", "SEGMENT_SUM", operands, [Result(dtype)])
        yield dataclasses.replace(case, runtime="litert-optimized")


def one_hots(rng: np.random.Generator, dtype: DType) -> Iterator[Case]:
    """Set one element, also outside the depth, along any new axis."""
    while True:
        shape = long_shape(rng, int(rng.integers(0, 4)))
        depth = int(rng.integers(1, 6))
        kind = INDEX[int(rng.integers(2))]
        indices = Operand(np.asarray(rng.integers(-2, depth + 2, shape).astype(kind.storage)), kind)
        on, off = (Operand(np.asarray(elements(rng, dtype, ())), dtype, constant=bool(rng.integers(2))) for _ in "ab")
        operands = [indices, scalar(depth, constant=bool(rng.integers(2))), on, off]
        axis = int(rng.integers(-1, len(shape) + 1))
        yield one_op(f"ONE_HOT {dtype.name.lower()}", "ONE_HOT", operands, [Result(dtype)], axis=axis)


def arg_extrema(rng: np.random.Generator, op: str, dtype: DType) -> Iterator[Case]:
    """Find extrema among few different values, so that many are equal."""
    while True:
        shape = (*long_shape(rng), int(rng.integers(1, 40)))
        x = elements(rng, dtype, shape)
        if rng.integers(2):
            x = rng.choice(x.reshape(-1)[:3], shape)
        params = quantization(rng, dtype)
        axis = int(rng.integers(-len(shape), len(shape)))
        out = INDEX[int(rng.integers(2))]
        where = scalar(axis, constant=bool(rng.integers(2)), dtype=INDEX[int(rng.integers(2))])
        operands = [Operand(x, dtype, params=params), where]
        yield one_op(f"{op} {dtype.name.lower()}", op, operands, [Result(out)], output_type=out.value)


def topks(rng: np.random.Generator, dtype: DType) -> Iterator[Case]:
    """Rank few different values, so that many are equal."""
    while True:
        shape = (*long_shape(rng, int(rng.integers(0, 3))), int(rng.integers(1, 20)))
        x = elements(rng, dtype, shape)
        if rng.integers(2):
            x = rng.choice(x.reshape(-1)[:4], shape)
        params = quantization(rng, dtype)
        small = (DType.INT32, DType.INT16)
        k = scalar(
            int(rng.integers(1, shape[-1] + 1)), constant=bool(rng.integers(2)), dtype=small[int(rng.integers(2))]
        )
        results = [Result(dtype, params), Result(small[int(rng.integers(2))])]
        cell = f"TOPK_V2 {dtype.name.lower()}"
        yield one_op(cell, "TOPK_V2", [Operand(x, dtype, params=params), k], results, version=3)


def wheres(rng: np.random.Generator, dtype: DType) -> Iterator[Case]:
    """Find what is not 0."""
    while True:
        shape = long_shape(rng)
        x = elements(rng, dtype, shape)
        x = np.where(rng.random(shape) < 0.4, np.zeros_like(x), x)
        x.flat[0] = 1
        yield one_op(f"WHERE {dtype.name.lower()}", "WHERE", [Operand(x, dtype)], [Result(DType.INT64)])


def uniques(rng: np.random.Generator, dtype: DType) -> Iterator[Case]:
    """Find the different values of a vector with repeats."""
    while True:
        pool = elements(rng, dtype, (int(rng.integers(1, 8)),))
        x = rng.choice(pool, int(rng.integers(1, int(rng.choice([2, 40, 1000])))))
        out = INDEX[int(rng.integers(2))]
        results = [Result(dtype), Result(out)]
        yield one_op(f"UNIQUE {dtype.name.lower()}", "UNIQUE", [Operand(x, dtype)], results, idx_out_type=out.value)


def _cells() -> dict[str, Generator]:
    cells: dict[str, Generator] = {}
    numbers = tuple(dtype for dtype in COMMON if dtype is not DType.BOOL)
    dense = (DType.INT8, DType.UINT8, DType.INT32, DType.INT64, DType.FLOAT32)
    for name, generator, dtypes in (
        ("GATHER", gathers, (*COMMON, DType.INT4)),
        ("GATHER_ND", gathers_nd, COMMON),
        ("SCATTER_ND", scatters, (*dense, DType.BOOL)),
        ("SPARSE_TO_DENSE", densifications, dense),
        ("ONE_HOT", one_hots, (*dense, DType.BOOL)),
        ("TOPK_V2", topks, numbers),
        ("WHERE", wheres, (DType.BOOL, DType.INT8, DType.UINT8, DType.INT32, DType.INT64, DType.FLOAT32)),
        ("UNIQUE", uniques, numbers),
    ):
        for dtype in dtypes:
            cells[f"{name} {dtype.name.lower()}"] = partial(generator, dtype=dtype)
    cells["GATHER float16"] = partial(gathers, dtype=DType.FLOAT16)
    cells["GATHER_ND float16"] = partial(gathers_nd, dtype=DType.FLOAT16)
    for op in ("ARG_MAX", "ARG_MIN"):
        for dtype in (DType.INT8, DType.UINT8, DType.INT32, DType.FLOAT32, DType.BOOL):
            cells[f"{op} {dtype.name.lower()}"] = partial(arg_extrema, op=op, dtype=dtype)
    for dtype in (DType.INT32, DType.FLOAT32):
        cells[f"SEGMENT_SUM {dtype.name.lower()}"] = partial(sorted_segments, dtype=dtype)
    for kind in ("SUM", "PROD", "MAX", "MIN"):
        for dtype in (DType.INT32, DType.FLOAT32):
            op = f"UNSORTED_SEGMENT_{kind}"
            cells[f"{op} {dtype.name.lower()}"] = partial(segments, op=op, dtype=dtype)
    return cells


CELLS = _cells()
