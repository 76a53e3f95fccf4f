"""``quantref verify``: compare every tensor with a runtime."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import click

from quantref.cli.common import common_options, console, example, model_argument, print_json, progress
from quantref.runtimes.table import ALL_RUNTIMES

if TYPE_CHECKING:
    from quantref.verification import VerifyResult


@click.command(
    "verify",
    epilog=example(
        "verify model.tflite",
        "verify model.tflite --runtime xnnpack-arm64 --inputs images.npz --json",
        "verify model.tflite --inputs images.npz --outputs device.npz --profile cmsis-nn",
    ),
)
@model_argument
@click.option("--runtime", type=click.Choice(list(ALL_RUNTIMES)), default="litert-reference", show_default=True)
@click.option("--profile", help="Arithmetic to run under. By default the one that the runtime should follow.")
@click.option("--samples", type=click.IntRange(min=1), default=20, show_default=True, help="Random samples to run.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of the random samples.")
@click.option(
    "--inputs",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Samples to run instead: an .npz with one array an input, samples on axis 0.",
)
@click.option(
    "--outputs",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Instead of a runtime: an .npz of what a device gave for the inputs, outputs and any tensors in between.",
)
@click.option("--column", default="", help="Read only the keys COLUMN__KEY of the outputs.")
@click.option("--jobs", type=click.IntRange(min=1), default=1, show_default=True, help="Processes to use.")
@click.option("--timeout", type=float, default=60.0, show_default=True, help="Seconds the runtime has for a sample.")
@common_options
def command(  # noqa: PLR0913 - the verb's options
    model: Path,
    *,
    runtime: str,
    profile: str | None,
    samples: int,
    seed: int,
    inputs: Path | None,
    outputs: Path | None,
    column: str,
    jobs: int,
    timeout: float,
    as_json: bool,
) -> int:
    """Compare quantref with a runtime, every element of every tensor.

    Each op is fed with the runtime's own input tensors, so that a difference does not spread. Exits with 1 if
    anything differs, if nothing could be compared, or if either side could not run the model.

    With --outputs no runtime is needed: keys of the file are names of tensors, index:name, output_0 or tensor_26, and
    the inputs may be among them.
    """
    if outputs is not None:
        from quantref.verify_outputs import verify_outputs  # noqa: PLC0415 - keeps --help quick

        return _told(
            verify_outputs(model, outputs, inputs, profile or "litert-reference", column=column), as_json=as_json
        )
    from quantref.verify import verify  # noqa: PLC0415 - keeps --help quick

    pool = ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn")) if jobs > 1 else nullcontext()
    with progress(f"verifying {model.name}") as report, pool as executor:
        result = verify(
            model,
            runtime,
            profile,
            samples=samples,
            seed=seed,
            inputs=inputs,
            executor=executor,
            timeout=timeout,
            progress=report,
        )
    return _told(result, as_json=as_json)


def _told(result: VerifyResult, *, as_json: bool) -> int:
    if as_json:
        print_json(result.to_json())
    else:
        show(result)
    return 0 if result.equal else 1


def show(result: VerifyResult) -> None:
    """Print a table of the ops and the summary."""
    from rich.table import Table  # noqa: PLC0415 - keeps --help quick
    from rich.text import Text  # noqa: PLC0415 - keeps --help quick

    table = Table(box=None, pad_edge=False, header_style="bold")
    for name, side in (("", "right"), ("op", "left"), ("types", "left"), ("elements", "right")):
        table.add_column(name, justify=side)  # type: ignore[arg-type]
    for name, side in (("mismatches", "right"), ("largest", "right"), ("first mismatch", "left")):
        table.add_column(name, justify=side)  # type: ignore[arg-type]
    for op in result.ops:
        found = op.difference
        style = "red" if found.mismatches else "yellow" if op.not_compared else ""
        cells = (
            str(op.index),
            op.name,
            op.types,
            f"{found.elements:,}",
            f"{found.mismatches:,}",
            f"{found.largest:g}",
            str(found.first or "") or (f"not compared: {op.not_compared}" if op.not_compared else ""),
        )
        table.add_row(*(Text(cell) for cell in cells), style=style)
    out = console()
    out.print(table)
    out.print()
    for number, line in enumerate(result.headlines):
        style = "" if number else "bold green" if result.equal else "bold red"
        out.print(Text(line, style=style), soft_wrap=True)
