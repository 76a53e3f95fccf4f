"""What a check finds: one finding, and all findings of a model."""

from __future__ import annotations

import enum
import html
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from quantref.checks.rule import Rule


class Severity(enum.IntEnum):
    """How bad it is; greater is worse."""

    #: Good to know; the model runs and means what it says.
    NOTE = 1
    #: It runs, but not everywhere, or part of it does nothing, or it can go wrong for some input.
    WARNING = 2
    #: No runtime runs it, or what it computes is not what its parameters say.
    ERROR = 3

    @property
    def word(self) -> str:
        """The name in lower case."""
        return self.name.lower()


@dataclass(frozen=True, slots=True)
class Location:
    """Where in a model something was found.

    Attributes
    ----------
    subgraph
        Index, or None for the model as a whole.
    op_index, op
        The operator's place in the subgraph and its name; None and empty if it is about none.
    tensors
        Names of the tensors that it is about.

    """

    subgraph: int | None = None
    op_index: int | None = None
    op: str = ""
    tensors: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Return the place in a few words."""
        parts = [f"subgraph {self.subgraph}"] if self.subgraph else []
        if self.op_index is not None:
            parts.append(f"op {self.op_index} {self.op}")
        parts += [f"tensor {', '.join(map(repr, self.tensors))}"] if self.tensors else []
        return ", ".join(parts) or "model"

    @property
    def qualified(self) -> str:
        """The place as one path, such as ``"0/3:CONV_2D/conv_weights"``."""
        parts = [] if self.subgraph is None else [str(self.subgraph)]
        parts += [] if self.op_index is None else [f"{self.op_index}:{self.op}"]
        return "/".join([*parts, *self.tensors[:1]]) or "model"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong or odd about a model.

    Attributes
    ----------
    rule
        The rule that it breaks.
    severity
        How bad it is, for the runtimes that were asked about.
    file
        Path of the model, or ``"model"``.
    location
        Where.
    expected, found
        Values, or short descriptions.
    detail
        More about this case; may be empty.
    runtimes
        Names of the profiles whose runtimes mind.

    """

    rule: Rule
    severity: Severity
    file: str
    location: Location
    expected: str
    found: str
    detail: str
    runtimes: tuple[str, ...]

    @property
    def mend(self) -> str:
        """How to mend it."""
        return self.rule.mend

    @property
    def message(self) -> str:
        """What is wrong, in a sentence or two."""
        detail = f"; {self.detail}" if self.detail else ""
        return f"{self.rule.title}: expected {self.expected}, found {self.found}{detail}"

    def __str__(self) -> str:
        """Return severity, rule, place and message."""
        return f"{self.severity.word} {self.rule.id} {self.rule.slug}: {self.location}: {self.message}"

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "severity": self.severity.word,
            "rule": self.rule.id,
            "slug": self.rule.slug,
            "file": self.file,
            "subgraph": self.location.subgraph,
            "op_index": self.location.op_index,
            "op": self.location.op,
            "tensors": list(self.location.tensors),
            "message": self.message,
            "expected": self.expected,
            "found": self.found,
            "runtimes": list(self.runtimes),
            "effect": self.rule.effect.value,
            "mend": self.mend,
        }


@dataclass(frozen=True, slots=True)
class Findings:
    """All findings of one model, in its order: first of the model as a whole, then operator by operator.

    Attributes
    ----------
    file
        Path of the model, or ``"model"``.
    ops
        Number of operators that were checked.
    items
        The findings.

    """

    file: str
    ops: int
    items: tuple[Finding, ...]

    def __iter__(self) -> Iterator[Finding]:
        """Iterate over the findings."""
        return iter(self.items)

    def __len__(self) -> int:
        """Return how many findings there are."""
        return len(self.items)

    def at_least(self, severity: Severity) -> tuple[Finding, ...]:
        """Return the findings that are at least this bad."""
        return tuple(finding for finding in self.items if finding.severity >= severity)

    @property
    def errors(self) -> tuple[Finding, ...]:
        """The findings of severity error."""
        return self.at_least(Severity.ERROR)

    @property
    def counts(self) -> dict[str, int]:
        """How many findings there are of each severity, the worst first."""
        found = Counter(finding.severity for finding in self.items)
        return {severity.word: found[severity] for severity in sorted(Severity, reverse=True)}

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        findings = [finding.to_json() for finding in self.items]
        return {"model": self.file, "ops": self.ops, "counts": self.counts, "findings": findings}

    def to_sarif(self) -> dict[str, Any]:
        """Return a SARIF 2.1.0 log of one run."""
        from quantref.checks.sarif import sarif  # noqa: PLC0415 - few need it

        return sarif([self])

    @property
    def headline(self) -> str:
        """The counts in one line."""
        counts = ", ".join(f"{count} {word}{'s' * (count != 1)}" for word, count in self.counts.items() if count)
        return f"{self.file}: {self.ops} ops checked, {counts or 'nothing found'}"

    def summary(self) -> str:
        """Return the counts, then each finding with how to mend it."""
        lines = [self.headline]
        for finding in self.items:
            lines += [str(finding), f"    mend: {finding.mend}"]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        """Return a table for notebooks."""
        head = ("severity", "rule", "where", "expected", "found", "runtimes", "mend")
        rows = [
            (
                finding.severity.word,
                f"{finding.rule.id} {finding.rule.slug}",
                str(finding.location),
                finding.expected,
                finding.found + (f"; {finding.detail}" if finding.detail else ""),
                ", ".join(finding.runtimes),
                finding.mend,
            )
            for finding in self.items
        ]
        top = "".join(f"<th>{html.escape(cell)}</th>" for cell in head)
        body = "".join("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
        return f"<p>{html.escape(self.headline)}</p><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>"
