"""The strategies reach what they are for; here they also hold quantref against itself and its oracles."""

from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import HealthCheck, find, given, settings
from hypothesis import strategies as st

import fbs
import quantref as qr
from qmath.errors import InputError
from qmath.requantize import DOUBLE_ROUNDING
from qmath.types import DType
from quantref import testing
from quantref.vectors.running import answer
from tests.oracles import rational

QUICK = settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
LONG = settings(max_examples=400, deadline=None, derandomize=True, database=None)


def is_tie(accumulator: int, real: float) -> bool:
    product = accumulator * real
    return abs(product) < 2**20 and product - math.floor(product) == 0.5


def test_requantizations_meet_ties_of_both_signs() -> None:
    assert find(testing.requantizations(), lambda pair: is_tie(*pair) and pair[0] > 0, settings=LONG)
    assert find(testing.requantizations(), lambda pair: is_tie(*pair) and pair[0] < 0, settings=LONG)


def test_ties_are_no_rarity() -> None:
    seen: list[bool] = []

    @settings(max_examples=300, deadline=None, derandomize=True, database=None)
    @given(testing.requantizations(-12, -1))
    def look(pair: tuple[int, float]) -> None:
        seen.append(is_tie(*pair))

    look()
    assert sum(seen) > len(seen) / 10


@given(testing.int32s(), testing.fixed_point_multipliers())
def test_double_rounding_equals_the_oracle(accumulator: int, factor: object) -> None:
    found = DOUBLE_ROUNDING.apply(np.array([accumulator]), factor)
    assert found.tolist() == [rational.double_rounding(accumulator, int(factor.multiplier), int(factor.shift))]


@pytest.mark.parametrize("dtype", [DType.INT8, DType.UINT8, DType.INT16])
def test_quantization_params_reach_the_ends(dtype: DType) -> None:
    wanted = [0] if dtype is DType.INT16 else [dtype.min, dtype.max]
    for end in wanted:
        found = find(testing.quantization_params(dtype), lambda q, end=end: int(q.zero_point[0]) == end, settings=LONG)
        assert found.dtype is dtype
    per_axis = find(testing.quantization_params(dtype, 3, symmetric=True), lambda _: True, settings=LONG)
    assert per_axis.scale.shape == (3,)
    assert not per_axis.zero_point.any()
    assert find(testing.codes(dtype), lambda code: code == dtype.max, settings=LONG) == dtype.max


@QUICK
@given(st.data(), st.sampled_from(testing.CONVOLUTIONS), st.sampled_from([DType.INT8, DType.UINT8, DType.INT16]))
def test_convolutions_run_alike_compiled_and_by_definition(data: st.DataObject, op: str, dtype: DType) -> None:
    case = data.draw(testing.convolutions(op, dtype))
    found = answer(fbs.write(case.model), case.samples, "litert-reference")
    outputs = qr.run(case.model, case.samples[0])
    assert outputs["y"].size > 0
    assert all(np.array_equal(outputs[name], value) for name, value in found.outputs[0].items())


@pytest.mark.parametrize("op", testing.CONVOLUTIONS)
def test_convolutions_meet_ties(op: str) -> None:
    def has_ties(case: object) -> bool:
        found = answer(fbs.write(case.model), case.samples, "litert-reference").coverage
        return found.counts()["ties_positive"] > 0 and found.counts()["ties_negative"] > 0

    assert find(testing.convolutions(op), has_ties, settings=QUICK)


@QUICK
@given(testing.one_op_models("RELU* int8"))
def test_one_op_models_come_from_the_cells(case: object) -> None:
    assert case.cell.startswith("RELU")
    assert qr.run(case.model, case.samples[0])


def test_what_does_not_exist_is_said() -> None:
    with pytest.raises(InputError, match="expected a pattern"):
        find(testing.one_op_models("NO_SUCH_OP"), lambda _: True, settings=QUICK)
    with pytest.raises(InputError, match="positive"):
        testing.accumulators(0.0)


def test_without_hypothesis_the_message_says_what_to_install() -> None:
    code = "import sys; sys.modules['hypothesis'] = None; import quantref.testing"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert "pip install 'quantref[testing]'" in answer.stderr
