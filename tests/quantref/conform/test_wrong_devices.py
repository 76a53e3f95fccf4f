"""Each wrong device is caught, by a case that is aimed at what it gets wrong."""

from __future__ import annotations

import fnmatch
from collections import Counter
from pathlib import Path

import pytest

from qmath.requantize import FLOAT64_HALF_AWAY
from quantref.conform import conform
from quantref.vectors import Plan, Suite, generate
from tests.quantref.conform.wrong_devices import DEFECTS, Defect, Device, by_regime

PLAN = {
    "profiles": ["litert-reference", "litert-optimized"],
    "cells": [
        {"cells": sorted({f"{defect.op} int8 x int8*" for defect in DEFECTS}), "count": 5},
        {"cells": ["MUL int8", "AVERAGE_POOL_2D int8", "MAX_POOL_2D int8"], "count": 12},
        {"cells": sorted({f"{defect.op} int8 aimed*" for defect in DEFECTS if "aimed" in defect.aimed}), "count": 3},
    ],
}


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Suite:
    """Return cases of the ops that devices get wrong, those aimed at edges among them."""
    return generate(Plan.of({"name": "wrong", **PLAN}), tmp_path_factory.mktemp("wrong") / "suite")


def test_a_right_device_passes(suite: Suite) -> None:
    """What exchanges nothing is the reference, so that what is found below is the exchange."""
    found = conform(suite, Device(lambda prepared: prepared))
    assert found.passed, found.summary()
    assert found.total.cases == len(suite) > 80


@pytest.mark.parametrize("defect", DEFECTS, ids=lambda defect: defect.name)
def test_a_wrong_device_is_caught_by_a_case_aimed_at_it(suite: Suite, defect: Defect, tmp_path: Path) -> None:
    found = conform(suite, Device(defect.change), cases=defect.op, results=tmp_path / "results.jsonl")
    assert not found.passed
    cells = {case.id: case.cell for case in suite.cases()}
    failures = list(found.failures())
    caught = Counter(cells[entry["id"]] for entry in failures)
    assert fnmatch.filter(caught, defect.aimed), f"caught by {dict(caught)}"
    if defect.marks:
        others = [entry["id"] for entry in failures if not set(defect.marks) & set(entry["aims"])]
        assert not others, "noticed where nothing is to be noticed"


def test_a_device_that_rounds_half_up_is_said_to_follow_who_does(suite: Suite) -> None:
    (defect,) = (one for one in DEFECTS if one.name == "half up instead of away from zero")
    found = conform(suite, Device(defect.change), cases="CONV_2D int8 aimed at ties of the last rounding")
    (diagnosis,) = found.diagnoses()
    assert diagnosis.profiles == ("litert-optimized",)
    assert diagnosis.explanation is not None
    assert "a tie" in str(diagnosis.explanation)


def test_a_device_that_rounds_as_no_profile_does_is_said_to_follow_a_regime(suite: Suite) -> None:
    found = conform(suite, Device(by_regime(FLOAT64_HALF_AWAY)), cases="CONV_2D int8 aimed at ties*")
    (diagnosis,) = found.diagnoses()
    assert diagnosis.profiles == ()
    assert "the regime float64 half away" in diagnosis.follows
