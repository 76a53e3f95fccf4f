"""Bounds of accumulators are reached and never passed, and channels called constant are."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fbs
import quantref as qr
from qmath.types import Array, DType
from quantref.checks.channels import Channels, channels_of
from tests.oracles.convolution import conv_sums, transpose_conv_sums
from tests.quantref.check.models import codes, dense, with_data, with_entry, with_quant


def channels(model: fbs.Model) -> Channels:
    """Return the bounds of a model's only op."""
    graph = model.subgraphs[0]
    found = channels_of(fbs.view(graph, graph.operators[0]))
    assert found is not None
    return found


@settings(max_examples=50, deadline=None)
@given(
    seed=st.integers(0, 1 << 30),
    depth=st.integers(1, 12),
    zero_point=st.sampled_from([-128, -7, 0, 127]),
    offset=st.sampled_from([0, 5, -128]),
)
def test_bounds_of_fully_connected(seed: int, depth: int, zero_point: int, offset: int) -> None:
    weights, bias = codes(seed, 3, depth), codes(seed + 1, 3).astype(np.int32) * 1000
    model = with_entry(with_data(dense(weights), "b", bias), "x", "zero_point", 0, zero_point)
    found = channels(with_quant(model, "w", zero_point=[offset]))
    for row in range(3):
        ends = [sorted((int(w) - offset) * (code - zero_point) for code in (-128, 127)) for w in weights[row]]
        assert found.low[row] == sum(low for low, _ in ends) + int(bias[row])
        assert found.high[row] == sum(high for _, high in ends) + int(bias[row])


def _conv(weights: Array, name: str) -> fbs.Model:
    b = fbs.Builder()
    outputs = weights.shape[3 if name == "DEPTHWISE_CONV_2D" else 0]
    depth = outputs if name == "DEPTHWISE_CONV_2D" else weights.shape[3]
    x = b.input("x", DType.INT8, (1, 5, 5, depth), scale=0.1, zero_point=3)
    w = b.constant("w", weights, scale=0.1)
    bias = b.constant("b", np.arange(outputs, dtype=np.int32), scale=0.01)
    options = {"stride_w": 1, "stride_h": 1, "padding": 1}
    if name == "TRANSPOSE_CONV":
        shape = b.constant("shape", np.array([1, 11, 11, outputs], np.int32))
        y = b.tensor("y", DType.INT8, (1, 11, 11, outputs), scale=1.0)
        b.op(name, [shape, w, x, bias], [y], version=3, **{**options, "stride_w": 2, "stride_h": 2})
    else:
        y = b.tensor("y", DType.INT8, (1, 3, 3, outputs), scale=1.0)
        b.op(name, [x, w, bias], [y], version=3, **options)
    return b.finish([y])


def test_bounds_of_a_convolution_are_reached() -> None:
    weights = codes(1, 2, 3, 3, 2)
    found = channels(_conv(weights, "CONV_2D"))
    for channel in range(2):
        for best, bound in ((127 - 3, found.high), (-128 - 3, found.low)):
            other = {124: -131, -131: 124}[best]
            window = np.where(weights[channel] >= 0, best, other)
            sums = conv_sums(window.tolist(), weights.tolist(), 1, 1, 1, same=False)
            assert sums[0, 0, channel] + channel == bound[channel]


def test_bounds_of_a_depthwise_convolution() -> None:
    weights = codes(2, 1, 3, 3, 4)
    found = channels(_conv(weights, "DEPTHWISE_CONV_2D"))
    for channel in range(4):
        taps = [int(w) for w in weights[0, :, :, channel].ravel()]
        assert found.high[channel] == channel + sum(max(w * 124, w * -131) for w in taps)
        assert found.low[channel] == channel + sum(min(w * 124, w * -131) for w in taps)


def test_bounds_of_a_transposed_convolution_are_those_of_the_taps_that_meet() -> None:
    """Each output of a stride of 2 is reached by the taps of one phase: found by moving an impulse about."""
    weights = codes(3, 2, 3, 3, 1)
    found = channels(_conv(weights, "TRANSPOSE_CONV"))
    high = dict.fromkeys(product(range(11), range(11), range(2)), 0)
    low = dict(high)
    for row, column in product(range(5), range(5)):
        impulse = np.zeros((5, 5, 1), int)
        impulse[row, column] = 1
        for place, weight in transpose_conv_sums(impulse.tolist(), weights.tolist(), 2, (11, 11), same=False).items():
            high[place] += max(weight * 124, weight * -131)
            low[place] += min(weight * 124, weight * -131)
    for channel in range(2):
        assert found.high[channel] == channel + max(value for place, value in high.items() if place[2] == channel)
        assert found.low[channel] == channel + min(value for place, value in low.items() if place[2] == channel)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 1 << 30), shift=st.integers(-16, 4), bias=st.integers(-(1 << 20), 1 << 20))
def test_channels_called_constant_are_constant_under_every_profile(seed: int, shift: int, bias: int) -> None:
    weights = codes(seed, 2, 4) // 16
    model = with_data(dense(weights, y_scale=2.0**shift), "b", np.array([bias, bias // 7], np.int32))
    said = [finding for finding in qr.check(model) if finding.rule.id == "QR602"]
    rng = np.random.default_rng(seed)
    ends = np.where(weights >= 0, 127, -128)
    inputs = np.concatenate([ends, -1 - ends, rng.integers(-128, 128, (28, 4))]).astype(np.int8)
    for profile in ("litert-reference", "litert-optimized", "xnnpack", "tflm"):
        outputs = np.concatenate([next(iter(qr.run(model, {"x": row[None]}, profile).values())) for row in inputs])
        constant = [channel for channel in range(2) if np.unique(outputs[:, channel]).size == 1]
        for finding in said:
            named = finding.found.split("channel")[1].split(" of ")[0].lstrip("s ")
            assert {int(channel) for channel in named.split(", ")} <= set(constant)


def test_an_overflow_that_is_told_happens() -> None:
    """The input that the bound speaks of makes the reference's accumulator wrap."""
    model = dense(np.full((1, 140000), 127, np.int8), y_scale=2000.0)
    (finding,) = qr.check(model)
    assert finding.rule.id == "QR501"
    assert "2,257,920,000" not in finding.found
    trace = qr.trace(model, {"x": np.full((1, 140000), -128, np.int8)})
    accumulator = next(value for key, value in trace.arrays().items() if "accumulator" in key and "/stage/" in key)
    exact = -128 * 127 * 140000
    assert exact < -(1 << 31)
    assert int(np.ravel(accumulator)[0]) == exact + (1 << 32)
    assert f"{exact:,}" in finding.found


@pytest.mark.parametrize("name", ["CONV_2D", "TRANSPOSE_CONV"])
def test_what_is_not_constant_has_no_bounds(name: str) -> None:
    model = _conv(codes(1, 2, 3, 3, 1), name)
    graph = model.subgraphs[0]
    view = fbs.view(graph, graph.operators[0])
    slot = 1
    moving = fbs.OpView(
        view.name,
        view.version,
        tuple(fbs.Tensor("w", DType.INT8, (2, 3, 3, 1)) if n == slot else x for n, x in enumerate(view.inputs)),
        view.outputs,
        view.intermediates,
        view.options,
        view.custom_options,
        view.operator,
    )
    assert channels_of(moving) is None
