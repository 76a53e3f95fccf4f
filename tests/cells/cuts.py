"""Cases of SLICE, STRIDED_SLICE, DYNAMIC_UPDATE_SLICE, SPLIT, SPLIT_V, PACK and UNPACK."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np

from qmath.types import DType
from tests.cells import values
from tests.cells.build import Operand, Result, elements, one_op, quantization, scalar, vector
from tests.cells.case import Case, Generator

COMMON = (DType.INT8, DType.UINT8, DType.INT16, DType.INT32, DType.INT64, DType.FLOAT32, DType.BOOL)
INDEX = (DType.INT32, DType.INT64)


def _operand(rng: np.random.Generator, dtype: DType, shape: tuple[int, ...]) -> Operand:
    # LiteRT's Python interface feeds no sub-byte inputs: a constant stands in.
    x = elements(rng, dtype, shape)
    return Operand(x, dtype, constant=dtype.bits < 8, params=quantization(rng, dtype))


def slices(rng: np.random.Generator, dtype: DType) -> Iterator[Case]:
    """Cut boxes, empty ones and whole axes too."""
    while True:
        shape = values.shape(rng, int(rng.integers(1, 7)))
        begin = [int(rng.integers(0, size + 1)) for size in shape]
        size = [int(rng.integers(0, n - b + 1)) if rng.integers(3) else -1 for n, b in zip(shape, begin, strict=True)]
        x = _operand(rng, dtype, shape)
        kind, constant = INDEX[int(rng.integers(2))], bool(rng.integers(2))
        operands = [x, *(vector(*numbers, constant=constant, dtype=kind) for numbers in (begin, size))]
        yield one_op(f"SLICE {dtype.name.lower()}", "SLICE", operands, [Result(dtype, x.params)])


def strided_slices(rng: np.random.Generator, dtype: DType) -> Iterator[Case]:
    """Cut by any masks, strides of either sign and ends beyond the axis; at most one ellipsis."""
    while True:
        shape = values.shape(rng, int(rng.integers(1, 5)))
        entries = int(rng.integers(1, len(shape) + 1))
        strides = [int(s) for s in rng.choice([1, 1, 2, 3, -1, -2], entries)]
        sizes = shape[:entries]
        begin = [int(rng.integers(-size - 2, size + 3)) for size in sizes]
        end = [int(rng.integers(-size - 2, size + 3)) for size in sizes]
        masks = {name: int(rng.integers(1 << entries)) & int(rng.integers(1 << entries)) for name in ("begin", "end")}
        special = int(rng.integers(4))
        if special == 1:
            shrunk = int(rng.integers(entries))
            masks["shrink_axis"] = 1 << shrunk
            masks["begin"] = masks["end"] = 0
            begin[shrunk] = int(rng.integers(-sizes[shrunk], sizes[shrunk]))
            strides[shrunk] = 1
        elif special == 2:
            masks["new_axis"] = 1 << int(rng.integers(entries))
        elif special == 3:
            masks["ellipsis"] = 1 << int(rng.integers(entries))
        x = _operand(rng, dtype, shape)
        constant = bool(rng.integers(2))
        operands = [x, *(vector(*numbers, constant=constant) for numbers in (begin, end, strides))]
        options = {f"{name}_mask": mask for name, mask in masks.items()}
        result = Result(dtype, x.params)
        yield one_op(f"STRIDED_SLICE {dtype.name.lower()}", "STRIDED_SLICE", operands, [result], **options)


def strided_slices_by_offset(rng: np.random.Generator) -> Iterator[Case]:
    """Cut by begin and size."""
    while True:
        shape = values.shape(rng, int(rng.integers(1, 5)))
        begin = [int(rng.integers(0, size)) for size in shape]
        size = [int(rng.integers(0, n - b + 1)) for n, b in zip(shape, begin, strict=True)]
        strides = [int(rng.integers(1, 3)) for _ in shape]
        x = _operand(rng, DType.INT8, shape)
        operands = [x, *(vector(*numbers, constant=True) for numbers in (begin, size, strides))]
        result = Result(DType.INT8, x.params)
        yield one_op("STRIDED_SLICE int8 offset", "STRIDED_SLICE", operands, [result], offset=True)


def updates(rng: np.random.Generator, dtype: DType) -> Iterator[Case]:
    """Put boxes into a tensor, starting anywhere, also outside."""
    while True:
        shape = values.shape(rng, int(rng.integers(1, 6)))
        box = tuple(int(rng.integers(0 if rng.integers(8) == 0 else 1, size + 1)) for size in shape)
        begin = [int(rng.integers(-2, size + 2)) for size in shape]
        x, update = _operand(rng, dtype, shape), _operand(rng, dtype, box)
        start = vector(*begin, constant=bool(rng.integers(2)), dtype=INDEX[int(rng.integers(2))])
        result = Result(dtype, x.params)
        cell = f"DYNAMIC_UPDATE_SLICE {dtype.name.lower()}"
        yield one_op(cell, "DYNAMIC_UPDATE_SLICE", [x, update, start], [result])


def splits(rng: np.random.Generator, dtype: DType) -> Iterator[Case]:
    """Split an axis evenly."""
    while True:
        shape = list(values.shape(rng))
        axis, pieces = int(rng.integers(len(shape))), int(rng.integers(1, 4))
        shape[axis] *= pieces
        x = _operand(rng, dtype, tuple(shape))
        place = scalar(axis - (len(shape) if rng.integers(2) else 0), constant=bool(rng.integers(2)))
        results = [Result(dtype, x.params)] * pieces
        yield one_op(f"SPLIT {dtype.name.lower()}", "SPLIT", [place, x], results, num_splits=pieces)


def uneven_splits(rng: np.random.Generator, dtype: DType) -> Iterator[Case]:
    """Split an axis into pieces of given sizes, one perhaps left to be inferred."""
    while True:
        shape = list(values.shape(rng))
        axis, pieces = int(rng.integers(len(shape))), int(rng.integers(1, 5))
        sizes = [int(n) for n in rng.integers(0, 4, pieces)]
        shape[axis] = sum(sizes)
        if rng.integers(2):
            sizes[int(rng.integers(pieces))] = -1
        x = _operand(rng, dtype, tuple(shape))
        constant = bool(rng.integers(2))
        place = scalar(axis, constant=constant)
        kind = INDEX[int(rng.integers(2))]
        operands = [x, vector(*sizes, constant=constant, dtype=kind), place]
        results = [Result(dtype, x.params)] * pieces
        yield one_op(f"SPLIT_V {dtype.name.lower()}", "SPLIT_V", operands, results, num_splits=pieces)


def packs(rng: np.random.Generator, dtype: DType) -> Iterator[Case]:
    """Stack tensors along a new axis anywhere."""
    while True:
        shape, count = values.shape(rng), int(rng.integers(1, 5))
        params = quantization(rng, dtype)
        operands = [Operand(elements(rng, dtype, shape), dtype, params=params) for _ in range(count)]
        axis = int(rng.integers(-len(shape) - 1, len(shape) + 1))
        result = Result(dtype, params)
        yield one_op(f"PACK {dtype.name.lower()}", "PACK", operands, [result], values_count=count, axis=axis)


def unpacks(rng: np.random.Generator, dtype: DType) -> Iterator[Case]:
    """Take an axis apart."""
    while True:
        x = _operand(rng, dtype, values.shape(rng))
        rank = x.array.ndim
        axis = int(rng.integers(-rank, rank))
        pieces = x.array.shape[axis]
        results = [Result(dtype, x.params)] * pieces
        yield one_op(f"UNPACK {dtype.name.lower()}", "UNPACK", [x], results, num=pieces, axis=axis)


def _cells() -> dict[str, Generator]:
    cells: dict[str, Generator] = {"STRIDED_SLICE int8 offset": strided_slices_by_offset}
    numbers = tuple(dtype for dtype in COMMON if dtype is not DType.BOOL)
    for name, generator, dtypes in (
        ("SLICE", slices, (*COMMON, DType.INT4)),
        ("STRIDED_SLICE", strided_slices, COMMON),
        ("DYNAMIC_UPDATE_SLICE", updates, (*COMMON, DType.INT4)),
        ("SPLIT", splits, numbers),
        ("SPLIT_V", uneven_splits, numbers),
        ("PACK", packs, numbers),
        ("UNPACK", unpacks, tuple(dtype for dtype in COMMON if dtype is not DType.INT64)),
    ):
        for dtype in dtypes:
            cells[f"{name} {dtype.name.lower()}"] = partial(generator, dtype=dtype)
    return cells


CELLS = _cells()
