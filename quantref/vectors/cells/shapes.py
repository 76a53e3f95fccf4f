"""Cases of RESHAPE, SQUEEZE, EXPAND_DIMS, SHAPE, RANK, BITCAST, TRANSPOSE and the REVERSE ops."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from functools import partial

import numpy as np

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
from quantref.vectors.cells.build import shape as shape_of
from quantref.vectors.cells.case import Case, Generator

COMMON = (DType.INT8, DType.UINT8, DType.INT16, DType.INT32, DType.INT64, DType.FLOAT32, DType.BOOL)

#: How often a model whose output has few elements is run, each time on an input of another shape.
INVOCATIONS = 200


def _shape(rng: np.random.Generator, rank: int | None = None) -> tuple[int, ...]:
    return long_shape(rng, rank, most=7)


def _operand(rng: np.random.Generator, dtype: DType, shape: tuple[int, ...]) -> Operand:
    # LiteRT's Python interface feeds no sub-byte inputs: a constant stands in.
    x = elements(rng, dtype, shape)
    return Operand(x, dtype, constant=dtype.bits < 8, params=quantization(rng, dtype))


def reshapes(rng: np.random.Generator, dtype: DType) -> Iterator[Case]:
    """Reshape to a permutation of the sizes, some merged, one perhaps -1; by constant, option or input."""
    while True:
        shape = _shape(rng)
        x = _operand(rng, dtype, shape)
        wanted = [int(n) for n in rng.permutation(shape)]
        if len(wanted) > 1 and rng.integers(2):
            wanted = [wanted[0] * wanted[1], *wanted[2:]]
        if rng.integers(2):
            wanted[int(rng.integers(len(wanted)))] = -1
        how = int(rng.integers(3))
        result = Result(dtype, x.params)
        if how == 0:
            yield one_op(f"RESHAPE {dtype.name.lower()}", "RESHAPE", [x], [result], new_shape=wanted)
        else:
            operands = [x, vector(*wanted, constant=how == 1)]
            yield one_op(f"RESHAPE {dtype.name.lower()}", "RESHAPE", operands, [result])


def squeezes(rng: np.random.Generator, dtype: DType) -> Iterator[Case]:
    """Squeeze some axes of size 1, or all of them."""
    while True:
        shape = _shape(rng)
        x = _operand(rng, dtype, shape)
        ones = [axis - (len(shape) if rng.integers(2) else 0) for axis, size in enumerate(shape) if size == 1]
        chosen = [axis for axis in ones if rng.integers(2)]
        yield one_op(f"SQUEEZE {dtype.name.lower()}", "SQUEEZE", [x], [Result(dtype, x.params)], squeeze_dims=chosen)


def expansions(rng: np.random.Generator, dtype: DType) -> Iterator[Case]:
    """Insert an axis anywhere."""
    while True:
        shape = _shape(rng)
        x = _operand(rng, dtype, shape)
        axis = int(rng.integers(-len(shape) - 1, len(shape) + 1))
        place = scalar(axis, constant=bool(rng.integers(2)), dtype=DType.INT64 if rng.integers(2) else DType.INT32)
        yield one_op(f"EXPAND_DIMS {dtype.name.lower()}", "EXPAND_DIMS", [x, place], [Result(dtype, x.params)])


def shapes(rng: np.random.Generator, dtype: DType) -> Iterator[Case]:
    """Ask for a shape."""
    while True:
        x = _operand(rng, DType.INT8, _shape(rng))
        case = one_op(f"SHAPE {dtype.name.lower()}", "SHAPE", [x], [Result(dtype)], out_type=dtype.value)
        many = _of_many_shapes(rng, case)
        # LiteRT refuses to give the shape of a scalar, which has no elements.
        yield dataclasses.replace(many, samples=tuple(sample for sample in many.samples if sample["x0"].ndim))


def ranks(rng: np.random.Generator) -> Iterator[Case]:
    """Ask for a number of dimensions."""
    while True:
        case = one_op("RANK", "RANK", [_operand(rng, DType.INT8, _shape(rng))], [Result(DType.INT32)])
        yield _of_many_shapes(rng, case)


def _of_many_shapes(rng: np.random.Generator, case: Case) -> Case:
    """Return a case that is run many times, each time on an input of another shape."""
    # LiteRT's Python interface gives no empty outputs of unknown size: the shape of a scalar is left to other tests.
    shapes = (shape_of(rng, int(rng.integers(1, 7)), most=3) for _ in range(INVOCATIONS))
    return dataclasses.replace(case, samples=(*case.samples, *({"x0": np.zeros(s, np.int8)} for s in shapes)))


def bitcasts(rng: np.random.Generator, source: DType, target: DType) -> Iterator[Case]:
    """Read bytes as another type, narrower or wider."""
    while True:
        shape = long_shape(rng)
        if target.bits > source.bits:
            shape = (*shape, target.bits // source.bits)
        x = Operand(elements(rng, source, shape), source)
        yield one_op(f"BITCAST {source.name.lower()} to {target.name.lower()}", "BITCAST", [x], [Result(target)])


def transposes(rng: np.random.Generator, dtype: DType) -> Iterator[Case]:
    """Permute up to six axes, named from either end."""
    while True:
        rank = int(rng.integers(1, 7))
        x = _operand(rng, dtype, _shape(rng, rank))
        axes = [int(axis) - (rank if rng.integers(3) == 0 else 0) for axis in rng.permutation(rank)]
        operands = [x, vector(*axes, constant=bool(rng.integers(2)))]
        yield one_op(f"TRANSPOSE {dtype.name.lower()}", "TRANSPOSE", operands, [Result(dtype, x.params)])


def reversals(rng: np.random.Generator, dtype: DType) -> Iterator[Case]:
    """Reverse a run of axes."""
    while True:
        rank = int(rng.integers(1, 6))
        x = _operand(rng, dtype, _shape(rng, rank))
        first = int(rng.integers(rank))
        run = range(first, int(rng.integers(first + 1, rank + 1)))
        axes = [int(axis) - (rank if rng.integers(3) == 0 else 0) for axis in rng.permutation(run)]
        operands = [x, vector(*axes, constant=bool(rng.integers(2)))]
        yield one_op(f"REVERSE_V2 {dtype.name.lower()}", "REVERSE_V2", operands, [Result(dtype, x.params)])


def sequence_reversals(rng: np.random.Generator, dtype: DType) -> Iterator[Case]:
    """Reverse sequences of any length, the batch before or behind the sequence."""
    while True:
        rank = int(rng.integers(2, 6))
        x = _operand(rng, dtype, long_shape(rng, rank))
        sequence, batch = (int(axis) for axis in rng.permutation(rank)[:2])
        lengths = rng.integers(0, x.array.shape[sequence] + 1, x.array.shape[batch])
        kind = DType.INT64 if rng.integers(2) else DType.INT32
        yield one_op(
            f"REVERSE_SEQUENCE {dtype.name.lower()}",
            "REVERSE_SEQUENCE",
            [x, vector(*lengths, constant=bool(rng.integers(2)), dtype=kind)],
            [Result(dtype, x.params)],
            seq_dim=sequence,
            batch_dim=batch,
        )


def _cells() -> dict[str, Generator]:
    cells: dict[str, Generator] = {"RANK": ranks}
    for dtype in (*COMMON, DType.INT4):
        cells[f"RESHAPE {dtype.name.lower()}"] = partial(reshapes, dtype=dtype)
        cells[f"TRANSPOSE {dtype.name.lower()}"] = partial(transposes, dtype=dtype)
    for dtype in COMMON:
        cells[f"SQUEEZE {dtype.name.lower()}"] = partial(squeezes, dtype=dtype)
        cells[f"EXPAND_DIMS {dtype.name.lower()}"] = partial(expansions, dtype=dtype)
        cells[f"REVERSE_V2 {dtype.name.lower()}"] = partial(reversals, dtype=dtype)
    for op, generator in (
        ("RESHAPE", reshapes),
        ("TRANSPOSE", transposes),
        ("SQUEEZE", squeezes),
        ("EXPAND_DIMS", expansions),
    ):
        cells[f"{op} other types"] = in_turn(op, generator)
    cells["REVERSE_V2 float16"] = partial(reversals, dtype=DType.FLOAT16)
    for dtype in (DType.INT32, DType.INT64):
        cells[f"SHAPE {dtype.name.lower()}"] = partial(shapes, dtype=dtype)
    for dtype in (DType.UINT8, DType.INT16, DType.INT32, DType.INT64, DType.FLOAT32):
        cells[f"REVERSE_SEQUENCE {dtype.name.lower()}"] = partial(sequence_reversals, dtype=dtype)
    for source, target in ((DType.INT8, DType.INT32), (DType.INT32, DType.INT16), (DType.UINT8, DType.INT8)):
        name = f"BITCAST {source.name.lower()} to {target.name.lower()}"
        cells[name] = partial(bitcasts, source=source, target=target)
    return cells


CELLS = _cells()
