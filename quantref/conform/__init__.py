"""Conformance: run a golden-vector suite on a device, and say how it differs and whom it follows."""

from quantref.conform.diagnosis import Diagnosis
from quantref.conform.expected_failures import ExpectedFailure, ExpectedFailures
from quantref.conform.junit import write_junit
from quantref.conform.record import failed_in
from quantref.conform.report import Conformance
from quantref.conform.result import CaseResult, Outcome
from quantref.conform.run import conform
from quantref.conform.runners import Device, Refusal, Runner, find_runner
from quantref.conform.trial import Trial

__all__ = [
    "CaseResult",
    "Conformance",
    "Device",
    "Diagnosis",
    "ExpectedFailure",
    "ExpectedFailures",
    "Outcome",
    "Refusal",
    "Runner",
    "Trial",
    "conform",
    "failed_in",
    "find_runner",
    "write_junit",
]
