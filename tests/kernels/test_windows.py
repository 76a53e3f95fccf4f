"""Windows, padding, and linear maps over them: fast forms against tap-by-tap sums, in order where order matters."""

from __future__ import annotations

from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from kernels.engine import float_sums, plans
from kernels.engine.float_sums import matmul_in_order
from kernels.engine.geometry import Padding, Window, padded, reachable, span
from kernels.engine.linear import (
    convolve,
    convolve_in_order,
    depthwise_convolve,
    transpose_convolve,
    transpose_convolve_fast,
)
from kernels.engine.plans import ConvolutionPlan, DepthwisePlan, Scratch
from qmath.errors import ModelError
from tests.kernels.sweeps import examples


@st.composite
def spans(draw, dilations=(1, 2, 3)):
    kernel, stride, dilation = draw(st.integers(1, 4)), draw(st.integers(1, 3)), draw(st.sampled_from(dilations))
    padding = draw(st.sampled_from(Padding))
    size = draw(st.integers(1, 9))
    assume(padding is Padding.SAME or (kernel - 1) * dilation < size)
    return span(size, kernel, stride, padding, dilation)


WINDOWS = st.builds(Window, spans(), spans())
SEEDS = st.integers(0, 2**32 - 1)


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "padding", "expected"),
    [
        (5, 3, 1, Padding.SAME, (5, 1, 1)),
        (6, 3, 2, Padding.SAME, (3, 0, 1)),
        (5, 2, 1, Padding.SAME, (5, 0, 1)),
        (5, 3, 2, Padding.VALID, (2, 0, 0)),
        (2, 3, 1, Padding.VALID, (0, 0, 0)),
        (1, 4, 2, Padding.VALID, (0, 0, 0)),
    ],
)
def test_spans(size, kernel, stride, padding, expected):
    found = span(size, kernel, stride, padding)
    assert (found.output, found.before, found.after) == expected


def test_a_window_larger_than_the_input_by_two_strides_is_refused():
    with pytest.raises(ModelError, match="window of reach 5"):
        span(1, 5, 2, Padding.VALID)


@examples(60)
@given(window=st.builds(Window, spans((1, 3, 7, 40)), spans((1, 3, 7, 40))), seed=SEEDS)
def test_unreachable_taps_contribute_nothing(window, seed):
    rng = np.random.default_rng(seed)
    x = rng.integers(-9, 10, (2, window.height.size, window.width.size, 2))
    filter_ = rng.integers(-9, 10, (3, window.height.kernel, window.width.kernel, 2))
    less, (rows, columns) = reachable(window)
    expected = convolve(padded(x, window, 0), filter_, window)
    assert np.array_equal(convolve(padded(x, less, 0), filter_[:, rows, columns], less), expected)
    assert less.height.padded <= 3 * window.height.size
    assert less.width.padded <= 3 * window.width.size


@examples(60)
@given(window=WINDOWS, groups=st.integers(1, 3), seed=SEEDS, fill=st.integers(-2, 2), kept=st.booleans())
def test_fast_convolution_equals_its_definition(window, groups, seed, fill, kept):
    rng = np.random.default_rng(seed)
    image = rng.integers(-9, 10, (2, window.height.size, window.width.size, 2 * groups))
    x = padded(image, window, fill)
    filter_ = rng.integers(-9, 10, (2 * groups, window.height.kernel, window.width.kernel, 2))
    matrices = [block.reshape(2, -1).T.astype(np.float64) for block in np.split(filter_, groups)]
    expected = convolve(x, filter_, window, groups)
    with patch.object(plans, "KEPT", plans.KEPT if kept else 0):
        plan = ConvolutionPlan(image.shape, matrices, window, fill, Scratch())
    for again in (image[::-1], image):
        found = plan(again)
    assert np.array_equal(found, expected)
    assert np.array_equal(convolve_in_order(x, filter_, window, groups), expected)


@examples(60)
@given(
    window=WINDOWS,
    multiplier=st.integers(1, 3),
    channels=st.integers(1, 3),
    seed=SEEDS,
    fill=st.integers(-2, 2),
    in_order=st.booleans(),
)
def test_fast_depthwise_convolution_equals_its_definition(window, multiplier, channels, seed, fill, in_order):
    rng = np.random.default_rng(seed)
    image = rng.integers(-9, 10, (2, window.height.size, window.width.size, channels)).astype(np.int32)
    x = padded(image, window, fill)
    kernel = (window.height.kernel, window.width.kernel, channels * multiplier)
    filter_ = rng.integers(-9, 10, kernel).astype(np.int32)
    expected = depthwise_convolve(x, filter_, window)
    plan = DepthwisePlan(image.shape, filter_, window, fill, Scratch(), in_order=in_order)
    for again in (image[::-1], image):
        found = plan(again)
    assert np.array_equal(found, expected)


@examples(60)
@given(window=st.builds(Window, spans((1,)), spans((1,))), seed=SEEDS)
def test_fast_transposed_convolution_equals_its_definition(window, seed):
    rng = np.random.default_rng(seed)
    x = rng.integers(-9, 10, (2, window.height.output, window.width.output, 3))
    filter_ = rng.integers(-9, 10, (2, window.height.kernel, window.width.kernel, 3))
    matrix = filter_.transpose(3, 1, 2, 0).reshape(3, -1).astype(np.float32)
    expected = transpose_convolve(x, filter_, window)
    assert np.array_equal(transpose_convolve_fast(x.astype(np.float32), matrix, window), expected)


@examples(40)
@given(shape=st.tuples(st.integers(1, 40), st.integers(1, 40), st.integers(1, 40)), seed=SEEDS)
def test_float_products_are_added_one_by_one(shape, seed):
    rows, depth, columns = shape
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(rows, depth)).astype(np.float32), rng.normal(size=(depth, columns)).astype(np.float32)
    expected = np.zeros((rows, columns), np.float32)
    for k in range(depth):
        expected = expected + a[:, k, None] * b[k]
    assert np.array_equal(matmul_in_order(a, b), expected)


def test_an_einsum_that_adds_otherwise_is_not_used(monkeypatch):
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(9, 33)).astype(np.float32), rng.normal(size=(33, 5)).astype(np.float32)
    expected = matmul_in_order(a, b)
    monkeypatch.setattr(float_sums, "einsum_adds_in_order", lambda: False)
    monkeypatch.setattr(np, "einsum", None)
    assert np.array_equal(matmul_in_order(a, b), expected)
