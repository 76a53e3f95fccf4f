"""Vectors of one number a channel meet rows of channels, whatever the number of rows."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels.engine.program import run
from kernels.engine.runs import ONE_RUN, RUN, Runs


@given(rows=st.integers(0, 3000), channels=st.integers(1, 40), in_place=st.booleans())
def test_every_row_meets_the_vector(rows: int, channels: int, in_place: bool) -> None:
    rng = np.random.default_rng(rows * 41 + channels)
    values, vector = rng.integers(0, 100, (rows, channels)), rng.integers(0, 100, channels)
    expected = values - vector
    out = values if in_place else np.empty_like(values)
    runs = Runs(rows, channels)
    run(runs.call(np.subtract, values, runs.repeated(vector), out))
    np.testing.assert_array_equal(out, expected)


@pytest.mark.parametrize(("rows", "channels"), [(12_544, 96), (49, 1280), (3, 5000), (1, RUN), (9000, 1)])
def test_runs_are_too_long_to_be_buffered_and_short_enough_for_the_caches(rows: int, channels: int) -> None:
    length = len(Runs(rows, channels).repeated(np.zeros(channels)))
    assert length == rows * channels <= ONE_RUN or RUN < length <= RUN + channels


def test_rows_of_no_channels() -> None:
    runs = Runs(3, 0)
    run(runs.call(np.add, np.empty((3, 0)), runs.repeated(np.empty(0)), np.empty((3, 0))))
