"""What sums that leave 32 bits become on Arm, as measured."""

from __future__ import annotations

import numpy as np
import pytest

from kernels.conv import ARITHMETIC
from kernels.fully_connected_integer import ARITHMETIC as DENSE
from kernels.profiles import LITERT_OPTIMIZED, LITERT_OPTIMIZED_ARM64, XNNPACK_ARM64
from qmath.requantize import FLOAT64_HALF_AWAY, SINGLE_ROUNDING
from qmath.requantize_vector import FLOAT64_HALF_AWAY_SATURATING
from qmath.types import FixedPointMultiplier


@pytest.mark.parametrize(
    ("accumulator", "multiplier", "shift", "is_positive"),
    [(10_240_290, 1_115_365_755, 7, True), (6_220_830, 1_491_014_377, 9, False), (6_391_522, 1_201_652_089, 9, True)],
)
def test_int16_sums_are_cut_to_32_bits_after_one_product(accumulator, multiplier, shift, is_positive):
    factor = FixedPointMultiplier(np.asarray(multiplier), np.asarray(shift))
    regime = ARITHMETIC[LITERT_OPTIMIZED_ARM64].of_int16
    assert regime is DENSE[LITERT_OPTIMIZED_ARM64].of_int16 is SINGLE_ROUNDING
    assert (int(regime.apply(np.asarray(accumulator), factor)) > 0) == is_positive


def test_float64_products_saturate():
    accumulator, factor = np.array([3, -3, 2**20, -(2**20)]), np.asarray(2.0**12 + 0.5)
    half_away = [12290, -12290]
    assert FLOAT64_HALF_AWAY_SATURATING.apply(accumulator, factor).tolist() == [*half_away, 2**31 - 1, -(2**31)]
    assert FLOAT64_HALF_AWAY.apply(accumulator, factor).tolist() == [*half_away, -(2**31), -(2**31)]
    assert DENSE[LITERT_OPTIMIZED].wide is FLOAT64_HALF_AWAY
    assert {DENSE[profile].wide for profile in (LITERT_OPTIMIZED_ARM64,)} == {FLOAT64_HALF_AWAY_SATURATING}
    assert DENSE[XNNPACK_ARM64].wide is FLOAT64_HALF_AWAY
