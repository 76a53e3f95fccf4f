"""Models with ranges from training, built as the ones in the folder ``converter`` were: same seeds, same ranges."""

from __future__ import annotations

import numpy as np

import fbs
from qmath.types import DType

INPUT_RANGE, CONV_RANGE, DENSE_RANGE = (-2.3, 2.7), (0.0, 5.7), (-9.1, 8.3)
_RELU6 = 3


def weights() -> tuple[np.ndarray, ...]:
    """Return convolution weights and bias, dense weights and bias, as the converter lays them out."""
    rng = np.random.default_rng(77)
    conv = rng.normal(0, 0.4, (3, 3, 3, 6)).astype(np.float32)
    conv_bias = rng.normal(0, 0.2, 6).astype(np.float32)
    dense = rng.normal(0, 0.3, (216, 5)).astype(np.float32)
    dense_bias = rng.normal(0, 0.2, 5).astype(np.float32)
    return np.ascontiguousarray(conv.transpose(3, 0, 1, 2)), conv_bias, np.ascontiguousarray(dense.T), dense_bias


def trained_model(*, narrow: bool, input_range: bool, per_channel: bool = False) -> fbs.Model:
    """Return a float model with FAKE_QUANT ops; per-channel weights have no such op and stay as they are."""
    conv, conv_bias, dense, dense_bias = weights()
    b = fbs.Builder()
    x = b.input("x", DType.FLOAT32, (1, 6, 6, 3))
    source = _fake_quant(b, x, "x_fq", INPUT_RANGE) if input_range else x
    w = b.constant("conv/w", conv)
    if not per_channel:
        w = _fake_quant(b, w, "conv/w_fq", (conv.min(), conv.max()), narrow=narrow)
    y = b.tensor("conv", DType.FLOAT32, (1, 6, 6, 6))
    relu6 = {"stride_w": 1, "stride_h": 1, "fused_activation_function": _RELU6}
    b.op("CONV_2D", [source, w, b.constant("conv/b", conv_bias)], [y], **relu6)
    flat = b.tensor("flat", DType.FLOAT32, (1, 216))
    b.op("RESHAPE", [y, b.constant("shape", np.array([1, 216], np.int32))], [flat])
    flat = _fake_quant(b, flat, "flat_fq", CONV_RANGE)
    v = _fake_quant(b, b.constant("dense/w", dense), "dense/w_fq", (dense.min(), dense.max()), narrow=narrow)
    z = b.tensor("dense", DType.FLOAT32, (1, 5))
    b.op("FULLY_CONNECTED", [flat, v, b.constant("dense/b", dense_bias)], [z])
    z = _fake_quant(b, z, "dense_fq", DENSE_RANGE)
    out = b.tensor("out", DType.FLOAT32, (1, 5))
    b.op("SOFTMAX", [z], [out], beta=1.0)
    return b.finish(outputs=[out])


def _fake_quant(b: fbs.Builder, tensor: int, name: str, bounds: tuple[float, float], *, narrow: bool = False) -> int:
    result = b.tensor(name, DType.FLOAT32, b.build().tensors[tensor].shape)
    low, high = (float(np.float32(bound)) for bound in bounds)
    b.op("FAKE_QUANT", [tensor], [result], min=low, max=high, num_bits=8, narrow_range=narrow)
    return result
