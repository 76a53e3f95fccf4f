"""Pruning and clustering: what becomes of the weights, and that quantization keeps it."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fbs
import quantref as qr
from fbs import sparsity
from qmath.errors import InputError, ModelError
from qmath.types import DType
from quantref.cli import main
from quantref.optimize import (
    Clustering,
    ConstantSparsity,
    Pattern,
    PolynomialDecay,
    Pruning,
    Scope,
    Sharing,
    Start,
    masks_of,
    report_step,
)
from quantref.optimize.clustering import share
from quantref.optimize.layers import layers_of

RNG = np.random.default_rng(7)


def small_network() -> fbs.Model:
    """Build a convolution, a depthwise convolution and a fully connected layer, all float32."""
    builder, rng = fbs.Builder(), np.random.default_rng(0)

    def constant(name, *shape):
        return builder.constant(name, rng.normal(size=shape).astype(np.float32))

    x = builder.input("x", DType.FLOAT32, (1, 8, 8, 4))
    y = builder.tensor("conv", DType.FLOAT32, (1, 8, 8, 16))
    builder.op("CONV_2D", [x, constant("conv/w", 16, 3, 3, 4), constant("conv/b", 16)], [y], stride_h=1, stride_w=1)
    z = builder.tensor("depthwise", DType.FLOAT32, (1, 8, 8, 16))
    options = {"stride_h": 1, "stride_w": 1, "depth_multiplier": 1}
    builder.op("DEPTHWISE_CONV_2D", [y, constant("dw/w", 1, 3, 3, 16), constant("dw/b", 16)], [z], **options)
    flat = builder.tensor("flat", DType.FLOAT32, (1, 1024))
    shape = builder.constant("shape", np.array([1, 1024], np.int32))
    builder.op("RESHAPE", [z, shape], [flat])
    out = builder.tensor("logits", DType.FLOAT32, (1, 10))
    builder.op("FULLY_CONNECTED", [flat, constant("fc/w", 10, 1024), constant("fc/b", 10)], [out])
    return builder.finish([out])


MODEL = small_network()


def weights(model):
    return {layer.name: layer.values for layer in layers_of(model)}


@settings(max_examples=60, deadline=None, derandomize=True)
@given(sparsity=st.floats(0, 0.999), rows=st.integers(1, 9), columns=st.integers(1, 9), seed=st.integers(0, 999))
def test_the_least_weights_fall_and_as_many_as_asked(sparsity, rows, columns, seed):
    values = np.random.default_rng(seed).integers(-5, 6, (rows, columns)).astype(np.float32)
    (mask,) = masks_of([values], Pruning(sparsity))
    assert np.count_nonzero(~mask) == round(sparsity * values.size)
    if mask.any() and not mask.all():
        assert np.abs(values[~mask]).max() <= np.abs(values[mask]).min()


def test_by_hand():
    values = np.array([[1, -4, 2, 3], [0.5, 5, -6, 0.25]], np.float32)
    assert masks_of([values], Pruning(0.5))[0].tolist() == [[False, True, False, True], [False, True, True, False]]
    two = Pruning(0.5, Pattern.TWO_OF_FOUR)
    assert masks_of([values], two)[0].tolist() == [[False, True, False, True], [False, True, True, False]]
    pairs = Pruning(0.5, Pattern.BLOCK, block=(1, 2))
    assert masks_of([values], pairs)[0].tolist() == [[False, False, False, False], [True, True, True, True]]
    layers = [values, values * 10]
    kept = masks_of(layers, Pruning(0.5, scope=Scope.GLOBAL))
    assert [int(mask.sum()) for mask in kept] == [1, 7]


def test_two_of_four_keeps_half_of_a_short_group():
    (mask,) = masks_of([np.array([[3, 1, 2, 4, 9, 8, 7]], np.float32)], Pruning(0.5, Pattern.TWO_OF_FOUR))
    assert mask.tolist() == [[True, False, False, True, True, True, False]]


@pytest.mark.parametrize("pattern", Pattern)
def test_a_model_is_pruned_layer_by_layer(pattern):
    result = qr.optimize(MODEL, prune=Pruning(0.5, pattern, block=(2, 4)), exclude=["dw"])
    before, after = weights(MODEL), weights(result.model)
    assert np.array_equal(before["dw/w"], after["dw/w"])
    for name in ("conv/w", "fc/w"):
        kept = after[name] != 0
        assert 0.45 < kept.mean() < 0.55
        assert np.array_equal(after[name][kept], before[name][kept])
    steps = result.report.steps
    assert [step.step for step in steps] == [
        "original",
        "pruned 2:4" if pattern is Pattern.TWO_OF_FOUR else "pruned 50%",
    ]
    assert steps[1].gzip_size < steps[0].gzip_size


@pytest.mark.parametrize("start", Start)
@pytest.mark.parametrize("sharing", Sharing)
def test_a_model_is_clustered(start, sharing):
    result = qr.optimize(MODEL, cluster=Clustering(5, start, sharing))
    for layer in result.report.steps[-1].layers:
        assert (layer.distinct if sharing is Sharing.LAYER else layer.distinct_per_channel) <= 5
    for name, values in weights(result.model).items():
        assert np.corrcoef(values.ravel(), weights(MODEL)[name].ravel())[0, 1] > 0.9


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    values=st.lists(st.integers(-9, 9), min_size=1, max_size=40),
    clusters=st.integers(2, 6),
    start=st.sampled_from(Start),
    zero=st.booleans(),
)
def test_shared_values(values, clusters, start, zero):
    found = np.array(values, np.float32)
    shared = share(found, Clustering(clusters, start, preserve_zero=zero), np.random.default_rng(0))
    assert len(np.unique(shared)) <= clusters
    if zero:
        assert (shared[found == 0] == 0).all()
    if len(np.unique(found)) <= clusters - 1:
        assert np.array_equal(shared, found)
    order = np.argsort(found, kind="stable")
    assert (np.diff(shared[order]) >= 0).all() or zero


def test_k_means_finds_the_clusters_that_are_there():
    centers = np.array([-4, -1, 2, 7], np.float32)
    values = (centers[:, None] + np.linspace(-0.1, 0.1, 11, dtype=np.float32)).ravel()
    for start in Start:
        shared = share(values, Clustering(4, start), np.random.default_rng(3))
        if start is not Start.LINEAR:
            assert np.allclose(np.unique(shared), centers, atol=1e-6)


def data():
    rng = np.random.default_rng(1)
    return [[rng.normal(size=(1, 8, 8, 4)).astype(np.float32)] for _ in range(4)]


@pytest.mark.parametrize("mode", ["dynamic", "int8", "16x8", "float16", "int4", "uint8"])
def test_zeros_and_shared_values_survive_quantization(mode):
    small = qr.optimize(MODEL, prune=0.6, cluster=6).model
    given = {"input_stats": (0.0, 64.0), "default_ranges": (-6.0, 6.0)} if mode == "uint8" else {}
    quantized = qr.quantize(small, mode=mode, representative_dataset=data(), **given)
    before, after = report_step("float", small).layers, report_step(mode, quantized).layers
    assert len(before) == len(after) == 3
    for ours, theirs in zip(before, after, strict=True):
        assert theirs.op == ours.op
        assert theirs.zeros >= ours.zeros > 0
        assert theirs.distinct_per_channel <= 6


@pytest.mark.litert
def test_what_is_stored_sparsely_runs_in_litert():
    result = qr.optimize(MODEL, prune=Pruning(0.9, Pattern.BLOCK, block=(1, 4)), sparse_encoding=True)
    dense, sparse = result.report.steps[1:]
    assert sparse.step == "1 layers stored sparsely"
    assert sparse.file_size < dense.file_size - 20_000
    assert [layer.zeros for layer in sparse.layers] == [layer.zeros for layer in dense.layers]
    again = fbs.read(fbs.write(result.model))
    verified = qr.verify(again, samples=2)
    assert verified.death is None
    assert not verified.refusal
    assert (verified.end_to_end.elements, verified.end_to_end.mismatches) == (20, 0)


def test_a_matrix_is_stored_without_its_zero_blocks():
    values = np.array([[0, 0, 1, 2], [0, 0, 0, 0], [3, 0, 0, 4]], np.float32)
    for block, stored in ((1, [1, 2, 3, 4]), (2, [1, 2, 3, 0, 0, 4]), (4, [0, 0, 1, 2, 3, 0, 0, 4])):
        kept, layout = sparsity.sparsify(values, block)
        assert kept.tolist() == stored
        assert np.array_equal(sparsity.densify(kept.view(np.uint8), DType.FLOAT32, values.shape, layout), values)
    with pytest.raises(ModelError, match="whole blocks of 3"):
        sparsity.sparsify(values, 3)


def test_schedules():
    constant = ConstantSparsity(0.5, begin=10, end=30, frequency=10)
    assert [step for step in range(50) if constant.is_due(step)] == [10, 20, 30]
    assert (constant.sparsity(9), constant.sparsity(10)) == (0, 0.5)
    decay = PolynomialDecay(0.8, begin=0, end=100, frequency=10, initial=0.2)
    assert decay.sparsity(0) == pytest.approx(0.2)
    assert decay.sparsity(50) == pytest.approx(0.8 - 0.6 / 8)
    assert decay.sparsity(100) == decay.sparsity(1000) == 0.8
    assert PolynomialDecay(0.5, begin=3, end=3).sparsity(3) == 0.5


@pytest.mark.parametrize(
    ("attempt", "message"),
    [
        (lambda: qr.optimize(MODEL), "something to do"),
        (lambda: qr.optimize(MODEL, prune=1.0), "at least 0 and below 1, found 1.0"),
        (lambda: qr.optimize(MODEL, prune=float("nan")), "found nan"),
        (lambda: qr.optimize(MODEL, cluster=1), "at least 2 clusters, found 1"),
        (lambda: qr.optimize(MODEL, prune=0.5, exclude=["no_such"]), "matches none of conv/w, dw/w, fc/w"),
        (lambda: qr.optimize(MODEL, prune=0.5, exclude=["("]), "a regular expression"),
        (lambda: Pruning(0.5, Pattern.BLOCK, block=(0, 4)), "found 0x4"),
        (lambda: Pruning(0.5, Pattern.TWO_OF_FOUR, Scope.GLOBAL), "scope 'layer' with 2:4"),
        (lambda: ConstantSparsity(0.5, begin=5, end=4), "begin <= end"),
        (lambda: ConstantSparsity(1.5, begin=0, end=4), "found 1.5"),
        (lambda: PolynomialDecay(0.5, begin=0, end=4, power=0), "positive power"),
        (lambda: qr.optimize(qr.quantize(MODEL, mode="dynamic"), prune=0.5), "prune and cluster first"),
    ],
)
def test_wrong_arguments_get_one_clear_line(attempt, message):
    with pytest.raises(InputError, match=message) as error:
        attempt()
    assert "\n" not in str(error.value)


def test_the_command(tmp_path, capsys):
    model, output = tmp_path / "float.tflite", tmp_path / "small.tflite"
    qr.save(MODEL, model)
    arguments = ["optimize", str(model), "-o", str(output), "--prune", "0.8", "--cluster", "16", "--exclude", "dw"]
    assert main(arguments) == 0
    assert "pruned 80%" in capsys.readouterr().out
    assert main([*arguments, "--json"]) == 0
    steps = json.loads(capsys.readouterr().out)["steps"]
    assert [step["step"] for step in steps] == ["original", "pruned 80%", "16 clusters"]
    assert steps[-1]["layers"][0]["distinct"] <= 16
    assert qr.load(output).subgraphs[0].operators
    assert main(["optimize", str(model), "-o", str(output), "--prune", "1.5"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert main(["optimize", str(model), "-o", str(output), "--prune", ".5", "--block", "4"]) == 2
