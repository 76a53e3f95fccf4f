"""How well one candidate explains what was observed, and which elements tell candidates apart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from quantref.inference.tally import Scalar

#: Characters of a tensor's name that a line of text repeats.
NAME_LENGTH = 60


@dataclass(frozen=True, slots=True)
class Candidate:
    """How well a profile or a regime explains what was observed.

    Attributes
    ----------
    name
        Of the profile or the regime.
    elements, mismatches
        Elements compared, and how many it gets wrong; floats may be 1e-5 off.
    inexact
        Mismatches, and floats that are not the same to the last bit.
    ops_explained, ops
        Ops without a mismatch, and all that were compared.
    refusal
        Why it does not run all of it, or empty.
    how
        More about it, or empty.

    """

    name: str
    elements: int
    mismatches: int
    inexact: int
    ops_explained: int
    ops: int
    refusal: str = ""
    how: str = ""

    @property
    def explains(self) -> bool:
        """Whether it explains every element, of which there are some."""
        return self.elements > 0 and self.mismatches == 0 and not self.refusal

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "name": self.name,
            "explains": self.explains,
            "elements": self.elements,
            "mismatches": self.mismatches,
            "inexact": self.inexact,
            "ops_explained": self.ops_explained,
            "ops": self.ops,
            "refusal": self.refusal,
            "how": self.how,
        }


@dataclass(frozen=True, slots=True)
class Telling:
    """One element that tells candidates apart.

    Attributes
    ----------
    op_index, op_name, tensor, sample, index
        Where it is.
    observed
        Its value.
    predicted
        What each candidate gives; None for one that does not run the op.

    """

    op_index: int
    op_name: str
    tensor: str
    sample: int
    index: tuple[int, ...]
    observed: Scalar
    predicted: Mapping[str, Scalar | None]

    @property
    def rules_out(self) -> tuple[str, ...]:
        """The candidates that give something else."""
        return tuple(name for name, value in self.predicted.items() if value is not None and value != self.observed)

    def __str__(self) -> str:
        """Say where, what was observed, and what the candidates that it rules out give."""
        where = f"op {self.op_index} {self.op_name} {short(self.tensor)!r} sample {self.sample} at {list(self.index)}"
        others = ", ".join(f"{name} gives {self.predicted[name]}" for name in self.rules_out)
        return f"{where}: {self.observed}; {others}"

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "op": {"index": self.op_index, "name": self.op_name},
            "tensor": self.tensor,
            "sample": self.sample,
            "index": list(self.index),
            "observed": plain(self.observed),
            "predicted": {name: plain(value) for name, value in self.predicted.items()},
        }


def short(name: str) -> str:
    """Return a tensor's name, or the beginning of one that converters have made by joining many."""
    return name if len(name) <= NAME_LENGTH else name[: NAME_LENGTH - 3] + "..."


def plain(value: Scalar | None) -> Scalar | None:
    """Return a value that JSON can hold: infinities and NaN as strings."""
    return value if not isinstance(value, float) or abs(value) < float("inf") else str(value)
