"""One case on one device: run it, and hold what comes out against what is expected."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from qmath.errors import InputError
from qmath.types import Array
from quantref.conform.arrays import named
from quantref.conform.result import CaseResult, Outcome
from quantref.conform.runners import Answer, Answers, Device
from quantref.conform.trial import Invocations, Trial
from quantref.difference import Difference, difference
from quantref.runtimes import RuntimeCrashed, RuntimeFailure, RuntimeRefused, RuntimeTimedOut

#: Wrong outputs up to so many elements are kept, to find out whose arithmetic they follow.
KEPT = 1 << 14
_ENDINGS = {
    RuntimeRefused: Outcome.REFUSED,
    RuntimeCrashed: Outcome.CRASHED,
    RuntimeTimedOut: Outcome.TIMED_OUT,
    RuntimeFailure: Outcome.NO_ANSWER,
}


def judge(trial: Trial, device: Device) -> CaseResult:
    """Run one case once, and say how the device did; whatever the device does, this gives a result."""
    if not trial.negative and trial.expected is None:
        held = ", ".join(trial.expectations) or "none"
        return _result(trial, Outcome.SKIPPED, f"the suite has no outputs under {trial.profile} (it has {held})")
    start = time.perf_counter()
    try:
        answers = device.run(trial)
    except RuntimeFailure as failure:
        outcome = next(ending for kind, ending in _ENDINGS.items() if isinstance(failure, kind))
        return _ended(trial, outcome, failure, time.perf_counter() - start)
    except InputError as error:
        return _result(trial, Outcome.NO_ANSWER, str(error), time.perf_counter() - start)
    seconds = time.perf_counter() - start
    if trial.negative:
        wanted = f" ({trial.expected_error})" if trial.expected_error else ""
        return _result(trial, Outcome.ACCEPTED, f"expected a refusal{wanted}, found outputs", seconds)
    return _compared(trial, answers, seconds)


def _ended(trial: Trial, outcome: Outcome, failure: RuntimeFailure, seconds: float) -> CaseResult:
    """Return the result of a case without outputs; where none are due, that is as it should be."""
    if not (trial.negative and outcome is Outcome.REFUSED):
        result = _result(trial, outcome, str(failure), seconds)
        return replace(result, follows=_refused_alike(trial)) if outcome is Outcome.REFUSED else result
    kind = getattr(failure, "kind", "")
    if kind and trial.expected_error and kind != trial.expected_error:
        message = f"expected a refusal as {trial.expected_error}, found {kind}: {failure}"
        return _result(trial, Outcome.DIFFERENT, message, seconds)
    return _result(trial, Outcome.PASSED, "", seconds)


def _refused_alike(trial: Trial) -> dict[str, int]:
    """Return what a refusal agrees with: the profiles that refuse the model, too."""
    elements = sum(array.size for arrays in trial.expected or () for array in arrays.values())
    return dict.fromkeys(trial.expectations, max(elements, 1)) | dict.fromkeys(trial.refusing, 0)


def _compared(trial: Trial, answers: Answers, seconds: float) -> CaseResult:
    expected = trial.expected or ()
    try:
        found = in_order(answers, expected)
    except InputError as error:
        return _result(trial, Outcome.NO_ANSWER, str(error), seconds)
    total, output = compare(expected, found)
    if total.elements == 0:
        return _result(trial, Outcome.SKIPPED, "nothing to compare: every output is empty", seconds)
    follows = _agreements(trial, found)
    wrong = total.mismatches > 0
    small = sum(array.size for arrays in found for array in arrays.values()) <= KEPT
    return CaseResult(
        id=trial.id,
        op=trial.op,
        dtypes=trial.dtypes,
        kind=trial.kind,
        aims=trial.aims,
        outcome=Outcome.DIFFERENT if wrong else Outcome.PASSED,
        difference=total,
        output=output,
        message=f"{total.mismatches:,} of {total.elements:,} elements differ; output {output!r}, {total.first}"
        if wrong
        else "",
        size=trial.size,
        follows=follows,
        found=found if wrong and small else None,
        seconds=seconds,
    )


def _agreements(trial: Trial, found: Invocations) -> dict[str, int]:
    """Return how many elements differ from the outputs of each profile; those that share arrays are compared once."""
    counted: dict[int, int] = {}
    for theirs in trial.expectations.values():
        if id(theirs) not in counted:
            counted[id(theirs)] = compare(theirs, found)[0].mismatches
    return {name: counted[id(theirs)] for name, theirs in trial.expectations.items()}


def in_order(answers: Answers, expected: Invocations) -> Invocations:
    """Return a device's outputs by name, as arrays.

    Raises
    ------
    InputError
        There are too few or too many, or one is no array.

    """
    if len(answers) != len(expected):
        raise InputError(f"expected the outputs of {len(expected)} invocations, found {len(answers)}")
    return tuple(_arrays(answer, list(names)) for answer, names in zip(answers, expected, strict=True))


def _arrays(answer: Answer, names: Sequence[str]) -> dict[str, Array]:
    several: Any = answer if isinstance(answer, Mapping | list | tuple) else [answer]
    outputs = {name: np.asarray(value) for name, value in named(several, names).items()}
    for name, array in outputs.items():
        if array.dtype.hasobject:
            raise InputError(f"expected an array of numbers as output {name!r}, found {array.dtype}")
    return outputs


def compare(expected: Invocations, found: Invocations) -> tuple[Difference, str]:
    """Return the difference over all outputs, and the name of the output that the first mismatch is in.

    Integers have to be equal, floats within the tolerance of :mod:`quantref.difference`.
    """
    total, first = Difference(), ""
    for number, (wanted, got) in enumerate(zip(expected, found, strict=True)):
        for name, array in wanted.items():
            found_here = difference(array, got[name], number) if name in got else Difference(array.size, array.size)
            if found_here.mismatches and not first:
                first = name
            total += found_here
    return total, first


def _result(trial: Trial, outcome: Outcome, message: str, seconds: float = 0.0) -> CaseResult:
    return CaseResult(
        trial.id,
        trial.op,
        trial.dtypes,
        trial.kind,
        trial.aims,
        outcome,
        message=message,
        size=trial.size,
        seconds=seconds,
    )
