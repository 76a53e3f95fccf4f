"""The arrows of the house: who may import whom. Lower layers know nothing of higher ones, and qmath only NumPy."""

from __future__ import annotations

import ast
import sys

import pytest

from tests.meta.house import PACKAGES, Import, imports, named, sources, tree

#: What each package may import besides itself and the standard library: modules, each with all that is inside it.
MAY_IMPORT = {
    "qmath": {"numpy"},
    "kernels": {"numpy", "qmath"},
    "fbs": {"numpy", "flatbuffers", "tflite", "qmath.types", "qmath.errors"},
    "quantref": {"numpy", "click", "rich", "threadpoolctl", "tomli", "qmath", "kernels", "fbs"},
}
#: What one file may import beyond that.
EXCEPTIONS = {
    "quantref/runtimes/litert_worker.py": {"ai_edge_litert"},
    "quantref/pytest_plugin.py": {"pytest"},
    "quantref/testing.py": {"hypothesis"},
}
#: Read by type checkers, never imported.
FOR_TYPES = {"typing_extensions"}


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_imports_only_what_lies_below_it(package: str) -> None:
    wrong = [
        f"{named(path)}:{found.line} imports {found.module}"
        for path in sources(package)
        for found in imports(path)
        if not _allowed(found, package, EXCEPTIONS.get(named(path), set()))
    ]
    assert not wrong, "; ".join(wrong)


def _allowed(found: Import, package: str, exceptions: set[str]) -> bool:
    if found.package == package or found.package in sys.stdlib_module_names:
        return True
    allowed = MAY_IMPORT[package] | exceptions | (FOR_TYPES if found.for_types else set())
    return any(f"{found.module}.".startswith(f"{module}.") for module in allowed)


@pytest.mark.parametrize("package", ["qmath", "kernels"])
def test_the_reference_is_pure_numpy(package: str) -> None:
    """No compiled code of other projects, no process, no network: the standard library's part is arithmetic only."""
    forbidden = {"ctypes", "cffi", "subprocess", "multiprocessing", "socket", "urllib", "http"}
    wrong = [
        f"{named(path)}:{found.line} imports {found.module}"
        for path in sources(package)
        for found in imports(path)
        if found.package in forbidden
    ]
    assert not wrong, "; ".join(wrong)


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_at_run_time_keep_to_the_same_rule(package: str) -> None:
    """``import_module`` must begin with a literal that names what it imports; two files import from a list of names.

    These are the lazy names of quantref itself, and the check of ownership of the packages below it.
    """
    from_lists = {"quantref/__init__.py", "quantref/ownership.py"}
    wrong = [
        f"{named(path)}:{node.lineno}: {ast.unparse(node)}"
        for path in sources(package)
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Call)
        and ast.unparse(node.func) in {"importlib.import_module", "import_module", "__import__"}
        and named(path) not in from_lists
        and not _allowed(Import(_leading_text(node.args[0]), node.lineno, for_types=False), package, set())
    ]
    assert not wrong, "; ".join(wrong)


def _leading_text(name: ast.expr) -> str:
    """Return the literal that a string or an f-string begins with."""
    first = name.values[0] if isinstance(name, ast.JoinedStr) and name.values else name
    return str(first.value) if isinstance(first, ast.Constant) else ""


def test_kernels_and_files_do_not_know_one_another() -> None:
    """Said by the table above; once more in so many words, since the design rests on it."""
    for package, other in (("kernels", "fbs"), ("fbs", "kernels")):
        assert not [found for path in sources(package) for found in imports(path) if found.package == other]
