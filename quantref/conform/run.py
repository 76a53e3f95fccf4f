"""Run a suite on a device: case by case, here or spread over an executor, with the same results."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import BrokenExecutor, Future
from dataclasses import replace
from typing import TYPE_CHECKING

from qmath.errors import InputError, RuntimeUnavailableError
from quantref.conform.expected_failures import ExpectedFailures
from quantref.conform.judge import judge
from quantref.conform.record import Record
from quantref.conform.report import Conformance
from quantref.conform.result import CaseResult
from quantref.conform.runners import TIMEOUT, DeviceFunction, Runner, find_runner
from quantref.conform.summary import Summary
from quantref.conform.trial import Trial, trial_of

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from quantref.vectors.suite import Suite

#: Cases, and bytes, that go to an executor at once: enough that starting a device for them costs little.
PORTION, PORTION_BYTES = 200, 4 << 20
#: Portions that an executor has at a time: what bounds the memory of a run.
IN_FLIGHT = 16


def conform(  # noqa: PLR0913 - every one of them is a choice that a user makes
    suite: str | os.PathLike[str] | Suite,
    runner: str | DeviceFunction | Runner,
    profile: str | None = None,
    *,
    cases: str | None = None,
    only: Collection[str] | None = None,
    expected_failures: str | os.PathLike[str] | ExpectedFailures | None = None,
    executor: Executor | None = None,
    timeout: float = TIMEOUT,
    results: str | os.PathLike[str] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Conformance:
    """Run a suite on a device and compare every output, integers bit for bit, floats within 1e-5.

    No case is run twice, so that a device that is right now and then is not taken for right.

    Parameters
    ----------
    suite
        Its folder, or a suite.
    runner
        The device; see :func:`quantref.conform.runners.find_runner`.
    profile
        The profile whose outputs are expected; by default the suite's first.
    cases
        Shell pattern of the names of cases to run; by default all.
    only
        Names of the cases to run, of those.
    expected_failures
        Known failures, or the file that lists them.
    executor
        Any :class:`concurrent.futures.Executor` to spread the cases over, such as ``distributed``'s
        ``Client.get_executor()``; the results do not depend on it.
    timeout
        Seconds that the device has for a case.
    results
        A file to write, one line of JSON a case, as they come; by default a temporary one.
    progress
        Called with the number of cases done and of all.

    Raises
    ------
    InputError
        Something that was given does not fit.
    RuntimeUnavailableError
        The device cannot be started, or a process of the executor is gone for good.

    """
    opened = open_suite(suite)
    device = find_runner(runner, timeout)
    device.check()
    chosen = chosen_profile(opened, profile)
    known = expected_failures or ExpectedFailures()
    if not isinstance(known, ExpectedFailures):
        known = ExpectedFailures.read(known)
    record, summary = Record(results), Summary()
    trials = (
        trial_of(case, chosen, opened.manifest.profiles)
        for case in opened.cases(cases)
        if only is None or case.id in only
    )
    total = len(opened) if cases is None and only is None else 0
    for done, (trial, result) in enumerate(run_trials(trials, device, executor), 1):
        entry = known.matching(trial.id)
        judged = result if entry is None else replace(result, expected_failure=entry.reason)
        if entry is not None and result.outcome.failed:
            summary.used.add(entry)
        record.add(judged)
        summary.add(judged, trial)
        if progress is not None:
            progress(done, max(total, done))
    record.close()
    return Conformance(opened.directory.name, device.name, chosen, summary, record, known)


def open_suite(suite: str | os.PathLike[str] | Suite) -> Suite:
    """Return a suite, from its folder if need be."""
    from quantref.vectors.suite import Suite  # noqa: PLC0415 - the suite's part is read when there is one

    return Suite.open(suite) if isinstance(suite, str | os.PathLike) else suite


def chosen_profile(suite: Suite, profile: str | None) -> str:
    """Return the profile whose outputs are expected, by default the suite's first.

    Raises
    ------
    InputError
        The suite has no outputs of it.

    """
    held = suite.manifest.profiles
    if profile is None:
        if not held:
            raise InputError("expected a suite with the outputs of a profile, found one without")
        return held[0]
    if profile not in held:
        raise InputError(f"expected a profile among those of the suite ({', '.join(held)}), found {profile!r}")
    return profile


def run_trials(
    trials: Iterable[Trial], runner: Runner, executor: Executor | None = None
) -> Iterator[tuple[Trial, CaseResult]]:
    """Yield each case with its result, in order; no more of them are in memory than an executor works on."""
    if executor is None:
        with runner.start() as device:
            for trial in trials:
                yield trial, judge(trial, device)
        return
    waiting: deque[tuple[list[Trial], Future[list[CaseResult]]]] = deque()
    try:
        for portion in _portions(trials):
            waiting.append((portion, executor.submit(judge_portion, portion, runner)))
            if len(waiting) >= IN_FLIGHT:
                yield from _finished(*waiting.popleft())
        while waiting:
            yield from _finished(*waiting.popleft())
    except BrokenExecutor as error:
        raise RuntimeUnavailableError(
            f"a process of the executor died, and the run with it ({error}): a device that runs in its process can "
            "end it; run it as a command or as module:function"
        ) from error
    finally:
        for _, future in waiting:
            future.cancel()


def judge_portion(portion: list[Trial], runner: Runner) -> list[CaseResult]:
    """Run some cases on one device, started for them and ended after them."""
    with runner.start() as device:
        return [judge(trial, device) for trial in portion]


def _portions(trials: Iterable[Trial]) -> Iterator[list[Trial]]:
    portion: list[Trial] = []
    size = 0
    for trial in trials:
        portion.append(trial)
        size += trial.memory
        if len(portion) >= PORTION or size >= PORTION_BYTES:
            yield portion
            portion, size = [], 0
    if portion:
        yield portion


def _finished(portion: list[Trial], future: Future[list[CaseResult]]) -> Iterator[tuple[Trial, CaseResult]]:
    return zip(portion, future.result(), strict=True)
