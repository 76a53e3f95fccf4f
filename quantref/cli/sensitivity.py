"""``quantref sensitivity``: which ops a model should keep float."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import click

from quantref.cli.common import common_options, console, example, model_argument, print_json, progress

if TYPE_CHECKING:
    from quantref.quantizer import SensitivityReport

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
#: Columns that hold text; those of the others are numbers.
_TEXT = frozenset({"kept float", "giving"})


@click.command(
    "sensitivity",
    epilog=example(
        "sensitivity float.tflite --data images.npz",
        "sensitivity float.tflite --data images.npz --mode 16x8 --jobs 4 --json",
    ),
)
@model_argument
@click.option(
    "--data",
    required=True,
    type=_FILE,
    help="Samples: an .npz with one array an input, keyed by name (or in0, in1 ... in order); samples on axis 0.",
)
@click.option(
    "--mode",
    type=click.Choice(["int8", "16x8", "dynamic", "int4", "weight-only", "float16"]),
    default="int8",
    show_default=True,
    help="How to quantize.",
)
@click.option(
    "--style",
    type=click.Choice(["quantref", "tflite", "aeq"]),
    default="quantref",
    show_default=True,
    help="Whose model to measure.",
)
@click.option("--jobs", type=click.IntRange(min=1), default=1, show_default=True, help="Processes to use.")
@common_options
def command(model: Path, *, data: Path, mode: str, style: str, jobs: int, as_json: bool) -> int:
    """Quantize a model once for each of its ops with that op kept float, and print what each gains.

    The ops that gain most are those to keep float, by a rule of a recipe.
    """
    from quantref.quantizer import leave_one_float  # noqa: PLC0415 - keeps --help quick

    pool = ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn")) if jobs > 1 else nullcontext()
    with progress(f"measuring {model.name}") as report, pool as executor:
        found = leave_one_float(model, data, mode=mode, style=style, executor=executor, progress=report)
    if as_json:
        print_json(found.to_json())
    else:
        show(found)
    return 0


def show(report: SensitivityReport) -> None:
    """Print the table of the ops, and what the model has with none of them float."""
    from rich.table import Table  # noqa: PLC0415 - keeps --help quick
    from rich.text import Text  # noqa: PLC0415 - keeps --help quick

    headings, rows = report.rows()
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in headings:
        table.add_column(name, justify="left" if name in _TEXT else "right")
    for cells in rows:
        table.add_row(*map(Text, cells))
    out = console()
    out.print(table)
    out.print()
    for line in report.headlines:
        out.print(Text(line, style="bold"), soft_wrap=True)
