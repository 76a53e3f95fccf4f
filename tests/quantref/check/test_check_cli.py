"""``quantref check``: exit codes, JSON, SARIF, rules, several models."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import fbs
from quantref.checks.rules import RULES
from quantref.cli import main
from tests.quantref.check.faults import FAULTS
from tests.quantref.check.models import network


@pytest.fixture
def good(tmp_path: Path) -> Path:
    path = tmp_path / "good.tflite"
    fbs.save(network(), path)
    return path


def broken(folder: Path, name: str) -> Path:
    path = folder / f"{name.replace(' ', '_')}.tflite"
    fbs.save(FAULTS[name].build(), path)
    return path


def test_help_has_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--help"]) == 0
    out = capsys.readouterr().out
    assert "quantref check" in out.split("Examples:")[1]
    assert "--json" in out


def test_exit_codes(good: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    warned, wrong = broken(tmp_path, "a weight of -128"), broken(tmp_path, "NaN as scale")
    assert main(["check", str(good)]) == 0
    assert "nothing found" in capsys.readouterr().out
    assert main(["check", str(warned)]) == 0
    assert main(["check", str(warned), "--severity", "warning"]) == 1
    assert main(["check", str(warned), "--severity", "warning", "--ignore", "QR209"]) == 0
    assert main(["check", str(wrong)]) == 1
    assert main(["check", str(good), str(wrong)]) == 1
    shown = capsys.readouterr()
    assert "QR101" in shown.out
    assert shown.err == ""


def test_a_runtime_that_is_asked_about_decides(tmp_path: Path) -> None:
    model = str(broken(tmp_path, "axis of the filter on the bias"))
    assert main(["check", model]) == 0
    assert main(["check", model, "--runtime", "tflm"]) == 0
    assert main(["check", model, "--runtime", "tflm", "--runtime", "litert-optimized"]) == 1


def test_json_and_sarif(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, log = broken(tmp_path, "a weight of -128"), tmp_path / "log.sarif"
    assert main(["check", str(model), "--json", "--sarif", str(log)]) == 0
    (told,) = json.loads(capsys.readouterr().out)["models"]
    assert [finding["rule"] for finding in told["findings"]] == ["QR209"]
    (run,) = json.loads(log.read_text(encoding="utf-8"))["runs"]
    assert [result["ruleId"] for result in run["results"]] == ["QR209"]
    assert list(tmp_path.glob(".*draft")) == []


def test_bad_input(good: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cut = tmp_path / "cut.tflite"
    cut.write_bytes(good.read_bytes()[:100])
    assert main(["check", str(cut), str(good)]) == 2
    shown = capsys.readouterr()
    assert "good.tflite: 7 ops checked, nothing found" in shown.out
    assert shown.err.startswith("quantref: ")
    assert shown.err.count("\n") == 1
    for arguments in ([], ["absent.tflite"], [str(good), "--ignore", "QR999"], [str(good), "--runtime", "abacus"]):
        assert main(["check", *arguments]) == 2
    assert main(["check", str(good), "--sarif", str(tmp_path / "absent" / "log.sarif")]) == 2


def test_the_rules_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--rules"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(RULES)
    assert main(["check", "--rules", "--json"]) == 0
    assert [rule["id"] for rule in json.loads(capsys.readouterr().out)] == list(RULES)
