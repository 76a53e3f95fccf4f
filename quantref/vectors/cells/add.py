"""Cases of ADD and SUB."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np

from qmath.types import Array, DType
from quantref.vectors.cells import values
from quantref.vectors.cells.case import Case, Generator
from quantref.vectors.cells.models import Params, two_inputs

QUANTIZED = (DType.INT8, DType.UINT8, DType.INT16)


def operands(rng: np.random.Generator, dtype: DType) -> tuple[Array, Array]:
    """Choose two arrays of codes: all pairs of 8-bit codes in a coarse grid, or shapes that broadcast."""
    if rng.integers(3):
        first, second = values.broadcast_pair(rng)
        return values.codes(rng, dtype, first), values.codes(rng, dtype, second)
    shape = (2, 400)
    return values.codes(rng, dtype, shape), values.codes(rng, dtype, shape)


def quantized(rng: np.random.Generator, op: str, dtype: DType) -> Iterator[Case]:
    """Add with any scales, any fused activation, one operand sometimes constant."""
    while True:
        first = values.scale(rng)
        second = values.related_scale(rng, first, -5, 5)
        output = np.float32(max(first, second) * values.scale(rng, -6, 4))
        params: list[Params] = []
        for scale in (first, second, output):
            zero_point = 0 if dtype is DType.INT16 else values.zero_point(rng, dtype)
            params.append({"scale": scale, "zero_point": zero_point})
        options: dict[str, Any] = {"fused_activation_function": int(rng.choice([0, 0, 1, 2, 3]))}
        options["pot_scale_int16"] = False
        yield _case(rng, f"{op} {dtype.name.lower()}", op, dtype, (params[0], params[1], params[2]), options)


def overscaled(rng: np.random.Generator, dtype: DType) -> Iterator[Case]:
    """Subtract with an output scale so small that the runtime shifts by a negative count, with a defined result."""
    left_shift, most = (15, 3.9) if dtype is DType.INT16 else (20, 15.9)
    while True:
        first = values.scale(rng)
        output = np.float32(2 * first / 2**left_shift / rng.uniform(1.01, most))
        inputs: Params = {"scale": first, "zero_point": 0 if dtype is DType.INT16 else values.zero_point(rng, dtype)}
        target: Params = {**inputs, "scale": output}
        options: dict[str, Any] = {"fused_activation_function": int(rng.choice([0, 1])) if output > 1e-8 else 0}
        options["pot_scale_int16"] = False
        cell = f"SUB {dtype.name.lower()} overscaled"
        yield _case(rng, cell, "SUB", dtype, (inputs, inputs, target), options)


def far_scales(rng: np.random.Generator, dtype: DType) -> Iterator[Case]:
    """Add where one input weighs so little that the rounding of its scaling decides ties of the other.

    Shapes of every kind of innermost loop, some as long as a block of vector code, some longer, some shorter.
    """
    while True:
        ends = [np.float32(0.125), np.float32(0.125 * 2.0 ** rng.integers(-30, 0) * rng.choice([1, 1.5, 1.25, 1.7]))]
        rng.shuffle(ends)
        scales = (*ends, np.float32(max(ends) * rng.choice([1, 2, 4, 8])))
        params: list[Params] = []
        for scale in scales:
            zero_point = 0 if dtype is DType.INT16 else values.zero_point(rng, dtype)
            params.append({"scale": scale, "zero_point": zero_point})
        wide = int(rng.integers(1, 40))
        pairs = [((3, wide), (wide,)), ((3, 1, 20), (3, 11, 1)), ((wide,), (1,)), ((4, wide), (4, wide))]
        shapes = list(pairs[int(rng.integers(4))])
        rng.shuffle(shapes)
        arrays = values.codes(rng, dtype, shapes[0]), values.codes(rng, dtype, shapes[1])
        options: dict[str, Any] = {"fused_activation_function": 0, "pot_scale_int16": False}
        model, sample = two_inputs("ADD", arrays, (dtype, dtype), dtype, (params[0], params[1], params[2]), **options)
        yield Case(f"ADD {dtype.name.lower()} far scales", model, (sample,))


def powers_of_two(rng: np.random.Generator, op: str) -> Iterator[Case]:
    """Add int16 tensors whose scales are powers of two."""
    while True:
        output = int(rng.integers(-16, 4))
        shifts = [0, int(rng.integers(0, 16))]
        rng.shuffle(shifts)
        params = [{"scale": np.float32(2.0 ** (output - shift))} for shift in (*shifts, 0)]
        activation = int(rng.choice([0, 0, 1, 2, 3]))
        options: dict[str, Any] = {"fused_activation_function": activation, "pot_scale_int16": True}
        shape = values.shape(rng)
        arrays = values.codes(rng, DType.INT16, (*shape, 40)), values.codes(rng, DType.INT16, (*shape, 40))
        types = (DType.INT16, DType.INT16)
        model, sample = two_inputs(op, arrays, types, DType.INT16, (params[0], params[1], params[2]), **options)
        yield Case(f"{op} int16 powers of two", model, (sample,))


def plain(rng: np.random.Generator, op: str, dtype: DType) -> Iterator[Case]:
    """Add floats or plain integers, which wrap."""
    while True:
        shapes = values.broadcast_pair(rng)
        first, second = (values.plain(rng, dtype, shape) for shape in shapes)
        activation = 0 if dtype is DType.COMPLEX64 else rng.choice([0, 0, 1, 2, 3])
        options: dict[str, Any] = {"fused_activation_function": int(activation)}
        model, sample = two_inputs(op, (first, second), (dtype, dtype), dtype, **options)
        yield Case(f"{op} plain {dtype.name.lower()}", model, (sample,))


def _case(
    rng: np.random.Generator,
    cell: str,
    op: str,
    dtype: DType,
    params: tuple[Params, Params, Params],
    options: dict[str, Any],
) -> Case:
    constant = rng.choice(np.array([None, None, None, 0, 1], object))
    model, sample = two_inputs(op, operands(rng, dtype), (dtype, dtype), dtype, params, constant=constant, **options)
    return Case(cell, model, (sample,))


def _cells() -> dict[str, Generator]:
    cells: dict[str, Generator] = {}
    for op in ("ADD", "SUB"):
        for dtype in QUANTIZED:
            cells[f"{op} {dtype.name.lower()}"] = partial(quantized, op=op, dtype=dtype)
        cells[f"{op} int16 powers of two"] = partial(powers_of_two, op=op)
        for dtype in (DType.INT32, DType.INT64, DType.FLOAT32):
            cells[f"{op} plain {dtype.name.lower()}"] = partial(plain, op=op, dtype=dtype)
    for dtype in QUANTIZED:
        cells[f"SUB {dtype.name.lower()} overscaled"] = partial(overscaled, dtype=dtype)
        cells[f"ADD {dtype.name.lower()} far scales"] = partial(far_scales, dtype=dtype)
    for dtype in (DType.INT16, DType.FLOAT16):
        cells[f"ADD plain {dtype.name.lower()}"] = partial(plain, op="ADD", dtype=dtype)
    return cells


CELLS = _cells()
