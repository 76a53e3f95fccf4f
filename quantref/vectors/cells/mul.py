"""Cases of MUL."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np

from qmath.types import DType
from quantref.vectors.cells import values
from quantref.vectors.cells.add import operands, plain
from quantref.vectors.cells.case import Case, Generator
from quantref.vectors.cells.models import two_inputs


def quantized(rng: np.random.Generator, dtype: DType) -> Iterator[Case]:
    """Multiply with any scales, any fused activation, one operand sometimes constant."""
    while True:
        first, second = values.scale(rng), values.scale(rng)
        products = -15 if dtype is DType.INT16 else -7
        output = values.related_scale(rng, np.float32(first * second), products - 2, -products + 2)
        zero_points = [0 if dtype is DType.INT16 else values.zero_point(rng, dtype) for _ in range(3)]
        scales = (first, second, output)
        p1, p2, p3 = ({"scale": s, "zero_point": z} for s, z in zip(scales, zero_points, strict=True))
        constant = rng.choice(np.array([None, None, None, 0, 1], object))
        # The runtime refuses to clamp where 6 is more than 2**31 output steps.
        options = {"fused_activation_function": int(rng.choice([0, 0, 1, 2, 3] if output > 1e-8 else [0]))}
        arrays = operands(rng, dtype)
        model, sample = two_inputs("MUL", arrays, (dtype, dtype), dtype, (p1, p2, p3), constant=constant, **options)
        yield Case(f"MUL {dtype.name.lower()}", model, (sample,))


def fractions(rng: np.random.Generator, target: DType) -> Iterator[Case]:
    """Multiply int16 fractions and keep 8 bits."""
    while True:
        shape = (*values.shape(rng), 50)
        arrays = values.codes(rng, DType.INT16, shape), values.codes(rng, DType.INT16, shape)
        inputs = {"scale": np.float32(2.0**-15)}
        output = {"scale": np.float32(2.0**-7), "zero_point": values.zero_point(rng, target)}
        options = {"fused_activation_function": int(rng.choice([0, 0, 1, 2, 3]))}
        types = (DType.INT16, DType.INT16)
        model, sample = two_inputs("MUL", arrays, types, target, (inputs, inputs, output), **options)
        yield Case(f"MUL int16 to {target.name.lower()}", model, (sample,))


def _cells() -> dict[str, Generator]:
    cells: dict[str, Generator] = {}
    for dtype in (DType.INT8, DType.UINT8, DType.INT16):
        cells[f"MUL {dtype.name.lower()}"] = partial(quantized, dtype=dtype)
    for dtype in (DType.INT8, DType.UINT8):
        cells[f"MUL int16 to {dtype.name.lower()}"] = partial(fractions, target=dtype)
    plain_types = (DType.INT16, DType.INT32, DType.UINT32, DType.INT64, DType.FLOAT32, DType.FLOAT16, DType.COMPLEX64)
    for dtype in plain_types:
        cells[f"MUL plain {dtype.name.lower()}"] = partial(plain, op="MUL", dtype=dtype)
    return cells


CELLS = _cells()
