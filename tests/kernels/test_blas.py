"""The check of the BLAS that exact sums rest on."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels.engine import blas
from kernels.engine.program import run


def test_this_blas_is_exact() -> None:
    assert blas.is_exact()


def test_a_blas_that_drops_bits_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half precision products, as some accelerators use, lose the last bits of a large sum."""

    def careless(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return (a.astype(np.float16).astype(np.float32) @ b.astype(np.float16).astype(np.float32)).astype(a.dtype)

    monkeypatch.setattr(np, "matmul", careless)
    blas.is_exact.cache_clear()
    with pytest.warns(RuntimeWarning, match="does not add integers exactly"):
        assert not blas.is_exact()
    monkeypatch.undo()
    blas.is_exact.cache_clear()


def test_the_cases_just_fit_the_float_type() -> None:
    for a, b, dtype in blas._cases():
        largest = int((np.abs(a).astype(object) @ np.abs(b).astype(object)).max())
        assert largest <= (1 << 24 if dtype is np.float32 else 1 << 53)
        assert largest > (1 << 18 if dtype is np.float32 else 1 << 46)


@given(shape=st.tuples(*[st.integers(0, 40)] * 3), at_once=st.integers(1, 5000), apart=st.booleans())
def test_products_are_cut_into_rows(shape: tuple[int, int, int], at_once: int, apart: bool) -> None:
    rows, depth, columns = shape
    rng = np.random.default_rng(at_once)
    a, b = rng.integers(-9, 10, (rows, depth)).astype(np.float32), rng.integers(-9, 10, (depth, columns))
    out = np.full((rows, columns + apart), np.nan, np.float32)[:, :columns]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(blas, "AT_ONCE", at_once)
        run(blas.product(a, b.astype(np.float32), out))
    np.testing.assert_array_equal(out, a @ b)
