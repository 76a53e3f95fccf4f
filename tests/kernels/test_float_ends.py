"""Floats where results become subnormal, cancel, or are normalized by their neighbours: against LiteRT's resolvers."""

from __future__ import annotations

import numpy as np
import pytest

import fbs
import quantref as qr
from kernels.profiles import XNNPACK, XNNPACK_ARM64
from qmath.types import DType, Float32Array
from quantref.runtimes import LiteRT, litert_installed

RUNTIMES = ("litert-reference", "litert-optimized", "xnnpack")
RNG = np.random.default_rng(1)
#: Around the end of float32's normal numbers, around the root of HARD_SWISH's gate, and at large.
EXPONENTS = np.concatenate([np.linspace(-88, -87, 3001), RNG.uniform(-104, 88, 2000), [-np.inf, np.inf, -1e30]])
SWISHES = np.concatenate([RNG.uniform(-6e-38, 6e-38, 2000), -3 + np.linspace(0, 1e-5, 50), RNG.uniform(-4, 4, 2000)])


def one_op(name: str, x: Float32Array, **options: float) -> fbs.Model:
    """Build an op of float32."""
    builder = fbs.Builder()
    given = builder.input("x", DType.FLOAT32, x.shape)
    y = builder.tensor("y", DType.FLOAT32, x.shape)
    builder.op(name, [given], [y], **options)
    return builder.finish([y])


def check(model: fbs.Model, x: Float32Array, runtime: str) -> None:
    """Hold a profile against its runtime; zeros and infinities must be the same."""
    with LiteRT(runtime) as litert:
        expected = litert.run(fbs.write(model), [[x]])[0].outputs[0]
    found = qr.run(model, {"x": x}, profile=runtime)["y"]
    assert np.array_equal(found == 0, expected == 0)
    finite = np.isfinite(expected)
    assert np.array_equal(found[~finite], expected[~finite], equal_nan=True)
    np.testing.assert_allclose(found[finite], expected[finite], rtol=1e-5, atol=0)


@pytest.mark.litert
@pytest.mark.skipif(not litert_installed(), reason="ai-edge-litert is not installed")
@pytest.mark.parametrize(("name", "x"), [("EXP", EXPONENTS), ("HARD_SWISH", SWISHES)])
def test_xnnpack_gives_zeros_for_subnormal_numbers(name: str, x: np.ndarray) -> None:
    check(one_op(name, x.astype(np.float32)), x.astype(np.float32), "xnnpack")


@pytest.mark.litert
@pytest.mark.skipif(not litert_installed(), reason="ai-edge-litert is not installed")
@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize(("radius", "alpha", "beta"), [(5, 1.0, 0.5), (2, 1e-4, 0.75), (1, 0.5, 1.0), (0, 0.3, 0.25)])
def test_local_response(radius: int, alpha: float, beta: float, runtime: str) -> None:
    x = np.random.default_rng(2).standard_normal((2, 5, 6, 20)).astype(np.float32) * np.float32(3)
    model = one_op("LOCAL_RESPONSE_NORMALIZATION", x, radius=radius, bias=1.0, alpha=alpha, beta=beta)
    check(model, x, runtime)


@pytest.mark.parametrize("profile", [XNNPACK, XNNPACK_ARM64], ids=lambda profile: profile.name)
def test_by_hand(profile) -> None:
    x = np.array([-88.0, -87.0, 0.0], np.float32)
    found = qr.run(one_op("EXP", x), {"x": x}, profile=profile.name)["y"]
    assert found[0] == 0
    assert found[1:].tolist() == [np.float32(np.exp(-87.0)), 1.0]
    x = np.array([1e-38, -1e-38, -3 + 2.0**-22], np.float32)
    found = qr.run(one_op("HARD_SWISH", x), {"x": x}, profile=profile.name)["y"]
    assert found[:2].tolist() == [0.0, 0.0]
    assert np.signbit(found[:2]).tolist() == [False, True]
    assert found[2] == -(2.0**-23) * np.float32(0.625)
