"""Small float models for the tests of the quantizer's tools."""

from __future__ import annotations

import numpy as np

import fbs
from qmath.types import DType


def residual(seed: int = 0) -> fbs.Model:
    """Build ``softmax(reshape(conv(conv(x)) + conv(x)))`` over images of 4 by 4 with 2 channels."""
    rng, builder = np.random.default_rng(seed), fbs.Builder()
    x = builder.input("x", DType.FLOAT32, (1, 4, 4, 2))
    one, two, total = (builder.tensor(name, DType.FLOAT32, (1, 4, 4, 2)) for name in ("one", "two", "total"))
    for name, source, target in (("first", x, one), ("second", one, two)):
        weights = builder.constant(f"{name}/w", rng.standard_normal((2, 3, 3, 2)).astype(np.float32))
        bias = builder.constant(f"{name}/b", rng.standard_normal(2).astype(np.float32))
        builder.op("CONV_2D", [source, weights, bias], [target], padding=0, stride_h=1, stride_w=1)
    builder.op("ADD", [two, one], [total])
    flat = builder.tensor("flat", DType.FLOAT32, (1, 32))
    builder.op("RESHAPE", [total, builder.constant("shape", np.array([1, 32], np.int32))], [flat], new_shape=[1, 32])
    y = builder.tensor("y", DType.FLOAT32, (1, 32))
    builder.op("SOFTMAX", [flat], [y], beta=1.0)
    builder.signature("serving_default", {"image": x}, {"scores": y})
    return builder.finish([y])


def difference() -> fbs.Model:
    """Build ``relu(b - a)`` of two inputs of 3; the file lists b first."""
    builder = fbs.Builder()
    b, a = (builder.input(f"given_{name}:0", DType.FLOAT32, (1, 3)) for name in "ba")
    y = builder.tensor("y", DType.FLOAT32, (1, 3))
    builder.op("SUB", [b, a], [y], fused_activation_function=1)
    builder.signature("minus", {"a": a, "b": b}, {"y": y})
    builder.signature("twin", {"left": b, "right": a}, {"y": y})
    return builder.finish([y])


def exponential() -> fbs.Model:
    """Build ``exp(x)`` of 3."""
    builder = fbs.Builder()
    y = builder.tensor("y", DType.FLOAT32, (1, 3))
    builder.op("EXP", [builder.input("x", DType.FLOAT32, (1, 3))], [y])
    return builder.finish([y])


def remembering() -> fbs.Model:
    """Build a float SVDF of one unit: it adds the last three inputs up, the newest with most weight."""
    builder = fbs.Builder()
    x = builder.input("x", DType.FLOAT32, (1, 1))
    features = builder.constant("features", np.ones((1, 1), np.float32))
    times = builder.constant("times", np.array([[0.25, 0.5, 1.0]], np.float32))
    state = builder.variable("state", DType.FLOAT32, (1, 3))
    y = builder.tensor("y", DType.FLOAT32, (1, 1))
    builder.op("SVDF", [x, features, times, None, state], [y], rank=1)
    return builder.finish([y])


def any_length() -> fbs.Model:
    """Build ``x + 1`` for rows of any length, in batches of any size."""
    builder = fbs.Builder()
    x = builder.input("x", DType.FLOAT32, (1, 2), shape_signature=(-1, 2))
    y = builder.tensor("y", DType.FLOAT32, (1, 2), shape_signature=(-1, 2))
    builder.op("ADD", [x, builder.constant("one", np.ones(1, np.float32))], [y])
    return builder.finish([y])


def images(count: int, seed: int = 1) -> np.ndarray:
    """Draw inputs for :func:`residual`, shape (count, 1, 4, 4, 2)."""
    return np.random.default_rng(seed).standard_normal((count, 1, 4, 4, 2)).astype(np.float32)
