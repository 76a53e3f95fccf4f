"""A suite as tests of pytest; and pytest runs that have nothing to do with one."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

import pytest_quantref
from quantref import pytest_plugin
from tests.meta.house import ROOT
from tests.quantref.conform.suites import mixed, of_cell, write_suite


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a test of its own, and a suite beside it."""
    folder = tmp_path_factory.mktemp("project")
    write_suite(folder / "suite", [*mixed(), *of_cell("MUL int8", 14)])
    (folder / "test_own.py").write_text("def test_own():\n    pass\n")
    (folder / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\n")
    return folder


def run(project: Path, *arguments: str) -> tuple[int, str]:
    """Run pytest in a fresh process, with the plug-in found as an installed one."""
    loaded = [] if _installed() else ["-p", "pytest_quantref"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *loaded, *arguments],
        cwd=project,
        env=os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def _installed() -> bool:
    from importlib.metadata import entry_points  # noqa: PLC0415

    return any(found.value == pytest_quantref.__name__ for found in entry_points(group="pytest11"))


def test_every_case_is_a_test_beside_the_others(project: Path) -> None:
    code, text = run(project, "-v", "--quantref-suite", "suite", "--quantref-runner", "quantref:litert-reference")
    assert code == 0, text
    assert "quantref: 25 cases of suite, expected as under litert-reference" in text
    assert "26 passed" in text
    assert "suite/manifest.json::mul-int8-0013 PASSED" in text
    assert "test_own.py::test_own PASSED" in text


def test_a_failure_says_what_differs_and_why_without_a_traceback(project: Path) -> None:
    suite = ("--quantref-suite", "suite", "--quantref-runner", "quantref:xnnpack", "--quantref-cases", "MUL")
    code, text = run(project, *suite)
    assert code == 1
    (failed,) = re.findall(r"FAILED suite/manifest.json::(mul-int8-\d+) - MUL int8", text)[:1]
    assert "MUL int8, expected as under litert-reference: different" in text
    assert re.search(r"\d+ of \d+ elements differ; output 'y', sample 0 at \[.*\]: expected -?\d+, found -?\d+", text)
    assert "in this case the device follows xnnpack" in text
    assert "Step by step" in text
    assert "Traceback" not in text
    assert ".py:" not in text.replace("test_own.py", "")

    code, text = run(project, *suite, f"suite/manifest.json::{failed}")  # a test can be named
    assert code == 1
    assert "1 failed in" in text
    code, text = run(project, *suite, "--quantref-profile", "xnnpack")
    assert code == 0, text


def test_workers_share_the_tests(project: Path) -> None:
    pytest.importorskip("xdist")
    suite = ("--quantref-suite", "suite", "--quantref-runner", "quantref:litert-reference")
    code, text = run(project, *suite, "-n", "2")
    assert code == 0, text
    assert "26 passed" in text


def test_expected_failures_are_expected(project: Path) -> None:
    (project / "known.txt").write_text("mul-* # rounds half even\nconv-* # likewise\n")
    known = ("--quantref-expected-failures", "known.txt")
    code, text = run(
        project, "-rxX", "--quantref-suite", "suite", "--quantref-runner", "quantref:xnnpack", *known, "-k", "not own"
    )
    assert code == 0, text
    assert re.search(r"XFAIL suite/manifest.json::mul-int8-\d+ - rounds half even", text)
    assert re.search(r"XPASS suite/manifest.json::mul-int8-\d+ - rounds half even", text)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"runner": None}, "--quantref-suite needs --quantref-runner"),
        ({"suite": "nowhere"}, "expected a suite"),
        ({"runner": "tflm"}, "did you mean quantref:tflm?"),
        ({"profile": "tflm"}, "expected a profile among those of the suite"),
        ({"expected-failures": "nowhere"}, "expected a readable text file"),
    ],
)
def test_bad_usage_is_told_in_a_line(project: Path, options: dict[str, str | None], words: str) -> None:
    given = {"suite": str(project / "suite"), "runner": "quantref:tflm", "timeout": 60.0} | options
    config = SimpleNamespace(getoption=lambda name: given.get(name.removeprefix("--quantref-")))
    with pytest.raises(pytest.UsageError) as caught:
        pytest_plugin.register(cast("pytest.Config", config))
    assert words in str(caught.value)


def test_a_run_without_a_suite_imports_nothing_of_quantref(project: Path) -> None:
    (project / "conftest.py").write_text(
        "import sys\ndef pytest_sessionfinish():\n"
        "    known = ('quantref', 'numpy', 'kernels', 'pytest_quantref')\n"
        "    print('loaded', [name for name in known if name in sys.modules])\n"
    )
    try:
        code, text = run(project, "-s")
    finally:
        (project / "conftest.py").unlink()
    assert code == 0, text
    assert "loaded ['pytest_quantref']" in text
