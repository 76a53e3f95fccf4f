"""``quantref quantize``: post-training quantization of a float model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from quantref.cli.common import common_options, console, example, model_argument, print_json, progress

if TYPE_CHECKING:
    from quantref.quantizer import QuantizationPlan, Statistics

_MODES = ("float32", "dynamic", "int4", "weight-only", "float16", "int8", "16x8", "uint8")
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command(
    "quantize",
    epilog=example(
        "quantize float.tflite -o int8.tflite --mode int8 --data images.npz --input-type int8 --output-type int8",
        "quantize float.tflite -o dynamic.tflite --mode dynamic",
        "quantize float.tflite --mode 16x8 --dry-run",
    ),
)
@model_argument
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="The model to write.")
@click.option("--mode", required=True, type=click.Choice(_MODES), help="How to quantize.")
@click.option(
    "--data",
    type=_FILE,
    help="Representative samples: an .npz with one array an input (keyed by name, or in0, in1 ...), samples on axis 0.",
)
@click.option(
    "--stats",
    type=_FILE,
    multiple=True,
    help="Statistics instead: of `quantref calibrate` (several files are merged), AI Edge Quantizer's JSON, or a model "
    "calibrated by TensorFlow.",
)
@click.option("--recipe", type=_FILE, help="A TOML file with rules for single ops.")
@click.option(
    "--style",
    type=click.Choice(["quantref", "tflite", "aeq"]),
    default="quantref",
    show_default=True,
    help="Whose model to write: the quantization spec's, TFLiteConverter's, or AI Edge Quantizer's.",
)
@click.option("--input-type", type=click.Choice(["float32", "int8", "uint8", "int16"]), help="Type of the inputs.")
@click.option("--output-type", type=click.Choice(["float32", "int8", "uint8", "int16"]), help="Type of the outputs.")
@click.option("--fallback/--no-fallback", default=None, help="Whether ops that cannot be integer may stay float.")
@click.option("--weight-bits", type=click.Choice(["8", "4"]), default="8", show_default=True, help="Of weights.")
@click.option("--bias-bits", type=click.Choice(["64", "32"]), help="Of biases in 16x8 models.")
@click.option("--input-stats", type=(float, float), metavar="MEAN STD", multiple=True, help="Codes of a uint8 input.")
@click.option("--default-ranges", type=(float, float), metavar="MIN MAX", help="For activations without a range.")
@click.option("--faults", is_flag=True, help="Styles tflite and aeq: write models too that are known not to run.")
@click.option("--dry-run", is_flag=True, help="Only say what would become of each op, and why.")
@common_options
def command(  # noqa: PLR0913 - the verb's options
    model: Path,
    *,
    output: Path | None,
    mode: str,
    data: Path | None,
    stats: tuple[Path, ...],
    recipe: Path | None,
    style: str,
    input_type: str | None,
    output_type: str | None,
    fallback: bool | None,
    weight_bits: str,
    bias_bits: str | None,
    input_stats: tuple[tuple[float, float], ...],
    default_ranges: tuple[float, float] | None,
    faults: bool,
    dry_run: bool,
    as_json: bool,
) -> int:
    """Quantize a float model.

    Modes int8 and 16x8 need data or statistics. With integer inputs or outputs the model is integer only, and is
    refused if an op cannot be; --fallback leaves such ops float.
    """
    import fbs  # noqa: PLC0415 - keeps --help quick
    from quantref.quantizer.quantize import Arguments, decide  # noqa: PLC0415 - keeps --help quick
    from quantref.quantizer.request import mode_named  # noqa: PLC0415 - keeps --help quick
    from quantref.quantizer.styles import style_named  # noqa: PLC0415 - keeps --help quick

    if output is None and not dry_run:
        raise click.UsageError("expected -o OUTPUT, or --dry-run")
    with progress(f"quantizing {model.name}") as report:
        decided = decide(
            model,
            Arguments(
                mode=mode_named(mode),
                style=style_named(style, faults=faults),
                statistics=_merged(stats),
                representative_dataset=data,
                input_type=input_type,
                output_type=output_type,
                fallback=fallback,
                recipe=recipe,
                input_stats=input_stats,
                default_ranges=default_ranges,
                weight_bits=int(weight_bits),
                bias_bits=None if bias_bits is None else int(bias_bits),
                progress=lambda done, total: report(done, total or done),
                only_plan=dry_run,
            ),
        )
        planned = decided.plan()
        if output is not None and not dry_run:
            fbs.save(decided.quantized(), output)
    written = None if dry_run else output
    if as_json:
        sizes = {"size_before": _size(model), "size_after": _size(written)} if written else {}
        print_json(
            {"model": model.name, "output": None if written is None else str(written), **sizes} | planned.to_json()
        )
    else:
        show(planned, model, written)
    return 0


def _size(path: Path) -> int | None:
    """Return the bytes of a file; None for a device or a pipe."""
    return path.stat().st_size if path.is_file() else None


def _merged(paths: Sequence[Path]) -> Statistics | None:
    """Read statistics, those of shards as one."""
    if not paths:
        return None
    first, *others = map(_statistics, paths)
    return first.merge(*others)


def _statistics(path: Path) -> Statistics:
    """Read statistics, whichever of the three kinds the file is."""
    from qmath.errors import QuantrefError  # noqa: PLC0415 - keeps --help quick
    from quantref.interpreter import load  # noqa: PLC0415 - keeps --help quick
    from quantref.quantizer import (  # noqa: PLC0415 - keeps --help quick
        Statistics,
        load_aeq_statistics,
        statistics_from_calibrated,
    )

    with path.open("rb") as file:
        is_model = file.read(8)[4:] == b"TFL3"
    if is_model:
        return statistics_from_calibrated(load(path))
    try:
        return Statistics.load(path)
    except QuantrefError as error:
        try:
            return load_aeq_statistics(path)
        except QuantrefError:
            raise error from None


def show(planned: QuantizationPlan, model: Path, written: Path | None) -> None:
    """Print a table of the ops, and what was written."""
    from rich.table import Table  # noqa: PLC0415 - keeps --help quick
    from rich.text import Text  # noqa: PLC0415 - keeps --help quick

    table = Table(box=None, pad_edge=False, header_style="bold")
    for name, side in (("", "right"), ("op", "left"), ("becomes", "left"), ("result", "left"), ("why not", "left")):
        table.add_column(name, justify=side)  # type: ignore[arg-type]
    for op in planned.ops:
        cells = (str(op.index), op.op, op.form, op.output, op.reason)
        table.add_row(*(Text(cell) for cell in cells), style="yellow" if op.reason else "")
    out = console()
    out.print(table)
    out.print()
    out.print(Text(planned.summary().splitlines()[0], style="bold"), soft_wrap=True)
    if written is not None:
        before, after = _size(model), _size(written)
        line = f"wrote {written}"
        if before and after:
            line = f"{written}: {after:,} bytes, {before / after:.2f} times smaller than {before:,}"
        out.print(Text(line, style="bold green"), soft_wrap=True)
