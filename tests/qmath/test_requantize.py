"""Every regime against exact fractions: all shifts times edge multipliers, ties, wrapping and saturation."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import assume, example, given

from qmath import requantize as rq
from qmath import requantize_vector as vector
from qmath.errors import SpecError
from qmath.types import ActivationRange, DType, FixedPointMultiplier
from quantref.testing import requantizations
from tests.oracles import rational

FIXED = [
    pytest.param(rq.DOUBLE_ROUNDING, rational.double_rounding, id="double"),
    pytest.param(rq.DOUBLE_ROUNDING_HALF_UP, rational.double_rounding_half_up, id="double-half-up"),
    pytest.param(rq.SINGLE_ROUNDING, rational.single_rounding, id="single"),
]
FLOATING = [
    pytest.param(rq.FLOAT64_HALF_AWAY, rational.float64_half_away, id="float64"),
    pytest.param(rq.FLOAT32_HALF_EVEN, rational.float32_half_even, id="float32"),
]
REGIMES = [param.values[0] for param in FIXED + FLOATING] + [rq.REDUCED_64]
ALL = REGIMES + [value for value in vars(vector).values() if isinstance(value, rq.Regime) and value not in REGIMES]

MULTIPLIERS = [0, 2**30, 2**30 + 1, 3 * 2**29, 2**31 - 2**16, 2**31 - 1]
ACCUMULATORS = sorted({s * v for v in (0, 1, 2, 3, 5, 255, 2**15, 2**30 - 1, 2**30, 2**31 - 1) for s in (-1, 1)})
PAIRS = requantizations(-20, 6)


def factor_of(multiplier, shift):
    return FixedPointMultiplier(np.array(multiplier), np.array(shift))


@pytest.mark.parametrize(("regime", "oracle"), FIXED)
def test_all_shifts_times_edge_multipliers(regime, oracle):
    shifts = np.arange(-31, 31)
    for multiplier in MULTIPLIERS:
        found = regime.apply(np.array(ACCUMULATORS)[:, None], factor_of(multiplier, shifts))
        expected = [[oracle(x, multiplier, int(shift)) for shift in shifts] for x in ACCUMULATORS]
        assert found.tolist() == expected
        assert found.dtype == np.int64


@pytest.mark.parametrize("multiplier", MULTIPLIERS)
def test_reduced_64_on_all_shifts_and_48_bit_accumulators(multiplier):
    shifts = np.arange(-31, 8)
    accumulators = [*ACCUMULATORS, -(2**47), 2**47 - 1]
    found = rq.REDUCED_64.apply(np.array(accumulators)[:, None], factor_of(multiplier, shifts))
    assert found.tolist() == [[rational.reduced_64(x, multiplier, int(s)) for s in shifts] for x in accumulators]


@pytest.mark.parametrize(("regime", "oracle"), FIXED)
def test_fixed_point_regimes_on_real_multipliers(regime, oracle):
    @given(PAIRS)
    def check(pair):
        accumulator, real = pair
        multiplier, shift = rational.encode(real)
        found = regime.apply(np.array([accumulator]), regime.encode(np.array([real])))
        assert found.tolist() == [oracle(accumulator, multiplier, shift)]

    check()


@pytest.mark.parametrize(("regime", "oracle"), FLOATING)
def test_floating_regimes_on_real_multipliers(regime, oracle):
    @given(PAIRS)
    @example((2**29 + 33, 2.0))  # just beyond 2^30, where the product of the float32 regime is bounded
    @example((-(2**29) - 33, 2.0))
    @example((2**29, 2.0))
    @example((2**30, 2.0))  # just beyond 32 bits
    @example((-(2**30), 2.0))
    @example((-(2**31), 63.0))
    @example((2**31 - 1, 63.0))
    def check(pair):
        accumulator, real = pair
        found = regime.apply(np.array([accumulator]), regime.encode(np.array([real])))
        assert found.tolist() == [oracle(accumulator, real)]

    check()


def test_the_regimes_differ_on_ties():
    ties = np.array([-3, -2, -1, 1, 2, 3])
    found = {type(r).__name__: r.apply(ties, r.encode(np.float64(0.25))).tolist() for r in REGIMES}
    assert found == {
        "DoubleRounding": [-1, -1, 0, 1, 1, 1],
        "DoubleRoundingHalfUp": [0, 0, 0, 1, 1, 1],
        "SingleRounding": [-1, 0, 0, 0, 1, 1],
        "Float64HalfAway": [-1, -1, 0, 0, 1, 1],
        "Float32HalfEven": [-1, 0, 0, 0, 0, 1],
        "Reduced64": [-1, 0, 0, 0, 1, 1],
    }


@pytest.mark.parametrize("regime", REGIMES, ids=lambda regime: type(regime).__name__)
@pytest.mark.parametrize("real", [2.0**-20, 0.0003, 0.25, 0.7, 1 - 2.0**-20, 1.5, 64.0])
def test_regimes_are_monotone_up_to_their_limit(regime, real):
    factor = regime.encode(np.array([real]))
    limit = int(regime.limit(factor)[0])
    assert limit > 0
    near_the_limit = np.arange(limit - 1000, limit + 1)
    accumulators = np.concatenate([-near_the_limit[::-1], np.arange(-1000, 1001), near_the_limit])
    found = regime.apply(accumulators[:, None], factor)[:, 0]
    assert np.all(np.diff(found) >= 0)
    assert found[0] < 0 < found[-1] or real < 2.0**-19


@pytest.mark.parametrize("regime", REGIMES, ids=lambda regime: type(regime).__name__)
def test_a_factor_per_channel_broadcasts_along_the_last_axis(regime):
    accumulators = np.arange(-600, 600).reshape(4, 100, 3)
    reals = np.array([0.125, 0.3, 1.7])
    together = regime.apply(accumulators, regime.encode(reals))
    for channel, real in enumerate(reals):
        alone = regime.apply(accumulators[..., channel], regime.encode(np.float64(real)))
        assert np.array_equal(together[..., channel], alone)


@pytest.mark.parametrize("regime", REGIMES, ids=lambda regime: type(regime).__name__)
@pytest.mark.parametrize("real", [np.nan, np.inf])
def test_multipliers_must_be_finite(regime, real):
    with pytest.raises(SpecError, match="finite"):
        regime.encode(np.array([1.0, real]))


@pytest.mark.parametrize("regime", [param.values[0] for param in FIXED], ids=lambda regime: type(regime).__name__)
def test_multipliers_too_large_for_a_shift_are_refused(regime):
    assert regime.encode(np.array([2.0**30 - 1])).shift == 30
    with pytest.raises(SpecError, match="below"):
        regime.encode(np.array([2.0**30]))


@pytest.mark.parametrize("regime", REGIMES, ids=type)
def test_a_negative_multiplier_has_no_monotone_range(regime):
    assert regime.limit(regime.encode(np.array([-0.5]))).tolist() == [-1]


def test_a_float64_product_beyond_int32_becomes_the_lowest_int32():
    regime = rq.FLOAT64_HALF_AWAY
    found = regime.apply(np.array([-(2**30), 2**30 - 64, 2**30, 2**31 - 1]), regime.encode(np.float64(2.0)))
    assert found.tolist() == [-(2**31), 2**31 - 128, -(2**31), -(2**31)]


def test_a_float32_product_below_int32_becomes_the_lowest_int32_and_one_above_stays_far_above_every_code():
    regime = rq.FLOAT32_HALF_EVEN
    found = regime.apply(np.array([-(2**31), -(2**30), 2**29, 2**31 - 1]), regime.encode(np.float64(2.0)))
    assert found.tolist() == [-(2**31), -(2**31), 2**30, 2**30]


@pytest.mark.parametrize(("zero_point", "code"), [(0, -128), (-1, 127)])
def test_adding_a_negative_zero_point_to_the_lowest_int32_wraps(zero_point, code):
    requantize = rq.Requantize(
        rq.FLOAT32_HALF_EVEN, np.float64(2.0), zero_point, ActivationRange(-128, 127), DType.INT8
    )
    assert requantize(np.array([-(2**31), 2**31 - 1])).tolist() == [code, 127]


@pytest.mark.parametrize(("zero_point", "codes"), [(-3, [127, -2, -4, -3]), (3, [2, 4, 2, 3])])
def test_the_upper_end_of_an_activation_holds_before_the_addition_that_wraps(zero_point, codes):
    """RELU_N1_TO_1, as XNNPACK gave it for a FULLY_CONNECTED and a CONV_2D."""
    ends = ActivationRange(zero_point - 1, zero_point + 1)
    requantize = rq.Requantize(rq.FLOAT32_HALF_EVEN, np.float64(2.0), zero_point, ends, DType.INT8)
    assert requantize(np.array([-(2**31), 2**31 - 1, -50, 0])).tolist() == codes


@pytest.mark.parametrize("regime", [*[param.values[0] for param in FIXED], rq.REDUCED_64], ids=type)
def test_the_real_form_is_the_regime(regime):
    @given(PAIRS)
    def check(pair):
        accumulator, real = pair
        factor = regime.encode(np.array([real]))
        assume(abs(accumulator) <= regime.limit(factor)[0])
        form = regime.real_form(factor)
        scale, up, away = (Fraction(float(part[0])) for part in (form.scale, form.up, form.away))
        product = accumulator * scale
        expected = math.floor(product + up + (away if product >= 0 else -away))
        assert regime.apply(np.array([accumulator]), factor).tolist() == [expected]

    check()


def test_floating_regimes_have_no_real_form():
    for regime in (rq.FLOAT64_HALF_AWAY, rq.FLOAT32_HALF_EVEN):
        assert regime.real_form(regime.encode(np.array([0.5]))) is None


def test_requantize_adds_the_zero_point_then_clamps():
    requantize = rq.Requantize(rq.DOUBLE_ROUNDING, np.float64(0.5), -3, ActivationRange(-3, 100), DType.INT8)
    stages = {}

    def note(stage, value, *rule, **terms):
        stages[stage] = value.tolist()
        return value

    codes = requantize(np.array([-9, -1, 0, 1, 7, 1000]), note)
    assert codes.dtype == np.int8
    assert codes.tolist() == [-3, -3, -3, -2, 1, 100]
    assert stages["zero point added"] == [-7, -3, -3, -2, 1, 497]
    assert list(stages)[-2:] == ["zero point added", "clamped"]


@pytest.mark.parametrize("regime", ALL)
def test_multipliers_that_a_regime_cannot_hold_are_refused_without_a_warning(regime):
    for real in (np.inf, -np.inf, np.nan):
        with pytest.raises(SpecError, match="finite real multipliers"):
            regime.encode(np.asarray(real))
    if isinstance(regime, rq.Float64HalfAway):
        # It holds the number; the product overflows to infinity, and that to an end of int32.
        products = regime.apply(np.array([1 << 31, -(1 << 31), 0]), regime.encode(np.asarray(1e300)))
        assert set(products.tolist()) <= {-(1 << 31), (1 << 31) - 1, 0}
    else:
        with pytest.raises(SpecError, match=r"expected (finite )?real multipliers"):
            regime.encode(np.asarray(1e300))


@pytest.mark.parametrize("regime", ALL)
def test_single_accumulators_and_none(regime):
    factor = regime.encode(np.asarray(0.25))
    assert np.asarray(regime.apply(np.asarray(400), factor)).tolist() == 100
    assert regime.apply(np.empty((2, 0, 4), np.int64), factor).shape == (2, 0, 4)
    assert regime.apply(np.array([[400]], ">i4"), factor).tolist() == [[100]]
