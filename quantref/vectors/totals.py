"""What the cases of a suite hit together: counted as they come, and told in the manifest and in ``coverage.md``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from kernels.profiles import PROFILES
from quantref.vectors.produce import Made

#: Columns of the table by profile.
_COUNTS = {
    "cases": "cases",
    "refused": "refused",
    "elements": "elements",
    "ties +": "ties_positive",
    "ties -": "ties_negative",
    "clamped low": "saturated_below",
    "clamped high": "saturated_above",
    "wrapped": "wrapped",
    "sums > 0": "accumulators_positive",
    "sums < 0": "accumulators_negative",
}


@dataclass
class Totals:
    """Totals over cases.

    Attributes
    ----------
    cases, bytes
        Their number, and the size of their files.
    kinds, ops, aims
        Number of cases of a kind, of an op, with a mark.
    profiles
        For each profile the number of cases, of refusals, and of elements of each sort.
    cells
        Number of cases of a cell.
    empty
        How many cases were wanted of a cell, and none was found that fits.
    full
        Whether the budget ended the suite.

    """

    cases: int = 0
    bytes: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    ops: Counter[str] = field(default_factory=Counter)
    aims: Counter[str] = field(default_factory=Counter)
    cells: Counter[str] = field(default_factory=Counter)
    profiles: dict[str, Counter[str]] = field(default_factory=dict)
    empty: Counter[str] = field(default_factory=Counter)
    full: bool = False

    def __bool__(self) -> bool:
        """Whether there are totals at all: those of no cases are some, too."""
        return True

    def add(self, made: Made) -> None:
        """Count a case."""
        self.cases += 1
        self.bytes += made.bytes
        self.kinds[made.item.kind] += 1
        self.ops[made.op] += 1
        self.cells[made.item.cell] += 1
        self.aims.update(made.aims)
        for profile, counts in made.counts.items():
            self.profiles.setdefault(profile, Counter()).update(counts, cases=1)
        for profile in made.refused if made.item.kind != "negative" else ():
            self.profiles.setdefault(profile, Counter())["refused"] += 1

    def update(self, other: Totals) -> None:
        """Add the totals of other cases."""
        self.cases += other.cases
        self.bytes += other.bytes
        self.full = self.full or other.full
        for name in ("kinds", "ops", "aims", "cells", "empty"):
            getattr(self, name).update(getattr(other, name))
        for profile, counts in other.profiles.items():
            self.profiles.setdefault(profile, Counter()).update(counts)

    def to_json(self) -> dict[str, Any]:
        """Return plain values, in an order that does not depend on that of the cases."""
        return {
            "cases": self.cases,
            "bytes": self.bytes,
            "full": self.full,
            "kinds": _sorted(self.kinds),
            "profiles": {profile: _sorted(counts) for profile, counts in sorted(self.profiles.items())},
            "ops": _sorted(self.ops),
            "aims": _sorted(self.aims),
            "cells": _sorted(self.cells),
            "empty": _sorted(self.empty),
        }

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Totals:
        """Undo :meth:`to_json`."""
        counters = {name: Counter(found[name]) for name in ("kinds", "ops", "aims", "cells", "empty")}
        profiles = {profile: Counter(counts) for profile, counts in found["profiles"].items()}
        return cls(cases=found["cases"], bytes=found["bytes"], full=found["full"], profiles=profiles, **counters)

    def table(self) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
        """Return the table by profile: its head and its rows."""
        ordered = [(profile, self.profiles[profile]) for profile in PROFILES if profile in self.profiles]
        rows = [(profile, *(f"{counts[key]:,}" for key in _COUNTS.values())) for profile, counts in ordered]
        return ("profile", *_COUNTS), rows

    def markdown(self, plan: str) -> str:
        """Return the page ``coverage.md``."""
        head, rows = self.table()
        kinds = ", ".join(f"{count:,} {kind}" for kind, count in sorted(self.kinds.items()))
        end = " The budget ended it." if self.full else ""
        size = f"{self.cases:,} cases ({kinds}) of {len(self.cells):,} cells and {len(self.ops):,} ops"
        lines = [
            f"# Coverage of the suite {plan}",
            "",
            f"{size}, {self.bytes / 1e6:.1f} MB.{end}",
            "Everything below was counted, element by element, from the stages of each op as quantref computed them.",
            "",
            "## By profile",
            "",
            *_table(head, rows),
            "",
            "## What the cases hit",
            "",
            "A case counts once for each mark that it has under any profile.",
            "",
            *_table(("mark", "cases"), [(mark, f"{count:,}") for mark, count in sorted(self.aims.items())]),
            "",
            "## By op",
            "",
            *_table(("op", "cases"), [(op, f"{count:,}") for op, count in sorted(self.ops.items())]),
        ]
        if self.empty:
            lines += ["", "## Wanted, but not found", ""]
            lines += _table(("cell", "cases"), [(cell, f"{count:,}") for cell, count in sorted(self.empty.items())])
        return "\n".join(lines) + "\n"


def _sorted(counts: Mapping[str, int]) -> dict[str, int]:
    return {name: counts[name] for name in sorted(counts)}


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[str]:
    rule = ["---", *["---:"] * (len(head) - 1)]
    return [f"| {' | '.join(row)} |" for row in (head, tuple(rule), *rows)]
