"""A golden-vector suite as tests of pytest: one test a case, named as the case, run on a device.

``pytest --quantref-suite DIR --quantref-runner R`` collects the suite's manifest as a file, beside the tests that
pytest collects anyway. The options are in the module ``pytest_quantref``, which pytest finds by itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from qmath.errors import QuantrefError
from quantref.conform.diagnosis import diagnose
from quantref.conform.expected_failures import ExpectedFailures
from quantref.conform.judge import judge
from quantref.conform.result import CaseResult, Outcome
from quantref.conform.run import chosen_profile
from quantref.conform.runners import Device, Runner, find_runner
from quantref.conform.summary import Row
from quantref.conform.trial import Trial, trial_of
from quantref.vectors.suite import MANIFEST, Suite

if TYPE_CHECKING:
    from quantref.vectors.suite import SuiteCase


def register(config: pytest.Config) -> None:
    """Open the suite, find the device, and have pytest collect the suite's manifest.

    Raises
    ------
    pytest.UsageError
        An option does not fit.

    """
    runner = config.getoption("--quantref-runner")
    if runner is None:
        raise pytest.UsageError("--quantref-suite needs --quantref-runner: the device to run the suite on")
    known = config.getoption("--quantref-expected-failures")
    try:
        suite = Suite.open(config.getoption("--quantref-suite"))
        profile = chosen_profile(suite, config.getoption("--quantref-profile"))
        failures = ExpectedFailures() if known is None else ExpectedFailures.read(known)
        found = find_runner(runner, config.getoption("--quantref-timeout"))
        if not hasattr(config, "workerinput"):  # the workers of pytest-xdist need not find out again
            found.check()
        plugin = Conformance(suite, profile, found, failures, config.getoption("--quantref-cases"))
    except QuantrefError as error:
        raise pytest.UsageError(str(error)) from error
    config.pluginmanager.register(plugin, "quantref-conformance")
    manifest = (suite.directory / MANIFEST).resolve()
    if not any((config.invocation_params.dir / arg.partition("::")[0]).resolve() == manifest for arg in config.args):
        config.args.append(str(manifest))


class Conformance:
    """What the tests of one session share.

    Parameters
    ----------
    suite, profile
        The cases, and whose outputs are expected.
    runner
        The device; started when the first test needs it.
    failures
        Those that are known.
    pattern
        Of the names of cases to run, or None.

    """

    def __init__(
        self, suite: Suite, profile: str, runner: Runner, failures: ExpectedFailures, pattern: str | None
    ) -> None:
        self.suite = suite
        self.profile = profile
        self.runner = runner
        self.failures = failures
        self.pattern = pattern
        self._device: Device | None = None

    @property
    def device(self) -> Device:
        """The device, running."""
        if self._device is None:
            self._device = self.runner.start()
        return self._device

    def pytest_collect_file(self, file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
        """Collect the suite's manifest."""
        if file_path.name != MANIFEST or file_path.resolve() != (self.suite.directory / MANIFEST).resolve():
            return None
        collector: SuiteFile = SuiteFile.from_parent(parent, path=file_path)
        collector.conformance = self
        return collector

    def pytest_unconfigure(self) -> None:
        """End the device."""
        if self._device is not None:
            self._device.close()

    def pytest_report_header(self) -> str:
        """Say what is run on what."""
        return f"quantref: {len(self.suite)} cases of {self.suite.directory}, expected as under {self.profile}"


class SuiteFile(pytest.File):
    """A suite: its cases in order."""

    conformance: Conformance

    def collect(self) -> Iterator[pytest.Item]:
        """Yield a test for every case."""
        shared = self.conformance
        for case in shared.suite.cases(shared.pattern):
            item: CaseItem = CaseItem.from_parent(self, name=case.id)
            item.case, item.conformance = case, shared
            if (known := shared.failures.matching(case.id)) is not None:
                item.add_marker(pytest.mark.xfail(reason=known.reason, strict=False))
            yield item


class Failed(Exception):  # noqa: N818 - pytest's users see a failure, not an error
    """A case that the device did not pass."""

    def __init__(self, trial: Trial, result: CaseResult) -> None:
        super().__init__(result.message)
        self.trial = trial
        self.result = result


class CaseItem(pytest.Item):
    """One case."""

    case: SuiteCase
    conformance: Conformance

    def runtest(self) -> None:
        """Run the case, once."""
        trial = trial_of(self.case, self.conformance.profile, self.conformance.suite.manifest.profiles)
        result = judge(trial, self.conformance.device)
        if result.outcome is Outcome.SKIPPED:
            pytest.skip(result.message)
        if result.outcome.failed:
            raise Failed(trial, result)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> str:
        """Say what differs and how the right value comes about; where it went wrong is not in Python."""
        if isinstance(excinfo.value, Failed):
            return describe(excinfo.value.trial, excinfo.value.result)
        if isinstance(excinfo.value, QuantrefError):
            return str(excinfo.value)
        return str(super().repr_failure(excinfo, style=style))

    def reportinfo(self) -> tuple[Path, None, str]:
        """Name the test: the op, and the case."""
        return self.path, None, f"{self.case.op} {self.case.dtypes}: {self.case.id}".replace(" :", ":")


def describe(trial: Trial, result: CaseResult) -> str:
    """Return what there is to say about a failure."""
    row = Row(trial.op, trial.dtypes)
    row.add(result, trial)
    found = diagnose(row).with_explanation(row)
    lines = [f"{trial.op} {trial.dtypes}, expected as under {trial.profile}: {result.outcome.value}", result.message]
    if trial.aims:
        lines.append(f"aimed at: {', '.join(trial.aims)}")
    if found.follows:
        lines.append(f"in this case the device follows {found.follows}")
    if found.explanation is not None:
        lines += ["", str(found.explanation)]
    return "\n".join(lines)
