"""Products that Arm's vector instructions add two by two in 16 bits, against lanes in Python integers."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from kernels.conv import Conv2D, PairedConv2D
from kernels.engine.pairs import Pairs
from kernels.profiles import LITERT_OPTIMIZED, LITERT_OPTIMIZED_ARM64, XNNPACK, XNNPACK_ARM64
from qmath.requantize_vector import FLOOR_THEN_HALF_UP_FLOAT32, FLOOR_THEN_HALF_UP_SATURATING
from qmath.types import DType
from quantref.vectors.cells.build import Operand, Result, one_op
from tests.kernels.forms import prepare_op, run_forms

HALF = {"scale": np.float32(0.5), "zero_point": 0}
INT8 = DType.INT8


def lanes_of(x, weights, filled):
    """Add products of int8 as the instructions do: 8 lanes of 16 bits, two products each, then 32 bits."""
    length = -(-len(x) // 16) * 16 if filled else len(x)
    x, weights = (
        [*row, *[fill] * (length - len(row))] for row, fill in zip((x, weights), filled or (0, 0), strict=True)
    )
    total = 0
    for start in range(0, length, 16):
        block = [a * w for a, w in zip(x[start : start + 16], weights[start : start + 16], strict=True)]
        for first, second in itertools.zip_longest(block[:8], block[8:], fillvalue=0):
            total += (first + second + 2**15) % 2**16 - 2**15
    return total


@pytest.mark.parametrize("filled", [None, (-128, -128), (-128, 0), (3, -128)])
def test_pairs_are_what_lanes_lose(filled):
    rng = np.random.default_rng(4)
    fills = filled or (0, 0)
    pairs = Pairs(-128, fills[0] == -128, fills[1] == -128)
    lost = 0
    for length in (1, 7, 8, 9, 15, 16, 17, 24, 25, 40):
        x, weights = (rng.choice([*[-128] * 8, -127, 5], length) for _ in range(2))
        count = int(pairs.of_inputs(x) @ pairs.of_weights(weights))
        padding = -length % 16 * fills[0] * fills[1] if filled else 0
        assert lanes_of(x.tolist(), weights.tolist(), filled) == int(x @ weights) + padding - (count << 16)
        lost += count
    assert lost > 10


def conv_bias():
    """Return a bias of zeros for four channels."""
    return Operand(np.zeros(4, np.int32), constant=True, params={"scale": np.float32(0.25), "zero_point": 0})


def cases():
    """One case an op whose sums lose pairs, all codes the lowest."""
    x, weights = (Operand(np.full(shape, -128, np.int8), params=HALF) for shape in ((1, 2, 2, 16), (4, 1, 1, 16)))
    weights = Operand(weights.array, constant=True, params=HALF)
    bias = conv_bias()
    slide = {"padding": 1, "stride_h": 1, "stride_w": 1, "fused_activation_function": 0}
    flat = Operand(x.array.reshape(4, 16), params=HALF)
    y = Result(INT8, {"scale": np.float32(1000.0), "zero_point": 0}, (1, 2, 2, 4))
    shape = Operand(np.array([1, 2, 2, 4], np.int32), constant=True)
    dense, matrix = (
        Operand(weights.array.reshape(4, 16).reshape(s), constant=True, params=HALF) for s in ((4, 16), (16, 4))
    )
    narrow = Result(INT8, y.params, (4, 4))
    yield one_op("", "CONV_2D", [x, weights, bias], [y], dilation_h_factor=1, dilation_w_factor=1, **slide)
    yield one_op("", "TRANSPOSE_CONV", [shape, weights, x, bias], [y], version=3, **slide)
    yield one_op("", "FULLY_CONNECTED", [flat, dense, bias], [narrow], fused_activation_function=0)
    yield one_op("", "BATCH_MATMUL", [flat, matrix], [narrow])


def outputs(case, profile):
    """Return the only value in the output of both forms."""
    values = {int(v) for form in run_forms(case.model, case.samples[0], profile) for v in form[0].reshape(-1)}
    assert len(values) == 1
    return values.pop()


@pytest.mark.parametrize("case", list(cases()), ids=lambda case: case.model.subgraphs[0].operators[0].name)
def test_ops_of_lowest_codes(case):
    # 16 products of 128 * 128, a quarter of a step of 1/1000 each: 65.536. Of 8 pairs each loses 2**16 of them.
    name = case.model.subgraphs[0].operators[0].name
    lost = round((16 * 2**14 - 8 * 2**16) * 0.25 / 1000)
    assert [outputs(case, profile) for profile in (LITERT_OPTIMIZED, XNNPACK)] == [66, 66]
    # LiteRT's own BATCH_MATMUL adds in 32 bits.
    assert outputs(case, LITERT_OPTIMIZED_ARM64) == (66 if name == "BATCH_MATMUL" else lost)
    assert outputs(case, XNNPACK_ARM64) == lost


def test_depthwise_taps_pair_column_by_column():
    lowest = np.full((1, 2, 2, 1), -128, np.int8)
    filter_ = lowest.copy()
    filter_[0, 1, 0] = 0
    operands = [Operand(lowest, params=HALF), *(Operand(f, constant=True, params=HALF) for f in (filter_,))]
    operands.append(Operand(np.zeros(1, np.int32), constant=True, params={"scale": np.float32(0.25), "zero_point": 0}))
    y = Result(INT8, {"scale": np.float32(200.0), "zero_point": 0}, (1, 1, 1, 1))
    options = {"padding": 1, "stride_h": 1, "stride_w": 1, "dilation_h_factor": 1, "dilation_w_factor": 1}
    case = one_op("", "DEPTHWISE_CONV_2D", operands, [y], depth_multiplier=1, fused_activation_function=0, **options)
    # Three products of 2**14; those of the second column share a lane.
    assert outputs(case, XNNPACK) == round(3 * 2**14 * 0.25 / 200)
    assert outputs(case, XNNPACK_ARM64) == round((3 * 2**14 - 2**16) * 0.25 / 200)
    assert outputs(case, LITERT_OPTIMIZED_ARM64) == round(3 * 2**14 * 0.25 / 200)


def test_lanes_that_do_not_matter_leave_the_op_as_it_is():
    (conv, *_) = cases()
    assert type(prepare_op(conv.model, LITERT_OPTIMIZED_ARM64)) is PairedConv2D
    assert type(prepare_op(conv.model, LITERT_OPTIMIZED)) is Conv2D
    weights = Operand(np.full((4, 1, 1, 16), -127, np.int8), constant=True, params=HALF)
    narrow = one_op(
        "",
        "CONV_2D",
        [Operand(np.zeros((1, 2, 2, 16), np.int8), params=HALF), weights, conv_bias()],
        [Result(INT8, HALF, (1, 2, 2, 4))],
        dilation_h_factor=1,
        dilation_w_factor=1,
        padding=1,
        stride_h=1,
        stride_w=1,
        fused_activation_function=0,
    )
    assert type(prepare_op(narrow.model, LITERT_OPTIMIZED_ARM64)) is Conv2D


def test_shifting_left_before_the_product_wraps_or_saturates():
    factor = FLOOR_THEN_HALF_UP_FLOAT32.encode(np.asarray(1.5))
    # Times 4, then 3/4 of it, then half of that: what does not fit 32 bits after the first step is lost.
    found = [
        regime.apply(np.array([5, 610_950_150]), factor).tolist()
        for regime in (FLOOR_THEN_HALF_UP_FLOAT32, FLOOR_THEN_HALF_UP_SATURATING)
    ]
    assert found[0] == [8, (610_950_150 * 4 - 2**32) * 3 // 8]
    assert found[1] == [8, ((2**31 - 1) * 3 // 4 + 1) // 2]
