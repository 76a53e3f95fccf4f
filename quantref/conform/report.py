"""The outcome of a run: what it says in text, in JSON, in a notebook."""

from __future__ import annotations

import html
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import IO, Any

from quantref.conform.diagnosis import Diagnosis, diagnose
from quantref.conform.expected_failures import ExpectedFailure, ExpectedFailures
from quantref.conform.record import Record
from quantref.conform.result import Outcome
from quantref.conform.summary import Row, Summary


@dataclass(frozen=True)
class Conformance:
    """A suite that was run on a device.

    Attributes
    ----------
    suite, runner, profile
        What was run on what, and whose outputs are expected.
    totals
        The cases added up by op and element types.
    record
        The result of each case, on disk: iterate over it for plain values.
    expected_failures
        The failures that were known.

    """

    suite: str
    runner: str
    profile: str
    totals: Summary
    record: Record
    expected_failures: ExpectedFailures

    @property
    def passed(self) -> bool:
        """Whether something was compared, and nothing failed that was not expected to."""
        total = self.total
        return total.failed == 0 and total.cases > total.outcomes[Outcome.SKIPPED]

    @cached_property
    def total(self) -> Row:
        """All cases."""
        return self.totals.total

    @property
    def stale(self) -> list[ExpectedFailure]:
        """Expected failures that no failing case fell under."""
        return [entry for entry in self.expected_failures.entries if entry not in self.totals.used]

    def diagnoses(self, explained: int | None = None) -> list[Diagnosis]:
        """Look into the smallest failures of every op that failed, the smallest first.

        Parameters
        ----------
        explained
            How many of them get an explanation; by default all.

        """
        rows, found = self.totals.failing, self._diagnosed
        most = len(found) if explained is None else explained
        return [one.with_explanation(row) for row, one in zip(rows[:most], found, strict=False)] + found[most:]

    @cached_property
    def _diagnosed(self) -> list[Diagnosis]:
        return [diagnose(row) for row in self.totals.failing]

    @property
    def headlines(self) -> list[str]:
        """The outcome of the whole, line by line."""
        total = self.total
        ran = total.cases - total.outcomes[Outcome.SKIPPED]
        verdict = "conforms" if self.passed else "does not conform" if ran else "nothing was compared"
        lines = [
            f"{self.runner}: {verdict} to {self.profile}" if ran else f"{self.runner}: {verdict}",
            f"{ran:,} cases of {self.suite}: {total.outcomes[Outcome.PASSED]:,} passed, {total.failed:,} failed"
            + (f", {total.expected:,} failed as expected" if total.expected else "")
            + (f"; {total.outcomes[Outcome.SKIPPED]:,} skipped" if total.outcomes[Outcome.SKIPPED] else ""),
            f"{total.elements:,} elements compared, {total.mismatches:,} differ",
        ]
        if total.unexpected:
            lines.append(f"{total.unexpected:,} cases passed that were expected to fail")
        lines += [f"no failing case fell under line {entry.line}: {entry}" for entry in self.stale]
        return lines

    def summary(self) -> str:
        """Return the outcome as a few lines of text, with what is known of each op that failed."""
        lines = self.headlines
        for found in self.diagnoses(explained=0):
            follows = f"; the device follows {found.follows}" if found.follows else ""
            lines.append(f"{found.op} {found.dtypes}: {found.failure.id}: {found.failure.message}{follows}")
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """Return plain values, the same for the same suite and device however the run was spread; cases apart."""
        total = self.total.to_json()
        for name in ("op", "dtypes", "agreements", "follows"):
            del total[name]
        return {
            "suite": self.suite,
            "runner": self.runner,
            "profile": self.profile,
            "passed": self.passed,
            "total": total,
            "stale_expected_failures": [str(entry) for entry in self.stale],
            "ops": [row.to_json() for row in self.totals.ordered],
            "diagnoses": [found.to_json() for found in self.diagnoses()],
        }

    def failures(self) -> Iterator[dict[str, Any]]:
        """Yield the cases that count against the device."""
        for entry in self.record:
            if Outcome[entry["outcome"].upper()].failed and entry["expected_failure"] is None:
                yield entry

    def write_json(self, file: IO[str]) -> None:
        """Write :meth:`to_json` and every failing case, without holding them in memory."""
        head = json.dumps(self.to_json(), indent=1, ensure_ascii=False, allow_nan=False)
        file.write(head.removesuffix("\n}") + ',\n "failures": [')
        for number, entry in enumerate(self.failures()):
            entry.pop("seconds", None)
            file.write(("," if number else "") + "\n  " + json.dumps(entry, ensure_ascii=False, allow_nan=False))
        file.write("\n ]\n}\n")

    def _repr_html_(self) -> str:
        """Return a table for notebooks."""
        names = ("op", "types", "cases", "passed", "failed", "elements", "differ", "follows")
        head = "".join(f"<th>{name}</th>" for name in names)
        rows = "".join(
            "<tr>" + "".join(f"<td>{html.escape(str(cell))}</td>" for cell in cells(row)) + "</tr>"
            for row in self.totals.ordered
        )
        lines = "<br>".join(html.escape(line) for line in self.headlines)
        return f"<p>{lines}</p><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"


def cells(row: Row) -> tuple[str, ...]:
    """Return what a table says: op, types, cases, passed, failed, elements, those that differ, whom it follows."""
    counts = (row.cases, row.outcomes[Outcome.PASSED], row.failed, row.elements, row.mismatches)
    follows = ", ".join(map(str, row.follows)) if row.failed else ""
    return row.op, row.dtypes, *(f"{count:,}" for count in counts), follows
