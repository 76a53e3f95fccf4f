"""``quantref explain``: one element, every step."""

from __future__ import annotations

from pathlib import Path

import click

from quantref.cli.common import common_options, example, inputs_of, model_argument, print_json, print_text


def _index(context: click.Context, parameter: click.Parameter, value: str) -> tuple[int, ...]:
    del context, parameter
    try:
        return tuple(int(part) for part in value.split(",") if part.strip())
    except ValueError:
        raise click.BadParameter(f"expected integers such as 0,5,7,3, found {value!r}") from None


@click.command(
    "explain",
    epilog=example(
        "explain model.tflite --tensor conv/Relu --at 0,5,7,3",
        "explain model.tflite --tensor 17 --at 0,2 --inputs in.npz --profile xnnpack --float-model float.tflite",
    ),
)
@model_argument
@click.option("--tensor", required=True, help="Name of the tensor, index:name, or its number.")
@click.option("--at", required=True, callback=_index, help="Which element, such as 0,5,7,3.")
@click.option(
    "--inputs",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="An .npz with one array an input, keyed by name. By default random inputs.",
)
@click.option("--sample", type=click.IntRange(min=0), default=0, show_default=True, help="Which sample of the inputs.")
@click.option("--profile", default="litert-reference", show_default=True, help="Arithmetic to run under.")
@click.option(
    "--float-model",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A float model with the same tensor names, to show its value beside.",
)
@click.option("--markdown", is_flag=True, help="Print Markdown.")
@common_options
def command(  # noqa: PLR0913 - the verb's options
    model: Path,
    tensor: str,
    at: tuple[int, ...],
    inputs: Path | None,
    sample: int,
    profile: str,
    float_model: Path | None,
    *,
    markdown: bool,
    as_json: bool,
) -> int:
    """Explain one element of a tensor: what it is made of, each step of the arithmetic, and what others make of it.

    Every number is shown with the formula that gives it. Long sums are abbreviated; --json has all of them.
    """
    from quantref.explain import explain  # noqa: PLC0415 - keeps --help quick

    loaded, arrays = inputs_of(model, inputs, sample)
    wanted = int(tensor) if tensor.isdigit() else tensor
    result = explain(loaded, arrays, tensor=wanted, index=at, profile=profile, float_model=float_model)
    if as_json:
        print_json(result.to_json())
    else:
        print_text(result.to_markdown() if markdown else f"{result}\n")
    return 0
