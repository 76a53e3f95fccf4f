"""What inferring a profile found: plain data, printable and serializable."""

from __future__ import annotations

import enum
import html
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from quantref.inference.candidates import Candidate, Telling

#: Mixtures, or ops of one finding, that the summary lists.
SHOWN = 8


class Verdict(enum.Enum):
    """What the outputs say."""

    FOLLOWS = "follows one profile"
    CANNOT_TELL = "cannot tell, these agree here"
    MIXED = "no single profile, but every op is explained"
    UNEXPLAINED = "not explained"
    DRIFT = "cannot tell, since sums of floats drift apart"
    NOTHING = "nothing was compared"


@dataclass(frozen=True, slots=True)
class OpInference:
    """One op, or several ops up to the next tensor that is known.

    Attributes
    ----------
    index, name
        The op that gives the known tensors.
    ops
        It, and those before it whose outputs are not known.
    types, outputs
        Element types and names of the known tensors.
    elements
        Elements compared.
    profiles
        Every profile, the best first.
    regimes
        Where no profile explains the op, the regimes that were tried, the best first.
    telling
        The fewest elements that rule out the profiles that do not explain it.
    note
        Why something was left out, or empty.

    """

    index: int
    name: str
    ops: tuple[int, ...]
    types: str
    outputs: tuple[str, ...]
    elements: int
    profiles: tuple[Candidate, ...]
    regimes: tuple[Candidate, ...] = ()
    telling: tuple[Telling, ...] = ()
    note: str = ""

    @property
    def explained_by(self) -> tuple[str, ...]:
        """The profiles that explain every element."""
        return tuple(candidate.name for candidate in self.profiles if candidate.explains)

    @property
    def regime(self) -> str | None:
        """The first regime that explains it, where no profile does."""
        return next((candidate.name for candidate in self.regimes if candidate.explains), None)

    @property
    def is_explained(self) -> bool:
        """Whether a profile or a regime explains every element."""
        return bool(self.explained_by) or self.regime is not None

    @property
    def place(self) -> str:
        """The op in words."""
        others = f" (with the {len(self.ops) - 1} ops before it)" if len(self.ops) > 1 else ""
        return f"op {self.index} {self.name}{others}"

    @property
    def finding(self) -> str:
        """What explains it, in words."""
        if not self.elements:
            return self.note or "nothing was compared"
        if self.explained_by:
            return ", ".join(self.explained_by)
        regimes = [candidate for candidate in self.regimes if candidate.explains]
        if regimes:
            return "no profile; regime " + " or ".join(f"{regime.name} ({regime.how})" for regime in regimes)
        refusing = [candidate for candidate in self.profiles if candidate.refusal]
        best = min(
            (*self.profiles, *self.regimes), key=lambda candidate: (bool(candidate.refusal), candidate.mismatches)
        )
        refusals = "".join(f"; {candidate.name} does not run {candidate.refusal}" for candidate in refusing[:1])
        return f"nothing; the nearest is {best.name}: {best.mismatches:,} of {best.elements:,} differ{refusals}"

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "index": self.index,
            "name": self.name,
            "ops": list(self.ops),
            "types": self.types,
            "outputs": list(self.outputs),
            "elements": self.elements,
            "explained_by": list(self.explained_by),
            "regime": self.regime,
            "profiles": [candidate.to_json() for candidate in self.profiles],
            "regimes": [candidate.to_json() for candidate in self.regimes],
            "telling": [element.to_json() for element in self.telling],
            "note": self.note,
        }


@dataclass(frozen=True, slots=True)
class Reading:
    """One way to read outputs that no single profile explains: profiles that agree, and the ops of another arithmetic.

    Where two profiles need as few ops of another, only more inputs, or tensors in between, can tell which it is.
    """

    profiles: tuple[str, ...]
    foreign: tuple[OpInference, ...]

    def __str__(self) -> str:
        """Return it in words; many ops are counted."""
        ops = ", ".join(op.place for op in self.foreign[:SHOWN])
        more = f" and {len(self.foreign) - SHOWN} more" if len(self.foreign) > SHOWN else ""
        return f"{' or '.join(self.profiles)} but for {ops}{more}"


@dataclass(frozen=True, slots=True)
class Mixture:
    """A whole model under one arithmetic but for one op, or with one regime in every op.

    Attributes
    ----------
    profile
        What all ops follow but for the exception; several that agree here are joined by "or".
    exception
        What does not, in words: ``"op 3 CONV_2D under xnnpack"``.
    op_index
        The op; None if it is a regime in all of them.
    elements, mismatches
        Elements compared, and how many it gets wrong.

    """

    profile: str
    exception: str
    op_index: int | None
    elements: int
    mismatches: int

    def __str__(self) -> str:
        """Say which."""
        return f"{self.profile} with {self.exception}"

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "profile": self.profile,
            "exception": self.exception,
            "op_index": self.op_index,
            "elements": self.elements,
            "mismatches": self.mismatches,
        }


@dataclass(frozen=True, slots=True)
class InferResult:
    """Which profile explains what a device, or a runtime, gave for a model.

    Attributes
    ----------
    model, source, samples
        Name of the file; where the outputs come from; how many invocations.
    profiles
        Every profile over all ops, the best first.
    ops
        One entry for each op whose outputs are known.
    telling
        The fewest elements that rule out every profile but those that explain everything.
    mixtures
        Where no profile explains the outputs of several ops together: profiles with one op of another that do.
    notes
        What was left out, and why.
    drift
        Why outputs of several ops together may differ from every profile's though each op is right, or empty.

    """

    model: str
    source: str
    samples: int
    profiles: tuple[Candidate, ...]
    ops: tuple[OpInference, ...]
    telling: tuple[Telling, ...] = ()
    mixtures: tuple[Mixture, ...] = ()
    notes: tuple[str, ...] = ()
    drift: str = ""

    @property
    def compared(self) -> tuple[OpInference, ...]:
        """The ops of which something was compared."""
        return tuple(op for op in self.ops if op.elements)

    @property
    def explained_by(self) -> tuple[str, ...]:
        """The profiles that explain every element of every op."""
        return tuple(candidate.name for candidate in self.profiles if candidate.explains)

    @property
    def nearest(self) -> tuple[str, ...]:
        """The profiles that explain the most ops: all of them, if any does. If none explains any, the least wrong."""
        able = [candidate for candidate in self.profiles if candidate.elements]
        most = max((candidate.ops_explained for candidate in able), default=0)
        fewest = min((candidate.mismatches for candidate in able), default=0)
        best = [c for c in able if c.ops_explained == most and (most > 0 or c.mismatches == fewest)]
        return tuple(candidate.name for candidate in best)

    @property
    def readings(self) -> tuple[Reading, ...]:
        """The ways to read the outputs with the fewest ops of another arithmetic, the nearest first."""
        found: dict[tuple[int, ...], list[str]] = {}
        for name in self.nearest:
            strange = tuple(number for number, op in enumerate(self.compared) if name not in op.explained_by)
            found.setdefault(strange, []).append(name)
        ops = self.compared
        return tuple(Reading(tuple(names), tuple(ops[n] for n in strange)) for strange, names in found.items())

    @property
    def foreign(self) -> tuple[OpInference, ...]:
        """The ops that some of the nearest profiles do not explain; see :attr:`readings` for which does not which."""
        strange = {id(op) for reading in self.readings for op in reading.foreign}
        return tuple(op for op in self.compared if id(op) in strange)

    @property
    def regimes(self) -> tuple[str, ...]:
        """The regimes that explain every op that no profile does, where there are such ops."""
        strange = [op for op in self.compared if not op.explained_by]
        names = [candidate.name for candidate in strange[0].regimes] if strange else []
        explaining = [{candidate.name for candidate in op.regimes if candidate.explains} for op in strange]
        return tuple(name for name in names if all(name in found for found in explaining))

    @property
    def verdict(self) -> Verdict:
        """The outcome."""
        if not self.compared:
            return Verdict.NOTHING
        if self.explained_by:
            return Verdict.FOLLOWS if len(self.explained_by) == 1 else Verdict.CANNOT_TELL
        mixed = any(mixture.mismatches == 0 for mixture in self.mixtures)
        if all(op.is_explained or (len(op.ops) > 1 and mixed) for op in self.compared):
            return Verdict.MIXED
        drifted = self.drift and all(op.is_explained or len(op.ops) > 1 for op in self.compared)
        return Verdict.DRIFT if drifted else Verdict.UNEXPLAINED

    @property
    def headlines(self) -> list[str]:
        """The outcome of the whole, line by line."""
        elements = sum(op.elements for op in self.compared)
        what = f"{self.samples} samples, {elements:,} elements of {len(self.compared)} ops compared"
        return [f"{self.model}: {self._outcome()}", f"{self.source}; {what}"]

    def _outcome(self) -> str:
        names = ", ".join(self.explained_by)
        if self.verdict is Verdict.FOLLOWS:
            return f"follows {names}"
        if self.verdict is Verdict.CANNOT_TELL:
            return f"cannot tell, these agree here: {names}"
        if self.verdict is Verdict.NOTHING:
            return "nothing was compared"
        if self.verdict is Verdict.DRIFT:
            return f"cannot tell: {self.drift}"
        if self.verdict is Verdict.MIXED and len(self.readings) > 1:
            return f"no single profile; {'; '.join(map(str, self.readings))}"
        best = next(candidate for candidate in self.profiles if candidate.name in self.nearest)
        nearest = f"{' or '.join(self.nearest)} explains {best.ops_explained} of {best.ops} ops"
        what = "no single profile" if self.verdict is Verdict.MIXED else "not explained by any profile"
        return f"{what}; {nearest}"

    def summary(self) -> str:
        """Return the outcome as a few lines of text."""
        lines = self.headlines
        lines += [line for candidate in self.profiles for line in self._ranked(candidate)]
        if not self.explained_by:
            lines += list(self._strange())
            lines += list(self._mixed())
        lines += [f"told by {element}" for element in self.telling]
        lines += list(self.notes)
        if self.verdict is Verdict.CANNOT_TELL:
            pair = " ".join(self.explained_by[:2])
            lines.append(f"`quantref profiles separate {pair} MODEL -o IN.npz` looks for an input that tells two apart")
        return "\n".join(lines)

    def _strange(self) -> Iterator[str]:
        """Yield what explains the ops that the nearest profiles do not, those of one finding together."""
        strange = [op for op in self.foreign if not op.explained_by]
        if self.regimes:
            names = " or ".join(self.regimes)
            yield f"every op that no profile explains ({len(strange)}) follows the regime {names}"
        groups: dict[str, list[OpInference]] = {}
        for op in self.foreign:
            groups.setdefault(op.finding, []).append(op)
        for finding, ops in groups.items():
            places = ", ".join(op.place for op in ops[:SHOWN]) + (f" and {len(ops) - SHOWN} more" * (len(ops) > SHOWN))
            yield f"{places}: {finding}"
            yield from (f"  told by {element}" for element in ops[0].telling)

    def _mixed(self) -> Iterator[str]:
        for mixture in self.mixtures[:SHOWN]:
            yield f"{mixture}: {mixture.mismatches:,} of {mixture.elements:,} differ"
        if len(self.mixtures) > SHOWN:
            yield f"and {len(self.mixtures) - SHOWN} more: more samples, or tensors in between, would tell"

    def _ranked(self, candidate: Candidate) -> Iterator[str]:
        refusal = f"; does not run {candidate.refusal}" if candidate.refusal else ""
        inexact = candidate.inexact - candidate.mismatches
        floats = f"; {inexact:,} floats differ in the last bits" if inexact else ""
        counts = f"{candidate.mismatches:,} of {candidate.elements:,} differ"
        yield f"{candidate.name}: {counts}, {candidate.ops_explained} of {candidate.ops} ops{floats}{refusal}"

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "model": self.model,
            "source": self.source,
            "samples": self.samples,
            "verdict": self.verdict.name.lower(),
            "explained_by": list(self.explained_by),
            "nearest": list(self.nearest),
            "regimes": list(self.regimes),
            "foreign_ops": [op.index for op in self.foreign],
            "readings": [
                {"profiles": list(reading.profiles), "foreign_ops": [op.index for op in reading.foreign]}
                for reading in self.readings
            ],
            "profiles": [candidate.to_json() for candidate in self.profiles],
            "telling": [element.to_json() for element in self.telling],
            "mixtures": [mixture.to_json() for mixture in self.mixtures],
            "notes": list(self.notes),
            "drift": self.drift,
            "ops": [op.to_json() for op in self.ops],
        }

    def _repr_html_(self) -> str:
        """Return tables of profiles and ops for notebooks."""
        profiles = [
            (c.name, f"{c.mismatches:,}", f"{c.elements:,}", f"{c.ops_explained}/{c.ops}") for c in self.profiles
        ]
        ops = [(op.index, op.name, op.types, f"{op.elements:,}", op.finding) for op in self.ops]
        lines = [*self.headlines, *(f"told by {element}" for element in self.telling), *self.notes]
        return (
            f"<p>{'<br>'.join(html.escape(line) for line in lines)}</p>"
            + _table(("profile", "mismatches", "elements", "ops explained"), profiles)
            + _table(("", "op", "types", "elements", "explained by"), ops)
        )


def _table(head: tuple[str, ...], rows: list[tuple[Any, ...]]) -> str:
    top = "".join(f"<th>{html.escape(cell)}</th>" for cell in head)
    body = "".join("<tr>" + "".join(f"<td>{html.escape(str(cell))}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>"
