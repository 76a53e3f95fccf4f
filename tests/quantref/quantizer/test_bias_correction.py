"""Bias correction: the mean of a layer's output is that of the float model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import fbs
from qmath.affine import dequantize
from qmath.errors import InputError
from qmath.types import DType
from quantref import run
from quantref.quantizer import QuantrefStyle, Statistics, calibrate, quantize
from quantref.quantizer.bias_correction import channel_counts, channel_means, output_shift
from tests.quantref.quantizer.small_graphs import tensor

RNG = np.random.default_rng(5)


def one_layer(name: str, x: tuple[int, ...], w: tuple[int, ...], y: tuple[int, ...], **options: int) -> fbs.Model:
    """Build an op with weights and bias on positive inputs."""
    builder = fbs.Builder()
    source, result = builder.input("x", DType.FLOAT32, x), builder.tensor("y", DType.FLOAT32, y)
    weights = builder.constant("w", RNG.standard_normal(w).astype(np.float32))
    bias = builder.constant("b", RNG.standard_normal(y[-1]).astype(np.float32))
    operands = [source, weights, bias]
    if name == "TRANSPOSE_CONV":
        operands = [builder.constant("shape", np.array(y, np.int32)), weights, source, bias]
    builder.op(name, operands, [result], **options)
    return builder.finish([result])


VALID = {"padding": 1, "stride_h": 1, "stride_w": 1}
LAYERS = {
    "convolution": lambda: one_layer("CONV_2D", (1, 6, 6, 4), (5, 3, 3, 4), (1, 4, 4, 5), **VALID),
    "two groups": lambda: one_layer("CONV_2D", (1, 6, 6, 4), (6, 3, 3, 2), (1, 4, 4, 6), **VALID),
    "depthwise": lambda: one_layer(
        "DEPTHWISE_CONV_2D", (1, 6, 6, 4), (1, 3, 3, 8), (1, 4, 4, 8), depth_multiplier=2, **VALID
    ),
    "fully connected": lambda: one_layer("FULLY_CONNECTED", (1, 40), (6, 40), (1, 6)),
    "several places as one": lambda: one_layer("FULLY_CONNECTED", (1, 2, 2, 10), (6, 40), (1, 6)),
    "transposed": lambda: one_layer(
        "TRANSPOSE_CONV", (1, 3, 3, 4), (5, 2, 2, 4), (1, 6, 6, 5), padding=1, stride_h=2, stride_w=2
    ),
}


def samples(model: fbs.Model, count: int = 20) -> list[list[np.ndarray]]:
    """Draw positive samples, alike at every place but not in every channel."""
    shape = model.subgraphs[0].tensors[model.subgraphs[0].inputs[0]].shape
    return [[np.abs(RNG.normal(np.arange(shape[-1]), 1, shape)).astype(np.float32)] for _ in range(count)]


@pytest.mark.parametrize("layer", LAYERS)
def test_the_bias_makes_up_for_the_weights_on_average(layer: str) -> None:
    model = LAYERS[layer]()
    known = calibrate(model, samples(model))
    ((source, means),) = known.means_of(model).items()
    quantized = quantize(model, mode="int8", statistics=known, weight_bits=4)
    operator, float_operator = (
        next(op for op in found.subgraphs[0].operators if op.name not in {"QUANTIZE", "DEQUANTIZE"})
        for found in (quantized, model)
    )
    weights, exact = tensor(quantized, "w"), tensor(model, "w")
    assert weights.data is not None
    assert exact.data is not None
    error = dequantize(weights.data, weights.quant) - exact.data
    options = float_operator.options or {}
    shift = output_shift(operator.name, model.subgraphs[0].tensors[source].shape, error, means, options)
    assert shift is not None
    bias, real = tensor(quantized, "b"), tensor(model, "b")
    found = dequantize(bias.data, bias.quant) - real.data
    assert np.abs(shift).max() > 5 * bias.quant.scale.max()
    np.testing.assert_allclose(found, -shift, rtol=0, atol=2 * bias.quant.scale.max())


@pytest.mark.parametrize("layer", LAYERS)
def test_the_shift_is_that_of_constant_channels(layer: str) -> None:
    """Where every place of a channel has its mean, the shift is what the errors themselves give as weights."""
    model = LAYERS[layer]()
    graph = model.subgraphs[0]
    operator = graph.operators[0]
    shape, weights = graph.tensors[graph.inputs[0]].shape, tensor(model, "w").data
    depth = weights.shape[-1] if operator.name == "FULLY_CONNECTED" else shape[-1]
    means = RNG.standard_normal(depth)
    x = np.broadcast_to(means, (1, np.prod(shape) // depth, depth)).reshape(shape).astype(np.float32)
    y = run(model, {"x": x})["y"].reshape(-1, tensor(model, "b").shape[0]) - tensor(model, "b").data
    shift = output_shift(operator.name, shape, weights, means, operator.options or {})
    np.testing.assert_allclose(y.mean(axis=0), shift, rtol=1e-4, atol=1e-5)


def test_without_means_or_on_request_biases_are_the_nearest() -> None:
    model = LAYERS["convolution"]()
    known = calibrate(model, samples(model))
    uncorrected = quantize(model, mode="int8", statistics=known, style=QuantrefStyle(corrects_bias=False))
    unknown = quantize(model, mode="int8", statistics=Statistics(known.ranges))
    bias, exact = tensor(uncorrected, "b"), tensor(model, "b").data
    assert np.abs(dequantize(bias.data, bias.quant) - exact).max() <= bias.quant.scale.max()
    np.testing.assert_array_equal(bias.data, tensor(unknown, "b").data)
    assert np.any(bias.data != tensor(quantize(model, mode="int8", statistics=known), "b").data)


def test_a_bias_that_layers_share_is_corrected_for_each() -> None:
    builder = fbs.Builder()
    x = builder.input("x", DType.FLOAT32, (1, 8))
    bias = builder.constant("b", np.zeros(8, np.float32))
    weights = RNG.standard_normal((2, 8, 8)).astype(np.float32)
    weights[1] *= np.abs(weights[0]).max(axis=1, keepdims=True) / np.abs(weights[1]).max(axis=1, keepdims=True)
    results = [builder.tensor(name, DType.FLOAT32, (1, 8)) for name in "yz"]
    for number, result in enumerate(results):
        builder.op("FULLY_CONNECTED", [x, builder.constant(f"w{number}", weights[number]), bias], [result])
    model = builder.finish(results)
    quantized = quantize(model, mode="int8", representative_dataset=samples(model)).subgraphs[0]
    dense = [op for op in quantized.operators if op.name == "FULLY_CONNECTED"]
    one, other = (quantized.tensors[op.inputs[2]].data for op in dense)
    assert np.any(one != other)


def test_statistics_keep_means(tmp_path: Path) -> None:
    model = LAYERS["convolution"]()
    data = samples(model, 6)
    whole = calibrate(model, data)
    whole.save(tmp_path / "stats.json")
    assert Statistics.load(tmp_path / "stats.json") == whole
    parts = calibrate(model, data[:2]).merge(calibrate(model, data[2:]))
    np.testing.assert_allclose(parts.means["x"], whole.means["x"], rtol=1e-12)
    assert calibrate(model, data[:2]).merge(calibrate(model, data[2:], style="tflite")).means == {}
    assert calibrate(model, data, style="tflite").means == {}
    with pytest.raises(InputError, match="finite means"):
        Statistics({}, means={"x": (float("nan"),)})


def test_which_tensors_have_means() -> None:
    assert channel_counts(LAYERS["several places as one"]().subgraphs[0]) == {0: 40}
    assert channel_counts(LAYERS["depthwise"]().subgraphs[0]) == {0: 4}
    np.testing.assert_array_equal(channel_means(np.arange(8, dtype=np.float32).reshape(1, 2, 4), 4), [2, 3, 4, 5])
