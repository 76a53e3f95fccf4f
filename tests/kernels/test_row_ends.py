"""Rows of NaN, of infinities and of next to nothing, quantized on the fly: against LiteRT, and by hand."""

from __future__ import annotations

import numpy as np
import pytest

import fbs
from kernels.engine.activation import Activation, activate_float
from kernels.engine.hybrid import (
    ASYMMETRIC,
    SYMMETRIC,
    quantize_asymmetric,
    quantize_asymmetric_on_arm,
    quantize_symmetric,
    quantize_symmetric_on_arm,
)
from kernels.engine.row_ends import Ends, largest_magnitude, later_if_nan, minmax_element, nan_if_any
from kernels.profiles import LITERT_OPTIMIZED, LITERT_OPTIMIZED_ARM64, LITERT_REFERENCE, XNNPACK_ARM64
from qmath.types import DType, Float32Array
from tests.one_op import compare

NAN, INF, TINY = np.nan, np.inf, 1e-39
BELOW_HALF = np.nextafter(np.float32(0.5), np.float32(0))
#: Numbers that fill two groups of eight, and three that are left over.
SPECIAL_ROWS = [
    [*[TINY, -TINY, 0, TINY / 2, -TINY / 2, 0, 0, TINY] * 2, TINY, -TINY, 0],
    [*[TINY, TINY, 3 * TINY, 0, 0, 0, 0, TINY] * 2, TINY, 9 * TINY, 0],
    [*[127, BELOW_HALF, -BELOW_HALF, 1.5, 2.5, -0.5, 0.5, 0] * 2, BELOW_HALF, -BELOW_HALF, 0.5],
    [*[INF, 1, -1, 0, 0, 0, 0, 0] * 2, 1, -1, 0],
    [*[INF, -INF, -1, 0, 0, 0, 0, 0] * 2, 1, -1, -INF],
    [*[NAN, 1, -1, 0.5, 0, 0, 0, 0] * 2, 1, -1, 0],
    [*[1, 1, -1, 0, NAN, 0, 0, 0] * 2, 1, -1, 0],
    [*[1, 1, -1, 0, 0, 0, 0, 0] * 2, 1, -1, NAN],
    [*[1, 1, -1, 0, 0, 0, 0, 0] * 2, NAN, -1, 0.5],
    [*[2, 1, -1, 0, 0, 0, NAN, INF, 0] * 2, 1],
    [NAN, 0, 0, 0, 0],
    [0, 0, 0, 0, NAN],
    [3e38, -3e38, 1e38],
]


def identity(depth: int, *, asymmetric: bool, scale: float, activation: int) -> fbs.Model:
    """Build a FULLY_CONNECTED that gives what codes of its input stand for."""
    b = fbs.Builder()
    x = b.input("x", DType.FLOAT32, (1, depth))
    weights = b.constant("weights", np.eye(depth, dtype=np.int8), scale=scale)
    y = b.tensor("y", DType.FLOAT32, (1, depth))
    b.op(
        "FULLY_CONNECTED",
        [x, weights, None],
        [y],
        version=9,
        asymmetric_quantize_inputs=asymmetric,
        fused_activation_function=activation,
    )
    return b.finish([y])


@pytest.mark.litert
@pytest.mark.parametrize("asymmetric", [False, True])
@pytest.mark.parametrize("row", SPECIAL_ROWS, ids=str)
def test_litert_gives_the_same(row, asymmetric, litert):
    x = np.array([row], np.float32)
    finite = np.abs(x[np.isfinite(x)]).max()
    scale = 1e38 if 0 < finite < 1e-30 else 1e-36 if finite > 1e30 else 1.0
    for activation in (Activation.NONE, Activation.RELU_N1_TO_1):
        model = identity(x.size, asymmetric=asymmetric, scale=scale, activation=activation.value)
        assert compare(model, [[x]], litert) == x.size


def random_special(rng: np.random.Generator, size: int) -> Float32Array:
    x = (rng.standard_normal(size) * 10.0 ** rng.integers(-45, 3)).astype(np.float32)
    x[rng.integers(size, size=3)] = rng.choice([NAN, NAN, INF, -INF, 0.0, 1.0], 3)
    return x


@pytest.mark.litert
@pytest.mark.parametrize("asymmetric", [False, True])
def test_litert_gives_the_same_for_numbers_in_random_places(asymmetric, litert):
    rng = np.random.default_rng(6)
    elements = 0
    for size in range(1, 28):
        model = identity(size, asymmetric=asymmetric, scale=0.5, activation=0)
        elements += compare(model, [[random_special(rng, size)[None]] for _ in range(12)], litert)
    assert elements > 4000


def test_arm_rounds_the_largest_number_below_one_half_down():
    """As LiteRT on Arm gives it, for each of the rules; what x86 emulates makes it 1."""
    x = np.array([[127.0, BELOW_HALF, -BELOW_HALF, 1.5, 2.5, -0.5, 0.5, 0]], np.float32)
    assert quantize_symmetric_on_arm(x).codes.tolist() == [[127, 0, 0, 2, 3, -1, 1, 0]]
    assert quantize_symmetric(x).codes.tolist() == [[127, 1, -1, 2, 3, -1, 1, 0]]


def test_arm_makes_nan_0_and_saturates():
    """As LiteRT on Arm gives it. The ends are lost where a NaN meets them, but for what is left over."""
    x = np.array([[NAN, 1, -1, 0.5, 0, 0, 0, 0, 1, -1]], np.float32)
    rows = quantize_asymmetric_on_arm(x)
    assert rows.scale.tolist() == [np.float32(2 / 255)]
    assert rows.steps(np.int64)[0, :5].tolist() == [0, 127, -127, 64, 0]
    tiny = np.array([[TINY, -TINY, 0, 2 * TINY, 0, 0, 0, 0, TINY, 0]], np.float32)
    assert quantize_symmetric_on_arm(tiny).codes.tolist() == [[127, -127, 0, 127, 0, 0, 0, 0, 127, 0]]


def test_profiles_round_as_their_processors_do():
    assert SYMMETRIC[LITERT_REFERENCE] is SYMMETRIC[LITERT_OPTIMIZED] is quantize_symmetric
    assert ASYMMETRIC[LITERT_REFERENCE] is quantize_asymmetric
    assert SYMMETRIC[LITERT_OPTIMIZED_ARM64] is quantize_symmetric_on_arm
    assert ASYMMETRIC[LITERT_OPTIMIZED_ARM64] is quantize_asymmetric_on_arm
    assert XNNPACK_ARM64.fallback is LITERT_OPTIMIZED_ARM64


def test_ends_of_rows_without_nan_are_what_one_expects():
    rng = np.random.default_rng(2)
    for size in range(1, 13):
        rows = rng.standard_normal((20, size)).astype(np.float32)
        for row in rows:
            assert minmax_element(row) == (row.min(), row.max())
        span, has_nan = largest_magnitude(rows)
        assert (span.tolist(), has_nan) == (np.abs(rows).max(axis=1).tolist(), False)
        for either in (later_if_nan, nan_if_any):
            low, high, has_nan = Ends(either).of(rows)
            assert not has_nan
            assert low.tolist() == np.minimum(rows.min(axis=1), 0).tolist()
            assert high.tolist() == np.maximum(rows.max(axis=1), 0).tolist()


def test_activations_make_nan_the_lower_bound():
    found = [activate_float(np.array([NAN, -3, 9], np.float32), act).tolist() for act in list(Activation)[1:4]]
    assert found == [[0, 0, 9], [-1, -1, 1], [0, 0, 6]]
    assert np.isnan(activate_float(np.array([NAN], np.float32), Activation.RELU, keeps_nan=True))
