"""Writes the pages that follow from the code: ``docs/{support,quirks,check}.md``, ``docs/arithmetic/*.md``.

``python docs/generate.py`` writes them, ``python docs/generate.py --check`` says which are stale. A test calls the
latter. What the pages say is said in the docstrings of the kernels; the worked number of a page is a trace of one
small case through the kernel's own stages.
"""

from __future__ import annotations

import ast
import dataclasses
import importlib
import inspect
import itertools
import pkgutil
import re
import sys
import textwrap
import zlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import ModuleType

import numpy as np

import fbs
import kernels
import quantref
from kernels.engine import registry
from kernels.engine.registry import Kernel
from kernels.profiles import LITERT_REFERENCE, PROFILES, Profile
from qmath.errors import QuantrefError
from quantref.checks.page import rules_page
from quantref.names import tensor_keys
from quantref.support import OpSupport, support_table
from quantref.vectors.cells.case import Case, Generator

DOCS = Path(__file__).resolve().parent
sys.path.insert(0, str(DOCS.parent))
from tests.sweep import all_cells  # noqa: E402 - the cases lie in the checkout, not in the distribution

QUIRK = re.compile(r"^\s*Quirk: (.+?)(?=\n\s*\n|\n\s*Quirk: |\Z)", re.MULTILINE | re.DOTALL)
#: How many cases of a cell to look through for one that is small enough to be read, and how small that is.
CASES, READABLE = 24, range(4, 65)
NOTE = "<!-- Written by docs/generate.py from the docstrings of the kernels. -->\n"


def modules() -> Iterator[ModuleType]:
    """Yield every module of ``kernels`` that holds an op's arithmetic."""
    for found in pkgutil.iter_modules(kernels.__path__):
        if not found.ispkg and found.name != "profiles":
            yield importlib.import_module(f"kernels.{found.name}")


def docstrings(module: ModuleType) -> Iterator[tuple[str, str]]:
    """Yield name and docstring of the module and of everything defined in it, in the order of the source."""
    tree = ast.parse(inspect.getsource(module))
    yield module.__name__, ast.get_docstring(tree) or ""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and ast.get_docstring(node):
            yield node.name, ast.get_docstring(node) or ""


def steps_of(docstring: str) -> str:
    """Return the numbered steps of a docstring's notes, or nothing."""
    notes = re.split(r"^Notes\n-+\n", docstring, flags=re.MULTILINE)
    if len(notes) < 2:
        return ""
    section = re.split(r"^\w[\w ]*\n-+\n", notes[1], flags=re.MULTILINE)[0]
    return QUIRK.sub("", section).strip() if re.search(r"^1\. ", section, re.MULTILINE) else ""


def quirks(module: ModuleType) -> list[str]:
    """Return the quirks that a module's docstrings tell, each as one paragraph."""
    found = [" ".join(quirk.split()) for _, text in docstrings(module) for quirk in QUIRK.findall(text)]
    return list(dict.fromkeys(found))


def plain(text: str) -> str:
    """Turn the docstrings' markup into Markdown's."""
    text = re.sub(r":\w+:`~?(?:[\w.]+\.)?([\w]+)`", r"`\1`", text)
    return text.replace("``", "`")


def support_page() -> str:
    """Return the support table."""
    lines = [
        "# What quantref runs",
        NOTE,
        "`quantref profiles show PROFILE --json` gives the same table to a program. *Versions* are the highest of an",
        "op that LiteRT's reference and optimized resolvers have (0: none). *Verified* counts the output elements that",
        "`python -m tests.sweep` compared with the runtime, and how many of them differed.",
        "",
    ]
    for profile in PROFILES.values():
        table = support_table(profile)
        lines += [f"## {table.profile}", "", f"{profile.description}. Runtime: {table.runtime}.", ""]
        lines += ["| op | types | versions | verified | mismatches |", "|---|---|---|---|---|"]
        lines += [_row(op) for op in table.ops]
        compared = sum(op.elements for op in table.ops)
        cells = sum(len(op.verified) for op in table.ops)
        differing = sum(op.mismatches for op in table.ops)
        lines += [
            "",
            f"In all {compared:,} elements in {cells} combinations were compared; {differing:,} differed.",
            "",
        ]
    return "\n".join(lines)


def _row(op: OpSupport) -> str:
    versions = "/".join(str(number) for number in op.versions.values()) or "-"
    verified = f"{op.elements:,}" if op.verified else "-"
    mismatches = str(op.mismatches) if op.verified else "-"
    return f"| {op.op} | {'; '.join(op.covers)} | {versions} | {verified} | {mismatches} |"


def quirks_page() -> str:
    """Return the list of quirks."""
    lines = [
        "# Quirks",
        NOTE,
        "Where the runtime does what its documentation, or common sense, would not lead one to expect. quantref does",
        "it too, under the profile of that runtime.",
        "",
    ]
    for module in modules():
        found = quirks(module)
        if found:
            name = module.__name__.split(".")[1]
            lines += [f"## [{name}](arithmetic/{name}.md)", "", *(f"- {plain(quirk)}" for quirk in found), ""]
    return "\n".join(lines)


def arithmetic_page(module: ModuleType) -> str:
    """Return the page of one op family: contract, steps, quirks."""
    name = module.__name__.split(".")[1]
    texts = dict(docstrings(module))
    summary, _, rest = texts[module.__name__].partition("\n")
    lines = [f"# {plain(summary).rstrip('.')}", NOTE, plain(rest.strip()), ""]
    ops: tuple[Kernel, ...] = getattr(module, "KERNELS", ())
    if not ops:
        families = [user.__name__.split(".")[1] for user in users(module)]
        if families:
            lines += ["Part of " + ", ".join(f"[{family}]({family}.md)" for family in families) + ".", ""]
    else:
        lines += ["| op | types |", "|---|---|", *(f"| {op.op} | {'; '.join(op.covers)} |" for op in ops), ""]
    for function, text in texts.items():
        steps = steps_of(text)
        if steps:
            lines += [f"## {_title(function)}", "", plain(text.split("\n")[0]), "", plain(textwrap.dedent(steps)), ""]
    lines += worked_example(module)
    contract = [text for function, text in texts.items() if function.startswith("prepare")]
    raised = "\n".join(itertools.chain.from_iterable(_raises(text) for text in contract))
    if raised:
        lines += ["## What is refused", "", raised, ""]
    found = quirks(module)
    if found:
        lines += ["## Quirks", "", *(f"- {plain(quirk)}" for quirk in found), ""]
    lines += [f"The code: [`kernels/{name}.py`](../../kernels/{name}.py).", ""]
    return "\n".join(lines)


@cache
def generators() -> dict[str, Generator]:
    """Return what makes the cases of each cell."""
    return all_cells()


def worked_example(module: ModuleType) -> list[str]:
    """Return one output element of a small case, as ``quantref explain`` tells it, or nothing.

    For a module without ops of its own that is a case of an op that comes to it, under the first profile that does.
    """
    own: tuple[Kernel, ...] = getattr(module, "KERNELS", ())
    ops = own or tuple(op for user in users(module) for op in getattr(user, "KERNELS", ()))
    for profile, op in itertools.product([LITERT_REFERENCE] if own else PROFILES.values(), ops):
        cells = [cell for cell in sorted(generators()) if cell.split()[0] == op.op]
        # Integers are what the page is about; among them int8 is the plainest.
        for cell in sorted(cells, key=lambda name: ("float" in name, "int8" not in name, "hybrid" in name, name)):
            rng = np.random.default_rng(zlib.crc32(cell.encode()))
            cases = list(itertools.islice(generators()[cell](rng), CASES if own else 1))
            if not own and not _comes_to(module, cases[0], profile):
                continue
            cases.sort(key=lambda case: sum(array.size for array in case.samples[0].values()) not in READABLE)
            told = next((text for case in cases[:3] if (text := _told(case, profile))), "")
            if told:
                under = "" if own else f" under {profile.name}"
                lines = ["## One number, worked out", ""]
                return [*lines, f"One element of a small {cell}, as `quantref explain` tells it{under}.", "", told, ""]
    return []


def _told(case: Case, profile: Profile) -> str:
    """Return the explanation of the first element of a case, or nothing."""
    subgraph = case.model.subgraphs[0]
    try:
        value = next(iter(quantref.run(case.model, case.samples[0], profile=profile).values()))
        if value.size == 0:
            return ""
        name = tensor_keys(subgraph)[subgraph.outputs[0]]
        told = quantref.explain(case.model, case.samples[0], tensor=name, index=(0,) * value.ndim, profile=profile)
    except QuantrefError:
        return ""
    return re.sub(r"^#", "##", told.to_markdown().strip(), flags=re.MULTILINE)


def _comes_to(module: ModuleType, case: Case, profile: Profile) -> bool:
    """Whether the op of a case is prepared as something that a module defines, or holds such a thing."""
    try:
        prepared = registry.prepare(fbs.view(case.model.subgraphs[0], 0), profile)
    except QuantrefError:
        return False
    parts = [prepared, *(getattr(prepared, field.name) for field in dataclasses.fields(prepared))]
    return any(type(part).__module__ == module.__name__ for part in parts)


@cache
def users(module: ModuleType) -> tuple[ModuleType, ...]:
    """Return the modules with ops that take something from a module, directly or through others."""
    found: dict[ModuleType, None] = {}
    for other in modules():
        taken = {getattr(value, "__module__", None) for value in vars(other).values()}
        if other is not module and module.__name__ in taken:
            found.update(dict.fromkeys([other] if hasattr(other, "KERNELS") else users(other)))
    return tuple(found)


def _title(function: str) -> str:
    return function.strip("_").replace("_", " ")


def _raises(docstring: str) -> list[str]:
    section = re.split(r"^Raises\n-+\n", docstring, flags=re.MULTILINE)
    if len(section) < 2:
        return []
    body = re.split(r"^\w[\w ]*\n-+\n", section[1], flags=re.MULTILINE)[0].rstrip()
    return [f"- `{line}`:" if not line.startswith(" ") else f"  {line.strip()}" for line in body.splitlines() if line]


def pages() -> dict[Path, str]:
    """Return the text of every page that is generated, by its path."""
    found = {DOCS / "support.md": support_page(), DOCS / "quirks.md": quirks_page(), DOCS / "check.md": rules_page()}
    for module in modules():
        found[DOCS / "arithmetic" / f"{module.__name__.split('.')[1]}.md"] = arithmetic_page(module)
    return found


def main() -> int:
    """Write the pages, or with ``--check`` name those that are stale."""
    stale = [path for path, text in pages().items() if not path.exists() or path.read_text() != text]
    if "--check" in sys.argv[1:]:
        for path in stale:
            sys.stdout.write(f"stale: {path.relative_to(DOCS.parent)}\n")
        return 1 if stale else 0
    for path, text in pages().items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
