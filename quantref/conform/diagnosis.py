"""Looking into a failure: whose arithmetic gives these outputs, and how the right value comes about."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from qmath.errors import QuantrefError
from quantref.conform.result import CaseResult, Outcome
from quantref.conform.summary import Failure, Row
from quantref.conform.trial import Trial

if TYPE_CHECKING:
    from quantref.explain import Explanation
    from quantref.inference import InferResult


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
    """Look into the failures of a row; None if it has none that counts."""
    if row.smallest is None:
        return None
    profiles = tuple(one.profile for one in row.follows if one.complete)
    follows = " and ".join(map(str, row.follows))
    if not profiles:
        profiles, regimes = inferred(row.failures)
        names = [*profiles, *(f"the regime {regime}" for regime in regimes)]
        if names:
            follows = f"{' or '.join(names)} (in the smallest failing cases, calculated here)"
    explanation = explanation_of(row.smallest.trial, row.smallest.result) if explained else None
    return Diagnosis(row.op, row.dtypes, row.smallest.result, follows, profiles, explanation)


def inferred(failures: Sequence[Failure]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the profiles, or else the regimes, that give what the device gave in all of some cases.

    A device may follow a profile that the suite has no outputs of, or another rounding than any profile's for the op.
    """
    results = [_infer(failure) for failure in failures if failure.result.found is not None]
    if not results or None in results:
        return (), ()
    found = [result for result in results if result is not None]
    profiles = [name for name in found[0].explained_by if all(name in result.explained_by for result in found)]
    regimes = [set(_regimes(result)) for result in found]
    return tuple(profiles), tuple(name for name in _regimes(found[0]) if all(name in each for each in regimes))


def _infer(failure: Failure) -> InferResult | None:
    from quantref.inference import infer_profile  # noqa: PLC0415 - not needed where everything passes

    trial, found = failure.trial, failure.result.found or ()
    if len(found) != 1:
        return None
    try:
        return infer_profile(trial.model, trial.inputs[0], found[0])
    except QuantrefError:
        return None


def _regimes(result: InferResult) -> list[str]:
    """Return the regimes that explain the op of a model of one op, where no profile does."""
    return [one.name for op in result.ops[:1] for one in op.regimes if one.explains] if len(result.ops) == 1 else []


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
