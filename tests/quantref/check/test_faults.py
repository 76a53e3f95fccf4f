"""Each fault is found, and nothing else in its model."""

from __future__ import annotations

import pytest

import fbs
import quantref as qr
from quantref.checks.rules import RULES
from tests.quantref.check.faults import FAULTS
from tests.quantref.check.test_good import GOOD


@pytest.mark.parametrize("name", FAULTS)
def test_the_fault_is_found_and_nothing_else(name: str) -> None:
    fault = FAULTS[name]
    found = qr.check(fault.build())
    assert tuple(finding.rule.id for finding in found) == fault.rules, found.summary()
    for finding in found:
        named = (*finding.location.tensors, finding.location.op, str(finding.location))
        assert fault.at in named, finding
        assert finding.expected, finding
        assert finding.found, finding
        assert finding.mend, finding


def test_there_is_a_fault_for_every_rule() -> None:
    assert len(FAULTS) >= 40
    broken = {rule for fault in FAULTS.values() for rule in fault.rules}
    assert broken == set(RULES)


def test_faults_survive_the_file() -> None:
    """What is found in a model is found in its file, too."""
    for name, fault in FAULTS.items():
        model = fault.build()
        again = qr.check(fbs.write(model))
        assert again.to_json() == qr.check(model).to_json(), name


def test_good_models_have_none() -> None:
    assert GOOD
