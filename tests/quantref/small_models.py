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


def with_state() -> fbs.Model:
    """Build one int8 SVDF op of two units with rank 1 and a memory of three; its state is int16."""
    builder = fbs.Builder()
    x = builder.input("x", DType.INT8, (1, 4), scale=0.5)
    features = builder.constant("features", np.array([[90, -7, 33, 5], [-64, 1, 127, 20]], np.int8), scale=0.02)
    times = builder.constant("times", np.array([[300, -2000, 700], [1500, 11, -90]], np.int16), scale=0.001)
    bias = builder.constant("bias", np.array([40, -3], np.int32), scale=0.00001)
    state = builder.variable("state", DType.INT16, (1, 6), scale=0.01)
    y = builder.tensor("y", DType.INT8, (1, 2), scale=0.25, zero_point=-3)
    builder.op("SVDF", [x, features, times, bias, state], [y], version=3, rank=1, fused_activation_function=1)
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
