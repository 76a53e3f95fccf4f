"""What a run adds up to, op by op: counts, whose arithmetic the device follows, the smallest failing case."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from quantref.conform.expected_failures import ExpectedFailure
from quantref.conform.result import CaseResult, Outcome
from quantref.conform.trial import Trial

#: So many failing cases of an op are kept to look into.
KEPT = 4


@dataclass(frozen=True, slots=True)
class Agreement:
    """How well a device's outputs agree with a profile's.

    Attributes
    ----------
    profile
        Its name.
    cases, equal
        Cases with outputs of both, and those of them without any difference.
    mismatches
        Elements that differ, over all of them.

    """

    profile: str
    cases: int
    equal: int
    mismatches: int

    @property
    def complete(self) -> bool:
        """Whether the device follows the profile in every case."""
        return self.equal == self.cases

    def __str__(self) -> str:
        """Say how many cases agree."""
        return self.profile if self.complete else f"{self.profile} ({self.equal} of {self.cases} cases)"


@dataclass(frozen=True, slots=True)
class Failure:
    """A case that failed, with what it takes to look into it."""

    result: CaseResult
    trial: Trial

    @property
    def rank(self) -> tuple[bool, int, str]:
        """What makes a failure easy to look into: outputs that differ come first, then few elements."""
        return self.result.outcome is not Outcome.DIFFERENT, self.result.size, self.result.id


@dataclass(slots=True)
class Row:
    """The cases of one op and its element types.

    Attributes
    ----------
    op, dtypes
        What they have in common.
    outcomes
        How many cases ended how.
    expected, unexpected
        Failures that were expected, and passes that were not.
    elements, mismatches
        Elements compared, and those that differ.
    failures
        The smallest cases that count against the device, the smallest first.

    """

    op: str
    dtypes: str
    outcomes: Counter[Outcome] = field(default_factory=Counter)
    expected: int = 0
    unexpected: int = 0
    elements: int = 0
    mismatches: int = 0
    failures: list[Failure] = field(default_factory=list)
    _agreed: Counter[tuple[str, str]] = field(default_factory=Counter)

    def add(self, result: CaseResult, trial: Trial) -> None:
        """Count one case."""
        self.outcomes[result.outcome] += 1
        self.expected += result.outcome.failed and result.expected_failure is not None
        self.unexpected += result.passed_unexpectedly
        self.elements += result.difference.elements
        self.mismatches += result.difference.mismatches
        for profile, mismatches in result.follows.items():
            self._agreed[profile, "cases"] += 1
            self._agreed[profile, "equal"] += mismatches == 0
            self._agreed[profile, "mismatches"] += mismatches
        if result.counts_against:
            self.failures = sorted([*self.failures, Failure(result, trial)], key=lambda one: one.rank)[:KEPT]

    @property
    def smallest(self) -> Failure | None:
        """The smallest case that counts against the device."""
        return self.failures[0] if self.failures else None

    @property
    def cases(self) -> int:
        """How many there are."""
        return self.outcomes.total()

    @property
    def failed(self) -> int:
        """Cases that count against the device."""
        return sum(count for outcome, count in self.outcomes.items() if outcome.failed) - self.expected

    @property
    def agreements(self) -> list[Agreement]:
        """How well the device agrees with each profile, best first."""
        profiles = [profile for profile, what in self._agreed if what == "cases"]
        found = [
            Agreement(name, *(self._agreed[name, what] for what in ("cases", "equal", "mismatches")))
            for name in profiles
        ]
        return sorted(found, key=lambda one: (-one.equal / one.cases, one.mismatches, profiles.index(one.profile)))

    @property
    def follows(self) -> list[Agreement]:
        """The profiles that the device agrees with in every case; if there is none, the nearest that it ever meets."""
        ranked = self.agreements
        complete = [one for one in ranked if one.complete]
        return complete or [one for one in ranked[:1] if one.equal]

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "op": self.op,
            "dtypes": self.dtypes,
            "cases": self.cases,
            **{outcome.name.lower(): self.outcomes[outcome] for outcome in Outcome},
            "failed": self.failed,
            "failed_as_expected": self.expected,
            "passed_unexpectedly": self.unexpected,
            "elements": self.elements,
            "mismatches": self.mismatches,
            "agreements": [
                {"profile": one.profile, "cases": one.cases, "equal": one.equal, "mismatches": one.mismatches}
                for one in self.agreements
            ],
            "follows": [one.profile for one in self.follows if one.complete],
            "smallest_failure": None if self.smallest is None else self.smallest.result.id,
        }


@dataclass(slots=True)
class Summary:
    """All cases of a run; its size depends on the number of ops, not of cases."""

    rows: dict[tuple[str, str], Row] = field(default_factory=dict)
    used: set[ExpectedFailure] = field(default_factory=set)

    def add(self, result: CaseResult, trial: Trial) -> None:
        """Count one case."""
        key = result.op, result.dtypes
        if key not in self.rows:
            self.rows[key] = Row(*key)
        self.rows[key].add(result, trial)

    @property
    def failing(self) -> list[Row]:
        """The rows with cases that count against the device, in the order of their smallest."""
        return sorted((row for row in self.rows.values() if row.failures), key=lambda row: row.failures[0].rank)

    @property
    def total(self) -> Row:
        """The sum of all rows."""
        return _sum(self.rows.values())

    @property
    def ordered(self) -> list[Row]:
        """The rows by op and element types."""
        return [self.rows[key] for key in sorted(self.rows)]


def _sum(rows: Iterable[Row]) -> Row:
    total = Row("all", "")
    for row in rows:
        total.outcomes += row.outcomes
        total.expected += row.expected
        total.unexpected += row.unexpected
        total.elements += row.elements
        total.mismatches += row.mismatches
        total.failures = sorted([*total.failures, *row.failures], key=lambda one: one.rank)[:KEPT]
    return total
