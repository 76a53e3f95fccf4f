"""Cases of LSTM's basic kernel: several invocations each, since the op keeps state."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

import fbs
from qmath.types import DType
from quantref.vectors.cells import values
from quantref.vectors.cells.case import Case, Generator

INVOCATIONS = 3


def quantized_cases(rng: np.random.Generator) -> Iterator[Case]:
    """Yield cases on uint8."""
    while True:
        features, cells, batch = (int(size) for size in rng.integers(1, 20, 3))
        b = fbs.Builder()
        scale: dict[str, Any] = {"scale": 2.0**-7, "zero_point": 128}
        x = b.input("x", DType.UINT8, (batch, features), **scale)
        h = b.variable("h", DType.UINT8, (batch, cells), **scale)
        codes = values.codes(rng, DType.UINT8, (4 * cells, features + cells))
        w_scale = np.float32(2.0 ** float(rng.uniform(-8, -3)))
        if rng.integers(2):
            w_scale = np.float32(2.0 ** np.round(np.log2(w_scale)))
        w = b.constant("w", codes, scale=w_scale, zero_point=values.zero_point(rng, DType.UINT8))
        bias_scale = np.float32(w_scale * 2.0**-7)
        bias = b.constant("b", rng.normal(0, 2.0**12, 4 * cells).astype(np.int32), scale=bias_scale)
        c = b.variable("c", DType.INT16, (batch, cells), scale=2.0**-11)
        outputs = [
            b.tensor("y", DType.UINT8, (batch, cells), **scale),
            b.tensor("state", DType.INT16, (batch, cells), scale=2.0**-11),
            b.tensor("joined", DType.UINT8, (batch, features + cells), **scale),
            b.tensor("gates", DType.INT16, (batch, 4 * cells), scale=2.0**-12),
        ]
        b.op("LSTM", [x, h, w, bias, c], outputs, version=2, kernel_type=1, fused_activation_function=4)
        samples = tuple({"x": values.codes(rng, DType.UINT8, (batch, features))} for _ in range(INVOCATIONS))
        yield Case("LSTM basic uint8", b.finish(outputs=outputs), samples)


def float_cases(rng: np.random.Generator) -> Iterator[Case]:
    """Yield cases in float32."""
    while True:
        features, cells, batch = (int(size) for size in rng.integers(1, 20, 3))
        b = fbs.Builder()
        x = b.input("x", DType.FLOAT32, (batch, features))
        h = b.variable("h", DType.FLOAT32, (batch, cells))
        w = b.constant("w", values.floats(rng, (4 * cells, features + cells), 2 / np.sqrt(features + cells)))
        bias = b.constant("b", values.floats(rng, (4 * cells,), 1.0))
        c = b.variable("c", DType.FLOAT32, (batch, cells))
        sizes = {"y": cells, "state": cells, "joined": features + cells, "gates": 4 * cells}
        outputs = [b.tensor(name, DType.FLOAT32, (batch, size)) for name, size in sizes.items()]
        b.op("LSTM", [x, h, w, bias, c], outputs, version=2, kernel_type=1, fused_activation_function=4)
        samples = tuple({"x": values.floats(rng, (batch, features), 1.0)} for _ in range(INVOCATIONS))
        yield Case("LSTM basic float32", b.finish(outputs=outputs), samples)


CELLS: dict[str, Generator] = {"LSTM basic uint8": quantized_cases, "LSTM basic float32": float_cases}
