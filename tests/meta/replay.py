"""Does what a document shows, as a reader would: its commands and its Python, from top to bottom, in one folder.

``python replay.py DOCUMENT`` is run by ``test_documents.py`` in a scratch folder that has the checkout's files in it.
Commands that install, or that need long, are left out here; ``test_documents.py`` says what becomes of them.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.meta.documents import Block, blocks, commands

#: Programs that the reader has in a virtual environment, and the arguments that make this Python stand in for them.
_PROGRAMS = (
    (re.compile(r"^(\.venv/bin/)?quantref\b"), "-c 'from quantref.cli import main; raise SystemExit(main())'"),
    (re.compile(r"^(\.venv/bin/)?python3?\b"), ""),
)
#: Commands that are not run here: they install, run all tests, or take long.
LEFT_OUT = re.compile(r"-m (venv|benchmarks|tests\.\w+)\b|\bpip install\b|\b(pytest|ruff|mypy|git|curl)\b|\.ci/")
#: The exit code that a document announces in a comment behind a command.
_ANNOUNCED = re.compile(r"#.*\bexits? (?:with )?(\d)")


def steps(command: str) -> list[str]:
    """Return the parts of a command line that are run one after the other, as long as each succeeds."""
    return [step.strip() for step in command.split("&&")]


def replay(document: Path) -> int:
    """Run a document's blocks and return how many steps there were."""
    names: dict[str, Any] = {"__name__": "__main__"}
    count = 0
    for block in blocks(document):
        if block.language == "python":
            count += 1
            _run_python(document, block, names)
        elif block.language == "sh":
            for command in commands(block):
                count += sum(_run_command(document, block, step, command) for step in steps(command))
    return count


def _run_python(document: Path, block: Block, names: Mapping[str, Any]) -> None:
    code = compile("\n" * (block.line - 1) + block.text, str(document), "exec")
    exec(code, names)  # type: ignore[arg-type]  # noqa: S102 - the document is our own


def _run_command(document: Path, block: Block, step: str, command: str) -> bool:
    if LEFT_OUT.search(step):
        return False
    announced = _ANNOUNCED.search(command)
    for program, instead in _PROGRAMS:
        if program.match(step):
            step = program.sub(f"{sys.executable} {instead}", step, count=1)
            break
    found = subprocess.run(step, shell=True, check=False, timeout=120)  # noqa: S602 - the document is our own
    if found.returncode != (expected := int(announced[1]) if announced else 0):
        sys.exit(f"{document}:{block.line}: expected exit code {expected} of {command!r}, found {found.returncode}")
    return True


if __name__ == "__main__":
    os.environ["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    print(f"{replay(Path(sys.argv[1]))} steps")  # noqa: T201 - read by the test
