"""Small models for the tests of the tools."""

from __future__ import annotations

import numpy as np

import fbs
from qmath.types import DType


def two_layers(names: tuple[str, str] = ("hidden", "y")) -> fbs.Model:
    """Build two int8 FULLY_CONNECTED ops, four inputs to three to two."""
    builder = fbs.Builder(description="two layers")
    current = builder.input("x", DType.INT8, (1, 4), scale=0.5, zero_point=-1)
    for layer, (name, rows, columns) in enumerate(((names[0], 3, 4), (names[1], 2, 3))):
        values = (np.arange(rows * columns).reshape(rows, columns) * 37 % 255 - 127).astype(np.int8)
        weights = builder.constant(f"w{layer}", values, scale=0.01)
        bias = builder.constant(f"b{layer}", np.arange(rows, dtype=np.int32) * 100, scale=0.005)
        output = builder.tensor(name, DType.INT8, (1, rows), scale=0.5, zero_point=-1)
        builder.op("FULLY_CONNECTED", [current, weights, bias], [output], version=4)
        current = output
    builder.signature("serving_default", {"features": 0}, {"scores": current})
    builder.metadata("note", b"made by a test")
    return builder.finish([current])


def float_layer() -> fbs.Model:
    """Build one float32 FULLY_CONNECTED op."""
    builder = fbs.Builder()
    x = builder.input("x", DType.FLOAT32, (1, 64))
    weights = builder.constant("w", np.sin(np.arange(8 * 64, dtype=np.float32)).reshape(8, 64))
    bias = builder.constant("b", np.zeros(8, np.float32))
    y = builder.tensor("y", DType.FLOAT32, (1, 8))
    builder.op("FULLY_CONNECTED", [x, weights, bias], [y])
    return builder.finish([y])


def custom_op() -> fbs.Model:
    """Build a RESHAPE and then an op that nobody knows."""
    builder = fbs.Builder()
    x = builder.input("x", DType.INT8, (1, 4))
    flat = builder.tensor("flat", DType.INT8, (4,))
    y = builder.tensor("y", DType.INT8, (4,))
    builder.op("RESHAPE", [x, builder.constant("shape", np.array([4], np.int32))], [flat], new_shape=[4])
    builder.custom("Mystery", [flat], [y])
    return builder.finish([y])
