"""Cases of NON_MAX_SUPPRESSION_V4 and V5, CONV_3D and CONV_3D_TRANSPOSE."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np

from qmath.types import Array, DType
from quantref.vectors.cells import values
from quantref.vectors.cells.build import Operand, Result, one_op, scalar, vector
from quantref.vectors.cells.case import Case, Generator


def suppressions(rng: np.random.Generator, *, soft: bool) -> Iterator[Case]:
    """Select among boxes that crowd each other, many of them with equal scores."""
    op = f"NON_MAX_SUPPRESSION_V{5 if soft else 4}"
    while True:
        count = int(rng.integers(1, 60))
        corners = rng.uniform(0, 4, (count, 2))
        boxes = np.concatenate([corners, corners + rng.uniform(-2, 2, (count, 2))], 1).astype(np.float32)
        scores: Array = rng.random(count).astype(np.float32)
        if rng.integers(2):
            scores = np.round(scores * 8).astype(np.float32) / 8
        limits = [
            Operand(np.array(rng.choice([0.0, 0.3, 0.5]), np.float32), constant=bool(rng.integers(2))) for _ in range(2)
        ]
        sigma = [Operand(np.array(rng.choice([0.0, 0.5]), np.float32))] if soft else []
        most = scalar(int(rng.integers(1, 70)), constant=bool(rng.integers(2)))
        results = [Result(DType.INT32), *([Result(DType.FLOAT32)] if soft else []), Result(DType.INT32)]
        yield one_op(op, op, [Operand(boxes), Operand(scores), most, *limits, *sigma], results)


def convolutions(rng: np.random.Generator, *, transposed: bool) -> Iterator[Case]:
    """Convolve volumes, or undo that, with strides, dilations and both paddings."""
    op = "CONV_3D_TRANSPOSE" if transposed else "CONV_3D"
    while True:
        kernel, strides, dilations = (tuple(int(n) for n in rng.integers(1, 4, 3)) for _ in range(3))
        dilations = dilations if rng.integers(3) == 0 else (1, 1, 1)
        same = bool(rng.integers(2))
        reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
        size = [int(rng.integers(1 if same else r, r + 5)) for r in reach]
        windows = [-(-n // s) if same else (n - r) // s + 1 for n, r, s in zip(size, reach, strides, strict=True)]
        batch, in_c, out_c = (int(n) for n in rng.integers(1, 4, 3))
        x = values.floats(rng, (batch, *(windows if transposed else size), in_c))
        filter_ = values.floats(rng, (*kernel, *((out_c, in_c) if transposed else (in_c, out_c))))
        operands = [Operand(x), Operand(filter_, constant=bool(rng.integers(2)))]
        if transposed:
            shape = vector(batch, *size, out_c, constant=bool(rng.integers(2)))
            operands = [shape, operands[1], operands[0]]
        if rng.integers(2):
            operands.append(Operand(values.floats(rng, (out_c,)), constant=True))
        options: dict[str, Any] = {f"stride_{axis}": stride for axis, stride in zip("dhw", strides, strict=True)}
        options |= {f"dilation_{axis}_factor": step for axis, step in zip("dhw", dilations, strict=True)}
        options |= {"padding": int(not same), "fused_activation_function": int(rng.choice([0, 1, 3]))}
        yield one_op(f"{op} float32", op, operands, [Result(DType.FLOAT32)], **options)


CELLS: dict[str, Generator] = {
    "NON_MAX_SUPPRESSION_V4": partial(suppressions, soft=False),
    "NON_MAX_SUPPRESSION_V5": partial(suppressions, soft=True),
    "CONV_3D float32": partial(convolutions, transposed=False),
    "CONV_3D_TRANSPOSE float32": partial(convolutions, transposed=True),
}
