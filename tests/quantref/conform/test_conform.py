"""A suite run on a device: what is counted, what is written, whom the device follows, how the run is spread."""

from __future__ import annotations

import json
import tracemalloc
import xml.etree.ElementTree as ET
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import pytest

import quantref.conform.run
from qmath.errors import InputError, RuntimeUnavailableError
from quantref.conform import Conformance, ExpectedFailures, conform, failed_in
from quantref.conform.result import Outcome
from quantref.conform.run import run_trials
from quantref.conform.runners import InProcessRunner, QuantrefRunner
from quantref.vectors.suite import Suite
from tests.quantref.conform import devices
from tests.quantref.conform.suites import mixed, of_cell, write_suite


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Suite:
    """Return cases of every kind, and enough MULs for profiles to differ in some."""
    return write_suite(tmp_path_factory.mktemp("suite"), [*mixed(), *of_cell("MUL int8", 16)])


def written(found: Conformance, folder: Path) -> str:
    """Return the report as JSON."""
    with (folder / "report.json").open("w+", encoding="utf-8") as file:
        found.write_json(file)
        file.seek(0)
        return file.read()


def test_a_device_that_is_right_conforms(suite: Suite) -> None:
    found = conform(suite.directory, "quantref:litert-reference")
    assert found.passed
    assert found.total.outcomes == {Outcome.PASSED: len(suite)}
    assert found.total.elements > 5000
    assert found.diagnoses() == []
    assert "conforms to litert-reference" in found.summary()
    assert [entry["id"] for entry in found.record] == [case.id for case in suite.cases()]


def test_under_a_wrong_profile_the_right_one_is_named(suite: Suite) -> None:
    found = conform(suite, "quantref:xnnpack")
    assert not found.passed
    assert ("MUL", "int8") in {(row.op, row.dtypes) for row in found.totals.failing}
    for diagnosis in found.diagnoses():
        assert diagnosis.profiles == ("xnnpack",)
        assert diagnosis.explanation is not None
        assert diagnosis.failure.difference.first is not None
        assert diagnosis.explanation.output.value == diagnosis.failure.difference.first.expected
    assert "the device follows xnnpack" in found.summary()
    assert conform(suite, "quantref:xnnpack", "xnnpack").passed


def test_a_profile_that_the_suite_does_not_hold_is_named_too(tmp_path: Path) -> None:
    suite = write_suite(tmp_path, of_cell("MUL int8", 16), ("litert-reference",))
    (diagnosis,) = conform(suite, "quantref:xnnpack").diagnoses()
    assert "xnnpack" in diagnosis.profiles
    assert "calculated here" in diagnosis.follows


def test_a_device_that_follows_nobody_is_likened_to_nobody(tmp_path: Path) -> None:
    suite = write_suite(tmp_path, of_cell("MUL int8", 4))
    (diagnosis,) = conform(suite, devices.off_by_one).diagnoses()
    assert (diagnosis.profiles, diagnosis.follows) == ((), "")


def test_the_smallest_failing_case_is_found(suite: Suite) -> None:
    found = conform(suite, devices.off_by_one, cases="MUL")
    (diagnosis,) = found.diagnoses()
    sizes = {entry["id"]: entry["size"] for entry in found.record if entry["outcome"] == "different"}
    assert len(sizes) == 16
    assert sizes[diagnosis.failure.id] == min(sizes.values())


# --- What is written ----------------------------------------------------------------------------------------------


def test_json_tells_all_of_it(suite: Suite, tmp_path: Path) -> None:
    found = conform(suite, "quantref:xnnpack", results=tmp_path / "results.jsonl")
    report = json.loads(written(found, tmp_path))
    assert (report["profile"], report["passed"]) == ("litert-reference", False)
    assert report["total"]["failed"] == len(report["failures"]) > 0
    assert {entry["op"]: entry["follows"] for entry in report["ops"]}["MUL"] == ["xnnpack"]
    assert report["diagnoses"][0]["explanation"]["steps"]
    lines = [json.loads(line) for line in (tmp_path / "results.jsonl").read_text().splitlines()]
    assert len(lines) == len(suite)
    failures = frozenset(line["id"] for line in lines if line["outcome"] == "different")
    assert failed_in(tmp_path / "results.jsonl") == failed_in(tmp_path / "report.json") == failures
    assert "<table>" in found._repr_html_()


def test_only_what_failed_runs_again(suite: Suite, tmp_path: Path) -> None:
    first = conform(suite, "quantref:xnnpack", results=tmp_path / "results.jsonl")
    again = conform(suite, "quantref:xnnpack", only=failed_in(tmp_path / "results.jsonl"))
    assert again.total.cases == again.total.failed == first.total.failed < first.total.cases


@pytest.mark.parametrize("text", ["", "{", "[]\n", '{"id": 3}\n', "\xff"])
def test_what_is_no_result_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "file").write_text(text, encoding="latin-1")
    with pytest.raises(InputError, match="expected"):
        failed_in(tmp_path / "file")


def test_junit_is_xml_whatever_a_device_says(tmp_path: Path) -> None:
    def rude(model: bytes, inputs: object) -> None:
        raise ValueError("<&>\x00\x1b[31m\ud800]]>\"' \ufffe")

    suite = write_suite(tmp_path / "suite", mixed())
    known = ExpectedFailures.read(_file(tmp_path, "add-* # no adder\n"))
    found = conform(suite, rude, expected_failures=known)
    with (tmp_path / "junit.xml").open("w", encoding="utf-8") as file:
        quantref.conform.write_junit(found, file)
    root = ET.parse(tmp_path / "junit.xml").getroot()  # noqa: S314 - our own file
    (tests,) = root
    assert {name: tests.get(name) for name in ("tests", "failures", "errors", "skipped")} == {
        "tests": "11",
        "failures": "6",
        "errors": "0",
        "skipped": "4",
    }
    assert [case.get("name") for case in tests] == [case.id for case in suite.cases()]
    assert tests[0][0].tag == "skipped"
    assert "no adder" in str(tests[0][0].get("message"))
    assert tests[4][0].tag == "failure"
    assert tests[4].get("classname") == "CONV_2D.int8"
    assert len(tests[-1]) == 0


# --- Expected failures --------------------------------------------------------------------------------------------


def _file(folder: Path, text: str) -> Path:
    path = folder / "known.txt"
    path.write_text(text)
    return path


def test_expected_failures_do_not_count_and_unexpected_passes_are_told(suite: Suite, tmp_path: Path) -> None:
    text = "# what the first chip gets wrong\n\nmul-* # rounds half even\nconv-* # the same # bug\nlstm-* # has none\n"
    found = conform(suite, "quantref:xnnpack", expected_failures=_file(tmp_path, text))
    assert found.passed
    assert found.total.expected > 0
    assert found.total.unexpected > 0
    assert "cases passed that were expected to fail" in found.summary()
    assert [entry.pattern for entry in found.stale] == ["lstm-*"]
    assert "no failing case fell under line 5: lstm-* # has none" in found.summary()
    reasons = {entry["expected_failure"] for entry in found.record if entry["op"] == "CONV_2D"}
    assert reasons == {"the same # bug"}


@pytest.mark.parametrize("line", ["mul-0001", "mul-0001 #", "mul-0001 #   ", "mul-0001# close"])
def test_a_reason_is_mandatory(tmp_path: Path, line: str) -> None:
    with pytest.raises(InputError, match=r"known.txt:2: expected 'PATTERN # reason'"):
        ExpectedFailures.read(_file(tmp_path, f"a # b\n{line}\n"))


# --- Spread -------------------------------------------------------------------------------------------------------


def _threads() -> Executor:
    return ThreadPoolExecutor(3)


def _processes() -> Executor:
    return ProcessPoolExecutor(2, get_context("spawn"))


@pytest.mark.parametrize("pool", [_threads, _processes])
def test_an_executor_changes_nothing(
    suite: Suite, tmp_path: Path, pool: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = conform(suite, "quantref:xnnpack", results=tmp_path / "alone.jsonl")
    monkeypatch.setattr(quantref.conform.run, "PORTION", 4)
    monkeypatch.setattr(quantref.conform.run, "IN_FLIGHT", 2)
    seen: list[tuple[int, int]] = []
    with pool() as executor:  # type: ignore[operator]
        spread = conform(
            suite,
            "quantref:xnnpack",
            executor=executor,
            results=tmp_path / "spread.jsonl",
            progress=lambda done, total: seen.append((done, total)),
        )
    assert seen == [(number, len(suite)) for number in range(1, len(suite) + 1)]
    assert written(alone, tmp_path) == written(spread, tmp_path)
    drop = {"seconds"}
    assert [{k: v for k, v in entry.items() if k not in drop} for entry in alone.record] == [
        {k: v for k, v in entry.items() if k not in drop} for entry in spread.record
    ]


def test_a_process_of_the_executor_that_dies_is_told(tmp_path: Path) -> None:
    suite = write_suite(tmp_path, of_cell("MUL int8", 1))
    with _processes() as executor, pytest.raises(RuntimeUnavailableError, match="a process of the executor died"):
        conform(suite, InProcessRunner(devices.dies_of_mul), executor=executor)


@pytest.mark.parametrize("spread", [False, True])
def test_memory_does_not_grow_with_the_number_of_cases(monkeypatch: pytest.MonkeyPatch, spread: bool) -> None:
    """Cases are made, run and let go: 64 of a mebibyte each never lie in memory together."""
    monkeypatch.setattr(quantref.conform.run, "PORTION", 2)
    monkeypatch.setattr(quantref.conform.run, "IN_FLIGHT", 3)
    garbage = mixed()[-1].trial()
    trials = (replace(garbage, model=bytes(1 << 20)) for _ in range(64))
    with ThreadPoolExecutor(2) as executor:
        tracemalloc.start()
        results = run_trials(trials, QuantrefRunner("litert-reference"), executor if spread else None)
        passed = sum(result.outcome is Outcome.PASSED for _, result in results)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert passed == 64
    assert peak < (16 << 20)


def test_nothing_compared_is_not_passed(suite: Suite, tmp_path: Path) -> None:
    assert not conform(suite, "quantref:litert-reference", cases="no such case").passed
    only_others = write_suite(tmp_path / "a", of_cell("MUL int8", 2), ("xnnpack",))
    (tmp_path / "a" / "manifest.json").write_text(
        (tmp_path / "a" / "manifest.json").read_text().replace('["xnnpack"]', '["xnnpack", "tflm"]')
    )
    found = conform(only_others.directory, "quantref:tflm", "tflm")
    assert not found.passed
    assert found.total.outcomes == {Outcome.SKIPPED: 2}
    assert "nothing was compared" in found.summary()


def test_a_profile_that_the_suite_lacks_is_an_error(suite: Suite) -> None:
    with pytest.raises(InputError, match="expected a profile among those of the suite"):
        conform(suite, "quantref:tflm", "tflm")
