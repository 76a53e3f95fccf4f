"""Every form of a requantization gives what the definition gives: on both sides of every step, for every regime."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from kernels.engine.exact import Reach
from kernels.engine.fitted import FittedForm
from kernels.engine.fitting import proven_form, steps_of
from kernels.engine.steps import Float32RintForm, Float64Form, StepForm, quick_form
from qmath.requantize import (
    DOUBLE_ROUNDING,
    DOUBLE_ROUNDING_HALF_UP,
    FLOAT32_HALF_EVEN,
    FLOAT64_HALF_AWAY,
    REDUCED_64,
    SINGLE_ROUNDING,
    Regime,
    Requantize,
)
from qmath.requantize_vector import HALF_UP_IN_BLOCKS_OF_8
from qmath.types import ActivationRange, DType, Int64Array

REGIMES = (
    HALF_UP_IN_BLOCKS_OF_8,
    DOUBLE_ROUNDING,
    DOUBLE_ROUNDING_HALF_UP,
    SINGLE_ROUNDING,
    REDUCED_64,
    FLOAT64_HALF_AWAY,
    FLOAT32_HALF_EVEN,
)
LARGE, SMALL = 1 << 20, 1


@dataclasses.dataclass(frozen=True)
class Layer:
    """A requantization with the raw sums and offsets of a small layer."""

    requantize: Requantize
    offset: Int64Array
    reach: Reach

    def around_every_step(self) -> Int64Array:
        """Return raw sums on both sides of every step, and at the ends of what can be reached."""
        steps = steps_of(self.requantize, self.offset, self.reach)
        assert steps is not None
        near = steps.first + np.arange(-3, 4)[:, None, None]
        raw = np.concatenate([near.reshape(-1, len(self.offset)), [self.reach.lowest, self.reach.highest]])
        return np.clip(raw, self.reach.lowest, self.reach.highest)

    def mistakes(self, form: StepForm, raw: Int64Array) -> int:
        """Return on how many raw sums a form differs from the definition."""
        assert self.reach.dtype is not None
        return int((form(raw.astype(self.reach.dtype)) != self.requantize(raw + self.offset)).sum())


def layer(regime: Regime, rng: np.random.Generator, *, zero_point: int, low: int, powers: bool = False) -> Layer:
    channels = 21
    weights = rng.integers(-127, 128, (int(rng.integers(1, 200)), channels))
    multiplier = rng.uniform(0.5, 1, channels) if not powers else np.full(channels, 0.5)
    multiplier = multiplier * 2.0 ** -rng.integers(2, 13, channels)
    offset = rng.integers(-5000, 5000, channels) - zero_point * weights.sum(axis=0)
    requantize = Requantize(regime, multiplier, zero_point, ActivationRange(low, 127), DType.INT8)
    return Layer(requantize, offset, Reach.of(weights, DType.INT8))


@pytest.mark.parametrize("regime", REGIMES, ids=lambda regime: type(regime).__name__)
@pytest.mark.parametrize("powers", [False, True], ids=["any scales", "powers of two"])
@pytest.mark.parametrize(("zero_point", "low"), [(-128, -128), (5, -128), (5, 5), (-10, -60)])
def test_every_form_is_right_around_every_step(regime: Regime, powers: bool, zero_point: int, low: int) -> None:
    rng = np.random.default_rng((REGIMES.index(regime), powers, zero_point + 128))
    for _ in range(3):
        case = layer(regime, rng, zero_point=zero_point, low=low, powers=powers)
        forms = [quick_form(case.requantize, case.offset, case.reach)]
        forms += [proven_form(case.requantize, case.offset, case.reach, elements) for elements in (LARGE, SMALL)]
        raw = case.around_every_step()
        assert forms[0] is not None
        assert [case.mistakes(form, raw) for form in forms if form is not None] == [0] * sum(
            form is not None for form in forms
        )


def test_irregular_scales_get_a_float32_form() -> None:
    """The multipliers of trained networks fit 24 bits but for a few accumulators."""
    case = layer(DOUBLE_ROUNDING, np.random.default_rng(1), zero_point=-128, low=-128)
    form = proven_form(case.requantize, case.offset, case.reach, LARGE)
    assert isinstance(form, FittedForm)
    assert form.bias.dtype == np.float32


def test_small_arrays_get_a_form_without_exceptions() -> None:
    case = layer(SINGLE_ROUNDING, np.random.default_rng(2), zero_point=-128, low=-128)
    form = proven_form(case.requantize, case.offset, case.reach, SMALL)
    assert isinstance(form, FittedForm)
    assert form.exceptions is None


def test_exceptions_are_put_right() -> None:
    """With 8 bits, no float32 chain fits a scale this fine everywhere; the listed sums get the definition's code."""
    rng = np.random.default_rng(3)
    weights = rng.integers(-127, 128, (900, 64))
    multiplier = rng.uniform(0.5, 1, 64) * 2.0**-10
    requantize = Requantize(DOUBLE_ROUNDING, multiplier, -128, ActivationRange(-128, 127), DType.INT8)
    case = Layer(requantize, rng.integers(-5000, 5000, 64), Reach.of(weights, DType.INT8))
    form = proven_form(case.requantize, case.offset, case.reach, LARGE)
    assert isinstance(form, FittedForm)
    assert form.exceptions is not None
    without = dataclasses.replace(form, exceptions=None)
    raw = case.around_every_step()
    assert case.mistakes(without, raw) > 0
    assert case.mistakes(form, raw) == 0


def test_forms_by_regime() -> None:
    """Fixed-point regimes have a float64 form by identity; XNNPACK's is float32 as it stands."""
    rng = np.random.default_rng(4)
    kinds = {}
    for regime in REGIMES:
        case = layer(regime, rng, zero_point=3, low=-128)
        kinds[regime] = type(quick_form(case.requantize, case.offset, case.reach))
    assert kinds[DOUBLE_ROUNDING] is kinds[SINGLE_ROUNDING] is kinds[REDUCED_64] is Float64Form
    assert kinds[FLOAT32_HALF_EVEN] is Float32RintForm


@pytest.mark.parametrize("zero_point", [-128, 0, 100])
@pytest.mark.parametrize(("total", "multiplier"), [(614_141, 1_833_292_203), (1_659_361, 2_035_542_429)])
def test_float64_forms_keep_the_last_unit(total: int, multiplier: int, zero_point: int) -> None:
    """A product one unit of ``2**-51`` below a tie: a zero point must not round it up."""
    factor = np.array([multiplier * 2.0**-51])
    requantize = Requantize(SINGLE_ROUNDING, factor, zero_point, ActivationRange(-128, 127), DType.INT8)
    reach = Reach(np.array([-total]), np.array([total]), total)
    form = quick_form(requantize, np.zeros(1, np.int64), reach)
    assert form is not None
    raw = np.array([[total], [-total]])
    np.testing.assert_array_equal(form(raw.astype(np.float64)), requantize(raw))


def test_no_form_where_the_regime_would_wrap() -> None:
    """A left shift that leaves 32 bits makes the definition wrap: only the definition knows how."""
    requantize = Requantize(DOUBLE_ROUNDING, np.full(1, 3.0e4), 0, ActivationRange(-128, 127), DType.INT8)
    reach = Reach.of(np.full((100, 1), 127), DType.INT8)
    assert quick_form(requantize, np.zeros(1, np.int64), reach) is None
    assert proven_form(requantize, np.zeros(1, np.int64), reach, LARGE) is None


def test_steps_that_the_sums_never_come_to_are_proven_too() -> None:
    """With a large multiplier the last sum is far from the next code; a form must not overshoot there."""
    weights = np.array([[1, -3, 7]])
    requantize = Requantize(
        DOUBLE_ROUNDING, np.array([2016.8, 43.1, 4537.7]), 0, ActivationRange(-128, 127), DType.INT8
    )
    case = Layer(requantize, np.array([-128, 5, 896]), Reach.of(weights, DType.INT8))
    codes = np.arange(-128, 128)[:, None] * weights
    for elements in (LARGE, SMALL):
        form = proven_form(requantize, case.offset, case.reach, elements)
        assert form is None or case.mistakes(form, codes) == 0


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    regime=st.sampled_from(REGIMES),
    multiplier=st.floats(1e-9, 3.0) | st.floats(1.0, 5000.0),
    zero_point=st.integers(-128, 127),
    offset=st.integers(-(1 << 22), 1 << 22),
    weights=st.lists(st.integers(-128, 127), min_size=1, max_size=40),
    low=st.integers(-128, 127),
)
@example(regime=HALF_UP_IN_BLOCKS_OF_8, multiplier=4096.0, zero_point=0, offset=262_272, weights=[1], low=0)
def test_any_multiplier(
    regime: Regime, multiplier: float, zero_point: int, offset: int, weights: list[int], low: int
) -> None:
    requantize = Requantize(regime, np.array([multiplier]), zero_point, ActivationRange(low, 127), DType.INT8)
    case = Layer(requantize, np.array([offset]), Reach.of(np.array(weights)[:, None], DType.INT8))
    quick = quick_form(requantize, case.offset, case.reach)
    proven = proven_form(requantize, case.offset, case.reach, LARGE)
    if quick is None:  # a left shift may leave 32 bits, and the definition itself runs
        assert multiplier > 1
        assert proven is None
        return
    raw = case.around_every_step()
    for form in (quick, proven):
        assert form is None or case.mistakes(form, raw) == 0
