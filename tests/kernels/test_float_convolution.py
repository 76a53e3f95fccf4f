"""Fast float convolutions: the definition's bits in its order, and its values in any order."""

from __future__ import annotations

from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from kernels.conv import FloatConv2D
from kernels.depthwise_conv import FloatDepthwiseConv2D
from kernels.engine import float_convolution
from kernels.engine.activation import Activation
from kernels.engine.geometry import Padding, Window, span
from kernels.engine.rows import Rows
from kernels.engine.threads import Team, working_as
from kernels.engine.types import Prepared
from kernels.fully_connected import FloatFullyConnected
from kernels.pooling import FloatPool2D, float_average_pool_2d
from qmath.stages import silent
from tests.kernels.sweeps import examples
from tests.kernels.test_windows import SEEDS, WINDOWS, spans

CLAMPS = st.sampled_from([Activation.NONE, Activation.RELU, Activation.RELU6])
POINTWISE = Window(span(7, 1, 1, Padding.SAME), span(5, 1, 1, Padding.SAME))


def floats(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.normal(size=shape).astype(np.float32)


def assert_forms_agree(op: Prepared, x: np.ndarray, filter_: np.ndarray, bias: np.ndarray | None) -> None:
    """Hold fast forms, the bias constant or not, against the definition; each twice, as plans reuse memory."""
    (expected,) = op.evaluate([x, filter_, bias], silent)
    for constant in {id(bias): bias, id(None): None}.values():
        in_order = op.compile([None, filter_, constant])
        in_any_order = op.in_any_order().compile([None, filter_, constant])
        for inputs in ([x[::-1], filter_, bias], [x, filter_, bias]):
            (same,), (near,) = in_order(inputs), in_any_order(inputs)
        assert np.array_equal(same, expected)
        np.testing.assert_allclose(near, expected, rtol=1e-5, atol=1e-5)
        assert same.dtype == near.dtype == np.float32


@examples(60)
@given(window=WINDOWS | st.just(POINTWISE), groups=st.integers(1, 3), clamp=CLAMPS, seed=SEEDS, biased=st.booleans())
def test_convolutions(window: Window, groups: int, clamp: Activation, seed: int, *, biased: bool) -> None:
    rng = np.random.default_rng(seed)
    x = floats(rng, 2, window.height.size, window.width.size, 2 * groups)
    filter_ = floats(rng, 3 * groups, window.height.kernel, window.width.kernel, 2)
    bias = floats(rng, 3 * groups) if biased else None
    assert_forms_agree(FloatConv2D(window, groups, clamp), x, filter_, bias)


@examples(60)
@given(window=WINDOWS, size=st.sampled_from([1, 20, 1000]), threads=st.sampled_from([None, 2, 3]), seed=SEEDS)
def test_blocks_and_threads_change_nothing(window: Window, size: int, threads: int | None, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, bias = floats(rng, 2, window.height.size, window.width.size, 2), floats(rng, 4)
    dense, apart = floats(rng, 4, window.height.kernel, window.width.kernel, 2), floats(rng, 1, 4, 4, 4)
    apart = apart[:, : window.height.kernel, : window.width.kernel]
    team = None if threads is None else Team(threads)
    with patch.multiple(float_convolution, BLOCK=size, WORTH_SHARING=0), working_as(team):
        assert_forms_agree(FloatConv2D(window, 1, Activation.RELU), x, dense, bias)
        assert_forms_agree(FloatDepthwiseConv2D(window, Activation.NONE), x, apart, bias)


@examples(60)
@given(window=WINDOWS, channels=st.sampled_from([(1, 1), (2, 1), (3, 2), (400, 1)]), clamp=CLAMPS, seed=SEEDS)
def test_depthwise_convolutions(window: Window, channels: tuple[int, int], clamp: Activation, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = floats(rng, 2, window.height.size, window.width.size, channels[0])
    many = channels[0] * channels[1]
    filter_ = floats(rng, 1, window.height.kernel, window.width.kernel, many)
    assert_forms_agree(FloatDepthwiseConv2D(window, clamp), x, filter_, floats(rng, many))


@pytest.mark.parametrize("rows", [1, 5])
def test_fully_connected(rows: int) -> None:
    rng = np.random.default_rng(0)
    op = FloatFullyConnected(Rows(40, 7, keep_num_dims=False), Activation.RELU, finite=True)
    assert_forms_agree(op, floats(rng, rows, 40), floats(rng, 7, 40), floats(rng, 7))


@examples(60)
@given(window=st.builds(Window, spans((1,)), spans((1,))), channels=st.integers(1, 3), clamp=CLAMPS, seed=SEEDS)
def test_averages_are_added_in_order(window: Window, channels: int, clamp: Activation, seed: int) -> None:
    assume(all(along.before < along.kernel and along.after < along.kernel for along in (window.height, window.width)))
    pool = FloatPool2D(window, float_average_pool_2d, clamp, finite=True)
    x = floats(np.random.default_rng(seed), 2, window.height.size, window.width.size, channels)
    run = pool.compile([None])
    for image in (x[::-1], x):
        (expected,), (found,) = pool.evaluate([image], silent), run([image])
        assert np.array_equal(found, expected)


def test_infinities_become_finite_and_nan_stays() -> None:
    x = np.array([np.inf, -np.inf, np.nan, 1], np.float32).reshape(1, 1, 1, 4)
    one = Window(span(1, 1, 1, Padding.SAME), span(1, 1, 1, Padding.SAME))
    op = FloatDepthwiseConv2D(one, Activation.NONE).in_any_order()
    (found,) = op.compile([None, np.ones((1, 1, 1, 4), np.float32), np.zeros(4, np.float32)])([x, None, None])
    largest = np.finfo(np.float32).max
    np.testing.assert_array_equal(found.ravel(), np.array([largest, -largest, np.nan, 1], np.float32))
