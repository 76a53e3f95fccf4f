"""``python -m benchmarks.accuracy``: train, quantize, measure, and write docs/results.md.

The digits network is trained anew for each seed; published networks are measured where ``../shared/models`` is there.
Takes about a quarter of a minute of processor time a seed.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import click

from benchmarks.accuracy import digits, others, report
from benchmarks.accuracy.measure import Labelled, measure, predict
from benchmarks.machine import describe
from examples.training.training import load_images

PAGE = Path(__file__).resolve().parents[2] / "docs" / "results.md"
BEGIN, END = "<!-- figures, written by python -m benchmarks.accuracy -->", "<!-- end of figures -->"

Rows = dict[str, list[dict[str, Any]]]


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--seeds", type=click.IntRange(min=1), default=5, show_default=True, help="Of the digits network.")
@click.option("--verified", type=click.IntRange(min=1), default=10, show_default=True, help="Inputs LiteRT runs too.")
@click.option("--json", "kept", type=click.Path(dir_okay=False, path_type=Path), help="Where to keep the figures.")
@click.option("--only", multiple=True, metavar="NETWORK", help="Heading of a table to measure. By default all.")
@click.option("--from", "earlier", type=click.Path(exists=True, path_type=Path), help="Figures to begin with.")
@click.option("--write-page", is_flag=True, help="Put the tables into docs/results.md.")
def main(
    seeds: int, verified: int, kept: Path | None, only: tuple[str, ...], earlier: Path | None, *, write_page: bool
) -> None:
    """Measure what each way to shrink a model costs; with --from and without --only, show what was measured before."""
    found: dict[str, Any] = {"networks": {}}
    if earlier is not None:
        found = json.loads(earlier.read_text(encoding="utf-8"))
    if earlier is None or only:
        found |= {"machine": describe(), "seeds": seeds}
        for plan in digits.PLANS:
            if plan.name in only or not only:
                found["networks"][plan.name] = measure_digits(plan, seeds, verified)
        for network in others.published():
            if network.name in only or not only:
                found["networks"][network.name] = measure_published(network, verified)
    if kept is not None:
        kept.write_text(json.dumps(found, indent=1), encoding="utf-8")
    text = page(found)
    click.echo(text)
    if write_page:
        before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
        PAGE.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{rest.partition(END)[2]}", encoding="utf-8")


def measure_digits(plan: digits.Plan, seeds: int, verified: int) -> Rows:
    """Return the figures of every form of a digits network; times are taken once."""
    training, test = load_images("train"), load_images("test")
    data, rows = Labelled(test.pixels, test.digits), Rows()
    for seed in range(seeds):
        for variant in digits.variants(plan, seed, training):
            reference = predict(variant.reference, data.inputs)
            figures = measure(variant.model, reference, data, verified=verified, timed=seed == 0)
            rows.setdefault(variant.name, []).append(dataclasses.asdict(figures))
            click.echo(f"seed {seed}: {variant.name}: {100 * figures.accuracy:.1f} %", err=True)
    return rows


def measure_published(network: others.Published, verified: int) -> Rows:
    """Return the figures of a published network."""
    rows = Rows()
    for variant in others.variants(network):
        reference = predict(variant.reference, network.data.inputs, batch=False)
        runs = network.runs_in_litert or variant.model is not network.model
        compared = verified if runs else 0
        figures = measure(variant.model, reference, network.data, verified=compared, timed=runs, batch=False)
        rows[variant.name] = [dataclasses.asdict(figures)]
        click.echo(f"{network.name}: {variant.name}: {100 * figures.accuracy:.1f} %", err=True)
    return rows


def page(found: dict[str, Any]) -> str:
    """Return the tables in Markdown."""
    machine = ", ".join(f"{name} {value}" for name, value in found["machine"].items() if value is not None)
    models, elements, wrong = report.total_verified(found["networks"])
    parts = [
        f"Made on: {machine}. Seeds 0 to {found['seeds'] - 1}.",
        f"{models} models were run by LiteRT too, op by op: {wrong} of {elements:,} integer elements differ.",
    ]
    order = [plan.name for plan in digits.PLANS]
    networks = found["networks"]
    for name in [*(name for name in order if name in networks), *(name for name in networks if name not in order)]:
        rows = networks[name]
        parts += [f"## {name}", report.table(rows)]
        if name in order:
            parts.append(report.gains(rows))
    return "\n\n".join([*parts, "## Published elsewhere", report.published()])


if __name__ == "__main__":
    main.main(prog_name="python -m benchmarks.accuracy")
