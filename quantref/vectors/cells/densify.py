"""Cases of DENSIFY."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np

import fbs
from fbs import sparsity
from qmath.types import DType
from quantref.vectors.cells.build import elements, quantization
from quantref.vectors.cells.case import Case, Generator


def constants(rng: np.random.Generator, dtype: DType) -> Iterator[Case]:
    """Spread out matrices stored in rows of blocks, some rows empty, some matrices full."""
    while True:
        units, columns, block = (int(rng.choice(sizes)) for sizes in ([1, 2, 5, 16], [1, 3, 8, 40], [1, 4, 16]))
        kept = rng.random((units, columns)) < rng.choice([0.1, 0.5, 1.0])
        kept.flat[0] = True
        values = elements(rng, dtype, (int(kept.sum()) * block,))
        segments = np.append(0, kept.sum(axis=1).cumsum()).astype(np.int32)
        levels = [
            sparsity.DimensionMetadata(0, units),
            sparsity.DimensionMetadata(1, 0, segments, np.nonzero(kept)[1].astype(np.int32)),
        ]
        if block > 1:
            levels.append(sparsity.DimensionMetadata(0, block))
        stored = sparsity.Sparsity(tuple(range(len(levels))), (1,) if block > 1 else (), tuple(levels))
        builder, params = fbs.Builder(), quantization(rng, dtype)
        shape = (units, columns * block)
        x = builder.constant("x", values, dtype, shape=shape, sparsity=stored, **params)
        y = builder.tensor("y", dtype, shape, **params)
        builder.op("DENSIFY", [x], [y])
        yield Case(f"DENSIFY {dtype.name.lower()}", builder.finish([y]), ({},))


CELLS: dict[str, Generator] = {
    f"DENSIFY {dtype.name.lower()}": partial(constants, dtype=dtype)
    for dtype in (DType.INT8, DType.FLOAT16, DType.FLOAT32)
}
