"""The arrows of the house: who may import whom. Lower layers know nothing of higher ones, and qmath only NumPy."""

from __future__ import annotations

import ast
import sys

import pytest

from tests.meta.house import PACKAGES, ROOT, Import, imports, named, sources, tree

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
#: Part of every Python that has it, and of the oldest supported one under another name.
STANDARD = sys.stdlib_module_names | {"tomllib"}
#: What finds modules by name, and the only files that do so.
MACHINERY = {"importlib", "pkgutil", "runpy", "zipimport"}
FINDERS = {
    "kernels/engine/registry.py",
    "fbs/schema.py",
    "quantref/__init__.py",
    "quantref/cli/__init__.py",
    "quantref/conform/worker.py",  # runs the function that a user names
    "quantref/ownership.py",
    "quantref/rules.py",
    "quantref/runtimes/litert.py",  # looks whether LiteRT is installed
    "quantref/vectors/__init__.py",
    "quantref/vectors/catalogue.py",
}


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
    if found.package == package or found.package in STANDARD:
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
        and not _allowed(Import(_leading_text(node), node.lineno, for_types=False), package, set())
    ]
    assert not wrong, "; ".join(wrong)


@pytest.mark.parametrize("package", PACKAGES)
def test_only_listed_files_find_modules_by_name(package: str) -> None:
    """So that no import hides from the tests above: under a name of its own, or in text that is run."""
    harmless = ("importlib.resources", "importlib.metadata")
    wrong = [
        f"{named(path)}:{found.line} imports {found.module}"
        for path in sources(package)
        for found in imports(path)
        if found.package in MACHINERY and not found.module.startswith(harmless) and named(path) not in FINDERS
    ]
    for path in sources(package):
        for node in ast.walk(tree(path)):
            called = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
            names = node.names if isinstance(node, ast.Import | ast.ImportFrom) else []
            renamed = [alias.name for alias in names if alias.asname and alias.name in MACHINERY | {"import_module"}]
            if called in {"exec", "eval", "compile"} or renamed:
                wrong.append(f"{named(path)}:{node.lineno}: {ast.unparse(node)}")
    assert not wrong, "; ".join(wrong)


def _leading_text(call: ast.Call) -> str:
    """Return the literal that the string or f-string begins with that a call is given first."""
    name = [*call.args, *(keyword.value for keyword in call.keywords)][0]
    first = name.values[0] if isinstance(name, ast.JoinedStr) and name.values else name
    return str(first.value) if isinstance(first, ast.Constant) else ""


def test_the_plug_in_of_pytest_costs_those_nothing_who_do_not_use_it() -> None:
    """Every pytest run imports that file where quantref is installed: nothing in it but the plug-in, when asked for."""
    found = {found.package: found.for_types for found in imports(ROOT / "pytest_quantref.py")}
    assert found.pop("pytest")
    assert set(found) <= {"__future__", "typing", "quantref"}


def test_kernels_and_files_do_not_know_one_another() -> None:
    """Said by the table above; once more in so many words, since the design rests on it."""
    for package, other in (("kernels", "fbs"), ("fbs", "kernels")):
        assert not [found for path in sources(package) for found in imports(path) if found.package == other]
