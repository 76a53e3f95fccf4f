"""Failures that are known: a text file of patterns of case names, each with its reason."""

from __future__ import annotations

import os
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from qmath.errors import InputError


@dataclass(frozen=True, slots=True)
class ExpectedFailure:
    """One line of the file.

    Attributes
    ----------
    pattern
        Shell pattern of case names.
    reason
        Why they fail.
    line
        Where in the file.

    """

    pattern: str
    reason: str
    line: int

    def __str__(self) -> str:
        """Return the line as it is written."""
        return f"{self.pattern} # {self.reason}"


@dataclass(frozen=True, slots=True)
class ExpectedFailures:
    """The lines of the file, in order; the first that matches a case counts."""

    entries: tuple[ExpectedFailure, ...] = ()

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> ExpectedFailures:
        """Read a file of lines ``PATTERN # reason``; empty lines, and those that begin with ``#``, say nothing.

        Raises
        ------
        InputError
            The file cannot be read, or a line has no pattern or no reason.

        """
        try:
            text = Path(path).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{path}: expected a readable text file, found: {error}") from error
        entries = []
        for number, line in enumerate(text.splitlines(), 1):
            if not line.strip() or line.lstrip().startswith("#"):
                continue
            pattern, mark, reason = line.partition(" #")
            if not mark or not reason.strip():
                raise InputError(f"{path}:{number}: expected 'PATTERN # reason', found {line.strip()!r}")
            entries.append(ExpectedFailure(pattern.strip(), reason.strip(), number))
        return cls(tuple(entries))

    def matching(self, case: str) -> ExpectedFailure | None:
        """Return the line that a case falls under."""
        return next((entry for entry in self.entries if fnmatchcase(case, entry.pattern)), None)
