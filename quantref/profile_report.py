"""What a profile is: its runtime, what it falls back on, and for each op its types, versions, evidence and rules."""

from __future__ import annotations

import html
from dataclasses import asdict, dataclass
from typing import Any

from kernels.engine.registry import registry
from kernels.profiles import PROFILES, VARIANTS, Profile, profile_named
from quantref.rules import Rule, quirks_by_op, rules_by_op, standing
from quantref.support import OpSupport, Verified, stored_evidence, support_table


@dataclass(frozen=True, slots=True)
class OpRules:
    """One op under a profile.

    Attributes
    ----------
    support
        Types, granularities, versions, and how many elements were compared with the runtime.
    stored
        What comparing with stored outputs of the runtime found (``python -m tests.goldens``).
    standing
        Whether the profile runs it, as far as that does not depend on the operands.
    rules
        Which definition, regime or quirk holds, and which profile says so.
    quirks
        What it does that its documentation would not lead one to expect.

    """

    support: OpSupport
    stored: tuple[Verified, ...]
    standing: str
    rules: tuple[Rule, ...]
    quirks: tuple[str, ...]

    @property
    def evidence(self) -> str:
        """What was compared with the runtime, in words."""
        live, kept = self.support, self.stored
        found = [f"{live.elements:,} elements, {live.mismatches:,} differ"] if live.verified else []
        if kept:
            counts = sum(cell.elements for cell in kept), sum(cell.mismatches for cell in kept)
            found.append("stored outputs: {:,} elements, {:,} differ".format(*counts))
        return "; ".join(found) or "none recorded"

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        support = self.support
        return {
            "op": support.op,
            "covers": list(support.covers),
            "versions": dict(support.versions),
            "elements": support.elements,
            "mismatches": support.mismatches,
            "verified": [asdict(cell) for cell in support.verified],
            "stored": [asdict(cell) for cell in self.stored],
            "standing": self.standing,
            "rules": [rule.to_json() for rule in self.rules],
            "quirks": list(self.quirks),
        }


@dataclass(frozen=True, slots=True)
class ProfileReport:
    """A profile and every op under it.

    Attributes
    ----------
    profile
        The profile.
    ops
        In alphabetical order.

    """

    profile: Profile
    ops: tuple[OpRules, ...]

    @property
    def elements(self) -> int:
        """Elements compared with the runtime."""
        return sum(op.support.elements for op in self.ops)

    @property
    def stored(self) -> tuple[Verified, ...]:
        """What comparing with stored outputs found."""
        return tuple(cell for op in self.ops for cell in op.stored)

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {**describe(self.profile), "ops": [op.to_json() for op in self.ops]}

    @property
    def headlines(self) -> list[str]:
        """What the profile is, line by line."""
        profile, differing = self.profile, sum(op.support.mismatches for op in self.ops)
        lines = [f"{profile.name}: {profile.description}", f"runtime: {profile.runtime}"]
        if profile.base is not None:
            lines.append(f"rules that it does not have of its own: those of {profile.base.name}")
        if profile.fallback is not None:
            lines.append(f"ops that it does not take: run by {profile.fallback.name}")
        compared = f"{self.elements:,} elements compared with it, {differing:,} differ"
        lines.append(compared if self.elements else "no long comparison with it is recorded")
        if self.stored:
            counts = sum(cell.elements for cell in self.stored), sum(cell.mismatches for cell in self.stored)
            lines.append("{:,} elements compared with stored outputs of it, {:,} differ".format(*counts))
        return lines

    def summary(self) -> str:
        """Return what the profile is, and a line for each rule of its own."""
        own = dict.fromkeys(
            f"{rule.of}: {rule}" for op in self.ops for rule in op.rules if rule.origin == self.profile.name
        )
        return "\n".join([*self.headlines, *own])

    def _repr_html_(self) -> str:
        """Return a table for notebooks."""
        head = "".join(f"<th>{name}</th>" for name in ("op", "types", "runs", "compared", "rules"))
        rows = "".join(
            "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in cells(op, self.profile)) + "</tr>"
            for op in self.ops
        )
        lines = "<br>".join(html.escape(line) for line in self.headlines)
        return f"<p>{lines}</p><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"


def cells(op: OpRules, profile: Profile) -> tuple[str, str, str, str, str]:
    """Return a row: op, types, standing, evidence, rules; of a rule that is inherited, whose it is."""
    rules = "; ".join(str(rule) + (f" [{rule.origin}]" if rule.origin != profile.name else "") for rule in op.rules)
    return op.support.op, "; ".join(op.support.covers), op.standing, op.evidence, rules


def describe(profile: Profile) -> dict[str, Any]:
    """Return what a profile is, as plain values."""
    return {
        "profile": profile.name,
        "runtime": profile.runtime,
        "description": profile.description,
        "base": None if profile.base is None else profile.base.name,
        "fallback": None if profile.fallback is None else profile.fallback.name,
    }


def profile_report(profile: str | Profile) -> ProfileReport:
    """Return what is known of a profile.

    Raises
    ------
    InputError
        There is none of that name.

    """
    found = profile_named(profile)
    rules, quirks, kernels = rules_by_op(found), quirks_by_op(), registry()
    stored = stored_evidence(found)
    ops = []
    for support in support_table(found).ops:
        kernel = kernels.get(support.op)
        how = "run by the interpreter" if kernel is None else standing(kernel, found)
        kept = tuple(cell for cell in stored if cell.cell.split()[0] == support.op)
        ops.append(OpRules(support, kept, how, rules.get(support.op, ()), quirks.get(support.op, ())))
    return ProfileReport(found, tuple(ops))


def profile_list() -> list[dict[str, Any]]:
    """Return what every profile is, and how much of it was compared with its runtime, as plain values."""
    found = []
    for profile in (*PROFILES.values(), *VARIANTS.values()):
        verified = [cell for op in support_table(profile).ops for cell in op.verified]
        kept = stored_evidence(profile)
        counts = {"elements": sum(c.elements for c in verified), "mismatches": sum(c.mismatches for c in verified)}
        stored = {"elements": sum(c.elements for c in kept), "mismatches": sum(c.mismatches for c in kept)}
        found.append(describe(profile) | counts | {"stored": stored})
    return found
