"""``quantref check``: a model held against the quantization spec and against what each runtime takes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from kernels.profiles import PROFILES
from quantref.cli.common import common_options, console, example, print_json

if TYPE_CHECKING:
    from quantref.check import Findings

#: As in :class:`quantref.cli.ExitCode`.
_BAD_INPUT = 2
_SEVERITIES = ("error", "warning", "note")
_COLOURS = {"error": "red", "warning": "yellow", "note": "dim"}


@click.command(
    "check",
    epilog=example(
        "check model.tflite",
        "check *.tflite --severity warning --runtime tflm --runtime cmsis-nn",
        "check model.tflite --sarif findings.sarif --ignore QR406",
        "check --rules",
    ),
)
@click.argument(
    "models",
    metavar="MODEL...",
    nargs=-1,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
)
@click.option(
    "--severity",
    type=click.Choice(_SEVERITIES),
    default="error",
    show_default=True,
    help="Exit with 1 if a finding is at least this bad.",
)
@click.option(
    "--runtime",
    "runtimes",
    multiple=True,
    type=click.Choice(list(PROFILES)),
    help="Tell what this runtime minds, and nothing else; what it refuses is an error. May be given several times.",
)
@click.option("--ignore", multiple=True, metavar="RULE", help="Leave out a rule, by id or name.  [repeatable]")
@click.option(
    "--sarif", type=click.Path(dir_okay=False, path_type=Path), help="Write the findings to a file as SARIF 2.1.0, too."
)
@click.option("--rules", "list_rules", is_flag=True, help="List the rules instead.")
@common_options
def command(
    models: tuple[Path, ...],
    severity: str,
    runtimes: tuple[str, ...],
    ignore: tuple[str, ...],
    sarif: Path | None,
    *,
    list_rules: bool,
    as_json: bool,
) -> int:
    """Check models against the quantization spec; nothing is run.

    All findings come at once: what breaks the spec, which accumulators can overflow, which channels do nothing, what
    each runtime refuses or computes otherwise, and how to mend it. docs/check.md tells the reason of each rule.

    Exits with 0 if no finding is as bad as --severity says, with 1 if one is, with 2 if a file cannot be read.
    """
    if list_rules:
        _rules(as_json=as_json)
        return 0
    if not models:
        raise click.UsageError("expected at least one MODEL, found none")
    from quantref.check import Severity  # noqa: PLC0415 - keeps --help quick

    results, unreadable = _check_all(models, runtimes, ignore)
    if sarif is not None:
        _write_sarif(results, sarif)
    if as_json:
        print_json({"models": [result.to_json() for result in results], "unreadable": unreadable})
    else:
        for result in results:
            show(result)
    if unreadable:
        return _BAD_INPUT
    return int(any(result.at_least(Severity[severity.upper()]) for result in results))


def _check_all(
    models: Sequence[Path], runtimes: Sequence[str], ignore: Sequence[str]
) -> tuple[list[Findings], list[str]]:
    """Check models; returns the findings of those that can be read, and why the others cannot."""
    results, unreadable = [], []
    for model in models:
        result = _check(model, runtimes, ignore)
        if isinstance(result, str):
            unreadable.append(result)
            click.echo(f"quantref: {result}", err=True)
        else:
            results.append(result)
    return results, unreadable


def _check(model: Path, runtimes: Sequence[str], ignore: Sequence[str]) -> Findings | str:
    """Check a model, or say why it cannot be read."""
    from qmath.errors import ModelError, UnsupportedError  # noqa: PLC0415 - keeps --help quick
    from quantref.check import check  # noqa: PLC0415 - keeps --help quick

    try:
        return check(model, runtimes=runtimes or None, ignore=ignore)
    except (ModelError, UnsupportedError) as error:
        return str(error)


def show(result: Findings) -> None:
    """Print the findings of a model, and the counts."""
    from rich.table import Table  # noqa: PLC0415 - keeps --help quick
    from rich.text import Text  # noqa: PLC0415 - keeps --help quick

    from quantref.checks.page import in_short  # noqa: PLC0415 - keeps --help quick

    out = console()
    if result.items:
        table = Table(box=None, pad_edge=False, header_style="bold")
        for column in ("", "rule", "where", "expected", "found", "runtimes that mind"):
            table.add_column(column, overflow="fold")
        for finding in result:
            found = finding.found + (f"; {finding.detail}" if finding.detail else "")
            name = f"{finding.rule.id} {finding.rule.slug}"
            word = Text(finding.severity.word, style=_COLOURS[finding.severity.word])
            rest = (name, str(finding.location), finding.expected, found, in_short(finding.runtimes))
            table.add_row(word, *map(Text, rest))
        out.print(table)
        out.print()
        for rule in dict.fromkeys(finding.rule for finding in result):
            out.print(Text(f"{rule.id} {rule.slug}: {rule.title}. {rule.reason}"), soft_wrap=True)
            out.print(Text(f"    mend: {rule.mend}"), soft_wrap=True)
        out.print()
    style = "bold red" if result.errors else "bold yellow" if result.items else "bold green"
    out.print(Text(result.headline, style=style), soft_wrap=True)


def _rules(*, as_json: bool) -> None:
    from rich.text import Text  # noqa: PLC0415 - keeps --help quick

    from quantref.checks.rules import RULES  # noqa: PLC0415 - keeps --help quick

    if as_json:
        print_json([rule.to_json() for rule in RULES.values()])
        return
    for rule in RULES.values():
        line = f"{rule.id} {rule.slug} ({rule.severity.word}): {rule.title}"
        console().print(Text(line, style=_COLOURS[rule.severity.word]), soft_wrap=True)


def _write_sarif(results: list[Findings], path: Path) -> None:
    import json  # noqa: PLC0415 - keeps --help quick

    from fbs.files import replacing  # noqa: PLC0415 - keeps --help quick
    from qmath.errors import InputError  # noqa: PLC0415 - keeps --help quick
    from quantref.checks.sarif import sarif  # noqa: PLC0415 - keeps --help quick

    try:
        with replacing(path) as draft:
            draft.write_text(json.dumps(sarif(results), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    except OSError as error:
        raise InputError(f"expected to write {path}, found: {error.strerror or error}") from None
