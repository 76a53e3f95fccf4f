"""Which op to keep float: every op is tried alone, and what is gained is what a comparison of the models finds."""

from __future__ import annotations

import json
import math
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

import fbs
from qmath.errors import InputError, UnsupportedError
from qmath.types import DType
from quantref.quantizer import Mode, Recipe, Rule, quantize, sensitivity
from quantref.quantizer.calibration import calibrate
from quantref.quantizer.plan import OpPlan
from quantref.quantizer.report import compare_quantized
from quantref.quantizer.sensitivity import leave_one_float
from tests.quantref.quantizer.float_models import images, remembering, residual

DATA = images(6)


def test_gains_are_those_that_a_comparison_finds() -> None:
    found = leave_one_float(residual(), DATA)
    statistics = calibrate(residual(), DATA)
    whole = quantize(residual(), mode="int8", statistics=statistics)
    assert found.sqnr == pytest.approx(compare_quantized(residual(), whole, DATA).sqnr)
    assert {(op.index, op.op, op.output) for op in found.ops} == {
        (0, "CONV_2D", "one"),
        (1, "CONV_2D", "two"),
        (2, "ADD", "total"),
        (3, "RESHAPE", "flat"),
        (4, "SOFTMAX", "y"),
    }
    for op in found.ops:
        recipe = Recipe((Rule(tensor=f"^{op.output}$", mode=Mode.FLOAT32),))
        kept = quantize(residual(), mode="int8", statistics=statistics, recipe=recipe)
        assert op.sqnr == pytest.approx(compare_quantized(residual(), kept, DATA).sqnr)
        assert op.gain == pytest.approx(op.sqnr - found.sqnr)
    gains = [op.gain for op in found.ops]
    assert gains == sorted(gains, reverse=True)
    assert gains[0] > 1


def test_noise_is_averaged_over_outputs() -> None:
    builder = fbs.Builder()
    x = builder.input("x", DType.FLOAT32, (1, 8))
    a, b = (builder.tensor(name, DType.FLOAT32, (1, 8)) for name in "ab")
    builder.op("TANH", [x], [a])
    builder.op("LOGISTIC", [a], [b])
    model = builder.finish([b, a])
    data = np.random.default_rng(2).standard_normal((5, 1, 8)).astype(np.float32)
    report = compare_quantized(model, quantize(model, mode="int8", representative_dataset=data), data)
    shares = [10 ** (-output.error.sqnr / 10) for output in report.outputs]
    assert leave_one_float(model, data).sqnr == pytest.approx(-10 * math.log10(sum(shares) / 2))


@pytest.mark.parametrize("style", ["tflite", "aeq"])
def test_styles_and_given_statistics(style: str) -> None:
    statistics = calibrate(residual(), images(30), style=style)
    found = leave_one_float(residual(), DATA, style=style, statistics=statistics)
    whole = quantize(residual(), mode="int8", style=style, statistics=statistics, output_type="float32")
    assert found.sqnr == pytest.approx(compare_quantized(residual(), whole, DATA).sqnr)
    assert (found.mode, found.style, found.samples) == ("int8", style, 6)


def test_an_executor_changes_nothing_and_progress_is_told() -> None:
    told: list[tuple[int, int]] = []
    here = leave_one_float(residual(), iter(DATA), mode="16x8", progress=lambda *done: told.append(done))
    with ThreadPoolExecutor(2) as executor:
        assert leave_one_float(residual(), DATA, mode="16x8", executor=executor) == here
    assert told == [(done, 6) for done in range(1, 7)]


def test_a_variant_that_cannot_be_had_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    def refusing(model: fbs.Model, *, recipe: Recipe, **others: Any) -> fbs.Model:
        if recipe.rules and recipe.rules[0].op == "ADD":
            raise UnsupportedError("not this one")
        return quantize(model, recipe=recipe, **others)

    monkeypatch.setattr(sensitivity, "quantize", refusing)
    last = leave_one_float(residual(), DATA).ops[-1]
    assert (last.op, last.sqnr, last.gain, last.failure) == ("ADD", None, None, "not this one")


def test_forms() -> None:
    found = leave_one_float(residual(), DATA)
    plain = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert (plain["sqnr"], len(plain["ops"])) == (found.sqnr, 5)
    assert plain["ops"][0]["gain"] == found.ops[0].gain
    for text in (found.summary(), found._repr_html_()):
        assert f"{found.sqnr:.1f} dB with nothing kept float" in text
        assert f"{found.ops[0].gain:+.2f} dB" in text
        assert found.ops[0].output in text


def test_two_exact_models_differ_by_nothing() -> None:
    op = sensitivity._sensitivity(OpPlan(0, "RELU", "y", "int8", ""), math.inf, math.inf)
    assert (op.gain, op.to_json()["sqnr"]) == (0.0, "inf")


def test_what_cannot_be_measured() -> None:
    with pytest.raises(InputError, match="of which every op stays float"):
        leave_one_float(remembering(), [np.ones((1, 1), np.float32)], mode="dynamic")
    with pytest.raises(InputError, match="at least one sample"):
        leave_one_float(residual(), [])
    with pytest.raises(InputError, match="expected a mode among"):
        leave_one_float(residual(), DATA, mode="int3")
