"""Models of one op with any number of inputs and outputs, some inputs constant."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import fbs
from qmath.types import Array, DType
from quantref.vectors.cells import values
from quantref.vectors.cells.case import Case, Generator


@dataclass(frozen=True)
class Operand:
    """An input of the op.

    Attributes
    ----------
    array
        Its value.
    dtype
        Element type; by default that of the array.
    constant
        Whether it lies in the file.
    params
        Scale, zero point and quantized dimension, as the builder's keywords.

    """

    array: Array
    dtype: DType | None = None
    constant: bool = False
    params: Mapping[str, Any] = field(default_factory=dict)

    @property
    def type(self) -> DType:
        """Element type."""
        return self.dtype or dtype_of(self.array)


@dataclass(frozen=True)
class Result:
    """An output of the op; the runtime finds its shape."""

    dtype: DType
    params: Mapping[str, Any] = field(default_factory=dict)
    shape: tuple[int, ...] = ()


def one_op(
    cell: str,
    op: str,
    operands: Sequence[Operand | None],
    results: Sequence[Result],
    *,
    version: int = 1,
    again: int = 0,
    rng: np.random.Generator | None = None,
    **options: Any,
) -> Case:
    """Build a case of one op; inputs are called ``x0``, ``x1`` ... and ``again`` more samples have random codes."""
    builder = fbs.Builder()
    slots: list[int | None] = []
    sample: dict[str, Array] = {}
    for slot, operand in enumerate(operands):
        if operand is None:
            slots.append(None)
        elif operand.constant:
            slots.append(builder.constant(f"x{slot}", operand.array, operand.type, **operand.params))
        else:
            slots.append(builder.input(f"x{slot}", operand.type, operand.array.shape, **operand.params))
            sample[f"x{slot}"] = operand.array
    outputs = [builder.tensor(f"y{i}", y.dtype, y.shape, **y.params) for i, y in enumerate(results)]
    builder.op(op, slots, outputs, version=version, options=options)
    more = [{name: values_like(rng, array) for name, array in sample.items()} for _ in range(again) if rng is not None]
    return Case(cell, builder.finish(outputs), (sample, *more))


def dtype_of(array: Array) -> DType:
    """Return the tensor type of a NumPy type."""
    return DType[{"bool": "BOOL"}.get(array.dtype.name, array.dtype.name.upper())]


def shape(rng: np.random.Generator, rank: int | None = None, most: int = 6) -> tuple[int, ...]:
    """Choose a shape like :func:`quantref.vectors.cells.values.shape`, its last dimension larger as a rule."""
    outer = values.shape(rng, rank, most)
    return (*outer[:-1], outer[-1] + int(rng.integers(0, 20))) if outer and rng.integers(4) else outer


def long_shape(rng: np.random.Generator, rank: int | None = None, most: int = 6) -> tuple[int, ...]:
    """Choose a shape like :func:`shape`, every other one with a long axis."""
    return values.stretched(rng, shape(rng, rank, most))


def elements(rng: np.random.Generator, dtype: DType, shape: Sequence[int]) -> Array:
    """Choose elements of any type: codes, floats rich in halves, booleans."""
    if dtype is DType.BOOL:
        return rng.integers(0, 2, shape).astype(bool)
    if dtype.is_integer:
        if dtype.bits <= 32:
            return values.codes(rng, dtype, shape)
        return rng.integers(-(1 << 62), 1 << 62, shape).astype(dtype.storage)
    if dtype is DType.BFLOAT16:
        return rng.integers(0, 1 << 16, shape).astype(np.uint16)
    return values.floats(rng, shape).astype(dtype.storage)


#: What copying kernels take beside the types that cells of their own are about.
OTHER_TYPES = (DType.UINT16, DType.UINT32, DType.UINT64, DType.FLOAT16, DType.FLOAT64, DType.COMPLEX64)


def in_turn(op: str, generator: Callable[..., Iterator[Case]], dtypes: Sequence[DType] = OTHER_TYPES) -> Generator:
    """Return a generator of cases of several element types, one after the other, as one cell."""

    def cases(rng: np.random.Generator) -> Iterator[Case]:
        for many in zip(*(generator(rng, dtype=dtype) for dtype in dtypes), strict=True):
            yield from (dataclasses.replace(case, cell=f"{op} other types") for case in many)

    return cases


def values_like(rng: np.random.Generator, array: Array) -> Array:
    """Choose other elements of the type and shape of an array."""
    return elements(rng, dtype_of(array), array.shape)


def quantization(rng: np.random.Generator, dtype: DType) -> dict[str, Any]:
    """Choose scale and zero point for a type of codes (zero point 0 for int16), nothing for other types."""
    if dtype not in {DType.INT8, DType.UINT8, DType.INT16, DType.INT4}:
        return {}
    return {"scale": values.scale(rng), "zero_point": 0 if dtype is DType.INT16 else values.zero_point(rng, dtype)}


def vector(*numbers: int, constant: bool = True, dtype: DType = DType.INT32) -> Operand:
    """Return an index tensor of one dimension."""
    return Operand(np.array(numbers, dtype.storage), dtype, constant)


def scalar(number: int, *, constant: bool = True, dtype: DType = DType.INT32) -> Operand:
    """Return an index tensor without dimensions."""
    return Operand(np.array(number, dtype.storage), dtype, constant)
