"""Cases of CONCATENATION, PAD, PADV2 and MIRROR_PAD."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np

from qmath.types import DType
from quantref.vectors.cells import values
from quantref.vectors.cells.build import Operand, Result, elements, in_turn, long_shape, one_op, quantization
from quantref.vectors.cells.build import shape as shape_of
from quantref.vectors.cells.case import Case, Generator

COMMON = (DType.INT8, DType.UINT8, DType.INT16, DType.INT32, DType.INT64, DType.FLOAT32, DType.BOOL)


def concatenations(rng: np.random.Generator, dtype: DType) -> Iterator[Case]:
    """Join up to five tensors along any axis; uint8 ones differ in scale and zero point."""
    while True:
        shape = list(long_shape(rng))
        axis, count = int(rng.integers(len(shape))), int(rng.integers(1, 6))
        params = quantization(rng, dtype)
        operands = []
        for piece in range(count):
            shape[axis] = int(rng.integers(0 if piece and rng.integers(8) == 0 else 1, 6))
            own = params
            if dtype is DType.UINT8 and rng.integers(3):
                own = {"scale": values.related_scale(rng, params["scale"]), "zero_point": values.zero_point(rng, dtype)}
            x = elements(rng, dtype, shape)
            operands.append(Operand(x, dtype, constant=dtype.bits < 8, params=own))
        axis -= len(shape) if rng.integers(2) else 0
        cell = f"CONCATENATION {dtype.name.lower()}"
        yield one_op(cell, "CONCATENATION", operands, [Result(dtype, params)], axis=axis)


def rescaled_concatenations(rng: np.random.Generator) -> Iterator[Case]:
    """Join every code of a uint8 tensor, rescaled, to another tensor."""
    while True:
        out, first = quantization(rng, DType.UINT8), quantization(rng, DType.UINT8)
        first["scale"] = values.related_scale(rng, out["scale"])
        operands = [
            Operand(values.every_code(DType.UINT8), params=first),
            Operand(values.every_code(DType.UINT8), params=out),
        ]
        yield one_op("CONCATENATION uint8 rescaled", "CONCATENATION", operands, [Result(DType.UINT8, out)], axis=0)


def pads(rng: np.random.Generator, op: str, dtype: DType) -> Iterator[Case]:
    """Pad up to five axes."""
    while True:
        shape = values.stretched(rng, shape_of(rng, int(rng.integers(1, 6)), most=4), 300)
        paddings = rng.integers(0, 4, (len(shape), 2)) * rng.integers(0, 2, (len(shape), 1))
        params = quantization(rng, dtype)
        out = {**params, "zero_point": values.zero_point(rng, dtype)} if params and dtype is not DType.INT16 else params
        kind = DType.INT64 if rng.integers(2) else DType.INT32
        operands = [
            Operand(elements(rng, dtype, shape), dtype, params=params),
            Operand(paddings.astype(kind.storage), constant=bool(rng.integers(2))),
        ]
        if op == "PADV2":
            value = elements(rng, dtype, ())
            operands.append(Operand(np.asarray(value), dtype, constant=bool(rng.integers(2)), params=out))
        yield one_op(f"{op} {dtype.name.lower()}", op, operands, [Result(dtype, out)])


def mirror_pads(rng: np.random.Generator, dtype: DType) -> Iterator[Case]:
    """Mirror up to the whole axis."""
    while True:
        shape = long_shape(rng, most=5)
        mode = int(rng.integers(2))
        longest = np.array(shape)[:, None] - (1 if mode == 0 else 0)
        paddings = rng.integers(0, longest + 1, (len(shape), 2))
        kind = DType.INT64 if rng.integers(2) else DType.INT32
        params = quantization(rng, dtype)
        operands = [
            Operand(elements(rng, dtype, shape), dtype, params=params),
            Operand(paddings.astype(kind.storage), constant=bool(rng.integers(2))),
        ]
        yield one_op(f"MIRROR_PAD {dtype.name.lower()}", "MIRROR_PAD", operands, [Result(dtype, params)], mode=mode)


def _cells() -> dict[str, Generator]:
    cells: dict[str, Generator] = {"CONCATENATION uint8 rescaled": rescaled_concatenations}
    for dtype in (*COMMON, DType.INT4):
        cells[f"CONCATENATION {dtype.name.lower()}"] = partial(concatenations, dtype=dtype)
    for dtype in COMMON:
        for op in ("PAD", "PADV2"):
            cells[f"{op} {dtype.name.lower()}"] = partial(pads, op=op, dtype=dtype)
        cells[f"MIRROR_PAD {dtype.name.lower()}"] = partial(mirror_pads, dtype=dtype)
    cells["CONCATENATION other types"] = in_turn("CONCATENATION", concatenations, (DType.UINT32, DType.FLOAT16))
    cells["MIRROR_PAD other types"] = in_turn("MIRROR_PAD", mirror_pads)
    cells["PAD float16"] = partial(pads, op="PAD", dtype=DType.FLOAT16)
    return cells


CELLS = _cells()
