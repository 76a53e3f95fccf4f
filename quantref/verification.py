"""What comparing a model with a runtime found: plain data, printable and serializable."""

from __future__ import annotations

import enum
import html
from collections.abc import Iterable
from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import Any

from quantref.difference import Difference


class Ending(enum.Enum):
    """How a runtime failed to give results."""

    REFUSED = "refused the model"
    CRASHED = "died"
    TIMED_OUT = "did not answer in time"


@dataclass(frozen=True, slots=True)
class Death:
    """A runtime that gave no results, and where.

    Attributes
    ----------
    ending
        What happened.
    message
        The runtime's last words; may be empty.
    signal
        Name of the signal that ended its process, if one did.
    op_index, op_name
        The operator that it failed at, if found.
    evidence
        How that is known.

    """

    ending: Ending
    message: str
    signal: str | None = None
    op_index: int | None = None
    op_name: str | None = None
    evidence: str = ""

    def __str__(self) -> str:
        """Say how it ended, at which op, and how that is known."""
        how = f"{self.ending.value} ({self.signal})" if self.signal else self.ending.value
        words = f": {self.message}" if self.message else ""
        if self.op_index is None:
            return f"{how}, at an op that could not be told{words}"
        return f"{how} at op {self.op_index} {self.op_name} ({self.evidence}){words}"

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "ending": self.ending.name.lower(),
            "message": self.message,
            "signal": self.signal,
            "op_index": self.op_index,
            "op_name": self.op_name,
            "evidence": self.evidence,
        }


@dataclass(frozen=True, slots=True)
class OpReport:
    """One operator, fed with the runtime's own inputs.

    Attributes
    ----------
    index, name
        The operator of the main subgraph.
    types
        Element types of its outputs, such as ``"int8"``.
    outputs
        Names of the tensors that it writes.
    difference
        Over all its outputs, and the variable tensors it updates, in all samples.
    not_compared
        Why something was left out, or empty.

    """

    index: int
    name: str
    types: str
    outputs: tuple[str, ...]
    difference: Difference
    not_compared: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "index": self.index,
            "name": self.name,
            "types": self.types,
            "outputs": list(self.outputs),
            **self.difference.to_json(),
            "not_compared": self.not_compared,
        }


@dataclass(frozen=True, slots=True)
class OutputReport:
    """One output of the model, computed from the model's inputs by each side alone."""

    index: int
    name: str
    difference: Difference

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {"index": self.index, "name": self.name, **self.difference.to_json()}


@dataclass(frozen=True, slots=True)
class VerifyResult:
    """The comparison of a model under a profile with a runtime.

    Attributes
    ----------
    model
        Name of the file, if it has one.
    runtime, runtime_version
        What quantref was compared with.
    profile
        The arithmetic that quantref used.
    samples, seed
        Invocations, and the seed of their inputs; None if these were given.
    ops
        One report an operator of the main subgraph, in order.
    outputs
        One report an output of the model, end to end.
    death
        The runtime's end, if it came before that of the samples.
    refusal
        Why quantref itself did not run the whole model, or empty.

    """

    model: str
    runtime: str
    runtime_version: str
    profile: str
    samples: int
    seed: int | None
    ops: tuple[OpReport, ...]
    outputs: tuple[OutputReport, ...]
    death: Death | None = None
    refusal: str = ""

    @property
    def total(self) -> Difference:
        """Of all ops: each tensor counts once a sample."""
        return _sum(op.difference for op in self.ops)

    @property
    def end_to_end(self) -> Difference:
        """Of the model's outputs."""
        return _sum(output.difference for output in self.outputs)

    @property
    def equal(self) -> bool:
        """Whether both sides ran, something was compared, and everything compared matches."""
        total = self.total + self.end_to_end
        return self.death is None and not self.refusal and total.elements > 0 and total.mismatches == 0

    def to_json(self) -> dict[str, Any]:
        """Return plain values, the same for the same model, inputs and runtime however they were computed."""
        total, end_to_end = self.total, self.end_to_end
        return {
            "equal": self.equal,
            "model": self.model,
            "runtime": self.runtime,
            "runtime_version": self.runtime_version,
            "profile": self.profile,
            "samples": self.samples,
            "seed": self.seed,
            "elements": total.elements,
            "mismatches": total.mismatches,
            "end_to_end": {"elements": end_to_end.elements, "mismatches": end_to_end.mismatches},
            "death": None if self.death is None else self.death.to_json(),
            "refusal": self.refusal,
            "ops": [op.to_json() for op in self.ops],
            "outputs": [output.to_json() for output in self.outputs],
        }

    @property
    def headlines(self) -> list[str]:
        """The outcome of the whole, line by line."""
        total, end_to_end = self.total, self.end_to_end
        inputs = "given inputs" if self.seed is None else f"random inputs, seed {self.seed}"
        sides = f"quantref under {self.profile} against {self.runtime} ({self.runtime_version})"
        lines = [
            f"{self.model}: {self.verdict}",
            f"{sides}; {self.samples} samples, {inputs}",
            f"op by op:   {_count(total)}",
            f"end to end: {_count(end_to_end)}",
        ]
        if self.death is not None:
            lines.append(f"the runtime {self.death}")
        if self.refusal:
            lines.append(f"quantref did not run the whole model: {self.refusal}")
        return lines

    def summary(self) -> str:
        """Return the outcome as a few lines of text, with a line for each op that has something to say."""
        lines = self.headlines
        lines += [
            f"op {op.index} {op.name} {op.types}: {_count(op.difference)}; largest difference "
            f"{op.difference.largest:g}; first: {op.difference.first}"
            for op in self.ops
            if op.difference.mismatches
        ]
        lines += [f"op {op.index} {op.name}: not compared: {op.not_compared}" for op in self.ops if op.not_compared]
        return "\n".join(lines)

    @property
    def verdict(self) -> str:
        """The outcome in a word or two."""
        if self.death is not None:
            return f"the runtime {self.death.ending.value}"
        if self.refusal:
            return "quantref does not cover the model"
        if (self.total + self.end_to_end).elements == 0:
            return "nothing was compared"
        return "equal" if self.equal else "different"

    def _repr_html_(self) -> str:
        """Return a table for notebooks."""
        rows = "".join(
            f"<tr><td>{op.index}</td><td>{html.escape(op.name)}</td><td>{html.escape(op.types)}</td>"
            f"<td>{op.difference.elements:,}</td><td>{op.difference.mismatches:,}</td>"
            f"<td>{op.difference.largest:g}</td>"
            f"<td>{html.escape(str(op.difference.first or op.not_compared))}</td></tr>"
            for op in self.ops
        )
        head = "".join(
            f"<th>{name}</th>" for name in ("", "op", "types", "elements", "mismatches", "largest", "first mismatch")
        )
        lines = "<br>".join(html.escape(line) for line in self.headlines)
        return f"<p>{lines}</p><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"


def _sum(differences: Iterable[Difference]) -> Difference:
    return reduce(add, differences, Difference())


def _count(difference: Difference) -> str:
    text = f"{difference.elements:,} elements, {difference.mismatches:,} mismatches"
    if difference.relative is not None:
        text += f" (floats within {difference.relative:.1e})"
    return text
