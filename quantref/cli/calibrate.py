"""``quantref calibrate``: the ranges of a float model's activations."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import click

from qmath.calibration import OBSERVERS
from quantref.cli.common import common_options, console, example, model_argument, print_json, progress

if TYPE_CHECKING:
    from quantref.quantizer.statistics import Statistics


@click.command(
    "calibrate",
    epilog=example(
        "calibrate model.tflite --data images.npz -o stats.json",
        "calibrate model.tflite --data images.npz -o stats.json --observer percentile:99.9 --jobs 4",
    ),
)
@model_argument
@click.option(
    "--data",
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Samples: an .npz with one array an input, keyed by name (or in0, in1 ... in order); samples on axis 0.",
)
@click.option(
    "-o", "--output", required=True, type=click.Path(dir_okay=False, path_type=Path), help="The statistics to write."
)
@click.option(
    "--observer",
    metavar="NAME[:NUMBER]",
    help=f"What makes a range out of the values seen: {', '.join(OBSERVERS)}. By default the style's own.",
)
@click.option(
    "--style",
    type=click.Choice(["quantref", "tflite", "aeq"]),
    default="quantref",
    show_default=True,
    help="Whose habits to follow: TFLiteConverter's, the AI Edge Quantizer's, or neither's.",
)
@click.option("--jobs", type=click.IntRange(min=1), default=1, show_default=True, help="Processes to use.")
@common_options
def command(
    model: Path, data: Path, output: Path, observer: str | None, style: str, jobs: int, *, as_json: bool
) -> int:
    """Run a float model over representative data and write the range of every activation to a JSON file."""
    from qmath.calibration import observer_named  # noqa: PLC0415 - keeps --help quick
    from quantref.quantizer.calibration import calibrate  # noqa: PLC0415 - keeps --help quick

    chosen = None if observer is None else observer_named(observer)
    pool = ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn")) if jobs > 1 else nullcontext()
    with progress(f"calibrating {model.name}") as report, pool as executor:
        statistics = calibrate(
            model,
            data,
            observer=chosen,
            style=style,
            executor=executor,
            progress=lambda done, total: report(done, total or done),
        )
    statistics.save(output)
    if as_json:
        print_json({"model": model.name, "style": style, "output": str(output), **statistics.to_json()})
    else:
        show(statistics, output)
    return 0


def show(statistics: Statistics, output: Path) -> None:
    """Print a table of the ranges."""
    from rich.table import Table  # noqa: PLC0415 - keeps --help quick
    from rich.text import Text  # noqa: PLC0415 - keeps --help quick

    from quantref.quantizer.statistics import HEAD  # noqa: PLC0415 - keeps --help quick

    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in HEAD:
        table.add_column(name, justify="left" if name == "tensor" else "right")
    for row in statistics.rows():
        table.add_row(*map(Text, row))
    out = console()
    out.print(table)
    out.print()
    out.print(Text(f"{output}: {statistics.headline}", style="bold"), soft_wrap=True)
