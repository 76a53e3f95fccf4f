"""The long comparison itself: when a cell counts as compared, and how results become evidence."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from quantref.runtimes import LiteRT
from tests import sweep
from tests.sweep import Result, add_evidence, sweep_cell


@pytest.fixture
def record(tmp_path: Path) -> Path:
    """Two cells of one profile, one of another."""
    entry = {"cell": "ADD int8", "elements": 5, "mismatches": 1, "runtime": "an old one"}
    path = tmp_path / "verified.json"
    path.write_text(json.dumps({"xnnpack": [entry, entry | {"cell": "SUB int8"}], "litert-reference": [entry]}))
    return path


def test_evidence_replaces_what_is_said_of_the_same_cells_and_profile(record: Path) -> None:
    add_evidence(
        record, "xnnpack", [Result("ADD int8", "a new one", cases=2, elements=9), Result("ABS int8", "r", 1, 3)]
    )
    found = json.loads(record.read_text())
    assert [(entry["cell"], entry["elements"], entry["mismatches"]) for entry in found["xnnpack"]] == [
        ("ABS int8", 3, 0),
        ("ADD int8", 9, 0),
        ("SUB int8", 5, 1),
    ]
    assert found["xnnpack"][1]["runtime"] == "a new one"
    assert [entry["elements"] for entry in found["litert-reference"]] == [5]


def test_what_was_not_run_is_no_evidence(record: Path) -> None:
    refused = Result("ADD int8", "r", cases=3, refused_by_both=2, runtime_died=1)
    assert refused.not_run
    assert not refused.clean
    add_evidence(record, "xnnpack", [refused])
    assert [entry["cell"] for entry in json.loads(record.read_text())["xnnpack"]] == ["SUB int8"]


@pytest.mark.parametrize(
    "result", [Result("a", cases=3, refused_by_both=2, refused_by_one=1), Result("a"), Result("a", cases=1)]
)
def test_nothing_compared_is_neither_clean_nor_excused(result: Result) -> None:
    assert not result.clean
    assert not result.not_run


@pytest.mark.parametrize("cell", ["ADD int8", "IF int8"])
def test_a_cell_that_the_runtime_runs(litert: LiteRT, cell: str) -> None:
    result = sweep_cell(cell, 200, "litert-reference", "litert-reference")
    assert result.clean
    assert result.elements >= 200
    assert litert.version in result.runtime


def test_a_cell_that_the_runtime_dies_of_is_given_up(litert: LiteRT, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweep, "HOPELESS", 2)
    result = sweep_cell("DEPTHWISE_CONV_2D int8 x int8 per-tensor no bias", 200, "litert-optimized", "litert-optimized")
    assert (result.cases, result.elements, result.not_run) == (2, 0, True)


def test_a_record_is_taken_up_and_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, asked = tmp_path / "sweep.json", []
    monkeypatch.setattr(sweep, "ProcessPoolExecutor", ThreadPoolExecutor)
    monkeypatch.setattr(sweep, "sweep_cell", lambda cell, *_: asked.append(cell) or Result(cell, "now", 1, 10))
    before = {"A": Result("A", "before", 1, 10), "B": Result("B", "before", 1, 9), "C": Result("C", "before", 1, 10, 1)}
    before["D"] = Result("D", "before", cases=3, runtime_died=3)
    sweep._write(path, before)
    found = {result.cell: result.runtime for result in sweep.sweep(["A", "B", "D"], 10, "r", "r", 1, path)}
    assert found == {"A": "before", "B": "now", "D": "before"}
    assert asked == ["B"]
    assert sweep._recorded(path)["C"] == before["C"]
