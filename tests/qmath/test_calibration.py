"""Observers: what they find, and that neither order nor portions matter where they must not."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from qmath import clipping
from qmath.calibration import (
    CONVERTER_MIN_MAX,
    FLT_MIN,
    MIN_MAX,
    MOVING_AVERAGE,
    OBSERVERS,
    Entropy,
    Extent,
    MeanSquaredError,
    MovingAverage,
    Observer,
    Percentile,
    observer_named,
)
from qmath.errors import InputError
from qmath.histogram import BINS, Histogram
from tests.oracles import rational

FLOATS = st.floats(-(2.0**100), 2.0**100, width=32)
SAMPLES = st.lists(hnp.arrays(np.float32, st.integers(1, 20), elements=FLOATS), min_size=1, max_size=6)
BELL = np.random.default_rng(7).standard_normal(50_000).astype(np.float32)


def observe(observer: Observer, *samples: np.ndarray) -> Extent:
    summary = observer.fold(observer.summarize(np.asarray(sample, np.float32)) for sample in samples)
    assert summary is not None
    return observer.extent(summary)


def ends(extent: Extent) -> tuple[float, float]:
    assert type(extent.minimum) is type(extent.maximum) is np.float32
    return float(extent.minimum), float(extent.maximum)


# --- The smallest and the largest, and their moving average ---------------------------------------------------------


@settings(max_examples=40)
@given(SAMPLES)
def test_min_max_is_that_of_all_values(samples):
    everything = [float(value) for sample in samples for value in sample]
    assert ends(observe(MIN_MAX, *samples)) == (min(everything), max(everything))


@pytest.mark.parametrize("observer", [observer_named(name) for name in OBSERVERS])
def test_what_is_no_measurement_is_ignored(observer):
    clean = np.array([-1.0, 0.5, 2.0], np.float32)
    masked = np.array([np.nan, -1.0, -np.inf, 0.5, 3e38, 2.0, -3.4e38], np.float32)
    assert observe(observer, masked) == observe(observer, clean)
    assert observer.summarize(np.array([np.nan, np.inf], np.float32)) is None
    assert observer.summarize(np.zeros((0, 3), np.float32)) is None
    assert observe(observer, np.float32([np.nan]), clean, np.zeros(0, np.float32)) == observe(observer, clean)
    assert observer.fold([None, None]) is None


def test_the_converter_counts_infinity_and_takes_the_least_normal_float_for_the_lowest():
    assert ends(observe(CONVERTER_MIN_MAX, [-2.0, np.nan, -1.0])) == (-2.0, float(FLT_MIN))
    assert ends(observe(CONVERTER_MIN_MAX, [0.0])) == (0.0, 1.1754943508222875e-38)
    assert ends(observe(CONVERTER_MIN_MAX, [0.0, 5.0])) == (0.0, 5.0)
    assert ends(observe(CONVERTER_MIN_MAX, [-np.inf, np.inf, np.nan])) == (-np.inf, np.inf)


@settings(max_examples=40)
@given(SAMPLES)
def test_moving_average_is_float32_after_every_step(samples):
    def f32(value):
        return rational.to_float(Fraction(value), 24)

    old, new = (Fraction(float(np.float32(weight))) for weight in (0.95, 1.0 - 0.95))
    average = [Fraction(float(bound)) for bound in (samples[0].min(), samples[0].max())]
    for sample in samples[1:]:
        bounds = (Fraction(float(sample.min())), Fraction(float(sample.max())))
        average = [f32(f32(old * a) + f32(new * s)) for a, s in zip(average, bounds, strict=True)]
    if any(0 < abs(a) < Fraction(float(FLT_MIN)) for a in average):
        return  # the oracle has no subnormal floats
    found = ends(observe(MOVING_AVERAGE, *samples))
    assert [Fraction(bound) for bound in found] == average


def test_moving_average_depends_on_the_order_and_says_so():
    one, two = np.float32([0, 1]), np.float32([-1, 3])
    assert observe(MOVING_AVERAGE, one, two) != observe(MOVING_AVERAGE, two, one)
    assert MOVING_AVERAGE.ordered
    assert not any(observer_named(name).ordered for name in OBSERVERS if name != "moving-average")
    assert ends(observe(MovingAverage(0.5), one, two)) == (-0.5, 2.0)


# --- Histograms -------------------------------------------------------------------------------------------------------


def counted_one_by_one(values: list[float], exponent: int) -> list[int]:
    counts = [0] * (2 * BINS)
    for value in values:
        counts[math.floor(Fraction(value) / Fraction(2) ** exponent) + BINS] += 1
    return counts


@settings(max_examples=40)
@given(SAMPLES)
def test_a_histogram_is_the_same_in_any_portions_and_order(samples):
    whole = Histogram.of(np.concatenate(samples))
    pieces = [Histogram.of(sample) for sample in samples]
    for order in (pieces, pieces[::-1]):
        total = order[0]
        for piece in order[1:]:
            total = total + piece
        assert total.exponent == whole.exponent
        assert np.array_equal(total.counts, whole.counts)
        assert total.zeros == whole.zeros
    everything = [float(value) for sample in samples for value in sample]
    assert whole.counts.tolist() == counted_one_by_one(everything, whole.exponent)
    assert whole.zeros == everything.count(0.0)
    assert whole.total == len(everything)


@pytest.mark.parametrize("largest", [1.0, 0.99, 1e-45, 3.4e38, 2.0**-126])
def test_bins_are_the_narrowest_powers_of_two(largest):
    histogram = Histogram.of(np.array([largest, -largest], np.float32))
    magnitude = float(np.float32(largest)) / 2.0**histogram.exponent
    assert BINS / 2 <= magnitude < BINS
    assert histogram.edges[0] == -BINS * 2.0**histogram.exponent
    assert histogram.edges.size == 2 * BINS + 1


def test_tiny_numbers_keep_their_sign_when_bins_widen():
    tiny, large = np.float32([-1e-45, 1e-45, 0]), np.float32([1e38])
    merged = Histogram.of(tiny) + Histogram.of(large)
    assert (merged.counts[BINS - 1], merged.counts[BINS], merged.zeros) == (1, 2, 1)
    assert merged.without_zeros[BINS] == 1


@settings(max_examples=40)
@given(SAMPLES.filter(lambda samples: sum(sample.size for sample in samples) > 3), st.floats(0.05, 0.95))
def test_quantiles_are_exact_to_one_bin(samples, share):
    values = np.sort(np.concatenate(samples)).astype(np.float64)
    histogram = Histogram.of(np.concatenate(samples))
    found, width = histogram.quantile(share), 2.0**histogram.exponent
    rank = share * values.size
    at = values[min(math.ceil(rank), values.size) - 1]  # as many as rank lie at it or below
    assert abs(found - at) <= width


# --- Ranges from histograms -------------------------------------------------------------------------------------------


def test_percentile_leaves_out_as_much_below_as_above():
    values = np.arange(-1000, 1001, dtype=np.float32)
    assert ends(observe(Percentile(100), values)) == (-1000, 1000)
    low, high = ends(observe(Percentile(90), values))
    assert abs(low + 900) <= 1
    assert abs(high - 900) <= 1
    assert ends(observe(Percentile(99.9), np.maximum(BELL, 0)))[0] < 1e-3


@pytest.mark.parametrize("observer", [MeanSquaredError(), Entropy(), Percentile()])
def test_outliers_are_clipped_and_flat_distributions_are_not(observer):
    flat = np.linspace(-1, 3, 10_000, dtype=np.float32)
    low, high = ends(observe(observer, flat))
    assert -1 <= low < -0.99
    assert 2.99 < high <= 3
    low, high = ends(observe(observer, np.append(BELL, np.float32(200))))
    assert -5 < low < -3
    assert 3 < high < 195


@pytest.mark.parametrize("observer", [observer_named(name) for name in OBSERVERS])
@pytest.mark.parametrize("value", [0.0, 1.5, -1.5, 1e-45, 2.9e38])
def test_a_single_value_is_its_own_range(observer, value):
    assert ends(observe(observer, np.full(3, value, np.float32))) == (np.float32(value),) * 2


def codes_error(values: np.ndarray, low: float, high: float, levels: int = 256) -> float:
    scale = (high - low) / (levels - 1)
    zero_point = round(-low / scale)
    total = 0.0
    for value in values.astype(float):
        code = min(max(round(value / scale) + zero_point, 0), levels - 1)
        total += (value - (code - zero_point) * scale) ** 2
    return total


@pytest.mark.parametrize(
    ("shape", "levels", "share"), [("bell", 256, 1.03), ("rectified", 256, 1.03), ("tails", 16, 0.8)]
)
def test_least_squared_error_beats_the_whole_range(shape, levels, share):
    rng = np.random.default_rng(3)
    values = {
        "bell": rng.standard_normal(5000),
        "rectified": np.maximum(rng.standard_normal(5000), 0),
        "tails": rng.standard_t(2, 5000),
    }[shape].astype(np.float32)
    chosen, whole = (ends(observe(observer, values)) for observer in (MeanSquaredError(levels), MIN_MAX))
    assert codes_error(values, *chosen, levels) < share * codes_error(values, *whole, levels)


@pytest.mark.parametrize(("low", "high"), [(-0.5, 7.0), (-0.25, 1.0), (0.0, 2.0), (-1.0, 0.0)])
def test_squared_errors_are_those_of_numbers_spread_in_their_bins(low, high):
    begins, ends_, counts = np.array([-0.5, 0.25, 1.0, 6.9]), np.array([-0.47, 0.5, 1.001, 7.0]), np.array([3, 5, 2, 1])
    found = clipping.squared_errors(begins, ends_, counts, np.array([low]), np.array([high]), 256)
    expected = 0.0
    for begin, end, count in zip(begins, ends_, counts, strict=True):
        spread = begin + (np.arange(10_000) + 0.5) / 10_000 * (end - begin)
        expected += count * codes_error(spread, low, high) / spread.size
    assert found == pytest.approx([expected], rel=1e-4)


def test_a_range_of_nothing_but_zero_is_no_candidate():
    one, zero = np.ones(1), np.zeros(1)
    assert clipping.squared_errors(one, 2 * one, one.astype(int), zero, zero, 256) == [np.inf]


@given(st.lists(st.integers(0, 9), min_size=4, max_size=30), st.integers(2, 8), st.data())
def test_divergence_equals_the_definition(counts, levels, data):
    first = data.draw(st.integers(0, len(counts) - 1))
    end = data.draw(st.integers(first + 1, len(counts)))
    found = clipping.divergence(np.array(counts), first, end, levels)
    inside = counts[first:end]
    if not any(inside):
        assert found == math.inf
        return
    reference = list(inside)
    reference[0] += sum(counts[:first])
    reference[-1] += sum(counts[end:])
    groups = [i * min(levels, len(inside)) // len(inside) for i in range(len(inside))]
    total = 0.0
    for i, p in enumerate(reference):
        group = [inside[j] for j in range(len(inside)) if groups[j] == groups[i]]
        told = sum(group) / sum(c > 0 for c in group) if inside[i] else 0
        if p:
            total += p / sum(reference) * math.log(p / sum(reference) / max(told / sum(inside), 1e-9))
    assert found == pytest.approx(total, rel=1e-9, abs=1e-12)


def test_the_range_does_not_depend_on_portions():
    samples = [BELL[start : start + 1000] * (1 + start / 5000) for start in range(0, 20_000, 1000)]
    for observer in (MIN_MAX, Percentile(99), MeanSquaredError(), Entropy()):
        whole = observe(observer, np.concatenate(samples))
        halves = [observer.fold(map(observer.summarize, part)) for part in (samples[7:], samples[:2], samples[2:7])]
        assert observer.extent(observer.fold(halves)) == whole == observe(observer, *samples)


# --- Names ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*OBSERVERS, "percentile:99.5", "moving-average:0.9", "mse:16", "entropy:128"])
def test_names_lead_back(name):
    observer = observer_named(name)
    assert observer_named(observer.name) == observer
    assert observer.name.startswith(name)


@pytest.mark.parametrize(
    "name", ["", "minmax", "min-max:3", "percentile:0", "percentile:101", "percentile:x", "moving-average:1", "mse:"]
)
def test_names_that_mean_nothing(name):
    with pytest.raises(InputError, match="expected"):
        observer_named(name)


def test_numbers_that_mean_nothing():
    for name in ("mse:0", "mse:1", "entropy:-3", "percentile:nan", "moving-average:nan"):
        with pytest.raises(InputError, match="expected"):
            observer_named(name)
