"""What the quantizer refuses to write, because tools get it wrong, check finds in what they write."""

from __future__ import annotations

import dataclasses

import pytest

import quantref as qr
from tests.quantref.quantizer.small_graphs import statistics
from tests.quantref.quantizer.test_faults import CASES

FOUND = {
    "shared bias": "bias-shared",
    "two types": "operand-type",
    "scale of 0": "scale-zero-of-zeros",
    "SUM": "known-defect",
    "bias": "bias-at-limit",
}


@pytest.mark.parametrize("case", CASES)
def test_the_tools_mistakes_are_found(case: str) -> None:
    model, style, mode, _ = CASES[case]
    careless = dataclasses.replace(style, faults=True)
    written = qr.quantize(model, mode=mode, style=careless, statistics=statistics(model, first=(-2, 2)))
    found = qr.check(getattr(written, "model", written)).at_least(qr.Severity.WARNING)
    assert FOUND[case] in {finding.rule.slug for finding in found}
