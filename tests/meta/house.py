"""What the tests of this folder know of the checkout: its packages, their files, what each file imports."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
PACKAGES = ("qmath", "kernels", "fbs", "quantref")


@dataclass(frozen=True)
class Import:
    """A module that a file imports.

    Attributes
    ----------
    module
        Its full name.
    line
        Where.
    for_types
        Whether the import stands under ``if TYPE_CHECKING:`` and never happens.

    """

    module: str
    line: int
    for_types: bool

    @property
    def package(self) -> str:
        """The module's top-level package."""
        return self.module.partition(".")[0]


def sources(package: str) -> list[Path]:
    """Return every Python file of a package."""
    files = sorted((ROOT / package).rglob("*.py"))
    assert files, f"found no Python file in {ROOT / package}"
    return files


def named(path: Path) -> str:
    """Return a path as the checkout names it."""
    return path.relative_to(ROOT).as_posix()


@cache
def tree(path: Path) -> ast.Module:
    """Parse a file."""
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def imports(path: Path) -> list[Import]:
    """Return everything that a file imports, wherever in the file the import stands."""
    return list(_imports(tree(path), _package_of(path), for_types=False))


def _package_of(path: Path) -> list[str]:
    return list(path.relative_to(ROOT).parent.parts)


def _imports(node: ast.AST, package: list[str], *, for_types: bool) -> Iterator[Import]:
    if isinstance(node, ast.Import):
        for alias in node.names:
            yield Import(alias.name, node.lineno, for_types)
    elif isinstance(node, ast.ImportFrom):
        above = package[: len(package) - node.level + 1] if node.level else []
        module = ".".join([*above, *([node.module] if node.module else [])])
        for alias in node.names:
            yield Import(f"{module}.{alias.name}", node.lineno, for_types)
    else:
        guarded = isinstance(node, ast.If) and ast.unparse(node.test) in {"TYPE_CHECKING", "typing.TYPE_CHECKING"}
        for child in ast.iter_child_nodes(node):
            never_runs = guarded and child not in node.orelse
            yield from _imports(child, package, for_types=for_types or never_runs)
