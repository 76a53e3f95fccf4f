"""Cases of AVERAGE_POOL_2D, MAX_POOL_2D and L2_POOL_2D."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np

from qmath.types import DType
from quantref.vectors.cells.build import Operand, Result, elements, one_op, quantization
from quantref.vectors.cells.case import Case, Generator


def pools(rng: np.random.Generator, op: str, dtype: DType) -> Iterator[Case]:
    """Pool by kernels of all sizes, also larger than the image, with strides on both sides of the kernel's size."""
    cell = f"{op} {dtype.name.lower()}"
    while True:
        batch, height, width, channels = (int(n) for n in rng.integers(1, (4, 12, 12, 9)))
        same = bool(rng.integers(2))
        most_h, most_w = (16, 16) if same else (height, width)
        x = elements(rng, dtype, (batch, height, width, channels))
        params = quantization(rng, dtype)
        out = quantization(rng, dtype) if rng.integers(4) == 0 else params
        yield one_op(
            cell,
            op,
            [Operand(x, dtype, params=params)],
            [Result(dtype, out)],
            rng=rng,
            again=2,
            padding=0 if same else 1,
            filter_height=int(rng.integers(1, most_h + 1)),
            filter_width=int(rng.integers(1, most_w + 1)),
            stride_h=int(rng.integers(1, 5)),
            stride_w=int(rng.integers(1, 5)),
            fused_activation_function=int(rng.choice([0, 0, 1, 2, 3])),
        )


CELLS: dict[str, Generator] = {
    f"{op} {dtype.name.lower()}": partial(pools, op=op, dtype=dtype)
    for op in ("AVERAGE_POOL_2D", "MAX_POOL_2D", "L2_POOL_2D")
    for dtype in (DType.INT8, DType.UINT8, DType.INT16, DType.FLOAT32)
    if op != "L2_POOL_2D" or dtype is DType.FLOAT32
}
