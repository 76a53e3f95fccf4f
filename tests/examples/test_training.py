"""The training lesson: gradients against finite differences, folding, export, and a quick run of the whole."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import quantref as qr
from examples.training.export import export, predict, quantize_model
from examples.training.fake_quantization import FakeQuant, make_quantization_aware, round_weights
from examples.training.fold import fold
from examples.training.layers import BatchNorm, Convolution, Dense, Depthwise, GlobalAveragePool, Relu6
from examples.training.network import Architecture, Network
from examples.training.training import Images, Schedule, cross_entropy, fit, load_images
from qmath.affine import dequantize

ROOT = Path(__file__).resolve().parents[2]
TINY = Architecture(stem=3, blocks=((4, 2), (5, 1)))


@pytest.fixture
def rng():
    return np.random.default_rng(7)


def layers(rng):
    def normal(*shape):
        return rng.normal(size=shape).astype(np.float32)

    image = (2, 5, 6, 3)
    return {
        "convolution": (Convolution(normal(3, 3, 3, 4), normal(4)), image),
        "strided": (Convolution(normal(3, 3, 3, 4), stride=2), image),
        "pointwise": (Convolution(normal(1, 1, 3, 4), normal(4)), image),
        "depthwise": (Depthwise(normal(3, 3, 3), normal(3)), image),
        "strided depthwise": (Depthwise(normal(3, 3, 3), stride=2), image),
        "dense": (Dense(normal(6, 4), normal(4)), (3, 6)),
        "batch norm": (BatchNorm(3), image),
        "average": (GlobalAveragePool(), image),
        "relu6": (Relu6(), image),
    }


@pytest.mark.parametrize("name", list(layers(np.random.default_rng(0))))
def test_gradients_equal_finite_differences(rng, name):
    layer, shape = layers(rng)[name]
    x = (3 * rng.normal(size=shape)).astype(np.float32)
    toward = rng.normal(size=layer.forward(x, training=True).shape).astype(np.float32)

    def loss(x):
        return float((layer.forward(x, training=True).astype(np.float64) * toward).sum())

    loss(x)
    found = {"x": layer.backward(toward), **{part: layer.gradients[part].copy() for part in layer.weights}}
    arrays = {"x": x, **layer.weights}
    for part, array in arrays.items():
        assert found[part].shape == array.shape, part
        for at in rng.integers(0, array.size, size=8):
            step = np.float32(2.0**-7)
            before = array.flat[at]
            array.flat[at] = before + step
            above = loss(x)
            array.flat[at] = before - step
            below = loss(x)
            array.flat[at] = before
            assert found[part].flat[at] == pytest.approx((above - below) / (2 * step), rel=2e-2, abs=2e-2), part


def test_gradient_of_the_loss(rng):
    logits, digits = rng.normal(size=(4, 10)).astype(np.float32), np.array([1, 0, 9, 3])
    _, gradient = cross_entropy(logits, digits)
    for at in ((0, 1), (0, 2), (3, 3)):
        moved = logits.astype(np.float64)
        moved[at] += 1e-4
        above, _ = cross_entropy(moved, digits)
        moved[at] -= 2e-4
        below, _ = cross_entropy(moved, digits)
        assert gradient[at] == pytest.approx((above - below) / 2e-4, abs=1e-4)


def trained(rng):
    images = load_images("train")
    few = Images(images.pixels[:320], images.digits[:320])
    network = TINY.build(rng)
    losses = fit(network, few, Schedule(epochs=3, rate=1e-2), rng)
    assert losses[-1] < losses[0]
    return network, few


def test_folding_keeps_the_function_and_export_too(rng):
    network, images = trained(rng)
    folded = fold(network)
    assert not any(isinstance(layer, BatchNorm) for layer in folded.layers)
    expected = network.forward(images.pixels)
    assert np.allclose(folded.forward(images.pixels), expected, atol=1e-4)
    shares = np.exp(expected - expected.max(axis=1, keepdims=True))
    probabilities = predict(export(folded), images)
    assert np.allclose(probabilities, shares / shares.sum(axis=1, keepdims=True), atol=1e-5)


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("learned", [False, True], ids=["tracked", "learned"])
def test_the_quantized_file_has_the_weights_of_training(rng, bits, learned):
    network, images = trained(rng)
    aware = make_quantization_aware(fold(network), images.pixels[:100], bits, learned_ranges=learned)
    before = [layer.bounds for layer in aware.layers if isinstance(layer, FakeQuant)]
    before = [(float(low), float(high)) for low, high in before]
    fit(aware, images, Schedule(epochs=1, rate=1e-3), rng)
    after = [tuple(map(float, layer.bounds)) for layer in aware.layers if isinstance(layer, FakeQuant)]
    assert before != after
    model = quantize_model(export(aware), images, bits)
    graph = model.subgraphs[0]
    filters = [
        graph.tensors[op.inputs[1]] for op in graph.operators if "CONV" in op.name or op.name == "FULLY_CONNECTED"
    ]
    for layer, tensor in zip(aware.linear_layers, filters, strict=True):
        real = dequantize(tensor.data, tensor.quant).reshape(-1)
        used = round_weights(layer.weights["filter"], bits)
        order = {Convolution: (3, 0, 1, 2), Dense: (1, 0)}.get(type(layer), (0, 1, 2))
        assert tensor.dtype.bits == bits
        assert np.allclose(real, used.transpose(order).reshape(-1), rtol=1e-5, atol=1e-7)
    assert len(np.unique(filters[0].data)) <= 2**bits - 1


@pytest.mark.litert
def test_the_files_run_in_litert_with_the_same_bits(rng):
    network, images = trained(rng)
    model = quantize_model(export(fold(network)), images, 4)
    result = qr.verify(model, samples=4)
    assert result.equal
    assert result.total.elements > 0


def test_networks_are_rebuilt_from_a_seed():
    first, second = (TINY.build(np.random.default_rng(3)) for _ in range(2))
    assert isinstance(first, Network)
    for one, other in zip(first.linear_layers, second.linear_layers, strict=True):
        assert np.array_equal(one.weights["filter"], other.weights["filter"])


def test_the_lesson_runs():
    command = [sys.executable, "examples/training/run.py", "--seeds", "1", "--epochs", "2", "--tuning-epochs", "1"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    for row in ("float32", "int8 weights, after training", "int4 weights, aware"):
        assert row in done.stdout
    assert "int4: awareness wins" in done.stdout
