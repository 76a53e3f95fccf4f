"""``quantref calibrate``: what it writes, prints and refuses."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import fbs
from qmath.calibration import Percentile
from quantref.cli import main
from quantref.quantizer import Statistics
from quantref.quantizer.calibration import calibrate
from tests.quantref.quantizer.float_models import images, residual


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, str, str]:
    """Return the paths of a model, of its data and of the statistics to write."""
    model, data = tmp_path / "m.tflite", tmp_path / "data.npz"
    fbs.save(residual(), model)
    np.savez(data, image=images(5))
    return str(model), str(data), str(tmp_path / "stats.json")


def test_help_has_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["calibrate", "--help"]) == 0
    out = capsys.readouterr().out
    assert "quantref calibrate" in out.split("Examples:")[1]
    assert "percentile" in out


def test_statistics_are_written_and_shown(files: tuple[str, str, str], capsys: pytest.CaptureFixture[str]) -> None:
    model, data, output = files
    assert main(["calibrate", model, "--data", data, "-o", output]) == 0
    shown = capsys.readouterr()
    assert "6 ranges by min-max over 5 samples" in shown.out
    assert "total" in shown.out
    assert shown.err == ""  # no progress bar where there is no terminal
    assert Statistics.load(output) == calibrate(residual(), images(5))


def test_observer_style_and_json(files: tuple[str, str, str], capsys: pytest.CaptureFixture[str]) -> None:
    model, data, output = files
    call = ["calibrate", model, "--data", data, "-o", output, "--json"]
    assert main([*call, "--observer", "percentile:90", "--jobs", "2"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["observer"], found["samples"], found["style"]) == ("percentile:90.0", 5, "quantref")
    assert Statistics.load(output) == calibrate(residual(), images(5), observer=Percentile(90.0))
    assert main([*call, "--style", "tflite"]) == 0
    assert Statistics.load(output) == calibrate(residual(), images(5), style="tflite")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--observer", "median"], "expected an observer among min-max"),
        (["--observer", "mse", "--style", "aeq"], "expected the style's own observer, moving-average, found mse"),
        (["--data", "none.npz"], "does not exist"),
        (["-o", "/nowhere/stats.json"], "/nowhere/stats.json: expected a file that can be written"),
    ],
)
def test_bad_usage_is_one_line(
    arguments: list[str], message: str, files: tuple[str, str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    model, data, output = files
    assert main(["calibrate", model, "--data", data, "-o", output, *arguments]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert message in shown.err
    assert shown.err.count("\n") == 1
    assert not Path(output).exists()
