"""``quantref accuracy`` and ``quantref sensitivity``: what they print, write and refuse."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

import fbs
from quantref.cli import main
from quantref.quantizer import compare_quantized, leave_one_float, quantize
from quantref.quantizer.accuracy import DEBUGGER_COLUMNS
from tests.quantref.quantizer.float_models import images, residual


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    """Return the arguments of a comparison: two models and data."""
    paths = [tmp_path / name for name in ("float.tflite", "int8.tflite", "data.npz")]
    fbs.save(residual(), paths[0])
    fbs.save(quantize(residual(), mode="int8", representative_dataset=images(5)), paths[1])
    np.savez(paths[2], image=images(5))
    return [str(paths[0]), str(paths[1]), "--data", str(paths[2])]


@pytest.mark.parametrize("verb", ["accuracy", "sensitivity"])
def test_help_has_an_example(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([verb, "--help"]) == 0
    assert f"quantref {verb} float.tflite" in capsys.readouterr().out.split("Examples:")[1]


def test_the_report_is_that_of_the_library(files: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    report = compare_quantized(files[0], files[1], images(5))
    assert main(["accuracy", *files, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == report.to_json()
    assert main(["accuracy", *files]) == 0
    shown = capsys.readouterr()
    assert "int8.tflite against float.tflite, 5 samples" in shown.out
    assert "hurts most: op" in shown.out
    assert shown.err == ""


def test_the_table_has_the_debugger_s_columns(
    files: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["accuracy", *files, "--csv", str(tmp_path / "layers.csv")]) == 0
    assert "hurts most" in capsys.readouterr().out
    written = (tmp_path / "layers.csv").read_text()
    head, *rows = csv.reader(written.splitlines())
    assert tuple(head) == DEBUGGER_COLUMNS
    assert [row[0] for row in rows] == ["CONV_2D", "CONV_2D", "ADD", "RESHAPE", "SOFTMAX"]
    assert main(["accuracy", *files, "--csv", "-"]) == 0
    assert capsys.readouterr().out == written


@pytest.mark.parametrize(("least", "code"), [("1", 0), ("1000", 1)])
def test_a_ratio_can_be_required(least: str, code: int, files: list[str]) -> None:
    assert main(["accuracy", *files, "--least", least]) == code


def test_sensitivity_is_that_of_the_library(files: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    float_model, _, *data = files
    found = leave_one_float(float_model, images(5), mode="16x8")
    assert main(["sensitivity", float_model, *data, "--mode", "16x8", "--json", "--jobs", "2"]) == 0
    assert json.loads(capsys.readouterr().out) == found.to_json()
    assert main(["sensitivity", float_model, *data]) == 0
    shown = capsys.readouterr().out
    assert "with nothing kept float" in shown
    assert shown.count("CONV_2D") == 2


def test_what_does_not_fit_is_bad_input(files: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["accuracy", files[0], str(Path(files[0]).parent / "none.tflite"), *files[2:]]) == 2
    np.savez(files[3], picture=images(5))
    assert main(["accuracy", *files]) == 2
    assert main(["sensitivity", files[0], *files[2:]]) == 2
    assert "picture" in capsys.readouterr().err
