"""Comparisons on Arm of tensors with a scale above 1, as measured."""

from __future__ import annotations

import numpy as np
import pytest

from kernels.profiles import LITERT_OPTIMIZED_ARM64, LITERT_REFERENCE
from qmath.errors import UnsupportedError
from qmath.types import DType
from quantref.vectors.cells.models import two_inputs
from tests.kernels.forms import run_forms

PARAMS = ({"scale": np.float32(300.0), "zero_point": 0}, {"scale": np.float32(0.9), "zero_point": 0}, {})


def less(x1, x2, profile=LITERT_OPTIMIZED_ARM64):
    arrays = np.asarray(x1, np.int8), np.asarray(x2, np.int8)
    model, sample = two_inputs("LESS", arrays, (DType.INT8, DType.INT8), DType.BOOL, PARAMS)
    (definition,), (compiled,) = run_forms(model, sample, profile)
    assert definition.tolist() == compiled.tolist()
    return definition.tolist()


def test_whole_blocks_keep_magnitudes_and_the_rest_little_but_signs():
    # 300 is less than 0.9 * 127 neither in fact nor in a block; scalar code leaves 1 of it.
    assert less([1] * 9, [127] * 9) == [False] * 8 + [True]
    assert less([1] * 9, [127] * 9, LITERT_REFERENCE) == [True] * 9


def test_tensors_that_broadcast():
    assert less([[1] * 3] * 2, [127] * 3) == [[False] * 3] * 2
    assert less([1], [127] * 9) == [True] * 9
    assert less([1] * 7, [127]) == [True] * 7
    with pytest.raises(UnsupportedError, match="second input broadcasts"):
        less([1] * 9, [127])
    assert less([-1] * 9, [127]) == [True] * 9
