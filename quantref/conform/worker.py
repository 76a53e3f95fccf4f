"""The child process that runs a Python function: ``python -m quantref.conform.worker module:function``.

Frames are those of :mod:`quantref.runtimes.litert_worker`. Answers, by their first item:

``("ready",)``
    once, when the function is imported; ``("unavailable", reason)`` if it cannot be.
``("outputs", answers)``
    one answer an invocation: a dict of arrays, or a list of them.
``("refused", reason, kind)``
    the function raised; ``kind`` is the class if it is one of quantref's.
"""

from __future__ import annotations

import os
import pkgutil
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np

from quantref.conform.runners import call, refused
from quantref.runtimes.litert_worker import read_frame, write_frame


def answer(target: Any, model: bytes, inputs: Any) -> tuple[Any, ...]:
    """Run one case."""
    try:
        return "outputs", [_plain(outputs) for outputs in call(target, model, inputs)]
    except Exception as error:  # noqa: BLE001 - whatever a device raises is its way to decline
        return "refused", *refused(error)


def _plain(outputs: Any) -> dict[str, Any] | list[Any]:
    """Return arrays of NumPy, whatever kind of array the function gave."""
    if isinstance(outputs, Mapping):
        return {str(name): np.asarray(value) for name, value in outputs.items()}
    return [np.asarray(value) for value in outputs] if isinstance(outputs, list | tuple) else [np.asarray(outputs)]


def main() -> None:
    """Answer requests until stdin ends."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever the function prints must not come between the answers
    try:
        target = pkgutil.resolve_name(sys.argv[1])
        if not callable(target):
            raise TypeError(f"a {type(target).__name__} cannot be called")  # noqa: TRY301 - reported like the others
    except Exception as error:  # noqa: BLE001 - importing somebody's module may raise anything
        write_frame(answers, ("unavailable", f"{type(error).__name__}: {error}"))
        return
    write_frame(answers, ("ready",))
    while (request := read_frame(sys.stdin.buffer)) is not None:
        write_frame(answers, answer(target, *request))


if __name__ == "__main__":
    main()
