"""``python -m benchmarks.sqnr``: what it measures, on few digits."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from click.testing import CliRunner

from benchmarks import sqnr
from qmath.errors import InputError


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> sqnr.Subject:
    """Leave all models but the digits out, and most of these."""
    digits = dataclasses.replace(sqnr.SUBJECTS[-1], calibrated=10, evaluated=20)
    monkeypatch.setattr(sqnr, "SUBJECTS", (digits,))
    return digits


def test_gains_are_the_differences_from_style_tflite(few: sqnr.Subject) -> None:
    plain, corrected = sqnr.measure(few, "16x8", 2, "min-max")
    assert (plain.style, corrected.style) == ("without bias correction", "quantref")
    assert plain.gains.shape == corrected.gains.shape == corrected.tflite.shape == (2, len(sqnr.PLACES))
    np.testing.assert_allclose(plain.gains, 0, atol=0.1)  # without pollution or correction the styles agree
    assert corrected.gains[:, 1].mean() > 1
    assert np.all((corrected.tflite > 10) & (corrected.tflite < sqnr.BEST))


def test_it_prints_a_table_or_json(few: sqnr.Subject) -> None:
    call = ["--models", few.name, "--mode", "int8", "--seeds", "1"]
    table = CliRunner().invoke(sqnr.main, call)
    assert table.exit_code == 0
    assert table.output.count("| digits | int8 |") == 2
    found = json.loads(CliRunner().invoke(sqnr.main, [*call, "--json"]).output)
    assert [len(result["gains"]) for result in found["results"]] == [1, 1]


def test_what_is_not_there_is_said(few: sqnr.Subject) -> None:
    with pytest.raises(InputError, match="expected a model among digits, found 'none'"):
        CliRunner().invoke(sqnr.main, ["--models", "none"], catch_exceptions=False)
    too_many = dataclasses.replace(few, evaluated=5000)
    with pytest.raises(InputError, match="expected 5010 samples, found 1797"):
        next(sqnr.measure(too_many, "int8", 1, "min-max"))
