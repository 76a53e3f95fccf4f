"""What can go wrong in a runtime that quantref compares with: it refuses, it dies, or it does not answer."""

from __future__ import annotations

import re
import signal

from qmath.errors import QuantrefError

_NODE = re.compile(r"Node number (\d+) \(([^)]*)\)")


class RuntimeFailure(QuantrefError):  # noqa: N818 - it and its children say what happened, not what is wrong
    """The other runtime gave no result for a model; quantref itself is well."""


class RuntimeRefused(RuntimeFailure):
    """The runtime declined the model, with a message.

    Attributes
    ----------
    stage
        ``"load"``, ``"prepare"`` or ``"invoke"``.
    reason
        The runtime's own words.
    op_index, op_name
        The operator that the runtime named, or None. Where subgraphs call one another the index may be of any.

    """

    def __init__(self, message: str, *, stage: str = "", reason: str = "") -> None:
        super().__init__(message)
        self.stage = stage
        self.reason = reason
        named = _NODE.search(reason)
        self.op_index = int(named[1]) if named else None
        self.op_name = named[2] if named else None


class RuntimeCrashed(RuntimeFailure):
    """The runtime's process ended by itself.

    Attributes
    ----------
    signal
        Name of the signal (``"SIGSEGV"``), or ``"exit code 3"`` where the process simply left.
    stderr
        The last lines that it wrote.

    """

    def __init__(self, message: str, *, signal: str = "", stderr: str = "") -> None:
        super().__init__(message)
        self.signal = signal
        self.stderr = stderr


class RuntimeTimedOut(RuntimeFailure):
    """The runtime did not answer in time, and its process was ended.

    Attributes
    ----------
    seconds
        How long it was given.

    """

    def __init__(self, message: str, *, seconds: float = 0.0) -> None:
        super().__init__(message)
        self.seconds = seconds


def name_of_exit(code: int) -> str:
    """Return the signal that ended a process (``"SIGABRT"``), or its exit code in words."""
    if code < 0:
        try:
            return signal.Signals(-code).name
        except ValueError:
            return f"signal {-code}"
    return f"exit code {code}"
