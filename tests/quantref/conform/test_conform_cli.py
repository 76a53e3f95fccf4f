"""``quantref conform``: exit codes, what is printed, what is written."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from quantref.cli import main
from tests.quantref.conform.suites import mixed, of_cell, write_suite


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the folder of a small suite."""
    return str(write_suite(tmp_path_factory.mktemp("small"), [*mixed(), *of_cell("MUL int8", 16)]).directory)


def test_a_device_that_conforms_exits_with_0(suite: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["conform", suite, "--runner", "quantref:litert-reference"]) == 0
    text = capsys.readouterr().out
    assert "quantref:litert-reference: conforms to litert-reference" in text
    assert "27 passed, 0 failed" in text
    assert text.count("\nMUL ") == 1


def test_differences_exit_with_1_and_are_looked_into(
    suite: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    report, junit = tmp_path / "report.json", tmp_path / "junit.xml"
    files = ["--json", str(report), "--junit", str(junit), "--results", str(tmp_path / "results.jsonl")]
    assert main(["conform", suite, "--runner", "quantref:xnnpack", *files]) == 1
    text = capsys.readouterr().out
    assert "the device follows xnnpack" in text
    assert text.count("Step by step") == 1
    assert "smallest case" in text
    failed = json.loads(report.read_text())["total"]["failed"]
    assert failed > 1
    (tests,) = ET.fromstring(junit.read_text())  # noqa: S314 - our own file
    assert tests.get("failures") == str(failed)
    assert len((tmp_path / "results.jsonl").read_text().splitlines()) == 27

    again = ["conform", suite, "--runner", "quantref:xnnpack", "--failed", str(report), "--explain", "0"]
    assert main(again) == 1
    text = capsys.readouterr().out
    assert f"{failed} cases" in text
    assert "Step by step" not in text
    assert main([*again, "--profile", "xnnpack"]) == 0


def test_json_may_be_printed(suite: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["conform", suite, "--runner", "quantref:litert-reference", "--cases", "ADD*", "--json", "-"]) == 0
    assert json.loads(capsys.readouterr().out)["total"]["cases"] == 4


def test_processes_change_nothing(suite: str, tmp_path: Path) -> None:
    texts = []
    for jobs in ("1", "2"):
        arguments = ["--runner", "quantref:xnnpack", "--jobs", jobs, "--json", str(tmp_path / jobs)]
        assert main(["conform", suite, *arguments]) == 1
        texts.append((tmp_path / jobs).read_text())
    assert texts[0] == texts[1]


def test_known_failures_exit_with_0(suite: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    known = tmp_path / "known.txt"
    known.write_text("mul-* # rounds half even\nconv-* # likewise\n")
    assert main(["conform", suite, "--runner", "quantref:xnnpack", "--expected-failures", str(known)]) == 0
    assert "failed as expected" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--runner", "nonsense"], "expected a runtime"),
        (["--runner", "quantref:tflm", "--profile", "tflm"], "expected a profile among those of the suite"),
        (["--runner", "xnnpack", "--timeout", "0"], "--timeout"),
        ([], "--runner"),
        (["--runner", "quantref:tflm", "--json", "/no/such/folder/report.json"], "expected a place to write"),
    ],
)
def test_bad_usage_exits_with_2(
    suite: str, arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["conform", suite, *arguments]) == 2
    assert words in capsys.readouterr().err


def test_what_is_no_suite_exits_with_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["conform", str(tmp_path), "--runner", "quantref:tflm"]) == 2
    assert "expected a suite" in capsys.readouterr().err


def test_nothing_to_compare_exits_with_1(suite: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["conform", suite, "--runner", "quantref:tflm", "--cases", "none such"]) == 1
    assert "nothing was compared" in capsys.readouterr().out
