"""Cases of RESIZE_BILINEAR and RESIZE_NEAREST_NEIGHBOR."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np

from qmath.types import DType
from quantref.vectors.cells.build import Operand, Result, elements, one_op, quantization, vector
from quantref.vectors.cells.case import Case, Generator


def resizes(rng: np.random.Generator, op: str, dtype: DType) -> Iterator[Case]:
    """Enlarge and reduce images, also by whole factors and to one pixel."""
    cell = f"{op} {dtype.name.lower()}"
    while True:
        shape = tuple(int(n) for n in rng.integers(1, (3, 13, 13, 5)))
        if rng.integers(3) == 0:
            size = [n * int(rng.integers(1, 4)) for n in shape[1:3]]
        else:
            size = [int(n) for n in rng.integers(1, 20, 2)]
        placement = [(False, False), (True, False), (False, True), (True, True)]
        align, half = placement[int(rng.integers(3 if op == "RESIZE_BILINEAR" else 4))]
        params = quantization(rng, dtype)
        operands = [
            Operand(elements(rng, dtype, shape), dtype, params=params),
            vector(*size, constant=bool(rng.integers(2))),
        ]
        yield one_op(cell, op, operands, [Result(dtype, params)], align_corners=align, half_pixel_centers=half)


CELLS: dict[str, Generator] = {
    f"{op} {dtype.name.lower()}": partial(resizes, op=op, dtype=dtype)
    for op, dtypes in (
        ("RESIZE_BILINEAR", (DType.INT8, DType.UINT8, DType.INT16, DType.FLOAT32)),
        ("RESIZE_NEAREST_NEIGHBOR", (DType.INT8, DType.UINT8, DType.INT16, DType.INT32, DType.FLOAT32)),
    )
    for dtype in dtypes
}
