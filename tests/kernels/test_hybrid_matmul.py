"""Weights of -128 in matrices that meet rows quantized on the fly: misread on x86-64, lost in pairs on Arm."""

from __future__ import annotations

import numpy as np
import pytest

from kernels.engine.hybrid import QuantizedRows
from kernels.engine.hybrid_matmul import MISREADS, IntegerMatrix
from kernels.profiles import LITERT_OPTIMIZED, LITERT_OPTIMIZED_ARM64, XNNPACK_ARM64


@pytest.mark.parametrize(("depth", "misread", "pairs"), [(15, 0, 0), (16, 16, 8), (31, 16, 8), (32, 32, 16)])
def test_only_whole_groups_of_16_do_it(depth, misread, pairs):
    weights = np.full((1, depth), -128, np.int8)
    rows = QuantizedRows(np.full((1, depth), -128, np.int8), np.ones(1, np.float32), np.zeros(1, np.int64))
    exact = depth * 2**14
    assert IntegerMatrix.of(weights).sums(rows).tolist() == [[exact - misread * 256 * 128]]
    assert IntegerMatrix.of(weights, misreads=False, in_pairs=True).sums(rows).tolist() == [[exact - (pairs << 16)]]
    assert IntegerMatrix.of(weights, misreads=False).sums(rows).tolist() == [[exact]]


def test_x86_misreads_and_arm_does_not():
    assert [MISREADS[profile] for profile in (LITERT_OPTIMIZED, LITERT_OPTIMIZED_ARM64)] == [True, False]
    assert XNNPACK_ARM64.fallback is LITERT_OPTIMIZED_ARM64
