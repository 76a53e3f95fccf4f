"""An explanation as a whole, and its forms: text, Markdown, HTML, plain values."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from quantref.explain.explanation import Alternative, Element, FloatValue, Operand, Step, Sum, number, plain
from quantref.explain.render import as_html, as_markdown, as_text
from quantref.explain.sections import sections


@dataclass(frozen=True, slots=True)
class Explanation:
    """How one element of a tensor came to be.

    Attributes
    ----------
    model, profile
        Name of the file, if it has one, and the arithmetic.
    kernel_of
        The profile whose kernel ran the op: a delegate leaves some ops to another.
    op_index, op_name
        The op that computes the tensor.
    operands
        The tensors that the op reads, and the one that is explained.
    options
        The op's options, in words.
    output
        The element.
    sum
        The products that it sums, if it does.
    inner
        The products behind an element of ``sum`` that is itself a sum: an example of all of them.
    sources
        The elements of the op's inputs that it comes from, but for those of the sum.
    steps
        Every stage of the element, in order; the last is its value.
    constants
        How numbers that the steps use, and that none of them gives, follow from the scales.
    unrounded
        What the element would be without rounding, in steps above the zero point; None where that has no meaning.
    regimes
        What other roundings make of the same accumulator.
    profiles
        What other profiles make of the op's inputs.
    float_value
        What a float model gives, if one was given.

    """

    model: str
    profile: str
    kernel_of: str
    op_index: int
    op_name: str
    operands: tuple[Operand, ...]
    options: str
    output: Element
    sum: Sum | None
    inner: Sum | None
    sources: tuple[Element, ...]
    steps: tuple[Step, ...]
    constants: tuple[Step, ...]
    unrounded: float | None
    regimes: tuple[Alternative, ...]
    profiles: tuple[Alternative, ...]
    float_value: FloatValue | None = None

    def with_float(self, value: FloatValue) -> Explanation:
        """Return the explanation with a float model's value beside."""
        return replace(self, float_value=value)

    def to_json(self) -> dict[str, Any]:
        """Return plain values; nothing is left out."""
        return {
            "model": self.model,
            "profile": self.profile,
            "kernel_of": self.kernel_of,
            "op": {"index": self.op_index, "name": self.op_name},
            "operands": [operand.to_json() for operand in self.operands],
            "options": self.options,
            "output": self.output.to_json(),
            "sum": None if self.sum is None else self.sum.to_json(),
            "inner_sum": None if self.inner is None else self.inner.to_json(),
            "sources": [source.to_json() for source in self.sources],
            "constants": [step.to_json() for step in self.constants],
            "steps": [step.to_json() for step in self.steps],
            "unrounded": None if self.unrounded is None else plain(self.unrounded),
            "regimes": [regime.to_json() for regime in self.regimes],
            "profiles": [profile.to_json() for profile in self.profiles],
            "float_model": None if self.float_value is None else self.float_value.to_json(),
        }

    def summary(self) -> str:
        """Return the element and where it comes from, in one line."""
        kernel = "" if self.kernel_of == self.profile else f" (kernel of {self.kernel_of})"
        where = f"op {self.op_index} {self.op_name} of {self.model} under {self.profile}{kernel}"
        index = ", ".join(map(str, self.output.index))
        return f"{self.output.tensor}[{index}] = {number(self.output.value)}, {where}"

    def __str__(self) -> str:
        """Return the whole story as text; long sums are abbreviated in the middle."""
        return as_text(self.summary(), sections(self))

    def to_markdown(self) -> str:
        """Return the whole story as Markdown; long sums are abbreviated in the middle."""
        return as_markdown(self.summary(), sections(self))

    def _repr_html_(self) -> str:
        """Return the whole story for notebooks; long sums are abbreviated in the middle."""
        return as_html(self.summary(), sections(self))
