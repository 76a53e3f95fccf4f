"""What Arm's vector code makes of the integer LSTM, against plain Python."""

from __future__ import annotations

import numpy as np
import pytest

from kernels.lstm_vector import NORMALIZED, Blocks
from qmath.multiplier import quantize_multiplier
from qmath.requantize import DOUBLE_ROUNDING, DOUBLE_ROUNDING_HALF_UP

SCALAR = Blocks(DOUBLE_ROUNDING)
VECTOR = Blocks(DOUBLE_ROUNDING, DOUBLE_ROUNDING_HALF_UP)
QUARTER = quantize_multiplier(np.asarray(0.25))


@pytest.mark.parametrize(("together", "in_blocks"), [(1, 4), (2, 8)])
def test_whole_blocks_round_ties_up(together, in_blocks):
    numbers = np.full((2, 5), -2)
    found = VECTOR.apply(numbers, QUARTER, 4, together).reshape(-1)
    blocks = [i % (5 * together) < 5 * together // 4 * 4 for i in range(10)]
    assert found.tolist() == [0 if block else -1 for block in blocks]
    assert sum(blocks[: 5 * together]) == in_blocks
    assert SCALAR.apply(numbers, QUARTER, 4, together).tolist() == [[-1] * 5] * 2


def test_squares_are_added_by_fours_in_32_bits():
    gate = np.full((1, 11), 30_000)
    # Two groups of four wrap around; the last three elements are added in 64 bits.
    assert VECTOR.squares(gate).tolist() == [[2 * (4 * 30_000**2 - 2**32) + 3 * 30_000**2]]
    assert SCALAR.squares(gate).tolist() == [[11 * 30_000**2]]


def test_products_with_coefficients_have_64_bits():
    centred, one = np.full((1, NORMALIZED + 1), 1 << 17), quantize_multiplier(np.asarray(1.0))
    coefficients, bias = np.full(NORMALIZED + 1, 1 << 14), np.zeros(NORMALIZED + 1, np.int64)
    assert VECTOR.scaled(centred, one, coefficients, bias).tolist() == [[1 << 21] * (NORMALIZED + 1)]
    assert SCALAR.scaled(centred, one, coefficients, bias).tolist() == [[-(1 << 21)] * (NORMALIZED + 1)]
    # A tie of a negative number: up in the block, away from zero behind it.
    ties = VECTOR.scaled(np.full((1, NORMALIZED + 1), -512), one, np.ones(NORMALIZED + 1, np.int64), bias)
    assert ties.tolist() == [[0] * NORMALIZED + [-1]]


def test_pairs_of_lowest_codes_are_lost_in_whole_blocks_of_16():
    x, weights = np.full((1, 31), -128, np.int8), np.full((31, 2), -128)
    assert VECTOR.lost(x, weights).tolist() == [[8 << 16] * 2]
    assert VECTOR.lost(x[:, :15], weights[:15]) == 0
    assert SCALAR.lost(x, weights) == 0
