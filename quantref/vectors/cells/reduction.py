"""Cases of MEAN, SUM, REDUCE_MAX, REDUCE_MIN, REDUCE_PROD, REDUCE_ANY and REDUCE_ALL."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np

from qmath.types import DType
from quantref.vectors.cells import values
from quantref.vectors.cells.build import Operand, Result, elements, long_shape, one_op, quantization, vector
from quantref.vectors.cells.case import Case, Generator

CODES = (DType.INT8, DType.UINT8, DType.INT16)


def reductions(rng: np.random.Generator, op: str, dtype: DType) -> Iterator[Case]:
    """Reduce any axes, named from either end and perhaps twice, given as a constant or as an input."""
    cell = f"{op} {dtype.name.lower()}"
    while True:
        shape = (*long_shape(rng, most=9), int(rng.integers(1, 12)))
        rank = len(shape)
        axes = [int(a) for a in rng.integers(-rank, rank, int(rng.integers(0, rank + 2)))]
        params = quantization(rng, dtype)
        out = params
        if op in {"MEAN", "SUM", "REDUCE_PROD"} and params:
            ratio = values.scale(rng, -6, 6 if op != "REDUCE_PROD" else 2)
            zero_point = 0 if dtype is DType.INT16 else values.zero_point(rng, dtype)
            out = {"scale": np.float32(params["scale"] / ratio), "zero_point": zero_point}
        x = elements(rng, dtype, shape)
        if dtype is DType.FLOAT32 and op == "REDUCE_PROD":
            x = np.float32(0.8) + np.abs(x) / 8
        yield one_op(
            cell,
            op,
            [Operand(x, dtype, params=params), vector(*axes, constant=bool(rng.integers(4)))],
            [Result(dtype, out)],
            keep_dims=bool(rng.integers(2)),
        )


_TYPES = {
    "MEAN": (*CODES, DType.FLOAT32, DType.INT32, DType.INT64),
    "SUM": (DType.INT8, DType.UINT8, DType.FLOAT32, DType.INT32, DType.INT64),
    "REDUCE_MAX": (*CODES, DType.FLOAT32, DType.INT32, DType.INT64, DType.BOOL),
    "REDUCE_MIN": (*CODES, DType.FLOAT32, DType.INT32, DType.INT64, DType.BOOL),
    "REDUCE_PROD": (DType.INT8, DType.INT16, DType.FLOAT32, DType.INT32, DType.INT64),
    "REDUCE_ANY": (DType.BOOL,),
    "REDUCE_ALL": (DType.BOOL,),
}

CELLS: dict[str, Generator] = {
    f"{op} {dtype.name.lower()}": partial(reductions, op=op, dtype=dtype)
    for op, dtypes in _TYPES.items()
    for dtype in dtypes
}
