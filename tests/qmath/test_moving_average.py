"""Ranges that follow training: stored averages of TensorFlow, bit for bit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from qmath.errors import InputError
from qmath.moving_average import DebiasedAverage, TrackedRange, move_average


@pytest.fixture(scope="module")
def goldens():
    with np.load(Path(__file__).with_name("fake_quant.npz")) as stored:
        return {name: array for name, array in stored.items() if name.startswith("average")}


def test_averages_equal_tensorflows(goldens):
    average = np.zeros(4, np.float32)
    for value, expected in zip(goldens["average_values"], goldens["average"], strict=True):
        average = move_average(average, value, 0.99)
        assert np.array_equal(average.view(np.uint32), expected.view(np.uint32))


def test_debiased_averages_equal_tensorflows(goldens):
    average = DebiasedAverage()
    for value, expected in zip(goldens["average_values"], goldens["average_debiased"], strict=True):
        average = average.moved(value, 0.99)
        assert np.array_equal(average.value(0.99).view(np.uint32), expected.view(np.uint32))


def test_a_constant_is_its_own_debiased_average():
    average = DebiasedAverage().moved(3.0).moved(3.0)
    assert average.value() == pytest.approx(3, rel=1e-4)  # 1 - 0.999 has few bits


def test_a_range_starts_at_the_first_batch_and_includes_0():
    x = np.array([[1, -2], [3, 4]], np.float32)
    first = TrackedRange().moved(x)
    assert (first.minimum, first.maximum) == (-2, 4)
    second = first.moved(x + 1, 0.75)
    assert (second.minimum, second.maximum) == (-1.75, 4.25)
    channels = TrackedRange().moved(x, per_channel=True)
    assert np.array_equal(channels.minimum, [0, -2])
    assert np.array_equal(channels.maximum, [3, 4])


def test_wrong_arguments():
    with pytest.raises(InputError, match=r"decay from 0 to 1, found 1\.5"):
        move_average(0, 1, 1.5)
    with pytest.raises(InputError, match="at least one value"):
        DebiasedAverage().value()
