"""``quantref inspect``: what is in a model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from quantref.cli.common import common_options, console, example, model_argument, print_json, print_text

if TYPE_CHECKING:
    from quantref.inspect import Inspection, SubgraphInfo
    from quantref.multipliers import MultiplierTable
    from quantref.partition import Partition


@click.command(
    "inspect",
    epilog=example(
        "inspect model.tflite",
        "inspect model.tflite --json",
        "inspect model.tflite --profile xnnpack",
        "inspect model.tflite --multipliers --profile tflm --c-array > multipliers.h",
    ),
)
@model_argument
@click.option(
    "--multipliers",
    "of_multipliers",
    is_flag=True,
    help="Show each op's multipliers, shifts, offsets and activation range instead.",
)
@click.option("--csv", "as_csv", is_flag=True, help="Print the multipliers as comma-separated values.")
@click.option("--c-array", "as_c", is_flag=True, help="Print the multipliers as C arrays.")
@click.option(
    "--profile",
    help="Show what a delegate takes, instead: xnnpack, xnnpack-arm64. With --multipliers: their arithmetic.",
)
@common_options
def command(model: Path, profile: str | None, *, of_multipliers: bool, as_csv: bool, as_c: bool, as_json: bool) -> int:
    """Show tensors, ops, quantization and sizes, and what validation finds odd."""
    if not of_multipliers and (as_csv or as_c):
        raise click.UsageError("--csv and --c-array need --multipliers")
    if as_csv + as_c + as_json > 1:
        raise click.UsageError("expected one of --csv, --c-array and --json, found several")
    if of_multipliers:
        _multipliers(model, profile or "litert-reference", as_csv=as_csv, as_c=as_c, as_json=as_json)
        return 0
    if profile:
        _partition(model, profile, as_json=as_json)
        return 0
    from quantref.inspect import inspect  # noqa: PLC0415 - keeps --help quick

    result = inspect(model)
    if as_json:
        print_json(result.to_json())
    else:
        show(result)
    return 0


def _multipliers(model: Path, profile: str, *, as_csv: bool, as_c: bool, as_json: bool) -> None:
    from quantref.multipliers import multipliers  # noqa: PLC0415 - keeps --help quick

    result = multipliers(model, profile)
    if as_json:
        print_json(result.to_json())
    elif as_csv or as_c:
        print_text(result.to_csv() if as_csv else result.to_c())
    else:
        show_multipliers(result)


def show_multipliers(result: MultiplierTable) -> None:
    """Print a table with a row for every multiplier and channel, and the summary."""
    from rich.text import Text  # noqa: PLC0415 - keeps --help quick

    out = console()
    table = _table(
        "op>", "", "", "channel>", "real multiplier>", "multiplier>", "shift>", "offsets>", "clamp>", "regime"
    )
    before = ("", "")
    for row in result.rows():
        op, name, _, place, channel, real, multiplier, shift, *offsets, low, high, regime = row
        again = (op, place) == before
        before = op, place
        clamp = f"{low} to {high}" if low else ""
        head = ("", "", "") if again else (op, name, place)
        numbers = (channel, f"{float(real):.9g}" if real else "", multiplier, shift)
        _row(table, *head, *numbers, *(("", "", "") if again else (", ".join(filter(None, offsets)), clamp, regime)))
    out.print(table)
    out.print(Text("offsets: minus the zero points of inputs and filter, then the output's zero point"))
    out.print(Text(result.summary()), soft_wrap=True)


def _partition(model: Path, profile: str, *, as_json: bool) -> None:
    from quantref.partition import partition  # noqa: PLC0415 - keeps --help quick

    result = partition(model, profile)
    if as_json:
        print_json(result.to_json())
    else:
        show_partition(result)


def show_partition(result: Partition) -> None:
    """Print a table of the ops and where they run, and the summary."""
    from rich.text import Text  # noqa: PLC0415 - keeps --help quick

    table = _table(">", "op", "types", "gives", "piece>", "runs under", "why not the delegate")
    for op in result.ops:
        _row(table, str(op.index), op.name, op.types, op.output, str(op.piece), op.runs_under, op.reason)
    out = console()
    out.print(table)
    out.print(Text(result.summary().splitlines()[0]), soft_wrap=True)


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
