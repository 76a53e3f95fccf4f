"""Cases of SLICE, STRIDED_SLICE, DYNAMIC_UPDATE_SLICE, SPLIT, SPLIT_V, PACK and UNPACK."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np

from kernels.strided_slice import Masks, lay_out
from qmath.types import DType
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
from quantref.vectors.cells.case import Case, Generator

COMMON = (DType.INT8, DType.UINT8, DType.INT16, DType.INT32, DType.INT64, DType.FLOAT32, DType.BOOL)
INDEX = (DType.INT32, DType.INT64)


def _operand(rng: np.random.Generator, dtype: DType, shape: tuple[int, ...]) -> Operand:
    # LiteRT's Python interface feeds no sub-byte inputs: a constant stands in.
    x = elements(rng, dtype, shape)
    return Operand(x, dtype, constant=dtype.bits < 8, params=quantization(rng, dtype))


def slices(rng: np.random.Generator, dtype: DType) -> Iterator[Case]:
    """Cut boxes, whole axes too."""
    while True:
        shape = long_shape(rng, int(rng.integers(1, 7)))
        begin = [int(rng.integers(0, size)) for size in shape]
        size = [int(rng.integers(1, n - b + 1)) if rng.integers(3) else -1 for n, b in zip(shape, begin, strict=True)]
        x = _operand(rng, dtype, shape)
        kind, constant = INDEX[int(rng.integers(2))], bool(rng.integers(2))
        operands = [x, *(vector(*numbers, constant=constant, dtype=kind) for numbers in (begin, size))]
        yield one_op(f"SLICE {dtype.name.lower()}", "SLICE", operands, [Result(dtype, x.params)])


def strided_slices(rng: np.random.Generator, dtype: DType) -> Iterator[Case]:
    """Cut by any masks, strides of either sign and ends beyond the axis; at most one ellipsis."""
    while True:
        shape = long_shape(rng, int(rng.integers(1, 5)))
        entries = int(rng.integers(1, len(shape) + 1))
        strides = [int(s) for s in rng.choice([1, 1, 2, 3, -1, -2], entries)]
        special = str(rng.choice(["", "shrink_axis", "new_axis", "ellipsis"]))
        one = int(rng.integers(entries))
        masks = dict.fromkeys(("begin", "end", "ellipsis", "new_axis", "shrink_axis"), 0)
        if special:
            masks[special] = 1 << one
        begin, end = [0] * entries, [1] * entries
        for axis in lay_out(shape, entries, Masks(**masks, offset=False)):
            if axis.entry == one and special == "shrink_axis":
                begin[one], strides[one] = int(rng.integers(-axis.size, axis.size)), 1
            elif axis.entry is not None:
                begin[axis.entry], end[axis.entry] = _ends(rng, axis.size, strides[axis.entry])
                for name in ("begin", "end"):
                    masks[name] |= int(rng.integers(3) == 0) << axis.entry
        x = _operand(rng, dtype, shape)
        constant = bool(rng.integers(2))
        operands = [x, *(vector(*numbers, constant=constant) for numbers in (begin, end, strides))]
        options: dict[str, Any] = {f"{name}_mask": mask for name, mask in masks.items()}
        result = Result(dtype, x.params)
        yield one_op(f"STRIDED_SLICE {dtype.name.lower()}", "STRIDED_SLICE", operands, [result], **options)


def _ends(rng: np.random.Generator, size: int, stride: int) -> tuple[int, int]:
    """Choose where a walk along an axis begins and ends, so that it meets an element; counted from either end."""
    first = int(rng.integers(size))
    if stride > 0:
        last = int(rng.integers(first + 1, size + 3))
        begin = first - size if rng.integers(3) == 0 else first
        begin -= 2 if begin == -size else 0
        return begin, last - size if last < size and rng.integers(3) else last
    last = int(rng.integers(-1, first))
    begin = first + 2 if first == size - 1 and rng.integers(4) == 0 else first
    return begin - size if begin < size and rng.integers(3) == 0 else begin, last - size if last < 0 else last


def strided_slices_by_offset(rng: np.random.Generator) -> Iterator[Case]:
    """Cut by begin and size."""
    while True:
        shape = long_shape(rng, int(rng.integers(1, 5)), most=12)
        begin = [int(rng.integers(0, (size + 1) // 2)) for size in shape]
        size = [int(rng.integers((n - b + 1) // 2, n - b + 1)) for n, b in zip(shape, begin, strict=True)]
        strides = [int(rng.integers(1, 3)) for _ in shape]
        x = _operand(rng, DType.INT8, shape)
        operands = [x, *(vector(*numbers, constant=True) for numbers in (begin, size, strides))]
        result = Result(DType.INT8, x.params)
        yield one_op("STRIDED_SLICE int8 offset", "STRIDED_SLICE", operands, [result], offset=True)


def updates(rng: np.random.Generator, dtype: DType) -> Iterator[Case]:
    """Put boxes into a tensor, starting anywhere, also outside."""
    while True:
        shape = long_shape(rng, int(rng.integers(1, 6)))
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
        shape = list(long_shape(rng))
        axis, pieces = int(rng.integers(len(shape))), int(rng.integers(1, 4))
        shape[axis] *= pieces
        x = _operand(rng, dtype, tuple(shape))
        place = scalar(axis - (len(shape) if rng.integers(2) else 0), constant=bool(rng.integers(2)))
        results = [Result(dtype, x.params)] * pieces
        yield one_op(f"SPLIT {dtype.name.lower()}", "SPLIT", [place, x], results, num_splits=pieces)


def uneven_splits(rng: np.random.Generator, dtype: DType) -> Iterator[Case]:
    """Split an axis into pieces of given sizes, one perhaps left to be inferred."""
    while True:
        shape = list(long_shape(rng))
        axis, pieces = int(rng.integers(len(shape))), int(rng.integers(1, 5))
        sizes = [int(n) for n in rng.integers(0, 4, pieces)]
        sizes[0] = max(1, sizes[0])
        shape[axis] = sum(sizes)
        # LiteRT's Python interface gives empty outputs only if their size was known beforehand.
        constant = 0 in sizes or bool(rng.integers(2))
        if rng.integers(2):
            sizes[int(rng.integers(pieces))] = -1
        x = _operand(rng, dtype, tuple(shape))
        place = scalar(axis, constant=constant)
        kind = INDEX[int(rng.integers(2))]
        operands = [x, vector(*sizes, constant=constant, dtype=kind), place]
        results = [Result(dtype, x.params)] * pieces
        yield one_op(f"SPLIT_V {dtype.name.lower()}", "SPLIT_V", operands, results, num_splits=pieces)


def packs(rng: np.random.Generator, dtype: DType) -> Iterator[Case]:
    """Stack tensors along a new axis anywhere."""
    while True:
        shape, count = long_shape(rng), int(rng.integers(1, 5))
        params = quantization(rng, dtype)
        operands = [Operand(elements(rng, dtype, shape), dtype, params=params) for _ in range(count)]
        axis = int(rng.integers(-len(shape) - 1, len(shape) + 1))
        result = Result(dtype, params)
        yield one_op(f"PACK {dtype.name.lower()}", "PACK", operands, [result], values_count=count, axis=axis)


def unpacks(rng: np.random.Generator, dtype: DType) -> Iterator[Case]:
    """Take an axis apart."""
    while True:
        shape = list(long_shape(rng))
        rank, pieces = len(shape), int(rng.integers(1, 8))
        axis = int(rng.integers(-rank, rank))
        shape[axis] = pieces
        x = _operand(rng, dtype, tuple(shape))
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
    for name, generator in (
        ("SLICE", slices),
        ("STRIDED_SLICE", strided_slices),
        ("DYNAMIC_UPDATE_SLICE", updates),
    ):
        cells[f"{name} other types"] = in_turn(name, generator)
    cells["UNPACK float16"] = partial(unpacks, dtype=DType.FLOAT16)
    cells["PACK uint32"] = partial(packs, dtype=DType.UINT32)
    return cells


CELLS = _cells()
