"""Deliberately broken models: a good one with one small fault each, and the rule that the fault breaks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

import fbs
from qmath.types import DType
from tests.quantref.check import models
from tests.quantref.check.models import (
    dense,
    elementwise,
    lstm,
    network,
    transposed,
    unary,
    wide,
    with_data,
    with_entry,
    with_graph,
    with_op,
    with_options,
    with_quant,
    with_tensor,
    with_value,
    with_version,
)


@dataclass(frozen=True)
class Fault:
    """A broken model.

    Attributes
    ----------
    build
        Builds it.
    rules
        Ids of what is to be found, in order: one, unless one fault means different things to different runtimes.
    at
        A tensor or an operator that the finding must name.

    """

    build: Callable[[], fbs.Model]
    rules: tuple[str, ...]
    at: str


def _fault(rules: str, at: str, build: Callable[[], fbs.Model]) -> Fault:
    return Fault(build, tuple(rules.split()), at)


def _swapped() -> fbs.Model:
    operators = network().subgraphs[0].operators
    return with_graph(network(), operators=(operators[1], operators[0], *operators[2:]))


def _signature() -> fbs.Model:
    model = network()
    odd = fbs.Signature("serving_default", model.signatures[0].inputs, (("scores", 1),))
    return fbs.Model(model.subgraphs, signatures=(odd,))


def _dequantize(scale: float) -> fbs.Model:
    return unary("DEQUANTIZE", 2, {"scale": scale}, {"dtype": DType.FLOAT32})


def _dead_scale() -> fbs.Model:
    model = with_value(with_value(network(), "conv_w", 3, 0), "conv_b", 3, 0)
    return with_entry(model, "conv_w", "scale", 3, 0.0)


def _float_operand() -> fbs.Model:
    b = fbs.Builder()
    x = b.input("x", DType.INT8, (1, 8), scale=0.1)
    c = b.constant("c", np.ones((1, 8), np.float32))
    y = b.tensor("y", DType.INT8, (1, 8), scale=0.2)
    b.op("ADD", [x, c], [y], version=2)
    return b.finish([y])


def _shared_bias() -> fbs.Model:
    """Build two FULLY_CONNECTED that read one bias, whose scale fits the first."""
    b = fbs.Builder()
    x = b.input("x", DType.INT8, (1, 8), scale=2.0**-5)
    weights = [b.constant(f"w{layer}", models.codes(layer, 8, 8), scale=2.0**-7) for layer in range(2)]
    bias = b.constant("b", np.arange(8, dtype=np.int32), scale=2.0**-12)
    middle = b.tensor("middle", DType.INT8, (1, 8), scale=2.0**-4)
    y = b.tensor("y", DType.INT8, (1, 8), scale=0.1)
    b.op("FULLY_CONNECTED", [x, weights[0], bias], [middle], version=4)
    b.op("FULLY_CONNECTED", [middle, weights[1], bias], [y], version=4)
    return b.finish([y])


def _legacy(bias_scale: float = 2.0**-12) -> fbs.Model:
    """Build a uint8 FULLY_CONNECTED."""
    b = fbs.Builder()
    x = b.input("x", DType.UINT8, (1, 8), scale=2.0**-5, zero_point=128)
    values = (models.codes(1, 4, 8).astype(np.int16) + 128).astype(np.uint8)
    w = b.constant("w", values, scale=2.0**-7, zero_point=120)
    bias = b.constant("b", np.array([1, 2, 3, 100000], np.int32), scale=bias_scale)
    y = b.tensor("y", DType.UINT8, (1, 4), scale=0.1, zero_point=3)
    b.op("FULLY_CONNECTED", [x, w, bias], [y], version=1)
    return b.finish([y])


def _hybrid() -> fbs.Model:
    """Build a FULLY_CONNECTED of floats with int8 weights whose scales run along the wrong dimension."""
    b = fbs.Builder()
    x = b.input("x", DType.FLOAT32, (1, 8))
    w = b.constant("w", models.codes(1, 8, 8), scale=[0.01] * 8, quantized_dimension=1)
    y = b.tensor("y", DType.FLOAT32, (1, 8))
    b.op("FULLY_CONNECTED", [x, w, None], [y], version=4)
    return b.finish([y])


def _narrow_bias() -> fbs.Model:
    model = with_data(wide(), "conv_b", np.arange(8, dtype=np.int32), dtype=DType.INT32)
    return with_options(model, 0, quantized_bias_type=DType.INT32.value)


def _comparison(scale: float) -> fbs.Model:
    b = fbs.Builder()
    inputs = [b.input(f"x{slot}", DType.INT8, (1, 8), scale=size) for slot, size in enumerate((0.1, scale))]
    y = b.tensor("y", DType.BOOL, (1, 8))
    b.op("LESS", inputs, [y], version=2)
    return b.finish([y])


def _custom() -> fbs.Model:
    b = fbs.Builder()
    x, y = b.input("x", DType.FLOAT32, (1, 8)), b.tensor("y", DType.FLOAT32, (1, 8))
    b.custom("Mystery", [x], [y])
    return b.finish([y])


def _matmul(*, constant: bool = False) -> fbs.Model:
    """Build a BATCH_MATMUL of 40,000 products."""
    b = fbs.Builder()
    params = {"scale": 0.01, "zero_point": -128}
    inputs = [b.input("left", DType.INT8, (1, 2, 40000), **params)]
    if constant:
        inputs.append(b.constant("right", np.full((1, 40000, 2), 127, np.int8), **params))
    else:
        inputs.append(b.input("right", DType.INT8, (1, 40000, 2), **params))
    y = b.tensor("y", DType.INT8, (1, 2, 2), scale=1.0)
    b.op("BATCH_MATMUL", inputs, [y], version=2)
    return b.finish([y])


def _large_mean() -> fbs.Model:
    b = fbs.Builder()
    x = b.input("x", DType.INT16, (1, 300, 300, 2), scale=0.01)
    y = b.tensor("y", DType.INT16, (1, 2), scale=0.01)
    b.op("MEAN", [x, b.constant("axes", np.array([1, 2], np.int32))], [y], version=3)
    return b.finish([y])


def _sum() -> fbs.Model:
    b = fbs.Builder()
    x = b.input("x", DType.INT8, (1, 8, 2), scale=0.01)
    y = b.tensor("y", DType.INT8, (1, 2), scale=0.05)
    b.op("SUM", [x, b.constant("axes", np.array([1], np.int32))], [y], version=2)
    return b.finish([y])


def _narrow_sums() -> fbs.Model:
    """Build a 16x8 CONV_2D with an int32 bias and more products than 32 bits hold."""
    b = fbs.Builder()
    x = b.input("x", DType.INT16, (1, 1, 1, 600), scale=2.0**-5)
    w = b.constant("w", np.full((2, 1, 1, 600), 127, np.int8), scale=2.0**-7)
    bias = b.constant("b", np.zeros(2, np.int32), scale=2.0**-12)
    y = b.tensor("y", DType.INT16, (1, 1, 1, 2), scale=2.0**-4)
    options = {"stride_w": 1, "stride_h": 1, "quantized_bias_type": DType.INT32.value}
    b.op("CONV_2D", [x, w, bias], [y], version=8, **options)
    return b.finish([y])


def _svdf(memory: int = 4) -> fbs.Model:
    """Build an int8 SVDF of one unit that sums some products of int16 and int16."""
    b = fbs.Builder()
    x = b.input("x", DType.INT8, (1, 4), scale=0.5)
    features = b.constant("features", np.array([[90, -7, 33, 5]], np.int8), scale=0.02)
    times = b.constant("times", np.array([[30000, -20000, 30000, 1][:memory]], np.int16), scale=0.001)
    bias = b.constant("bias", np.array([40], np.int32), scale=0.00001)
    state = b.variable("state", DType.INT16, (1, memory), scale=0.01)
    y = b.tensor("y", DType.INT8, (1, 1), scale=0.25)
    b.op("SVDF", [x, features, times, bias, state], [y], version=3, rank=1, fused_activation_function=1)
    return b.finish([y])


def _cumsum() -> fbs.Model:
    b = fbs.Builder()
    x, y = b.input("x", DType.INT8, (1, 8), scale=0.1), b.tensor("y", DType.INT8, (1, 8), scale=0.5)
    b.op("CUMSUM", [x, b.constant("axis", np.array(1, np.int32))], [y])
    return b.finish([y])


def _long_bias() -> fbs.Model:
    return with_value(dense(models.codes(1, 2, 8), wide=True), "b", 1, 1 << 50)


def _small(scale: float, *, is_wide: bool = False) -> fbs.Model:
    return dense(np.full((1, 1), 3, np.int8), wide=is_wide, y_scale=scale)


def _never_on() -> fbs.Model:
    model = with_value(network(), "dense_w", 2, 1)
    return with_value(model, "dense_b", 2, -300_000)


def _resized() -> fbs.Model:
    b = fbs.Builder()
    x = b.input("x", DType.INT16, (1, 2, 2, 1), scale=0.1)
    y = b.tensor("y", DType.INT16, (1, 4, 4, 1), scale=0.1)
    b.op("RESIZE_BILINEAR", [x, b.constant("size", np.array([4, 4], np.int32))], [y], version=4)
    return b.finish([y])


def _reshaped(zero_point: int) -> fbs.Model:
    b = fbs.Builder()
    x = b.input("x", DType.INT8, (1, 8), scale=0.1, zero_point=1)
    y = b.tensor("y", DType.INT8, (8,), scale=0.1, zero_point=zero_point)
    b.op("RESHAPE", [x, b.constant("shape", np.array([8], np.int32))], [y], new_shape=[8])
    return b.finish([y])


def _pooled() -> fbs.Model:
    b = fbs.Builder()
    x = b.input("x", DType.INT8, (1, 4, 4, 1), scale=0.1)
    y = b.tensor("y", DType.INT8, (1, 2, 2, 1), scale=0.2)
    size = {"filter_width": 2, "filter_height": 2, "stride_w": 2, "stride_h": 2}
    b.op("MAX_POOL_2D", [x], [y], version=2, padding=1, **size)
    return b.finish([y])


_FIXED = {"scale": 1 / 256, "zero_point": -128}

FAULTS: Mapping[str, Fault] = {
    # The structure of the file.
    "an index of a tensor that is not there": _fault("QR001", "ADD", lambda: with_op(network(), 2, inputs=(99, 4))),
    "an operator before the one that feeds it": _fault("QR001", "DEPTHWISE_CONV_2D", _swapped),
    "data too short": _fault("QR001", "dense_w", lambda: with_tensor(network(), "dense_w", shape=(11, 16))),
    "a variable with data": _fault("QR001", "dense_b", lambda: with_tensor(network(), "dense_b", is_variable=True)),
    "a signature with a strange output": _fault("QR002", "model", _signature),
    # Scales.
    "NaN as scale": _fault("QR101", "conv_w", lambda: with_entry(network(), "conv_w", "scale", 2, np.nan)),
    "infinite scale": _fault("QR101", "mean", lambda: with_entry(network(), "mean", "scale", 0, np.inf)),
    "negative scale": _fault("QR102", "sum", lambda: with_entry(network(), "sum", "scale", 0, -0.09)),
    "scale 0 of an output": _fault("QR103", "dense", lambda: with_entry(network(), "dense", "scale", 0, 0.0)),
    "scale 0 of weights": _fault("QR103", "conv_w", lambda: with_entry(network(), "conv_w", "scale", 5, 0.0)),
    "scale 0 of zeros": _fault("QR104", "conv_w", _dead_scale),
    "denormal scale": _fault("QR105", "x", lambda: _dequantize(1e-40)),
    "huge scale": _fault("QR106", "x", lambda: _dequantize(3e37)),
    # Operands.
    "uint8 weights beside int8 inputs": _fault(
        "QR201", "dense_w", lambda: with_tensor(network(), "dense_w", dtype=DType.UINT8)
    ),
    "a float operand beside an int8 one": _fault("QR201", "c", _float_operand),
    "HARD_SWISH of int16": _fault(
        "QR202", "HARD_SWISH", lambda: unary("HARD_SWISH", 1, *[{"dtype": DType.INT16, "scale": 0.1}] * 2)
    ),
    "no scale": _fault("QR203", "scores", lambda: with_tensor(network(), "scores", quantization=None)),
    "several scales of an activation": _fault(
        "QR204",
        "scores",
        lambda: with_quant(network(), "scores", scale=[1 / 256] * 10, zero_point=[-128] * 10, quantized_dimension=1),
    ),
    "filter scales along input channels": _fault(
        "QR205",
        "conv_w",
        lambda: with_quant(network(), "conv_w", scale=[0.005] * 4, zero_point=[0] * 4, quantized_dimension=3),
    ),
    "fewer scales than channels": _fault(
        "QR205", "conv_w", lambda: with_quant(network(), "conv_w", scale=[0.005] * 7, zero_point=[0] * 7)
    ),
    "hybrid weights' scales along inputs": _fault("QR205", "w", _hybrid),
    "zero point of a channel": _fault("QR206", "conv_w", lambda: with_entry(network(), "conv_w", "zero_point", 2, 9)),
    "asymmetric weights of FULLY_CONNECTED": _fault(
        "QR207", "dense_w", lambda: with_entry(network(), "dense_w", "zero_point", 0, -20)
    ),
    "asymmetric weights of a convolution": _fault(
        "QR207",
        "conv_w",
        lambda: with_quant(
            with_quant(network(), "conv_b", scale=[np.float32(0.02) * np.float32(0.005)], zero_point=[0]),
            "conv_w",
            scale=[0.005],
            zero_point=[-20],
        ),
    ),
    "zero point of int16": _fault("QR208", "mean", lambda: with_entry(wide(), "mean", "zero_point", 0, 3)),
    "a weight of -128": _fault("QR209", "dense_w", lambda: with_value(network(), "dense_w", (3, 4), -128)),
    "zero point beyond int8": _fault("QR210", "mean", lambda: with_entry(network(), "mean", "zero_point", 0, 200)),
    # Biases.
    "int64 bias of int8": _fault(
        "QR301", "conv_b", lambda: with_data(network(), "conv_b", np.zeros(8, np.int64), dtype=DType.INT64)
    ),
    "int32 bias of a 16x8 DEPTHWISE_CONV_2D": _fault(
        "QR301", "depthwise_b", lambda: with_data(wide(), "depthwise_b", np.zeros(8, np.int32), dtype=DType.INT32)
    ),
    "one wrong scale of a bias": _fault(
        "QR302", "depthwise_b", lambda: with_entry(network(), "depthwise_b", "scale", 6, 0.001)
    ),
    "wrong scale of a bias of uint8": _fault("QR302", "b", lambda: _legacy(2.0**-9)),
    "zero point of a bias": _fault("QR303", "dense_b", lambda: with_entry(network(), "dense_b", "zero_point", 0, 1)),
    "axis of the filter on the bias": _fault(
        "QR304", "depthwise_b", lambda: with_quant(network(), "depthwise_b", quantized_dimension=3)
    ),
    "axis beyond a tensor of one scale": _fault(
        "QR304", "mean", lambda: with_quant(network(), "mean", quantized_dimension=7)
    ),
    "bias too short": _fault("QR305", "dense_b", lambda: with_data(network(), "dense_b", np.zeros(9, np.int32))),
    "bias of a transposed convolution too short": _fault(
        "QR305",
        "b",
        lambda: with_quant(with_data(transposed(), "b", np.zeros(2, np.int32)), "b", scale=[2.0**-12], zero_point=[0]),
    ),
    "convolution without a bias": _fault("QR306", "conv_w", lambda: with_op(network(), 0, inputs=(0, 1, -1))),
    "int32 bias without saying so": _fault(
        "QR307", "conv_b", lambda: with_options(_narrow_bias(), 0, quantized_bias_type=0)
    ),
    "bias wrapped to the lowest number": _fault(
        "QR308", "dense_b", lambda: with_value(network(), "dense_b", 4, -(1 << 31))
    ),
    "bias of another op": _fault("QR309", "b", _shared_bias),
    # Relations.
    "CONCATENATION of other scales": _fault(
        "QR311", "joined", lambda: with_entry(network(), "joined", "zero_point", 0, 3)
    ),
    "RESHAPE to another zero point": _fault("QR312", "y", lambda: _reshaped(2)),
    "MAX_POOL_2D to another scale, which XNNPACK fails on": _fault("QR312 QR803", "MAX_POOL_2D", _pooled),
    "SOFTMAX of another scale": _fault("QR313", "scores", lambda: with_entry(network(), "scores", "scale", 0, 1 / 128)),
    "LOGISTIC of another scale": _fault(
        "QR313", "y", lambda: unary("LOGISTIC", 2, {"scale": 0.1}, {"scale": 1 / 255, "zero_point": -128})
    ),
    "LOGISTIC of another zero point": _fault(
        "QR314", "y", lambda: unary("LOGISTIC", 2, {"scale": 0.1}, {**_FIXED, "zero_point": 0})
    ),
    "TANH of another scale": _fault("QR314", "y", lambda: unary("TANH", 2, {"scale": 0.1}, {"scale": 0.01})),
    "cell state between powers of two": _fault("QR315", "cell", lambda: with_entry(lstm(), "cell", "scale", 0, 0.0007)),
    # Multipliers.
    "a multiplier below 2^-32": _fault("QR401", "w", lambda: _small(1e7)),
    "a multiplier above 2^30": _fault("QR402", "w", lambda: _small(1e-13)),
    "a multiplier of 256": _fault("QR403", "w", lambda: _small(2.0**-20)),
    "scales too far apart for XNNPACK": _fault("QR404", "x1", lambda: elementwise("ADD", 2, (0.5, 0.0002, 0.4))),
    "product of scales too small for XNNPACK": _fault("QR404", "y", lambda: elementwise("MUL", 2, (0.001, 0.001, 0.5))),
    "LEAKY_RELU with an alpha too small for XNNPACK": _fault(
        "QR404", "y", lambda: unary("LEAKY_RELU", 2, {"scale": 0.1}, {"scale": 0.1}, alpha=0.001)
    ),
    "ADD to a scale far too small": _fault("QR405", "y", lambda: elementwise("ADD", 2, (1.0, 1.0, 1e-6))),
    "comparison of a scale above 1": _fault("QR405", "x1", lambda: _comparison(2.0)),
    "a 16-bit multiplier half a step off": _fault("QR406", "depthwise", models.rounded_multiplier),
    "a 64-bit multiplier of 256": _fault("QR407", "w", lambda: _small(2.0**-20, is_wide=True)),
    "comparison of a scale below 1/512": _fault("QR408", "x1", lambda: _comparison(1 / 1024)),
    "SOFTMAX of steps of 40": _fault("QR409", "x", lambda: unary("SOFTMAX", 2, {"scale": 40.0}, _FIXED, beta=1.0)),
    # Accumulators.
    "140,000 products": _fault("QR501", "w", lambda: dense(np.full((1, 140000), 127, np.int8), y_scale=2000.0)),
    "600 products of 16x8 in 32 bits": _fault("QR501", "w", _narrow_sums),
    "BATCH_MATMUL of 40,000 products": _fault("QR501", "left", _matmul),
    "BATCH_MATMUL by a constant of large weights": _fault("QR501", "right", lambda: _matmul(constant=True)),
    "SVDF with a long memory of large weights": _fault("QR501", "times", _svdf),
    "a bias of 50 bits": _fault(
        "QR502", "w", lambda: with_value(dense(models.codes(1, 2, 8), wide=True), "b", 1, 1 << 50)
    ),
    "a multiplier of 200 after many products": _fault(
        "QR503", "w", lambda: dense(np.full((1, 1600), 127, np.int8), y_scale=2.0**-12 / 200)
    ),
    "MEAN of 90,000 codes of int16": _fault("QR504", "x", _large_mean),
    # Channels.
    "a channel of zeros": _fault("QR601", "dense_w", lambda: with_value(network(), "dense_w", 7, 0)),
    "a channel of zeros of a depthwise convolution": _fault(
        "QR601", "depthwise_w", lambda: with_value(network(), "depthwise_w", (..., 2), 0)
    ),
    "a channel that its bias holds down": _fault("QR602", "dense_w", _never_on),
    "RELU6 above the zero point 127": _fault(
        "QR603",
        "dense",
        lambda: with_entry(with_options(network(), 5, fused_activation_function=3), "dense", "zero_point", 0, 127),
    ),
    # Versions.
    "a version of the future": _fault("QR701", "FULLY_CONNECTED", lambda: with_version(network(), 5, 99)),
    "a version that the reference lacks": _fault("QR702", "DEPTHWISE_CONV_2D", lambda: with_version(network(), 1, 7)),
    "an op that nobody knows": _fault("QR703", "Mystery", _custom),
    "ELU": _fault("QR704", "ELU", lambda: unary("ELU", 1, *[{"scale": 0.1}] * 2)),
    "GELU, which TFLite Micro lacks": _fault(
        "QR705", "GELU", lambda: unary("GELU", 1, *[{"dtype": DType.FLOAT32}] * 2)
    ),
    "a version from before int8": _fault("QR706", "CONV_2D", lambda: with_version(network(), 0, 1)),
    # Single runtimes.
    "weights of another depth than the input": _fault(
        "QR801", "CONV_2D", lambda: with_data(network(), "conv_w", models.codes(2, 8, 3, 3, 3))
    ),
    "RESIZE_BILINEAR of int16": _fault("QR802", "RESIZE_BILINEAR", _resized),
    "SUM, which the reference computes wrongly": _fault("QR804", "SUM", _sum),
    "SVDF without the activation that LiteRT insists on": _fault(
        "QR801", "SVDF", lambda: with_options(_svdf(memory=1), 0, fused_activation_function=0)
    ),
    "CUMSUM of int8, which TFLite Micro alone has": _fault("QR805", "CUMSUM", _cumsum),
    "RELU6 that rescales": _fault("QR804", "RELU6", lambda: unary("RELU6", 2, {"scale": 0.1}, {"scale": 0.05})),
}
