"""What the documents show works: each command, each snippet of Python, each file of the tree of the house.

Blocks fenced as ``sh`` and ``python`` are run, from top to bottom, in a scratch folder with the checkout's files.
Commands that make a virtual environment, run all tests or measure are checked for what they name (extras, programs,
files, options); the test command of the README is run as it is written by ``.ci/run``. A comment ``# exits 1`` behind
a command announces an exit code other than 0.
"""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from tests.meta.documents import blocks, commands, documents
from tests.meta.house import PACKAGES, ROOT, named, sources, tree
from tests.meta.replay import LEFT_OUT, steps
from tests.meta.test_shape import op_families

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # pytest brings it


@pytest.mark.parametrize("document", documents(), ids=named)
def test_commands_and_snippets_work(document: Path, tmp_path: Path) -> None:
    shown = [block for block in blocks(document) if block.language in {"sh", "python"}]
    if not shown:
        pytest.skip("shows neither commands nor Python")
    for entry in ROOT.iterdir():
        if not entry.name.startswith("."):
            (tmp_path / entry.name).symlink_to(entry)
    found = subprocess.run(
        [sys.executable, "-m", "tests.meta.replay", str(document)],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "120"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert found.returncode == 0, found.stdout[-2000:] + found.stderr[-4000:]
    left_out = sum(1 for block in shown if block.language == "sh" for _ in commands(block))
    assert left_out or not found.stdout.strip().endswith("0 steps")


def _left_out() -> list[tuple[str, str]]:
    return [
        (named(document), step)
        for document in documents()
        for block in blocks(document)
        if block.language == "sh"
        for command in commands(block)
        for step in steps(command)
        if LEFT_OUT.search(step)
    ]


def _project() -> dict[str, dict[str, dict[str, object]]]:
    with (ROOT / "pyproject.toml").open("rb") as file:
        loaded: dict[str, dict[str, dict[str, object]]] = tomllib.load(file)
    return loaded


def test_commands_that_are_not_run_name_what_exists() -> None:
    extras = set(_project()["project"]["optional-dependencies"])
    assert _left_out(), "found no such command; the README has at least two"
    for document, step in _left_out():
        asked = {extra for found in re.findall(r"-e '?\.\[([\w,]+)\]", step) for extra in found.split(",")}
        assert asked <= extras, f"{document}: {step!r} asks for extras {sorted(asked - extras)}, there are {extras}"
        for path in re.findall(r"(?:^|\s)((?:\.ci|tests|benchmarks|docs|examples)/[\w./-]+)", step):
            assert (ROOT / path).exists(), f"{document}: {step!r} names {path}, which does not exist"


def test_options_of_the_benchmarks_exist() -> None:
    shown = [step for _, step in _left_out() if "-m benchmarks" in step]
    if not shown:
        pytest.skip("no document shows the benchmarks")
    for step in shown:
        help_text = _help_of(re.search(r"-m (benchmarks[\w.]*)", step)[1])
        unknown = [option for option in re.findall(r"--[\w-]+", step) if option not in help_text]
        assert not unknown, f"{step!r} uses {unknown}"


@cache
def _help_of(module: str) -> str:
    command = [sys.executable, "-m", module, "--help"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True).stdout


# --- the tree of the house -----------------------------------------------------------------------------------------


def tree_of_the_house() -> dict[str, bool]:
    """Return the paths that the README's tree lists, each with whether it lists something inside it."""
    (block,) = [block for block in blocks(ROOT / "README.md") if "\nqmath/" in f"\n{block.text}"]
    folders: list[tuple[int, str]] = []
    listed: dict[str, bool] = {}
    for line in block.text.splitlines():
        indent = len(line) - len(line.lstrip())
        names = re.split(r"\s{2,}", line.strip())[0].split()
        while folders and folders[-1][0] >= indent:
            folders.pop()
        above = folders[-1][1] if folders else ""
        for name in names:
            listed[above + name.rstrip("/")] = False
            if above:
                listed[above.rstrip("/")] = True
            if name.endswith("/"):
                folders.append((indent, above + name))
    return listed


def test_the_tree_lists_no_file_that_does_not_exist() -> None:
    missing = [path for path in tree_of_the_house() if not (ROOT / path).exists()]
    assert not missing, f"README.md lists {', '.join(missing)}"


def test_the_tree_lists_every_file_of_the_packages() -> None:
    """Itself, or a folder of which the tree lists nothing inside; op families are what listing ``kernels`` gives."""
    listed = tree_of_the_house()
    whole = {path for path, opened in listed.items() if not opened}
    families = {named(path) for path in op_families()}
    missing = [
        name
        for package in PACKAGES
        for name in map(named, sources(package))
        if name not in families
        and not name.endswith("__init__.py")
        and not any(name == path or name.startswith(f"{path}/") for path in whole)
    ]
    assert not missing, f"README.md does not list {', '.join(missing)}"


def test_every_folder_and_file_of_the_tree_says_what_it_is() -> None:
    """Each line of the tree is followed by some words."""
    (block,) = [block for block in blocks(ROOT / "README.md") if "\nqmath/" in f"\n{block.text}"]
    silent = [line for line in block.text.splitlines() if len(re.split(r"\s{2,}", line.strip())) < 2]
    assert not silent, f"README.md: no words beside {silent}"


def test_every_package_says_what_it_is() -> None:
    assert all(ast.get_docstring(tree(ROOT / package / "__init__.py")) for package in PACKAGES)
