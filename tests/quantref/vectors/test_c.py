"""The C headers of a suite compile, and a convolution in plain C reads them and passes; a wrong one does not."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from quantref.vectors import generate
from tests.quantref.vectors.plans import small

EXAMPLE = Path(__file__).resolve().parents[3] / "examples" / "c"
MISTAKES = {
    "WRONG_TIES": "conv_2d_int8_aimed_at_ties_of_the_last_rounding",
    "WRONG_SHIFT": "conv_2d_int8_aimed_at",
    "WRONG_PADDING": "conv_2d_int8_aimed_at_padding_corners",
    "WRONG_SATURATION": "conv_2d_int8_aimed_at_both_ends",
}


@pytest.fixture(scope="module")
def compiler() -> str:
    found = shutil.which("gcc") or shutil.which("cc")
    if found is None:
        pytest.skip("there is no C compiler")
    return found


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return generate(EXAMPLE / "plan.toml", tmp_path_factory.mktemp("c") / "suite").directory


def compiled(compiler: str, source: Path, suite: Path, target: Path, *defines: str) -> Path:
    """Compile with every warning an error."""
    flags = ["-std=c99", "-O1", "-Wall", "-Wextra", "-Werror", f"-I{suite}", *(f"-D{name}" for name in defines)]
    answer = subprocess.run(
        [compiler, *flags, source, "-o", target, "-lm"], capture_output=True, text=True, check=False
    )
    assert answer.returncode == 0, answer.stderr
    return target


def test_the_convolution_passes(compiler: str, suite: Path, tmp_path: Path) -> None:
    program = compiled(compiler, EXAMPLE / "convolution.c", suite, tmp_path / "convolution")
    answer = subprocess.run([program], capture_output=True, text=True, timeout=60, check=False)
    assert answer.returncode == 0, answer.stdout
    runs, failed = answer.stdout.split()[0], answer.stdout.split()[2]
    assert int(runs) >= 40
    assert failed == "0"


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_wrong_convolution_is_caught_by_an_aimed_case(
    compiler: str, suite: Path, tmp_path: Path, mistake: str
) -> None:
    program = compiled(compiler, EXAMPLE / "convolution.c", suite, tmp_path / "wrong", mistake)
    answer = subprocess.run([program], capture_output=True, text=True, timeout=60, check=False)
    assert answer.returncode == 1
    assert MISTAKES[mistake] in answer.stdout


def test_headers_of_every_type_compile(compiler: str, tmp_path: Path) -> None:
    cells = ["CAST *", "ADD plain *", "EMBEDDING_LOOKUP *", "CONV_2D *", "RELU *", "QUANTIZE *"]
    suite = generate(small(formats=["c"], cells=[{"cells": cells}]), tmp_path / "suite")
    source = tmp_path / "main.c"
    lines = ["#define COUNT(ID) +1", "int main(void) { return 0 QUANTREF_CASES(COUNT) > 100 ? 0 : 1; }"]
    source.write_text("\n".join(['#include "suite.h"', *lines]) + "\n")
    program = compiled(compiler, source, suite.directory, tmp_path / "count")
    assert subprocess.run([program], timeout=60, check=False).returncode == 0
