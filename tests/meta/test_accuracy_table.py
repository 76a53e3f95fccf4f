"""The table of what each way to shrink a model costs: its parts, on small cases."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

import quantref as qr
from benchmarks.accuracy import report
from benchmarks.accuracy.dequantized import dequantized
from benchmarks.accuracy.measure import Figures, Labelled, measure, predict
from benchmarks.accuracy.sharing import Cluster, Prune, large_layers
from examples.training.network import Architecture
from examples.training.training import load_images
from qmath.errors import UnsupportedError

TINY = Architecture(stem=4, blocks=((6, 2), (6, 1)), hidden=5)


@pytest.fixture
def network():
    return TINY.build(np.random.default_rng(1))


def distinct(layer):
    return len(np.unique(layer.weights["filter"]))


def test_pruning_rises_to_its_goal_and_stays(network):
    layers = large_layers(network)
    weights = sum(layer.weights["filter"].size for layer in layers)
    prune = Prune(network, 0.75)
    zeros = []
    for step in (0, 10, 30, 50, 100):
        prune(step, 100)
        zeros.append(sum(int((layer.weights["filter"] == 0).sum()) for layer in layers))
    assert zeros[0] == 0
    assert zeros == sorted(zeros)
    assert zeros[-1] == zeros[-2] == pytest.approx(0.75 * weights, abs=1)
    others = [layer for layer in network.linear_layers if layer not in layers]
    assert len(others) == 4  # stem, two depthwise filters, the last layer
    assert all((layer.weights["filter"] != 0).all() for layer in others)


def test_clusters_stay_together_and_zeros_zero(network):
    layers = large_layers(network)
    Prune(network, 0.5)(1, 1)
    zeros = [layer.weights["filter"] == 0 for layer in layers]
    cluster = Cluster(network, 8, keep_zeros=True)
    rng = np.random.default_rng(0)
    for layer in layers:  # what a step of training does
        layer.weights["filter"] += rng.normal(size=layer.weights["filter"].shape).astype(np.float32)
    cluster(1, 1)
    for layer, zero in zip(layers, zeros, strict=True):
        assert 2 <= distinct(layer) <= 8
        assert (layer.weights["filter"][zero] == 0).all()


def test_a_dequantized_model_computes_nearly_the_same(data):
    model, images = qr.load(data / "digits_int8.tflite"), load_images("test").pixels[:50]
    real, codes = predict(dequantized(model), images), predict(model, images)
    assert real.shape == codes.shape
    assert np.abs(real - codes).mean() < 0.01
    assert not np.array_equal(real, codes)


def test_a_model_that_converts_inside_is_not_dequantized(data):
    with pytest.raises(UnsupportedError, match="int8 throughout"):
        dequantized(qr.quantize(data / "digits_float32.tflite", mode="float16"))


@pytest.mark.litert
def test_figures_of_a_model(data):
    images = load_images("test")
    few = Labelled(images.pixels[:30], images.digits[:30])
    reference = predict(qr.load(data / "digits_float32.tflite"), few.inputs)
    found = measure(qr.load(data / "digits_int8.tflite"), reference, few, verified=2)
    assert found.accuracy > 0.9
    assert found.sqnr > 20
    assert found.size == (data / "digits_int8.tflite").stat().st_size
    assert found.gzip_size < found.size
    assert (found.mismatches, found.float_elements) == (0, 0)
    assert found.elements > 0
    assert min(found.ours, found.theirs) > 0


def test_the_table_gives_means_spreads_and_ratios():
    row = [dataclasses.asdict(Figures(share, 30.0, 2000, 1000, 1e-4, 2e-4, 50, 0)) for share in (0.9, 0.92)]
    half = [dataclasses.asdict(Figures(0.5, None, 2000, 500))]
    rows = {report.PLAIN: row, "pruned": half, "int8, quantization-aware": row, "int4 weights": half * 2}
    rows["int4 weights, quantization-aware"] = row
    text = report.table(rows)
    assert "| int8, style quantref | 91.0 % ± 1.4 | 30.0 | 2,000 | 1,000 | 1.00 | 100 | 200 | 0 of 100 |" in text
    assert "| pruned | 50.0 % | exact | 2,000 | 500 | 0.50 |  |  | LiteRT refuses it |" in text
    assert "int4 weights, quantization-aware against int4 weights: +41.0 points, spread 1.4" in report.gains(rows)
    assert report.total_verified({"digits": rows}) == (6, 300, 0)
