"""``quantref optimize``: prune and cluster the weights of a float model."""

from __future__ import annotations

from pathlib import Path

import click

from quantref.cli.common import common_options, console, example, model_argument, print_json


@click.command(
    "optimize",
    epilog=example(
        "optimize float.tflite --prune 0.8 -o pruned.tflite",
        "optimize float.tflite --prune 0.5 --cluster 16 --exclude logits -o small.tflite",
        "quantize small.tflite --mode int8 --data images.npz -o small_int8.tflite",
    ),
)
@model_argument
@click.option("-o", "--output", required=True, type=click.Path(dir_okay=False, path_type=Path), help="File to write.")
@click.option("--prune", type=float, metavar="SPARSITY", help="Share of weights that become zero, such as 0.8.")
@click.option(
    "--pattern",
    type=click.Choice(["unstructured", "2:4", "block"]),
    default="unstructured",
    show_default=True,
    help="Which weights become zero together.",
)
@click.option(
    "--block", metavar="ROWSxCOLUMNS", default="1x16", show_default=True, help="Channels and weights a block."
)
@click.option(
    "--scope",
    type=click.Choice(["layer", "global"]),
    default="layer",
    show_default=True,
    help="Whether every layer gets that sparsity, or all together.",
)
@click.option("--cluster", "clusters", type=int, metavar="N", help="Distinct values that weights share.")
@click.option(
    "--start",
    type=click.Choice(["linear", "density", "kmeans++"]),
    default="kmeans++",
    show_default=True,
    help="Where the centroids of clusters start.",
)
@click.option(
    "--sharing",
    type=click.Choice(["layer", "channel"]),
    default="layer",
    show_default=True,
    help="Whether values are shared within a layer or within each output channel.",
)
@click.option("--preserve-zero", is_flag=True, help="Zeros stay zero when clustering; always so after --prune.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the random start of clusters.")
@click.option("--exclude", multiple=True, metavar="REGEX", help="Leave weights of such names alone; may be repeated.")
@click.option("--sparse-encoding", is_flag=True, help="Leave zeros out of the file where LiteRT's kernels take that.")
@common_options
def command(  # noqa: PLR0913, PLR0917 - one parameter an option
    model: Path,
    output: Path,
    prune: float | None,
    pattern: str,
    block: str,
    scope: str,
    clusters: int | None,
    start: str,
    sharing: str,
    seed: int,
    exclude: tuple[str, ...],
    *,
    preserve_zero: bool,
    sparse_encoding: bool,
    as_json: bool,
) -> int:
    """Set the least of a float model's weights to zero, or let weights share a few values, before it is quantized."""
    from fbs import save  # noqa: PLC0415 - keeps --help quick
    from qmath.errors import InputError  # noqa: PLC0415 - keeps --help quick
    from quantref.optimize import (  # noqa: PLC0415 - keeps --help quick
        Clustering,
        Pattern,
        Pruning,
        Scope,
        Sharing,
        Start,
        optimize,
    )
    from quantref.optimize.report import HEAD  # noqa: PLC0415 - keeps --help quick

    sides = block.split("x")
    if len(sides) != 2 or not all(side.isdecimal() for side in sides):
        raise InputError(f"expected --block as ROWSxCOLUMNS, such as 1x16, found {block!r}")
    pruning = clustering = None
    if prune is not None or pattern == "2:4":
        shape = (int(sides[0]), int(sides[1]))
        pruning = Pruning(0.5 if prune is None else prune, Pattern(pattern), Scope(scope), shape)
    if clusters is not None:
        kept = preserve_zero or pruning is not None
        clustering = Clustering(clusters, Start(start), Sharing(sharing), kept, seed)
    result = optimize(model, prune=pruning, cluster=clustering, exclude=exclude, sparse_encoding=sparse_encoding)
    save(result.model, output)
    if as_json:
        print_json({"model": str(model), "output": str(output)} | result.report.to_json())
        return 0
    from rich.table import Table  # noqa: PLC0415 - keeps --help quick

    table = Table(*HEAD, box=None, pad_edge=False, header_style="bold")
    for row in result.report.rows():
        table.add_row(*row)
    out = console()
    out.print(table)
    out.print(f"wrote {output}", soft_wrap=True)
    return 0
