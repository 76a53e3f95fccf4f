"""Whether a model keeps to the quantization spec, and what each runtime will make of it; nothing is run.

The spec is data (:mod:`quantref.spec`), the rules are in :mod:`quantref.checks`, a file a family; ``docs/check.md``
lists them with their reasons. All findings come at once, in the order of the model.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TypeAlias

import fbs
from quantref.checks.finding import Finding, Findings, Location, Severity

__all__ = ["Finding", "Findings", "Location", "Severity", "check"]

#: A model: a path, the bytes of a file, or a model that has been read.
ModelSource: TypeAlias = str | os.PathLike[str] | bytes | bytearray | memoryview | fbs.Model


def check(
    model: ModelSource,
    *,
    runtimes: str | Iterable[str] | None = None,
    ignore: str | Iterable[str] = (),
) -> Findings:
    """Check a model against the quantization spec.

    Parameters
    ----------
    model
        Path, bytes, or a model.
    runtimes
        Names of the profiles whose runtimes matter; by default all. Findings that none of them minds are left out, and
        what one of them refuses is an error.
    ignore
        Ids or names of rules to leave out.

    Returns
    -------
    Findings
        All of them, in the order of the model.

    Raises
    ------
    InputError
        There is no such file, runtime or rule.
    ModelError, UnsupportedError
        The file cannot be read at all; contradictions in a file that can are findings.

    """
    from quantref.checks.engine import examine  # noqa: PLC0415 - importing quantref does not need the rules

    return examine(model, runtimes, ignore)
