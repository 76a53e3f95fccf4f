"""``python -m benchmarks``: measure; compare two runs; show one again."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from benchmarks import tables
from benchmarks.compare import TOLERANCE, compare
from benchmarks.models import models_at_hand
from benchmarks.plot import draw
from benchmarks.results import Results
from benchmarks.run import PARTS, Asked, run
from benchmarks.speed import FULL, QUICK
from qmath.errors import InputError, QuantrefError

HERE = Path(__file__).resolve().parent
README = HERE / "README.md"
PLOT = HERE / "scaling.svg"
#: The figures stand in the README between these lines.
BEGIN, END = "<!-- figures, written by python -m benchmarks -->", "<!-- end of figures -->"

_file = click.Path(exists=True, dir_okay=False, path_type=Path)
_write_readme = click.option("--write-readme", is_flag=True, help="Put the tables into benchmarks/README.md.")


@click.group(invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--models", multiple=True, metavar="PATTERN", help="Names of models, such as 'kws*'. By default all.")
@click.option("--batch", type=click.IntRange(min=1), multiple=True, default=(1, 32), show_default=True)
@click.option("--threads", type=click.IntRange(min=1), multiple=True, default=(1, 2), show_default=True)
@click.option("--part", type=click.Choice(list(PARTS)), multiple=True, help="What to measure. By default everything.")
@click.option("--all-profiles", is_flag=True, help="quantref's other profiles too at every batch and thread count.")
@click.option("--quick", is_flag=True, help="Measure less, to see that everything works.")
@click.option("--json", "target", type=click.Path(dir_okay=False, path_type=Path), help="Where to keep the results.")
@click.option("--resume", is_flag=True, help="Go on with the results kept there: what they have is not measured again.")
@_write_readme
@click.pass_context
def main(
    context: click.Context,
    part: Sequence[str],
    target: Path | None,
    *,
    quick: bool,
    resume: bool,
    write_readme: bool,
    **cases: Any,
) -> None:
    """Measure quantref against LiteRT's op resolvers, taking turns on the same models and inputs."""
    if context.invoked_subcommand is not None:
        return
    if resume and target is None:
        raise click.UsageError("--resume goes on with the results of --json FILE")
    known = Results.load(target) if resume and target is not None and target.exists() else None
    models = models_at_hand(cases["models"])
    asked = Asked(models, cases["batch"], cases["threads"], QUICK if quick else FULL, cases["all_profiles"])
    results = run(part or PARTS, asked, known, lambda results: None if target is None else results.save(target))
    _publish(results, write_readme=write_readme)


@main.command()
@click.argument("results", type=_file)
@_write_readme
def show(results: Path, *, write_readme: bool) -> None:
    """Print the tables of an earlier run."""
    _publish(Results.load(results), write_readme=write_readme)


@main.command("compare")
@click.argument("before", type=_file)
@click.argument("after", type=_file)
@click.option("--tolerance", type=float, default=TOLERANCE, show_default=True, help="Factor that does not count yet.")
def compare_files(before: Path, after: Path, tolerance: float) -> None:
    """Flag what became slower, larger or wrong from one run to another; exits with 1 if anything did."""
    changes = compare(Results.load(before), Results.load(after))
    if not changes:
        raise InputError(f"expected figures that both {before} and {after} have, found none")
    regressed = [change for change in changes if change.regressed(tolerance)]
    improved = [change for change in changes if change.improved(tolerance)]
    for title, found in (("worse", regressed), ("better", improved)):
        for change in sorted(found, key=lambda change: -abs(change.factor - 1)):
            figures = f"{tables.number(change.before)} -> {tables.number(change.after)} {change.unit}"
            click.echo(f"{title}  x{change.factor:.2f}  {change.what}: {figures}")
    click.echo(f"{len(changes)} figures compared: {len(regressed)} worse, {len(improved)} better")
    sys.exit(1 if regressed else 0)


def _publish(results: Results, *, write_readme: bool) -> None:
    """Print the tables, and put them into the README if asked."""
    text = f"{tables.machine(results)}\n{tables.report(results)}"
    click.echo(text)
    if not write_readme:
        return
    if results.curves:
        draw(results.curves, PLOT)
        text += f"\n![time per image over width, resolution and batch]({PLOT.name})\n"
    before, begin, rest = README.read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise InputError(f"expected the lines {BEGIN!r} and {END!r} in {README}")
    README.write_text(f"{before}{BEGIN}\n\n{text}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    try:
        main.main(prog_name="python -m benchmarks")
    except QuantrefError as error:
        click.echo(f"python -m benchmarks: {error}", err=True)
        sys.exit(2)
