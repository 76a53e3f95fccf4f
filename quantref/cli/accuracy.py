"""``quantref accuracy``: what quantization costs, op by op."""

from __future__ import annotations

from pathlib import Path
from typing import IO, TYPE_CHECKING

import click

from quantref.cli.common import common_options, console, example, print_json, progress

if TYPE_CHECKING:
    from quantref.quantizer import AccuracyReport

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
#: Columns that hold text; those of the others are numbers.
_TEXT = frozenset({"op", "tensor", "type"})


@click.command(
    "accuracy",
    epilog=example(
        "accuracy float.tflite int8.tflite --data images.npz",
        "accuracy float.tflite int8.tflite --data images.npz --csv layers.csv --least 30",
    ),
)
@click.argument("float_model", metavar="FLOAT", type=_FILE)
@click.argument("quantized_model", metavar="QUANTIZED", type=_FILE)
@click.option(
    "--data",
    required=True,
    type=_FILE,
    help="Samples: an .npz with one array an input of the float model, keyed by name (or in0, in1 ...); axis 0.",
)
@click.option("--profile", default="litert-reference", show_default=True, help="Arithmetic of the quantized model.")
@click.option(
    "--csv",
    "table",
    type=click.File("w", atomic=True, lazy=True),
    help="Write the ops' own errors here, in the columns of TFLite's QuantizationDebugger; - for stdout.",
)
@click.option("--least", type=float, metavar="DB", help="Exit with 1 if an output is below this ratio, in decibels.")
@common_options
def command(
    float_model: Path,
    quantized_model: Path,
    *,
    data: Path,
    profile: str,
    table: IO[str] | None,
    least: float | None,
    as_json: bool,
) -> int:
    """Compare a quantized model with the float model that it was made from, op by op, on given samples.

    An op's own error is that against the float op on the values that the quantized op got; 0.29 of the scale is what
    rounding alone costs. SQNR so far is that of its output against the float model's.
    """
    from quantref.quantizer import compare_quantized  # noqa: PLC0415 - keeps --help quick

    with progress(f"comparing {quantized_model.name}") as report:
        found = compare_quantized(
            float_model,
            quantized_model,
            data,
            profile=profile,
            progress=lambda done, total: report(done, total or done),
        )
    if table is not None:
        table.write(found.to_csv())
    if as_json:
        print_json(found.to_json())
    elif table is None or table.name != "-":
        show(found)
    return 1 if least is not None and found.sqnr < least else 0


def show(report: AccuracyReport) -> None:
    """Print the table of the ops, and the outcome."""
    from rich.table import Table  # noqa: PLC0415 - keeps --help quick
    from rich.text import Text  # noqa: PLC0415 - keeps --help quick

    headings, rows = report.rows()
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in headings:
        table.add_column(name, justify="left" if name in _TEXT else "right")
    worst = report.worst
    for row, cells in zip(report.tensors, rows, strict=True):
        table.add_row(*map(Text, cells), style="yellow" if row is worst else "")
    out = console()
    out.print(table)
    out.print()
    for line in report.headlines:
        out.print(Text(line, style="bold"), soft_wrap=True)
