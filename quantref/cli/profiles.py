"""``quantref profiles``: what is known of each runtime's arithmetic, and which of them some outputs follow."""

from __future__ import annotations

import click

from quantref.cli.common import common_options, console, example, print_json
from quantref.cli.infer import infer
from quantref.cli.separate import separate


@click.group("profiles", epilog=example("profiles list", "profiles infer model.tflite --outputs dump.npz"))
def command() -> None:
    """Show profiles, infer which one a device follows, find an input that tells two apart."""


@command.command("list", epilog=example("profiles list", "profiles list --json"))
@common_options
def list_(*, as_json: bool) -> int:
    """List the profiles."""
    from quantref.profile_report import profile_list  # noqa: PLC0415 - keeps --help quick

    found = profile_list()
    if as_json:
        print_json(found)
        return 0
    from rich.table import Table  # noqa: PLC0415 - keeps --help quick

    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("profile", "runtime", "rules of", "falls back on", "compared live", "stored", "what it is"):
        table.add_column(name, justify="right" if name in {"compared live", "stored"} else "left", overflow="fold")
    for entry in found:
        row = (entry["profile"], entry["runtime"], entry["base"] or "", entry["fallback"] or "")
        counts = (f"{entry['elements']:,}", f"{entry['stored']['elements']:,}")
        table.add_row(*row, *counts, entry["description"])
    console().print(table)
    return 0


@command.command("show", epilog=example("profiles show xnnpack", "profiles show litert-reference --json"))
@click.argument("profile")
@click.option("--op", "ops", multiple=True, help="Only this op, with its quirks; may be repeated.")
@common_options
def show(profile: str, ops: tuple[str, ...], *, as_json: bool) -> int:
    """Show a profile: for each op types, versions, what was compared with the runtime, and the rules that hold.

    A rule that is not the profile's own is followed by the name of the profile that it comes from, in brackets.
    """
    from dataclasses import replace  # noqa: PLC0415 - keeps --help quick

    from rich.table import Table  # noqa: PLC0415 - keeps --help quick
    from rich.text import Text  # noqa: PLC0415 - keeps --help quick

    from quantref.profile_report import cells, profile_report  # noqa: PLC0415 - keeps --help quick

    report = profile_report(profile)
    if ops:
        known = {op.support.op for op in report.ops}
        unknown = [op for op in ops if op not in known]
        if unknown:
            raise click.UsageError(f"expected an op that is covered, such as CONV_2D, found {unknown[0]!r}")
        report = replace(report, ops=tuple(op for op in report.ops if op.support.op in ops))
    if as_json:
        print_json(report.to_json())
        return 0
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("op", "types", "versions", "runs", "compared", "rules"):
        table.add_column(name, overflow="fold")
    for op in report.ops:
        name, types, runs, compared, rules = cells(op, report.profile)
        versions = "/".join(map(str, op.support.versions.values()))
        table.add_row(*(Text(cell) for cell in (name, types, versions, runs, compared, rules)))
    out = console()
    for line in report.headlines:
        out.print(Text(line), soft_wrap=True)
    out.print(table)
    for op in report.ops if ops else ():
        for quirk in op.quirks:
            out.print(Text(f"{op.support.op}: {quirk}"), soft_wrap=True)
    return 0


command.add_command(infer)
command.add_command(separate)
