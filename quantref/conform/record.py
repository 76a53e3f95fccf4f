"""The results of a run in a file, a line of JSON a case, so that their number costs no memory."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from qmath.errors import InputError
from quantref.conform.result import CaseResult, Outcome


class Record:
    """A file of results, in the order of the suite.

    Parameters
    ----------
    path
        Where to keep it; a temporary file by default, which goes with this object.

    Raises
    ------
    InputError
        The file cannot be written.

    """

    def __init__(self, path: str | os.PathLike[str] | None = None) -> None:
        if path is None:
            handle, name = tempfile.mkstemp(prefix="quantref-", suffix=".jsonl")
            os.close(handle)
            self.path = Path(name)
            weakref.finalize(self, _remove, self.path)
        else:
            self.path = Path(path)
        try:
            self._file = self.path.open("w", encoding="utf-8")
        except OSError as error:
            raise InputError(f"{self.path}: expected a place to write, found: {error.strerror or error}") from error
        self._closed = weakref.finalize(self, self._file.close)

    def add(self, result: CaseResult) -> None:
        """Write the line of one case."""
        line = json.dumps(result.to_json() | {"seconds": round(result.seconds, 6)}, allow_nan=False)
        self._file.write(line + "\n")
        self._file.flush()

    def close(self) -> None:
        """Say that there are no more."""
        self._closed()

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Yield the results as plain values."""
        with self.path.open(encoding="utf-8") as file:
            for line in file:
                yield json.loads(line)


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink()


def _counts(entry: dict[str, Any]) -> bool:
    return Outcome[entry["outcome"].upper()].failed and entry["expected_failure"] is None


def failed_in(path: str | os.PathLike[str]) -> frozenset[str]:
    """Return the names of the cases that counted against the device in a run, from its JSON or its lines of results.

    Raises
    ------
    InputError
        The file cannot be read, or is neither.

    """
    try:
        with Path(path).open(encoding="utf-8") as file:
            first = file.readline()
            if first.strip() == "{":
                return frozenset(entry["id"] for entry in json.loads(first + file.read())["failures"])
            entries = (json.loads(line) for line in (first, *file))
            return frozenset(entry["id"] for entry in entries if _counts(entry))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: expected a readable file of results, found: {error}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: expected results that conform wrote, found: {error!r}") from error
