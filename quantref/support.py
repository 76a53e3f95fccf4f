"""What quantref runs: the support table, from the registry of kernels and the record of the long comparison."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from importlib import resources
from typing import Any

from kernels.engine.registry import registry
from kernels.profiles import Profile
from quantref.control_flow import HANDLERS


@dataclass(frozen=True, slots=True)
class Verified:
    """What the long comparison (``python -m tests.sweep``) found for one combination of types.

    Attributes
    ----------
    cell
        Op and types.
    elements, mismatches
        Output elements compared with the runtime, and how many differ.
    runtime
        What it was compared with.

    """

    cell: str
    elements: int
    mismatches: int
    runtime: str


@dataclass(frozen=True, slots=True)
class OpSupport:
    """One op of the support table.

    Attributes
    ----------
    op
        Builtin operator.
    covers
        The combinations of types, in words.
    versions
        Highest version of the op that each of LiteRT's resolvers has; 0 where it lacks the op.
    verified
        The record of the long comparison.

    """

    op: str
    covers: tuple[str, ...]
    versions: Mapping[str, int]
    verified: tuple[Verified, ...]

    @property
    def elements(self) -> int:
        """Elements compared, over all combinations."""
        return sum(cell.elements for cell in self.verified)

    @property
    def mismatches(self) -> int:
        """Elements that differ, over all combinations."""
        return sum(cell.mismatches for cell in self.verified)


@dataclass(frozen=True, slots=True)
class SupportTable:
    """The support table of a profile."""

    profile: str
    runtime: str
    ops: tuple[OpSupport, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the table as JSON can hold it."""
        return {"profile": self.profile, "runtime": self.runtime, "ops": [asdict(op) for op in self.ops]}


def support_table(profile: Profile) -> SupportTable:
    """Return what quantref runs under a profile, and how much of it was compared with the runtime."""
    versions = op_versions()
    cells = _verified(profile.name)
    covers = {name: kernel.covers for name, kernel in registry().items()}
    covers.update(dict.fromkeys(HANDLERS, ("run by the interpreter",)))
    ops = tuple(
        OpSupport(op, covers[op], versions.get(op, {}), tuple(cell for cell in cells if cell.cell.split()[0] == op))
        for op in sorted(covers)
    )
    return SupportTable(profile.name, profile.runtime, ops)


def op_versions() -> Mapping[str, Mapping[str, int]]:
    """Return the highest version of each builtin op that LiteRT's resolvers have, 0 where one lacks the op."""
    found: Mapping[str, Mapping[str, int]] = _data("op_versions.json")["ops"]
    return found


def stored_evidence(profile: Profile) -> tuple[Verified, ...]:
    """Return what comparing a profile with stored outputs of its runtime found (``python -m tests.goldens``)."""
    return tuple(
        Verified(*(entry[name] for name in ("cell", "elements", "mismatches", "runtime")))
        for entry in _data("stored.json").get(profile.name, [])
    )


def _verified(profile: str) -> tuple[Verified, ...]:
    entries = _data("verified.json").get(profile, [])
    return tuple(
        Verified(*(entry[name] for name in ("cell", "elements", "mismatches", "runtime"))) for entry in entries
    )


@cache
def _data(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(resources.files("quantref").joinpath("data", name).read_text())
    return found
