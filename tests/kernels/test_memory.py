"""Memory that calculations lie in."""

from __future__ import annotations

import numpy as np
import pytest

from kernels.engine import memory
from kernels.engine.plans import Scratch
from qmath.errors import UnsupportedError


@pytest.mark.parametrize("shape", [(), (1,), (7, 5, 3)])
@pytest.mark.parametrize("dtype", [np.bool_, np.int8, np.float32, np.float64])
def test_arrays_begin_where_a_cache_line_does(shape: tuple[int, ...], dtype: type) -> None:
    array = memory.full(shape, 1, dtype)
    assert (array.shape, array.dtype) == (shape, dtype)
    assert array.ctypes.data % memory.LINE == 0
    assert (array == 1).all()


def test_elements_are_bounded_and_not_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kernels.engine.contract.MAX_ELEMENTS", 1000)
    for take in (memory.empty, lambda shape, dtype: Scratch().take("sums", shape, dtype)):
        assert take((1000,), np.float64).nbytes == 8000
        with pytest.raises(UnsupportedError, match="at most 1000 elements"):
            take((1001,), np.int8)


def test_vectors_are_repeated() -> None:
    np.testing.assert_array_equal(memory.tiled(np.array([1, 2, 3]), 2), [1, 2, 3, 1, 2, 3])
