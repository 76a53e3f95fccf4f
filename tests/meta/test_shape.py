"""Habits that keep the code readable: docstrings, sources named, files that fit one sitting."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.meta.house import PACKAGES, ROOT, named, sources, tree

#: Lines of a file beyond which it is split by meaning.
CEILING = 450
#: A file of LiteRT's or TFLite Micro's sources.
SOURCE = re.compile(r"``(tflite|tensorflow/lite/micro|CMSIS-NN|XNNPACK)/[\w./-]+\.(cc|h|c)``")


@pytest.mark.parametrize("package", ["qmath", "kernels"])
def test_every_public_definition_says_what_it_is(package: str) -> None:
    silent = [
        f"{named(path)}:{getattr(node, 'lineno', 1)} {name}"
        for path in sources(package)
        for name, node in _public(tree(path))
        if not ast.get_docstring(node)
    ]
    assert not silent, "; ".join(silent)


def _public(
    node: ast.Module | ast.ClassDef, prefix: str = ""
) -> Iterator[tuple[str, ast.Module | ast.ClassDef | ast.FunctionDef]]:
    """Yield a module or class and every function and class in it whose name does not begin with an underscore."""
    yield prefix or "(the module)", node
    for child in node.body:
        if isinstance(child, ast.FunctionDef) and not child.name.startswith("_"):
            yield prefix + child.name, child
        elif isinstance(child, ast.ClassDef) and not child.name.startswith("_"):
            yield from _public(child, f"{prefix}{child.name}.")


def op_families() -> list[Path]:
    """Return the files of kernels that hold ops: those that list ``KERNELS``, and parts that bear their names."""
    files = sorted((ROOT / "kernels").glob("*.py"))
    families = {path.stem for path in files if _assigns(tree(path), "KERNELS")}
    return [path for path in files if any(f"{path.stem}_".startswith(f"{family}_") for family in families)]


def _assigns(module: ast.Module, name: str) -> bool:
    targets = [
        target
        for node in module.body
        if isinstance(node, ast.Assign | ast.AnnAssign)
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
    ]
    return any(isinstance(target, ast.Name) and target.id == name for target in targets)


def test_every_op_family_names_the_source_that_it_follows() -> None:
    families = op_families()
    assert families, "found no op"
    silent = [named(path) for path in families if not SOURCE.search(ast.get_docstring(tree(path)) or "")]
    assert not silent, f"no file of the runtime's sources is named in the docstring of {', '.join(silent)}"


@pytest.mark.parametrize("folder", [*PACKAGES, "tests", "benchmarks", "examples"])
def test_files_fit_one_sitting(folder: str) -> None:
    lines = {named(path): len(path.read_text(encoding="utf-8").splitlines()) for path in sources(folder)}
    long = [f"{name} has {count} lines" for name, count in lines.items() if count > CEILING]
    assert not long, "; ".join(long)
