"""What became of one case: plain data that is written as one line of JSON."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from quantref.conform.trial import Invocations
from quantref.difference import Difference


class Outcome(enum.Enum):
    """How a device did on a case; the value is what a table says."""

    PASSED = "passed"
    DIFFERENT = "different"
    REFUSED = "refused"
    ACCEPTED = "accepted what it had to refuse"
    CRASHED = "crashed"
    TIMED_OUT = "timed out"
    NO_ANSWER = "no usable answer"
    SKIPPED = "skipped"

    @property
    def failed(self) -> bool:
        """Whether it counts against the device."""
        return self not in {Outcome.PASSED, Outcome.SKIPPED}

    @property
    def compared(self) -> bool:
        """Whether the device gave outputs that were held against those expected."""
        return self in {Outcome.PASSED, Outcome.DIFFERENT}


@dataclass(frozen=True, slots=True)
class CaseResult:
    """What became of one case.

    Attributes
    ----------
    id, op, dtypes, kind, aims
        As in the suite.
    outcome
        How the device did.
    difference
        Over all outputs of all invocations.
    output
        Name of the output that ``difference.first`` is in, or empty.
    message
        What happened, in words; empty if the case passed.
    size
        Elements that went in and should come out.
    follows
        For every profile that the suite holds for the case, the number of elements that differ from its outputs. A
        refusal differs from all of them, and agrees with the profiles that refuse the model, too. Empty if the device
        did neither.
    expected_failure
        The reason why the case is expected to fail, if it is.
    found
        What the device gave, if it is wrong and small; not written.
    seconds
        How long the device took; not part of what two runs are compared by.

    """

    id: str
    op: str
    dtypes: str
    kind: str
    aims: tuple[str, ...]
    outcome: Outcome
    difference: Difference = field(default_factory=Difference)
    output: str = ""
    message: str = ""
    size: int = 0
    follows: Mapping[str, int] = field(default_factory=dict, hash=False)
    expected_failure: str | None = None
    found: Invocations | None = field(default=None, compare=False, repr=False)
    seconds: float = field(default=0.0, compare=False)

    @property
    def counts_against(self) -> bool:
        """Whether the device failed, and was not expected to."""
        return self.outcome.failed and self.expected_failure is None

    @property
    def passed_unexpectedly(self) -> bool:
        """Whether the device passed a case that it was expected to fail."""
        return self.outcome is Outcome.PASSED and self.expected_failure is not None

    @property
    def verdict(self) -> str:
        """The outcome in a few words."""
        if self.expected_failure is None or self.outcome is Outcome.SKIPPED:
            return self.outcome.value
        words = "failed as expected" if self.outcome.failed else "passed unexpectedly"
        return f"{words} ({self.expected_failure})"

    def to_json(self) -> dict[str, Any]:
        """Return plain values: the same for the same device, however the run was spread."""
        return {
            "id": self.id,
            "op": self.op,
            "dtypes": self.dtypes,
            "kind": self.kind,
            "aims": list(self.aims),
            "outcome": self.outcome.name.lower(),
            "expected_failure": self.expected_failure,
            "message": self.message,
            "size": self.size,
            **self.difference.to_json(),
            "output": self.output,
            "follows": dict(self.follows),
        }
