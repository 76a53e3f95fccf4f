"""Cases of ops that repeat, fill, choose or rearrange: TILE, RANGE, FILL, CUMSUM, SELECT, SPACE_TO_BATCH_ND ..."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np

from qmath.types import DType
from quantref.vectors.cells import values
from quantref.vectors.cells.build import (
    Operand,
    Result,
    elements,
    in_turn,
    long_shape,
    one_op,
    quantization,
    scalar,
    vector,
)
from quantref.vectors.cells.build import shape as shape_of
from quantref.vectors.cells.case import Case, Generator

COMMON = (DType.INT8, DType.UINT8, DType.INT16, DType.INT32, DType.INT64, DType.FLOAT32, DType.BOOL)
NUMBERS = (DType.INT32, DType.INT64, DType.FLOAT32)
INDEX = (DType.INT32, DType.INT64)


def _operand(rng: np.random.Generator, dtype: DType, shape: tuple[int, ...], *, constant: bool = False) -> Operand:
    return Operand(np.asarray(elements(rng, dtype, shape)), dtype, constant, quantization(rng, dtype))


def _index(rng: np.random.Generator, numbers: tuple[int, ...] | list[int]) -> Operand:
    return vector(*numbers, constant=bool(rng.integers(2)), dtype=INDEX[int(rng.integers(2))])


def tiles(rng: np.random.Generator, dtype: DType) -> Iterator[Case]:
    """Repeat along every axis."""
    while True:
        x = _operand(rng, dtype, shape_of(rng))
        times = [int(n) for n in rng.integers(1, 4, x.array.ndim)]
        yield one_op(f"TILE {dtype.name.lower()}", "TILE", [x, _index(rng, times)], [Result(dtype, x.params)])


def broadcasts(rng: np.random.Generator, dtype: DType) -> Iterator[Case]:
    """Stretch axes of size 1 and add axes in front."""
    while True:
        wanted = long_shape(rng, int(rng.integers(1, 6)))
        shape = tuple(1 if rng.integers(2) else size for size in wanted)[int(rng.integers(len(wanted))) :]
        x = _operand(rng, dtype, shape)
        result = Result(dtype, x.params)
        cell = f"BROADCAST_TO {dtype.name.lower()}"
        yield one_op(cell, "BROADCAST_TO", [x, _index(rng, wanted)], [result], version=2)


def broadcast_shapes(rng: np.random.Generator, dtype: DType) -> Iterator[Case]:
    """Broadcast two shapes, which may have more dimensions than any tensor."""
    while True:
        pair = values.broadcast_pair(rng, int(rng.choice([5, 600])))
        operands = [vector(*shape, constant=bool(rng.integers(2)), dtype=dtype) for shape in pair]
        yield one_op(f"BROADCAST_ARGS {dtype.name.lower()}", "BROADCAST_ARGS", operands, [Result(dtype)])


def ranges(rng: np.random.Generator, dtype: DType) -> Iterator[Case]:
    """Count up or down, by whole steps or by steps that do not fit."""
    while True:
        start, length = rng.uniform(-20, 20), rng.uniform(1, int(rng.choice([30, 2000])))
        delta = rng.uniform(0.1, 7) if dtype is DType.FLOAT32 else rng.integers(1, 7)
        if rng.integers(2):
            length, delta = -length, -delta
        numbers = [np.array(n).astype(dtype.storage) for n in (start, start + length, delta)]
        if numbers[0] == numbers[1]:
            continue  # LiteRT's Python interface gives no empty outputs of unknown size
        constant = bool(rng.integers(2))
        operands = [Operand(n, dtype, constant) for n in numbers]
        yield one_op(f"RANGE {dtype.name.lower()}", "RANGE", operands, [Result(dtype)])


def fills(rng: np.random.Generator, dtype: DType) -> Iterator[Case]:
    """Fill with one value."""
    while True:
        value = _operand(rng, dtype, (), constant=bool(rng.integers(2)))
        shape = _index(rng, long_shape(rng))
        yield one_op(f"FILL {dtype.name.lower()}", "FILL", [shape, value], [Result(dtype, value.params)])


def zeros(rng: np.random.Generator, dtype: DType) -> Iterator[Case]:
    """Give zeros."""
    while True:
        x = _operand(rng, dtype, long_shape(rng))
        yield one_op(f"ZEROS_LIKE {dtype.name.lower()}", "ZEROS_LIKE", [x], [Result(dtype)])


def cumsums(rng: np.random.Generator, dtype: DType) -> Iterator[Case]:
    """Sum along any axis, from either end, with or without the element itself."""
    while True:
        x = _operand(rng, dtype, (*long_shape(rng), int(rng.integers(1, 9))))
        axis = scalar(int(rng.integers(-x.array.ndim, x.array.ndim)), constant=bool(rng.integers(2)))
        options: dict[str, Any] = {"exclusive": bool(rng.integers(2)), "reverse": bool(rng.integers(2))}
        yield one_op(f"CUMSUM {dtype.name.lower()}", "CUMSUM", [x, axis], [Result(dtype)], **options)


def selections(rng: np.random.Generator, op: str, dtype: DType) -> Iterator[Case]:
    """Choose by a condition of the same shape, one a row, one for all, or one that broadcasts."""
    while True:
        shape = long_shape(rng)
        shapes = [shape, shape, shape]
        if op == "SELECT":
            shapes[0] = (shape, shape[:1], ())[int(rng.integers(3))]
        else:
            for slot in range(3):
                kept = tuple(1 if rng.integers(3) == 0 else size for size in shape)
                shapes[slot] = kept[int(rng.integers(len(shape))) :] if rng.integers(3) == 0 else kept
        condition = Operand(np.asarray(rng.integers(0, 2, shapes[0]).astype(bool)))
        x, y = (_operand(rng, dtype, shape) for shape in shapes[1:])
        full = np.broadcast_shapes(*shapes[1:], shapes[0] if op == "SELECT_V2" else ())
        result = Result(dtype, x.params, full)
        yield one_op(f"{op} {dtype.name.lower()}", op, [condition, x, y], [result])


def diagonals(rng: np.random.Generator, dtype: DType) -> Iterator[Case]:
    """Put vectors on diagonals."""
    while True:
        x = _operand(rng, dtype, shape_of(rng))
        yield one_op(f"MATRIX_DIAG {dtype.name.lower()}", "MATRIX_DIAG", [x], [Result(dtype, x.params)])


def set_diagonals(rng: np.random.Generator, dtype: DType) -> Iterator[Case]:
    """Replace diagonals of square and other matrices."""
    while True:
        shape = long_shape(rng, int(rng.integers(2, 5)))
        x, diagonal = _operand(rng, dtype, shape), _operand(rng, dtype, (*shape[:-2], min(shape[-2:])))
        cell = f"MATRIX_SET_DIAG {dtype.name.lower()}"
        yield one_op(cell, "MATRIX_SET_DIAG", [x, diagonal], [Result(dtype, x.params)])


def space_to_batches(rng: np.random.Generator, dtype: DType) -> Iterator[Case]:
    """Move blocks of rows, or of rows and columns, to the batch, with padding."""
    while True:
        rank = int(rng.integers(1, 3))
        block = [int(n) for n in rng.integers(1, 4, rank)]
        before = [int(n) for n in rng.integers(0, 4, rank)]
        size = [int(n) for n in rng.integers(1, 8, rank)]
        behind = [-(b + s) % n + n * int(rng.integers(2)) for b, s, n in zip(before, size, block, strict=True)]
        x = _operand(rng, dtype, (int(rng.integers(1, 4)), *size, int(rng.choice([1, 2, 3, 4, 33]))))
        constant = bool(rng.integers(2))
        paddings = np.array([before, behind], np.int32).T
        operands = [x, vector(*block, constant=constant), Operand(paddings, constant=constant)]
        cell = f"SPACE_TO_BATCH_ND {dtype.name.lower()}"
        yield one_op(cell, "SPACE_TO_BATCH_ND", operands, [Result(dtype, x.params)])


def batches_to_space(rng: np.random.Generator, dtype: DType) -> Iterator[Case]:
    """Move batches back to blocks, with cropping."""
    while True:
        rank = int(rng.integers(1, 3))
        block = [int(n) for n in rng.integers(1, 4, rank)]
        size = [int(n) for n in rng.integers(1, 6, rank)]
        crops = [[int(rng.integers(0, (n * b + 1) // 2)) for _ in "ab"] for n, b in zip(size, block, strict=True)]
        x = _operand(
            rng, dtype, (int(rng.integers(1, 4)) * int(np.prod(block)), *size, int(rng.choice([1, 2, 3, 4, 33])))
        )
        constant = bool(rng.integers(2))
        operands = [x, vector(*block, constant=constant), Operand(np.array(crops, np.int32), constant=constant)]
        cell = f"BATCH_TO_SPACE_ND {dtype.name.lower()}"
        yield one_op(cell, "BATCH_TO_SPACE_ND", operands, [Result(dtype, x.params)])


def depths(rng: np.random.Generator, op: str, dtype: DType) -> Iterator[Case]:
    """Move blocks to channels and back."""
    while True:
        n, h, w, c = (int(size) for size in rng.integers(1, 5, 4))
        block = int(rng.integers(1, 4))
        shape = (n, h * block, w * block, c) if op == "SPACE_TO_DEPTH" else (n, h, w, c * block * block)
        x = _operand(rng, dtype, shape)
        yield one_op(f"{op} {dtype.name.lower()}", op, [x], [Result(dtype, x.params)], block_size=block)


def _cells() -> dict[str, Generator]:
    cells: dict[str, Generator] = {}
    numbers = tuple(dtype for dtype in COMMON if dtype is not DType.BOOL)
    for name, generator, dtypes in (
        ("TILE", tiles, COMMON),
        ("BROADCAST_TO", broadcasts, COMMON),
        ("BROADCAST_ARGS", broadcast_shapes, INDEX),
        ("RANGE", ranges, NUMBERS),
        ("FILL", fills, COMMON),
        ("ZEROS_LIKE", zeros, NUMBERS),
        ("CUMSUM", cumsums, NUMBERS),
        ("MATRIX_DIAG", diagonals, numbers),
        ("MATRIX_SET_DIAG", set_diagonals, numbers),
        ("SPACE_TO_BATCH_ND", space_to_batches, COMMON),
        ("BATCH_TO_SPACE_ND", batches_to_space, COMMON),
    ):
        for dtype in dtypes:
            cells[f"{name} {dtype.name.lower()}"] = partial(generator, dtype=dtype)
    for op in ("SPACE_TO_DEPTH", "DEPTH_TO_SPACE"):
        for dtype in (DType.INT8, DType.UINT8, DType.INT32, DType.INT64, DType.FLOAT32):
            cells[f"{op} {dtype.name.lower()}"] = partial(depths, op=op, dtype=dtype)
    for op in ("SELECT", "SELECT_V2"):
        for dtype in COMMON:
            cells[f"{op} {dtype.name.lower()}"] = partial(selections, op=op, dtype=dtype)
    for name, generator in (
        ("TILE", tiles),
        ("BROADCAST_TO", broadcasts),
        ("FILL", fills),
        ("SPACE_TO_BATCH_ND", space_to_batches),
        ("BATCH_TO_SPACE_ND", batches_to_space),
        ("SELECT", partial(selections, op="SELECT")),
        ("SELECT_V2", partial(selections, op="SELECT_V2")),
    ):
        cells[f"{name} other types"] = in_turn(name, generator)
    return cells


CELLS = _cells()
