"""Sums shared among threads give what one thread gives, whatever the shape."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels.engine import requantized
from kernels.engine.geometry import Window, padded, reachable
from kernels.engine.plans import ConvolutionPlan, Scratch
from kernels.engine.threads import Team, working_as
from quantref.vectors.cells import conv, depthwise_conv, fully_connected, transpose_conv
from tests.kernels.forms import inputs_of, prepare_op
from tests.kernels.sweeps import examples
from tests.kernels.test_windows import SEEDS, spans

CELLS = {**conv.CELLS, **depthwise_conv.CELLS, **fully_connected.CELLS, **transpose_conv.CELLS}
SHARED = [cell for cell in CELLS if "int8" in cell and "hybrid" not in cell]
TEAMS = [Team(2), Team(3)]


@examples(60)
@given(high=spans(dilations=(1, 2, 3, 30)), wide=spans(), cuts=st.lists(st.integers(0, 9), max_size=3), seed=SEEDS)
def test_bands_of_rows_make_up_the_whole(high, wide, cuts, seed):
    """A dilation of 30 may leave no tap at all."""
    window, _ = reachable(Window(high, wide))
    rng = np.random.default_rng(seed)
    image = rng.integers(-9, 10, (1, window.height.size, window.width.size, 2)).astype(np.float32)
    matrix = rng.integers(-9, 10, (window.height.kernel * window.width.kernel * 2, 3)).astype(np.float32)
    whole = ConvolutionPlan(image.shape, [matrix], window, 5, Scratch())(image)
    ends = sorted({0, window.height.output, *(cut for cut in cuts if cut < window.height.output)})
    for first, last in pairwise(ends):
        rows, part = window.band(first, last)
        shape = (1, rows.stop - rows.start, *image.shape[2:])
        found = ConvolutionPlan(shape, [matrix], part, 5, Scratch())(image[:, rows])
        assert np.array_equal(found, whole[:, first:last])
        rows, part = window.padded_band(first, last)
        without_more = Window(part.height, replace(window.width, size=window.width.padded, before=0, after=0))
        lying_padded = padded(image, window, 5)[:, rows]
        found = ConvolutionPlan(lying_padded.shape, [matrix], without_more, 5, Scratch())(lying_padded)
        assert np.array_equal(found, whole[:, first:last])


@pytest.mark.parametrize("cell", SHARED)
@examples(3)
@given(seed=SEEDS)
def test_a_team_gives_what_one_thread_gives(cell, seed):
    case = next(CELLS[cell](np.random.default_rng(seed)))
    run = prepare_op(case.model).compile(inputs_of(case.model, {}))
    for sample in case.samples:
        inputs = inputs_of(case.model, sample)
        first = inputs[0]
        many = [np.concatenate([first] * 3) if first.ndim == 4 else first, *inputs[1:]]
        for given_inputs in (inputs, many):
            with np.errstate(all="ignore"):
                alone = run(given_inputs)
                for team in TEAMS:
                    with patch.object(requantized, "WORTH_SHARING", 0), working_as(team):
                        for expected, found in zip(alone, run(given_inputs), strict=True):
                            assert np.array_equal(expected, found)


def test_the_first_error_of_a_team_is_raised():
    def fail():
        raise OverflowError("of one task")

    done = []
    with pytest.raises(OverflowError, match="of one task"):
        TEAMS[0].run([lambda: done.append(1), fail])
    assert done == [1]
