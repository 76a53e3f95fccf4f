"""``quantref profiles separate``: find an input that tells two profiles apart."""

from __future__ import annotations

from pathlib import Path

import click

from quantref.cli.common import common_options, console, example, model_argument, print_json, progress


@click.command("separate", epilog=example("profiles separate litert-reference xnnpack model.tflite -o in.npz"))
@click.argument("first")
@click.argument("second")
@model_argument
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="The .npz of inputs to write.",
)
@click.option("--tries", type=click.IntRange(min=1), default=500, show_default=True, help="Inputs to try at most.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of the search.")
@click.option("--any-tensor", is_flag=True, help="A difference in any tensor will do, not in the outputs alone.")
@common_options
def separate(
    first: str, second: str, model: Path, output: Path, tries: int, seed: int, *, any_tensor: bool, as_json: bool
) -> int:
    """Find an input on which two profiles give different outputs, and write it.

    Exits with 0 if one was found; with 1, and without a file, if none was among those tried.
    """
    from quantref.inference import separate_profiles  # noqa: PLC0415 - keeps --help quick
    from quantref.npz import save_npz  # noqa: PLC0415 - keeps --help quick

    with progress(f"searching for {model.name}") as report:
        result = separate_profiles(model, first, second, tries=tries, seed=seed, any_tensor=any_tensor, progress=report)
    if result.inputs is not None:
        save_npz(output, result.inputs)
    if as_json:
        print_json(result.to_json() | {"output": str(output) if result.inputs is not None else None})
    else:
        console().print(result.summary(), soft_wrap=True)
        if result.inputs is not None:
            console().print(f"wrote {output}", soft_wrap=True)
    return 0 if result.inputs is not None else 1
