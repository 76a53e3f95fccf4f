"""Matrices that meet rows quantized on the fly: weights of -128, and long sums of weights, which vector code loses."""

from __future__ import annotations

import numpy as np
import pytest

import fbs
import quantref
from fbs import Builder
from kernels.engine.hybrid import QuantizedRows
from kernels.engine.hybrid_matmul import MISREADS, IntegerMatrix
from kernels.profiles import LITERT_OPTIMIZED, LITERT_OPTIMIZED_ARM64, XNNPACK_ARM64
from qmath.errors import UnsupportedError
from qmath.types import DType
from quantref.runtimes import LiteRT, litert_installed


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


@pytest.mark.parametrize(
    ("weights", "found"),
    [
        (np.full(2048, -128), -(2**18)),
        (np.full(2047, 127), 2047 * 127),
        # A group of 16 brings a lane to 129 * 254 = 32766; eight more columns add 127 to each: all eight wrap.
        (np.full(129 * 16, 127), 129 * 16 * 127),
        (np.full(129 * 16 + 7, 127), (129 * 16 + 7) * 127),
        (np.full(129 * 16 + 8, 127), (129 * 16 + 8) * 127 - 8 * 2**16),
        # One lane alone: the columns 6 and 7 of every group.
        (np.tile(np.repeat([0, -128, 0], [6, 2, 8]), 129), -(129 * 256) + 2**16),
    ],
)
def test_sums_of_more_than_2048_weights_wrap_in_lanes_on_x86(weights, found):
    """Codes of 0 with a zero point of -1 give the sum of the weights as the runtime finds it."""
    matrix, depth = weights[None].astype(np.int8), weights.size
    rows = QuantizedRows(np.zeros((1, depth), np.int8), np.ones(1, np.float32), np.full(1, -1))
    assert IntegerMatrix.of(matrix).sums(rows).tolist() == [[found]]
    assert IntegerMatrix.of(matrix, misreads=False).sums(rows).tolist() == [[weights.sum()]]


def test_what_lanes_lose_is_named():
    stages = {}

    def note(stage, value, *formula, **terms):
        stages[stage] = value
        return value

    weights = np.full((1, 2064), -128, np.int8)
    rows = QuantizedRows(np.full((1, 2064), -2, np.int8), np.ones(1, np.float32), np.full(1, -3))
    matrix = IntegerMatrix.of(weights)
    total = matrix.sums(rows, note)
    assert not matrix.is_plain
    assert IntegerMatrix.of(weights[:, :9]).is_plain
    words = next(stage for stage in stages if "lanes" in stage)
    assert "misread" not in words
    assert "-128" in words
    assert stages["sum"] + stages[words] == total


def _hybrid(op, weights, *, constant):
    b = Builder()
    x = b.input("x", DType.FLOAT32, (1, weights.shape[-1]))
    quantized = {"scale": 1.0, "zero_point": 0}
    w = b.constant("w", weights, **quantized) if constant else b.input("w", DType.INT8, weights.shape, **quantized)
    y = b.tensor("y", DType.FLOAT32, (1, len(weights)))
    options = {"asymmetric_quantize_inputs": True, **({"adj_y": True} if op == "BATCH_MATMUL" else {})}
    b.op(op, [x, w], [y], version=9 if op == "FULLY_CONNECTED" else 4, options=options)
    return fbs.write(b.finish([y]))


@pytest.mark.parametrize("op", ["FULLY_CONNECTED", "BATCH_MATMUL"])
def test_weights_that_change_after_the_first_run_are_refused(op):
    """LiteRT keeps the sums of the first weights."""
    first, x = np.full((3, 4), 2, np.int8), np.arange(4, dtype=np.float32)[None]
    interpreter = quantref.Interpreter(_hybrid(op, first, constant=False), "litert-reference")
    interpreter.allocate_tensors()
    interpreter.set_tensor(0, x)
    for _ in range(3):
        interpreter.set_tensor(1, first)
        interpreter.invoke()
    assert np.all(interpreter.get_tensor(2) > 11)
    interpreter.set_tensor(1, first + np.int8(1))
    with pytest.raises(UnsupportedError, match="whose sums stay those of the first run"):
        interpreter.invoke()


@pytest.mark.skipif(not litert_installed(), reason="needs the LiteRT wheel")
@pytest.mark.parametrize("op", ["FULLY_CONNECTED", "BATCH_MATMUL"])
def test_long_sums_as_in_litert(op):
    """With 2,064 weights of -128 every lane of their sum wraps around."""
    depth = 2064
    content = _hybrid(op, np.full((1, depth), -128, np.int8), constant=True)
    x = np.linspace(0.5, 1.5, depth, dtype=np.float32)[None]
    (theirs,) = LiteRT("litert-reference").run(content, [[x]], all_tensors=False)
    ours = quantref.run(content, {"x": x}, profile="litert-reference")["y"]
    np.testing.assert_array_equal(ours, theirs.outputs[0])
