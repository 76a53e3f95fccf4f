"""How much quantization costs, op by op: plain data, printable and serializable."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from quantref.quantizer.noise import Error, plain
from quantref.quantizer.tables import html_page, text_table

#: RMSE in steps where nothing but rounding goes wrong: that of a uniform distribution, 1 / sqrt(12).
IDEAL_RMSE = 12**-0.5
#: Columns of TFLite's QuantizationDebugger.
DEBUGGER_COLUMNS = (
    "op_name",
    "tensor_idx",
    "num_elements",
    "stddev",
    "mean_error",
    "max_abs_error",
    "mean_squared_error",
    "scale",
    "zero_point",
    "tensor_name",
)


@dataclass(frozen=True, slots=True)
class TensorAccuracy:
    """An op's output in the quantized model against the float model.

    Attributes
    ----------
    op_index, op_name
        The op of the quantized model that writes it.
    tensor_index, tensor_name, dtype
        The tensor of the quantized model.
    float_name
        The tensor of the float model.
    elements
        In one sample.
    scale, zero_point
        If it is quantized per tensor.
    own
        Error of the op alone: against the float op on the values that the quantized op got. None if that op keeps
        state, or does not have the same inputs in both models.
    total
        Error against the float model's tensor: that of all ops up to here.
    clipped_low, clipped_high
        Share of the float model's values that lie below and above all values of the codes, by more than half a step.

    """

    op_index: int
    op_name: str
    tensor_index: int
    tensor_name: str
    dtype: str
    float_name: str
    elements: int
    scale: float | None
    zero_point: int | None
    own: Error | None
    total: Error
    clipped_low: float
    clipped_high: float

    @property
    def rmse_in_steps(self) -> float | None:
        """The op's own RMSE divided by the scale; :data:`IDEAL_RMSE` is ideal. None if one of them is missing."""
        return self.own.rmse / self.scale if self.own is not None and self.scale else None

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        values = {name: getattr(self, name) for name in self.__slots__ if name not in {"own", "total"}}
        return {
            **values,
            "rmse_in_steps": self.rmse_in_steps,
            "own": None if self.own is None else self.own.to_json(),
            "total": self.total.to_json(),
        }


@dataclass(frozen=True, slots=True)
class OutputAccuracy:
    """An output of the model, end to end."""

    name: str
    error: Error

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {"name": self.name, **self.error.to_json()}


#: Columns of the table: heading, and what a tensor has there.
_COLUMNS: tuple[tuple[str, Callable[[TensorAccuracy], str]], ...] = (
    ("", lambda row: str(row.op_index)),
    ("op", lambda row: row.op_name),
    ("tensor", lambda row: row.tensor_name),
    ("type", lambda row: row.dtype),
    ("own SQNR", lambda row: "" if row.own is None else f"{row.own.sqnr:.1f} dB"),
    ("RMSE/scale", lambda row: "" if row.rmse_in_steps is None else f"{row.rmse_in_steps:.3f}"),
    ("max error", lambda row: "" if row.own is None else f"{row.own.largest:.3g}"),
    ("SQNR so far", lambda row: f"{row.total.sqnr:.1f} dB"),
    ("clipped", lambda row: _percent(row.clipped_low + row.clipped_high)),
)


@dataclass(frozen=True, slots=True)
class AccuracyReport:
    """A quantized model against the float model that it was made from.

    Attributes
    ----------
    float_model, quantized_model
        Names of the files, if they have one.
    samples
        How many were run.
    tensors
        Every output of an op that both models have, in order of execution.
    outputs
        Those of the models.
    unmatched
        Ops of the quantized model that have no counterpart, as ``"index name"``; ops that convert are not among them.

    """

    float_model: str
    quantized_model: str
    samples: int
    tensors: tuple[TensorAccuracy, ...]
    outputs: tuple[OutputAccuracy, ...]
    unmatched: tuple[str, ...] = ()

    @property
    def worst(self) -> TensorAccuracy | None:
        """The layer that hurts most: whose own error is the largest relative to its output. None if all are exact."""
        lossy = [row for row in self.tensors if row.own is not None and not math.isinf(row.own.sqnr)]
        return min(lossy, key=_own_sqnr, default=None)

    @property
    def sqnr(self) -> float:
        """That of the worst output, in decibels."""
        return min((output.error.sqnr for output in self.outputs), default=math.inf)

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        worst = self.worst
        return {
            "float_model": self.float_model,
            "quantized_model": self.quantized_model,
            "samples": self.samples,
            "sqnr": plain(self.sqnr),
            "worst": None if worst is None else worst.tensor_index,
            "outputs": [output.to_json() for output in self.outputs],
            "tensors": [row.to_json() for row in self.tensors],
            "unmatched": list(self.unmatched),
        }

    @property
    def headlines(self) -> list[str]:
        """The outcome of the whole, line by line."""
        lines = [f"{self.quantized_model} against {self.float_model}, {self.samples} samples"]
        lines += [
            f"output {output.name!r}: {output.error.sqnr:.1f} dB, largest error {output.error.largest:.3g}"
            for output in self.outputs
        ]
        worst = self.worst
        if worst is not None and worst.own is not None:
            steps = "" if worst.rmse_in_steps is None else f", {worst.rmse_in_steps:.2f} steps (0.29 is ideal)"
            place = f"op {worst.op_index} {worst.op_name}, {worst.tensor_name!r}"
            lines.append(f"hurts most: {place}: {worst.own.sqnr:.1f} dB{steps}")
        if self.unmatched:
            lines.append(f"not in the float model: {', '.join(self.unmatched)}")
        return lines

    def rows(self) -> tuple[list[str], list[list[str]]]:
        """Return the headings and the cells of the table."""
        return [name for name, _ in _COLUMNS], [[cell(row) for _, cell in _COLUMNS] for row in self.tensors]

    def summary(self) -> str:
        """Return the outcome and the table as text."""
        return "\n".join([*self.headlines, text_table(*self.rows())])

    def to_csv(self) -> str:
        """Return the ops' own errors in the columns of TFLite's QuantizationDebugger."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(DEBUGGER_COLUMNS)
        for row in self.tensors:
            if row.own is not None and row.scale is not None:
                own = row.own
                errors = (own.stddev, own.mean, own.max_abs, own.mean_squared)
                numbers = (*errors, np.float32(row.scale), row.zero_point)
                writer.writerow((row.op_name, row.tensor_index, float(row.elements), *numbers, row.tensor_name))
        return text.getvalue()

    def _repr_html_(self) -> str:
        """Return a table for notebooks."""
        return html_page(self.headlines, *self.rows())


def _own_sqnr(row: TensorAccuracy) -> float:
    return math.inf if row.own is None else row.own.sqnr


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %" if share else ""
