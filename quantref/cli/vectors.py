"""``quantref vectors``: make a golden-vector suite."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import click

from quantref.cli.common import common_options, console, example, print_json, progress

if TYPE_CHECKING:
    from quantref.vectors import Suite


@click.command(
    "vectors",
    epilog=example(
        "vectors -o suite",
        "vectors plan.toml -o suite --jobs 4",
        "vectors plan.toml -o suite --jobs 4 --resume",
    ),
)
@click.argument("plan", required=False, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "-o", "--output", required=True, type=click.Path(file_okay=False, path_type=Path), help="Folder to write."
)
@click.option("--jobs", type=click.IntRange(min=1), default=1, show_default=True, help="Processes to use.")
@click.option("--resume", is_flag=True, help="Go on with a suite that was broken off.")
@common_options
def command(plan: Path | None, *, output: Path, jobs: int, resume: bool, as_json: bool) -> int:
    """Make the golden-vector suite of a PLAN, a TOML file; without one, of the plan that ships.

    A suite holds models of one op with inputs, and the outputs that each profile expects, aimed at rounding ties, ends
    of ranges and corners; whole models; and models that must be refused. The same plan gives the same bytes, whatever
    the number of jobs.
    """
    from quantref.vectors import generate  # noqa: PLC0415 - keeps --help quick

    pool = ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn")) if jobs > 1 else nullcontext()
    with progress(f"making {output.name}") as report, pool as executor:
        suite = generate(plan, output, executor=executor, resume=resume, progress=report)
    if as_json:
        print_json({"directory": str(output), **suite.manifest.to_json()})
    else:
        show(suite)
    return 0


def show(suite: Suite) -> None:
    """Print what a suite hits, by profile."""
    from rich.table import Table  # noqa: PLC0415 - keeps --help quick

    from quantref.vectors.totals import Totals  # noqa: PLC0415 - keeps --help quick

    totals, out = Totals.from_json(suite.manifest.coverage), console()
    head, rows = totals.table()
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in head:
        table.add_column(name, justify="left" if name == "profile" else "right")
    for row in rows:
        table.add_row(*row)
    out.print(table)
    size = f"{totals.cases:,} cases of {len(totals.cells):,} cells and {len(totals.ops):,} ops"
    out.print(f"{size}, {totals.bytes / 1e6:.1f} MB, in {suite.directory}", soft_wrap=True)
    for cell, count in sorted(totals.empty.items()):
        out.print(f"none found that fits: {cell} ({count})", soft_wrap=True)
    if totals.full:
        out.print("the budget ended it: later cases are left out", soft_wrap=True)
