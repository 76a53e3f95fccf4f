"""Cases of custom ops: NumericVerify."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np

import fbs
from qmath.types import DType
from quantref.vectors.cells import values
from quantref.vectors.cells.build import quantization
from quantref.vectors.cells.case import Case, Generator

#: A FlexBuffers map: a tolerance of 5 steps, beyond which nothing is stopped.
OPTIONS = b"tolerance\0log_if_failed\0\2\x0f\x1a\0\3\0\0\0\1\0\0\0\2\0\0\0\0\0\0\0\0\0\xa0@j\x0e\n&\1"


def verifications(rng: np.random.Generator, dtype: DType) -> Iterator[Case]:
    """Compare codes, or float16, with floats near them and far from them."""
    while True:
        shape = (*values.stretched(rng, values.shape(rng)), 7)
        x = values.codes(rng, dtype, shape) if dtype.is_integer else values.plain(rng, dtype, shape)
        reference = values.plain(rng, DType.FLOAT32, shape)
        builder = fbs.Builder()
        inputs = [builder.input("x", dtype, shape, **quantization(rng, dtype))]
        inputs.append(builder.input("reference", DType.FLOAT32, shape))
        output = builder.tensor("y", DType.FLOAT32, shape)
        builder.custom("NumericVerify", inputs, [output], OPTIONS)
        model = builder.finish([output])
        yield Case(f"NumericVerify {dtype.name.lower()}", model, ({"x": x, "reference": reference},))


CELLS: dict[str, Generator] = {
    f"NumericVerify {dtype.name.lower()}": partial(verifications, dtype=dtype)
    for dtype in (DType.INT8, DType.UINT8, DType.INT16, DType.FLOAT16)
}
