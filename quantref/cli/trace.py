"""``quantref trace``: every tensor and every stage of every op."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from quantref.cli.common import common_options, console, example, inputs_of, model_argument, print_json

if TYPE_CHECKING:
    from quantref.trace import Trace


@click.command("trace", epilog=example("trace model.tflite --inputs in.npz -o trace.npz"))
@model_argument
@click.option(
    "--inputs",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="An .npz with one array an input, keyed by name. By default random inputs.",
)
@click.option("--sample", type=click.IntRange(min=0), default=0, show_default=True, help="Which sample of the inputs.")
@click.option(
    "-o", "--output", required=True, type=click.Path(dir_okay=False, path_type=Path), help="The .npz to write."
)
@click.option("--profile", default="litert-reference", show_default=True, help="Arithmetic to run under.")
@common_options
def command(model: Path, inputs: Path | None, sample: int, output: Path, profile: str, *, as_json: bool) -> int:
    """Run one sample and write every tensor and every stage of every op.

    Keys of the file: tensor/NAME; op/003:CONV_2D/parameter/PLACE, such as requantize.zero_point;
    op/003:CONV_2D/stage/02:NAME; and op/003:CONV_2D/ends/02:NAME with the number of elements of that stage that
    wrapped, were clamped to the lowest, and to the highest value.
    """
    from quantref.trace import trace  # noqa: PLC0415 - keeps --help quick

    loaded, arrays = inputs_of(model, inputs, sample)
    result = trace(loaded, arrays, profile)
    result.save(output)
    if as_json:
        print_json(result.to_json() | {"output": str(output)})
    else:
        show(result)
        console().print(f"wrote {len(result.arrays())} arrays to {output}", soft_wrap=True)
    return 0


def show(result: Trace) -> None:
    """Print a table of the ops."""
    from rich.table import Table  # noqa: PLC0415 - keeps --help quick
    from rich.text import Text  # noqa: PLC0415 - keeps --help quick

    from quantref.trace import HEAD, cells  # noqa: PLC0415 - keeps --help quick

    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in HEAD:
        table.add_column(name, justify="left" if name in {"op", "gives", "stages"} else "right", overflow="fold")
    for op in result.ops:
        table.add_row(*(Text(cell) for cell in cells(op)))
    out = console()
    out.print(Text(result.summary().splitlines()[0], style="bold"), soft_wrap=True)
    out.print(table)
