"""``quantref run``: run a model on arrays from a file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from quantref.cli.common import common_options, console, example, model_argument, print_json, progress

if TYPE_CHECKING:
    from rich.table import Table

    from quantref.op_times import OpTimes


@click.command("run", epilog=example("run model.tflite --inputs in.npz -o out.npz --all-tensors"))
@model_argument
@click.option(
    "--inputs",
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="An .npz with one array an input, keyed by name; samples on axis 0.",
)
@click.option(
    "-o", "--output", required=True, type=click.Path(dir_okay=False, path_type=Path), help="The .npz to write."
)
@click.option("--profile", default="litert-reference", show_default=True, help="Arithmetic to run under.")
@click.option("--threads", type=click.IntRange(1, 256), default=1, show_default=True, help="Threads that share ops.")
@click.option("--profile-ops", is_flag=True, help="Also time every op, and tell in which form it runs.")
@click.option("--all-tensors", is_flag=True, help="Write every tensor of the main subgraph, not the outputs alone.")
@common_options
def command(
    model: Path,
    inputs: Path,
    output: Path,
    profile: str,
    threads: int,
    *,
    profile_ops: bool,
    all_tensors: bool,
    as_json: bool,
) -> int:
    """Run a model and write its outputs, keyed by tensor name (by index:name where a name is repeated)."""
    from quantref.batch import run_samples  # noqa: PLC0415 - keeps --help quick
    from quantref.interpreter import Interpreter  # noqa: PLC0415 - keeps --help quick
    from quantref.npz import load_npz, save_npz  # noqa: PLC0415 - keeps --help quick
    from quantref.samples import samples_from  # noqa: PLC0415 - keeps --help quick

    interpreter = Interpreter(model, profile, num_threads=threads)
    samples = samples_from(interpreter.model, load_npz(inputs))
    with progress(f"running {model.name}") as report:
        arrays = run_samples(interpreter, samples, all_tensors=all_tensors, progress=report)
    save_npz(output, arrays)
    times = interpreter.profile_ops() if profile_ops else None
    if as_json:
        tensors = {name: {"dtype": str(array.dtype), "shape": list(array.shape)} for name, array in arrays.items()}
        print_json(
            {"model": model.name, "profile": profile, "samples": len(samples), "output": str(output)}
            | {"tensors": tensors}
            | ({} if times is None else {"op_times": times.to_json()})
        )
    else:
        out = console()
        out.print(f"{len(samples)} sample{'s' * (len(samples) != 1)} under {profile}; wrote {output}:", soft_wrap=True)
        for name, array in arrays.items():
            out.print(f"  {name}  {array.dtype} {list(array.shape)}", soft_wrap=True)
        if times is not None:
            out.print(times.summary(), soft_wrap=True)
            out.print(_table(times))
    return 0


def _table(times: OpTimes) -> Table:
    from rich.table import Table  # noqa: PLC0415 - keeps --help quick

    from quantref.op_times import HEAD  # noqa: PLC0415 - keeps --help quick

    table = Table(*HEAD, box=None, pad_edge=False, header_style="bold")
    for row in times.rows():
        table.add_row(*row)
    return table
