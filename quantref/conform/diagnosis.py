"""Looking into a failure: whose arithmetic gives these outputs, and how the right value comes about."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kernels.profiles import PROFILES
from qmath.errors import QuantrefError
from quantref.conform.judge import compare
from quantref.conform.result import CaseResult, Outcome
from quantref.conform.runners import run_quantref
from quantref.conform.summary import Failure, Row
from quantref.conform.trial import Trial

if TYPE_CHECKING:
    from quantref.explain import Explanation


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What is known of the failures of one op.

    Attributes
    ----------
    op, dtypes
        The cases meant.
    failure
        The smallest of them.
    follows
        Whose arithmetic the device follows, in words; empty if nothing fits.
    profiles
        The profiles that the device agrees with in every case.
    explanation
        Every step of the first element that differs, as it should be; None where outputs were not compared, or the
        element has a history of invocations.

    """

    op: str
    dtypes: str
    failure: CaseResult
    follows: str
    profiles: tuple[str, ...]
    explanation: Explanation | None = None

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "op": self.op,
            "dtypes": self.dtypes,
            "smallest_failure": self.failure.id,
            "message": self.failure.message,
            "follows": self.follows,
            "profiles": list(self.profiles),
            "explanation": None if self.explanation is None else self.explanation.to_json(),
        }


def diagnose(row: Row, *, explained: bool = True) -> Diagnosis | None:
    """Look into the smallest failure of a row; None if it has none that counts."""
    if row.smallest is None:
        return None
    profiles = tuple(one.profile for one in row.follows if one.complete)
    follows = " and ".join(map(str, row.follows))
    if not profiles:
        others = recomputed(row.smallest)
        if others:
            profiles, follows = tuple(others), f"{' and '.join(others)} (in the smallest case, calculated here)"
    explanation = explanation_of(row.smallest.trial, row.smallest.result) if explained else None
    return Diagnosis(row.op, row.dtypes, row.smallest.result, follows, profiles, explanation)


def recomputed(failure: Failure) -> list[str]:
    """Return the profiles that the suite has no outputs for, and that give exactly what the device gave."""
    found, trial = failure.result.found, failure.trial
    if found is None:
        return []
    matching = []
    for profile in PROFILES:
        if profile in trial.expectations:
            continue
        try:
            theirs = tuple(run_quantref(trial.model, trial.inputs, profile))
        except QuantrefError:
            continue
        if compare(theirs, found)[0].mismatches == 0:
            matching.append(profile)
    return matching


def explanation_of(trial: Trial, result: CaseResult) -> Explanation | None:
    """Explain the first element that differs, under the profile that is expected."""
    from quantref.explain import explain  # noqa: PLC0415 - not needed where everything passes

    first = result.difference.first
    if result.outcome is not Outcome.DIFFERENT or first is None or isinstance(first.expected, str):
        return None
    try:
        explanation = explain(
            trial.model, trial.inputs[first.sample], tensor=result.output, index=first.index, profile=trial.profile
        )
    except QuantrefError:
        return None
    return explanation if explanation.output.value == first.expected else None
