"""The comparison that the kernels' tests rely on: it counts, and it can fail."""

from __future__ import annotations

import numpy as np
import pytest

import fbs
from qmath.types import DType
from quantref.interpreter import Interpreter
from quantref.runtimes import LiteRT
from tests.one_op import compare
from tests.quantref.small_models import float_layer, two_layers

pytestmark = pytest.mark.litert


def test_it_counts_every_element(litert: LiteRT) -> None:
    samples = [[np.full((rows, 4), rows, np.int8)] for rows in (1, 3, 2)]
    assert compare(two_layers(), samples, litert) == 2 * (1 + 3 + 2)
    assert compare(fbs.write(float_layer()), [[np.ones((1, 64), np.float32)]], litert) == 8


def test_it_fails_on_one_wrong_element(litert: LiteRT, monkeypatch: pytest.MonkeyPatch) -> None:
    right = Interpreter.get_tensor

    def wrong(self: Interpreter, tensor_index: int) -> np.ndarray:
        value = right(self, tensor_index)
        value[0, 1] ^= 1
        return value

    monkeypatch.setattr(Interpreter, "get_tensor", wrong)
    with pytest.raises(AssertionError, match=r"output 0 \(y\): 1 of 2 elements differ; sample 0 at \[0, 1\]"):
        compare(two_layers(), [[np.zeros((1, 4), np.int8)]], litert)


def test_it_fails_when_nothing_was_compared(litert: LiteRT) -> None:
    builder = fbs.Builder()
    x = builder.input("x", DType.INT8, (0, 4))
    y = builder.tensor("y", DType.INT8, (0, 4))
    builder.op("RESHAPE", [x, builder.constant("s", np.array([0, 4], np.int32))], [y], new_shape=[0, 4])
    for samples in ([], [[np.zeros((0, 4), np.int8)]]):
        with pytest.raises(AssertionError, match="nothing was compared"):
            compare(builder.finish([y]), samples, litert)
