"""What each step of an optimization leaves: parameters, zeros, distinct values, bytes."""

from __future__ import annotations

import gzip
import html
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

import fbs
from quantref.optimize.layers import Layer, layers_of

#: Columns of the table.
HEAD = ("step", "layer", "parameters", "zero", "distinct", "distinct/channel", "bytes", "gzip")


@dataclass(frozen=True, slots=True)
class LayerReport:
    """The weights of one layer.

    Attributes
    ----------
    name, op, dtype
        Tensor, the op that reads it, its element type.
    parameters, zeros
        How many weights there are, and how many of them stand for zero.
    distinct, distinct_per_channel
        Distinct values in the layer, and in the output channel that has most.

    """

    name: str
    op: str
    dtype: str
    parameters: int
    zeros: int
    distinct: int
    distinct_per_channel: int

    @property
    def sparsity(self) -> float:
        """Share of weights that are zero."""
        return self.zeros / self.parameters if self.parameters else 0.0


@dataclass(frozen=True, slots=True)
class StepReport:
    """A model after one step.

    Attributes
    ----------
    step
        What was done.
    layers
        Its weights.
    file_size, gzip_size
        Bytes of the file, plain and as ``gzip -9`` makes it.

    """

    step: str
    layers: tuple[LayerReport, ...]
    file_size: int
    gzip_size: int

    @property
    def parameters(self) -> int:
        """Weights of all layers."""
        return sum(layer.parameters for layer in self.layers)

    @property
    def sparsity(self) -> float:
        """Share of all weights that are zero."""
        return sum(layer.zeros for layer in self.layers) / max(1, self.parameters)

    def rows(self) -> list[tuple[str, ...]]:
        """Return the cells of the step's rows: the whole, then each layer."""
        most = max((layer.distinct for layer in self.layers), default=0)
        each = max((layer.distinct_per_channel for layer in self.layers), default=0)
        whole = (self.step, "all", f"{self.parameters:,}", f"{self.sparsity:.1%}", f"<= {most}", f"<= {each}")
        rows: list[tuple[str, ...]] = [(*whole, f"{self.file_size:,}", f"{self.gzip_size:,}")]
        for layer in self.layers:
            counts = (f"{layer.parameters:,}", f"{layer.sparsity:.1%}", str(layer.distinct))
            rows.append(("", layer.name, *counts, str(layer.distinct_per_channel), "", ""))
        return rows


@dataclass(frozen=True, slots=True)
class OptimizationReport:
    """A model before and after each step."""

    steps: tuple[StepReport, ...]

    def rows(self) -> list[tuple[str, ...]]:
        """Return the cells of a table with the columns :data:`HEAD`."""
        return [row for step in self.steps for row in step.rows()]

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "steps": [asdict(step) | {"parameters": step.parameters, "sparsity": step.sparsity} for step in self.steps]
        }

    def summary(self) -> str:
        """Return a line a step."""
        return "\n".join(
            f"{step.step}: {step.parameters:,} weights, {step.sparsity:.1%} zero, {step.file_size:,} bytes, "
            f"{step.gzip_size:,} with gzip"
            for step in self.steps
        )

    def _repr_html_(self) -> str:
        """Return a table for notebooks."""
        head = "".join(f"<th>{name}</th>" for name in HEAD)
        rows = ("".join(f"<td>{html.escape(cell)}</td>" for cell in row) for row in self.rows())
        body = "".join(f"<tr>{row}</tr>" for row in rows)
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def report_step(step: str, model: fbs.Model) -> StepReport:
    """Count what a model holds; it may be quantized."""
    content = fbs.write(model)
    layers = tuple(_layer(model, layer) for layer in layers_of(model))
    return StepReport(step, layers, len(content), len(gzip.compress(content, 9, mtime=0)))


def _layer(model: fbs.Model, layer: Layer) -> LayerReport:
    tensor = model.subgraphs[layer.subgraph].tensors[layer.tensor]
    zero_point: Any = 0 if tensor.quant is None else tensor.quant.zero_point
    rows = layer.by_channel()
    if np.ndim(zero_point):
        zero_point = np.reshape(zero_point, (-1, 1)) if len(zero_point) == len(rows) else zero_point[0]
    zeros = int(np.count_nonzero(rows == zero_point))
    each = max((len(np.unique(row)) for row in rows), default=0)
    name = tensor.dtype.name.lower()
    return LayerReport(layer.name, layer.op, name, rows.size, zeros, len(np.unique(rows)), each)
