"""A run as JUnit XML, which every continuous integration can show; written case by case."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import IO, Any
from xml.sax.saxutils import escape, quoteattr

from quantref.conform.report import Conformance
from quantref.conform.result import Outcome

#: What XML 1.0 cannot hold.
_ILLEGAL = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
#: Outcomes that are the device's own trouble, not a wrong answer.
_ERRORS = {Outcome.CRASHED, Outcome.TIMED_OUT, Outcome.NO_ANSWER}


def write_junit(conformance: Conformance, file: IO[str]) -> None:
    """Write a suite with one test a case: the op is the test's class, the case's name its name."""
    total = conformance.total
    errors = sum(row["outcome"] in {one.name.lower() for one in _ERRORS} for row in conformance.failures())
    skipped = total.outcomes[Outcome.SKIPPED] + total.expected
    counts = f'tests="{total.cases}" failures="{total.failed - errors}" errors="{errors}" skipped="{skipped}"'
    name = f"{conformance.suite}: {conformance.runner} against {conformance.profile}"
    file.write(f"<?xml version='1.0' encoding='utf-8'?>\n<testsuites>\n<testsuite name={_quoted(name)} {counts}>\n")
    for entry in conformance.record:
        file.write(_test(entry))
    file.write("</testsuite>\n</testsuites>\n")


def _test(entry: Mapping[str, Any]) -> str:
    kind = f"{entry['op']}.{entry['dtypes']}" if entry["dtypes"] else entry["op"]
    head = f'<testcase classname={_quoted(kind)} name={_quoted(entry["id"])} time="{entry["seconds"]:.6f}"'
    outcome = Outcome[entry["outcome"].upper()]
    message = entry["message"] or outcome.value
    if outcome is Outcome.SKIPPED:
        return f"{head}><skipped message={_quoted(message)}/></testcase>\n"
    if outcome.failed and entry["expected_failure"] is not None:
        return f"{head}><skipped message={_quoted('fails as expected: ' + entry['expected_failure'])}/></testcase>\n"
    if not outcome.failed:
        return f"{head}/>\n"
    tag = "error" if outcome in _ERRORS else "failure"
    body = escape(_ILLEGAL.sub("?", _details(entry)))
    return f"{head}><{tag} type={_quoted(outcome.value)} message={_quoted(message)}>{body}</{tag}></testcase>\n"


def _details(entry: Mapping[str, Any]) -> str:
    lines = [entry["message"]]
    if entry["aims"]:
        lines.append(f"aimed at: {', '.join(entry['aims'])}")
    same = [profile for profile, mismatches in entry["follows"].items() if mismatches == 0]
    if same:
        lines.append(f"so do the profiles {', '.join(same)}")
    return "\n".join(lines)


def _quoted(text: str) -> str:
    return quoteattr(_ILLEGAL.sub("?", text))
