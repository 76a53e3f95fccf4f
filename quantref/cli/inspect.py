"""``quantref inspect``: what is in a model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from quantref.cli.common import common_options, console, example, model_argument, print_json

if TYPE_CHECKING:
    from quantref.inspect import Inspection, SubgraphInfo


@click.command("inspect", epilog=example("inspect model.tflite", "inspect model.tflite --json"))
@model_argument
@common_options
def command(model: Path, *, as_json: bool) -> int:
    """Show tensors, ops, quantization and sizes, and what validation finds odd."""
    from quantref.inspect import inspect  # noqa: PLC0415 - keeps --help quick

    result = inspect(model)
    if as_json:
        print_json(result.to_json())
    else:
        show(result)
    return 0


def show(result: Inspection) -> None:
    """Print the tables and the summary."""
    from rich.text import Text  # noqa: PLC0415 - keeps --help quick

    out = console()
    for index, graph in enumerate(result.subgraphs):
        if index:
            out.print(Text(f"subgraph {index} {graph.name}", style="bold"))
        out.print(_ops(graph))
        out.print()
        out.print(_tensors(graph))
        out.print()
    for line in result.summary().splitlines():
        out.print(Text(line, style="yellow" if line.startswith("warning") else ""), soft_wrap=True)


def _table(*columns: str) -> Any:
    """Return a table; a column whose name ends in ``>`` is set to the right."""
    from rich.table import Table  # noqa: PLC0415 - keeps --help quick

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column.rstrip(">"), justify="right" if column.endswith(">") else "left")
    return table


def _row(table: Any, *cells: object) -> None:
    from rich.text import Text  # noqa: PLC0415 - keeps --help quick

    table.add_row(*(Text(str(cell)) for cell in cells))


def _ops(graph: SubgraphInfo) -> Any:
    table = _table(">", "op", "version>", "inputs", "outputs", "options")
    for op in graph.ops:
        inputs, outputs = (" ".join(map(str, indices)) for indices in (op.inputs, op.outputs))
        _row(table, op.index, op.name, op.version, inputs, outputs, op.remarkable)
    return table


def _tensors(graph: SubgraphInfo) -> Any:
    table = _table(">", "tensor", "type", "shape", "role", "bytes>", "scale, zero point")
    for tensor in graph.tensors:
        _row(
            table,
            tensor.index,
            tensor.name,
            tensor.dtype,
            list(tensor.shape),
            tensor.role.value,
            f"{tensor.size:,}",
            tensor.quantization,
        )
    return table
