"""How long each op of a model takes, and in which form it runs."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from qmath.errors import InputError

if TYPE_CHECKING:
    from quantref.interpreter import Interpreter

#: Runs before any is measured: an op that runs often settles on its final form in them.
WARM_UP = 8
#: Columns of the table.
HEAD = ("op", "name", "output", "shape", "ms", "median", "share", "ns/element", "GOP/s", "form")


@dataclass(frozen=True, slots=True)
class OpTime:
    """One op.

    Attributes
    ----------
    index, name, output
        Index and name of the op, name of its first output.
    shape
        Of its first output.
    products
        Multiplications of a convolution or a fully connected layer; 0 for other ops.
    fastest, median
        Seconds.
    form
        How the op computes, in a few words.

    """

    index: int
    name: str
    output: str
    shape: tuple[int, ...]
    products: int
    fastest: float
    median: float
    form: str

    @property
    def elements(self) -> int:
        """Elements of the first output."""
        return int(np.prod(self.shape))

    @property
    def giga_ops(self) -> float:
        """Multiplications and additions a second, in units of 10**9."""
        return 2e-9 * self.products / self.fastest if self.fastest else 0.0


@dataclass(frozen=True, slots=True)
class OpTimes:
    """Every op of a model's main subgraph, in order.

    Attributes
    ----------
    model, profile
        File and profile.
    runs
        How many were measured.
    ops
        One entry an op.

    """

    model: str
    profile: str
    runs: int
    ops: tuple[OpTime, ...]

    @property
    def total(self) -> float:
        """Sum of the ops' fastest runs, in seconds."""
        return sum(op.fastest for op in self.ops)

    def rows(self) -> list[tuple[str, ...]]:
        """Return the cells of a table with the columns :data:`HEAD`."""
        total = self.total or 1.0
        return [
            (
                str(op.index),
                op.name,
                op.output,
                "x".join(map(str, op.shape)),
                f"{op.fastest * 1e3:.4f}",
                f"{op.median * 1e3:.4f}",
                f"{op.fastest / total:.1%}",
                f"{op.fastest * 1e9 / max(1, op.elements):.2f}",
                f"{op.giga_ops:.1f}" if op.products else "",
                op.form,
            )
            for op in self.ops
        ]

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        ops = [asdict(op) | {"elements": op.elements, "giga_ops": op.giga_ops} for op in self.ops]
        return {"model": self.model, "profile": self.profile, "runs": self.runs, "seconds": self.total, "ops": ops}

    def summary(self) -> str:
        """Return one line."""
        return (
            f"{self.model} under {self.profile}: {self.total * 1e3:.3f} ms in {len(self.ops)} ops, "
            f"the fastest of {self.runs} runs each"
        )

    def _repr_html_(self) -> str:
        """Return a table for notebooks."""
        head = "".join(f"<th>{name}</th>" for name in HEAD)
        rows = ("".join(f"<td>{html.escape(cell)}</td>" for cell in row) for row in self.rows())
        body = "".join(f"<tr>{row}</tr>" for row in rows)
        return f"<p>{html.escape(self.summary())}</p><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def op_times(interpreter: Interpreter, runs: int = 20) -> OpTimes:
    """Run a model on the inputs that are set, and time each op where it stands in the run.

    Raises
    ------
    InputError
        ``runs`` is not positive.

    """
    if runs < 1:
        raise InputError(f"expected at least one run, found {runs}")
    for _ in range(WARM_UP):
        interpreter.invoke()
    graph = interpreter.graph
    seconds = np.array([graph.time_steps() for _ in range(runs)]).reshape(runs, len(graph.subgraph.operators))
    ops = []
    for index, operator in enumerate(graph.subgraph.operators):
        written = [number for number in operator.outputs if number >= 0]
        shape = graph.shape(written[0]) if written else ()
        name = graph.subgraph.tensors[written[0]].name if written else ""
        fastest, median = float(seconds[:, index].min()), float(np.median(seconds[:, index]))
        shapes = [graph.shape(number) if number >= 0 else () for number in operator.inputs]
        products = count_products(operator.name, shapes, shape)
        ops.append(OpTime(index, operator.name, name, shape, products, fastest, median, graph.form_of(index)))
    return OpTimes(str(interpreter.model.path or "model"), interpreter.profile.name, runs, tuple(ops))


def count_products(op: str, inputs: Sequence[tuple[int, ...]], shape: tuple[int, ...]) -> int:
    """Count the multiplications of an op from its shapes if it has a filter in input slot 1; 0 for others."""
    if op not in {"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"}:
        return 0
    filter_ = inputs[1]
    taps = filter_[1:] if op != "DEPTHWISE_CONV_2D" else filter_[1:3]
    return int(np.prod(shape)) * int(np.prod(taps))
