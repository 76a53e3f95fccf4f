"""``quantref profiles infer``: which profile explains what a device, or an installed runtime, gave."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from quantref.cli.common import common_options, console, example, model_argument, print_json
from quantref.runtimes.table import ALL_RUNTIMES

if TYPE_CHECKING:
    from quantref.inference import InferResult

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command(
    "infer",
    epilog=example(
        "profiles infer model.tflite --inputs in.npz --outputs dump.npz",
        "profiles infer model.tflite --runtime xnnpack --samples 4",
    ),
)
@model_argument
@click.option("--inputs", type=_FILE, help="What the device was given: an .npz with one array an input.")
@click.option("--outputs", type=_FILE, help="What it gave: an .npz of outputs, and of any tensors in between.")
@click.option("--column", default="", help="Read only the keys COLUMN__KEY of the outputs.")
@click.option("--runtime", type=click.Choice(list(ALL_RUNTIMES)), help="Instead of outputs: an installed runtime.")
@click.option("--profile", "profiles", multiple=True, help="Only this candidate; may be repeated. By default all.")
@click.option("--samples", type=click.IntRange(min=1), default=4, show_default=True, help="Random samples for it.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of the random samples.")
@click.option("--budget", type=float, default=60.0, show_default=True, help="Seconds to search for one foreign op.")
@click.option("--timeout", type=float, default=60.0, show_default=True, help="Seconds the runtime has for a sample.")
@common_options
def infer(  # noqa: PLR0913 - the verb's options
    model: Path,
    *,
    inputs: Path | None,
    outputs: Path | None,
    column: str,
    runtime: str | None,
    profiles: tuple[str, ...],
    samples: int,
    seed: int,
    budget: float,
    timeout: float,
    as_json: bool,
) -> int:
    """Say which profile explains every element of some outputs.

    Exits with 0 if one profile, or several that agree here, explain everything; with 1 if none does.
    """
    from quantref.inference import infer_profile  # noqa: PLC0415 - keeps --help quick

    if (outputs is None) == (runtime is None):
        raise click.UsageError("expected one of --outputs and --runtime")
    result = infer_profile(
        model,
        inputs,
        outputs,
        runtime=runtime,
        profiles=profiles or None,
        column=column,
        samples=samples,
        seed=seed,
        budget=budget,
        timeout=timeout,
    )
    if as_json:
        print_json(result.to_json())
    else:
        show(result)
    return 0 if result.explained_by else 1


def show(result: InferResult) -> None:
    """Print a table of the ops and the summary."""
    from rich.table import Table  # noqa: PLC0415 - keeps --help quick
    from rich.text import Text  # noqa: PLC0415 - keeps --help quick

    names = [candidate.name for candidate in result.profiles]
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("", "op", "types", "elements", *names):
        table.add_column(name, justify="left" if name in {"op", "types"} else "right", overflow="fold")
    for op in result.ops:
        counts = {candidate.name: candidate for candidate in op.profiles}
        cells = ["refuses" if counts[name].refusal else f"{counts[name].mismatches:,}" for name in names]
        style = "" if op.explained_by or not op.elements else "yellow" if op.is_explained else "red"
        table.add_row(str(op.index), op.name, op.types, f"{op.elements:,}", *cells, style=style)
    out = console()
    out.print(Text("elements that each profile gets wrong:"))
    out.print(table)
    out.print()
    for number, line in enumerate(result.summary().splitlines()):
        style = "" if number else "bold green" if result.explained_by else "bold red"
        out.print(Text(line, style=style), soft_wrap=True)
