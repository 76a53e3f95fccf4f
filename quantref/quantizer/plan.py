"""What quantization makes of each operator, and why; to be read before or after."""

from __future__ import annotations

import html
from collections import Counter
from dataclasses import dataclass
from typing import Any

from qmath.types import DType
from quantref.quantizer.graph import FloatGraph, Use
from quantref.quantizer.layout import Layout

FLOAT = "float32"


@dataclass(frozen=True, slots=True)
class OpPlan:
    """One operator.

    Attributes
    ----------
    index, op, output
        Which it is: its number, name, and the name of its first result.
    form
        What it becomes: ``"int8"``, ``"int16"``, ``"uint8"``, ``"int8 weights"``, ``"float16 constants"``,
        ``"float32"`` ..., or ``"untouched"`` where it has nothing to do with real numbers.
    reason
        Why it is not quantized as asked, or empty.

    """

    index: int
    op: str
    output: str
    form: str
    reason: str

    @property
    def integer(self) -> bool:
        """Whether its activations are codes, or it has none."""
        return self.form in {"int8", "int16", "uint8", "untouched"}


@dataclass(frozen=True, slots=True)
class QuantizationPlan:
    """Every operator of the main subgraph.

    Attributes
    ----------
    mode, style
        What was asked.
    ops
        In order of execution.

    """

    mode: str
    style: str
    ops: tuple[OpPlan, ...]

    @property
    def counts(self) -> dict[str, int]:
        """How many operators get each form."""
        return dict(Counter(op.form for op in self.ops))

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "mode": self.mode,
            "style": self.style,
            "counts": self.counts,
            "ops": [
                {"index": op.index, "op": op.op, "output": op.output, "form": op.form, "reason": op.reason}
                for op in self.ops
            ],
        }

    def summary(self) -> str:
        """Return the counts, and each operator that is not quantized as asked with the reason."""
        counts = ", ".join(f"{count} {form}" for form, count in self.counts.items())
        left = [f"op {op.index} ({op.op}) giving {op.output!r}: {op.reason}" for op in self.ops if op.reason]
        return "\n".join([f"{self.mode}, style {self.style}: {counts}", *left])

    def _repr_html_(self) -> str:
        """Return the summary for notebooks."""
        return "<p>" + "<br>".join(html.escape(line) for line in self.summary().splitlines()) + "</p>"


def plan_of(graph: FloatGraph, layout: Layout, mode: str, style: str) -> QuantizationPlan:
    """Say what a layout makes of each operator."""
    ops = []
    for index, operator in enumerate(graph.operators):
        outputs = [tensor for tensor in operator.outputs if tensor >= 0]
        form = _form(graph, layout, index)
        reason = layout.reasons.get(index, "") if form in {FLOAT, "untouched"} else ""
        name = graph.tensors[outputs[0]].name if outputs else ""
        ops.append(OpPlan(index, operator.name, name, form, reason if form == FLOAT else ""))
    return QuantizationPlan(mode, style, tuple(ops))


def _form(graph: FloatGraph, layout: Layout, op: int) -> str:
    results = [layout.given.get(tensor) for tensor in graph.float_outputs(op)]
    operands = [layout.reads.get(use) for use, tensor in graph.float_inputs(op) if not graph.is_constant(tensor)]
    for form in (*results, *([] if results else operands)):
        if form is not None and form.params is not None:
            return form.dtype.name.lower()
    constants = [_constant(layout, use) for use, tensor in graph.float_inputs(op) if graph.is_constant(tensor)]
    stored = [dtype for dtype in constants if dtype is not None]
    if stored:
        what = "constants" if stored[0] is DType.FLOAT16 else "weights"
        return f"{stored[0].name.lower()} {what}"
    return FLOAT if results or operands or constants else "untouched"


def _constant(layout: Layout, use: Use) -> DType | None:
    form = layout.reads.get(use)
    return None if form is None else form.origin.dtype
