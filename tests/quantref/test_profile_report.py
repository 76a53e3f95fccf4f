"""What is told of a profile: it comes from the tables that the kernels themselves look into."""

from __future__ import annotations

import json

import pytest

from kernels.engine.registry import registry
from kernels.profiles import PROFILES, VARIANTS, XNNPACK
from qmath.errors import InputError
from quantref.cli import main
from quantref.profile_report import profile_report
from quantref.rules import in_words, rules_by_op, rules_of
from quantref.support import support_table


@pytest.mark.parametrize("name", PROFILES)
def test_a_report_has_every_op_of_the_support_table(name: str) -> None:
    report = profile_report(name)
    assert [op.support for op in report.ops] == list(support_table(PROFILES[name]).ops)
    assert json.loads(json.dumps(report.to_json()))["profile"] == name
    assert report.summary().startswith(name)
    assert "<table>" in report._repr_html_()


def test_rules_say_whose_they_are() -> None:
    rules = {(rule.of, rule.name): rule for rule in rules_of(PROFILES["litert-optimized-arm64"])}
    assert rules["CONV_2D", "arithmetic"].origin == "litert-optimized-arm64"
    assert "floor then half up" in rules["CONV_2D", "arithmetic"].value
    assert rules["ABS", "regime"].origin == "litert-reference"


def test_every_rule_of_a_profile_is_shown_with_an_op_or_is_about_several() -> None:
    shown = {id(rule) for rules in rules_by_op(XNNPACK).values() for rule in rules}
    assert shown
    for profile in PROFILES.values():
        by_op = rules_by_op(profile)
        beside = [rule for rule in rules_of(profile) if not any(rule in rules for rules in by_op.values())]
        assert all(rule.of not in registry() for rule in beside)


@pytest.mark.parametrize(
    ("value", "words"), [(None, "none"), (True, "yes"), ({1: (2, None)}, "1: 2, none"), ((), "none")]
)
def test_values_in_words(value: object, words: str) -> None:
    assert in_words(value) == words


def test_the_verbs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["profiles", "list", "--json"]) == 0
    assert [entry["profile"] for entry in json.loads(capsys.readouterr().out)] == [*PROFILES, *VARIANTS]
    assert main(["profiles", "show", "xnnpack", "--op", "CONV_2D", "--json"]) == 0
    (op,) = json.loads(capsys.readouterr().out)["ops"]
    assert (op["op"], op["standing"]) == ("CONV_2D", "taken where it fits")
    assert any("float32 half even" in rule["value"] for rule in op["rules"])
    assert main(["profiles", "list"]) == 0
    assert main(["profiles", "show", "xnnpack", "--op", "CONV_2D"]) == 0
    assert "CONV_2D without a bias is refused" in capsys.readouterr().out
    assert main(["profiles", "show", "nobody"]) == 2
    assert main(["profiles", "show", "tflm", "--op", "NOBODY"]) == 2


def test_an_unknown_profile() -> None:
    with pytest.raises(InputError, match="expected a profile among"):
        profile_report("nobody")


def test_stored_outputs_are_evidence() -> None:
    report = profile_report("tflm")
    assert report.stored
    assert all(cell.elements > 0 or cell.mismatches == 0 for cell in report.stored)
    assert "compared with stored outputs" in report.summary()
    assert {op.support.op for op in report.ops if op.standing == "the runtime has no such op"} >= {"CONV_3D"}
