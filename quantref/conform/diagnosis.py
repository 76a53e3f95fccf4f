"""Looking into a failure: whose arithmetic gives these outputs, and how the right value comes about."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from kernels.profiles import PROFILES
from qmath.errors import QuantrefError
from quantref.conform.result import CaseResult, Outcome
from quantref.conform.summary import Failure, Row
from quantref.conform.trial import Trial
from quantref.interpreter import load
from quantref.names import tensor_keys

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

    def with_explanation(self, row: Row) -> Diagnosis:
        """Return it with the explanation of its smallest failure, which ``row`` holds."""
        return replace(self, explanation=explanation_of(row.failures[0].trial, row.failures[0].result))

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


def diagnose(row: Row) -> Diagnosis:
    """Look into the failures of a row, of which there is at least one; nothing is explained yet."""
    profiles = tuple(one.profile for one in row.follows if one.complete)
    follows = " and ".join(map(str, row.follows))
    if not profiles:
        profiles, regimes = inferred(row.failures)
        names = [*profiles, *(f"the regime {regime}" for regime in regimes)]
        if names:
            follows = f"{' or '.join(names)} (in the smallest failing cases, calculated here)"
    return Diagnosis(row.op, row.dtypes, row.failures[0].result, follows, profiles)


def inferred(failures: Sequence[Failure]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the profiles, or else the regimes, that give what the device gave in all of some cases.

    A device may follow a profile that the suite has no outputs of, or another rounding than any profile's for the op.
    Regimes are tried where no profile fits; in the other cases a regime may be as good as a profile.
    """
    results = [_infer(failure) for failure in failures if failure.result.found is not None]
    found = [result for result in results if result is not None]
    if not found or len(found) < len(results):
        return (), ()
    profiles = _common([result.explained_by for result in found])
    regimes = _common([_regimes(result) for result in found if not result.explained_by])
    return profiles, () if profiles else regimes


def _common(names: Sequence[Sequence[str]]) -> tuple[str, ...]:
    """Return the names that are in all of some lists, in the order of the first."""
    return tuple(name for name in (names[0] if names else ()) if all(name in others for others in names))


def _infer(failure: Failure) -> InferResult | None:
    from quantref.inference.dump import Dump, Invocation  # noqa: PLC0415 - not needed where everything passes
    from quantref.inference.infer import infer  # noqa: PLC0415 - not needed where everything passes

    trial, found = failure.trial, failure.result.found or ()
    try:
        model = load(trial.model)
        graph = model.subgraphs[0]
        keys = tensor_keys(graph)
        indices = {key: index for index, key in enumerate(keys)}
        invocations = [
            Invocation([arrays[keys[index]] for index in graph.inputs], {indices[n]: y for n, y in outputs.items()})
            for arrays, outputs in zip(trial.inputs, found, strict=True)
        ]
        return infer(Dump(model, tuple(invocations)), list(PROFILES.values()))
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
