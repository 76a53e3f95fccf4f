"""docs/check.md is what the rules and the spec give."""

from __future__ import annotations

from quantref.checks.page import rules_page
from quantref.checks.rules import RULES
from quantref.spec import SCHEMES
from tests.meta.house import ROOT


def test_the_page_is_not_stale() -> None:
    """``python docs/generate.py`` writes it anew."""
    assert (ROOT / "docs" / "check.md").read_text(encoding="utf-8") == rules_page()


def test_every_rule_has_one_line_with_reason_and_source() -> None:
    lines = rules_page().splitlines()
    for rule in RULES.values():
        (line,) = [line for line in lines if line.startswith(f"| {rule.id} ")]
        assert rule.slug in line
        assert "Source: " in line
        assert rule.severity.word in line


def test_every_op_of_the_spec_is_on_the_page() -> None:
    page = rules_page()
    for scheme, table in SCHEMES.items():
        section = page.split(f"### {scheme.value}\n")[1].split("\n### ")[0]
        assert all(name in section for name in table)
