"""Findings as SARIF 2.1.0, the format that code scanners exchange results in.

Source: OASIS, "Static Analysis Results Interchange Format (SARIF) Version 2.1.0".
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from quantref.checks.finding import Finding, Findings
from quantref.checks.rule import Rule
from quantref.checks.rules import RULES

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
_DOCS = "docs/check.md"


def sarif(results: Sequence[Findings]) -> dict[str, Any]:
    """Return a log with one run over some models."""
    from quantref import __version__  # noqa: PLC0415 - the package imports this module

    numbers = {name: number for number, name in enumerate(RULES)}
    files = list(dict.fromkeys(result.file for result in results))
    driver = {
        "name": "quantref",
        "version": __version__,
        "semanticVersion": __version__,
        "rules": [_rule(rule) for rule in RULES.values()],
    }
    run = {
        "tool": {"driver": driver},
        "artifacts": [{"location": {"uri": _uri(file)}} for file in files],
        "results": [
            _result(finding, numbers[finding.rule.id], files.index(result.file))
            for result in results
            for finding in result
        ],
        "columnKind": "unicodeCodePoints",
    }
    return {"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}


def _rule(rule: Rule) -> dict[str, Any]:
    return {
        "id": rule.id,
        "name": "".join(word.capitalize() for word in rule.slug.split("-")),
        "shortDescription": {"text": rule.title},
        "fullDescription": {"text": f"{rule.reason} Source: {rule.source}."},
        "help": {"text": f"To mend it: {rule.mend}. See {_DOCS}."},
        "defaultConfiguration": {"level": rule.severity.word},
        "properties": {"runtimes": list(rule.runtimes), "effect": rule.effect.value},
    }


def _result(finding: Finding, number: int, artifact: int) -> dict[str, Any]:
    place = finding.location
    return {
        "ruleId": finding.rule.id,
        "ruleIndex": number,
        "level": finding.severity.word,
        "message": {"text": f"{place}: {finding.message}. To mend it: {finding.mend}."},
        "locations": [
            {
                "physicalLocation": {"artifactLocation": {"uri": _uri(finding.file), "index": artifact}},
                "logicalLocations": [
                    {
                        "fullyQualifiedName": place.qualified,
                        "name": place.op or (place.tensors[0] if place.tensors else "model"),
                        "kind": "function" if place.op else "module",
                    }
                ],
            }
        ],
        "partialFingerprints": {"quantref/v1": f"{finding.rule.id}:{place.qualified}"},
        "properties": {
            "expected": finding.expected,
            "found": finding.found,
            "tensors": list(place.tensors),
            "runtimes": list(finding.runtimes),
        },
    }


def _uri(file: str) -> str:
    """Return a URI reference: relative paths as they are, absolute ones with the scheme ``file``."""
    from urllib.parse import quote  # noqa: PLC0415 - few need it

    path = Path(file)
    return path.as_uri() if path.is_absolute() else quote(path.as_posix())
