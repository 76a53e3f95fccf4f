"""``quantref conform``: run a golden-vector suite on a device."""

from __future__ import annotations

import multiprocessing
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import IO, TYPE_CHECKING

import click

from quantref.cli.common import console, debug_option, example, progress

if TYPE_CHECKING:
    from quantref.conform import Conformance

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_TARGET = click.Path(dir_okay=False, path_type=Path, allow_dash=True)


@click.command(
    "conform",
    epilog=example(
        "conform suite --runner litert-reference",
        "conform suite --runner './device {model} {inputs} {outputs}' --profile litert-reference --junit report.xml",
        "conform suite --runner my_device:run --expected-failures known.txt --json report.json",
        "conform suite --runner my_device:run --failed report.json",
    ),
)
@click.argument("suite", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--runner",
    required=True,
    help="The device: litert-reference, litert-optimized, xnnpack, quantref:PROFILE, module:function, a folder of "
    "outputs, or a command with {model} {inputs} {outputs}.",
)
@click.option("--profile", help="Whose outputs are expected. By default the suite's first profile.")
@click.option("--cases", help="Shell pattern of the names of cases to run.")
@click.option("--failed", type=_FILE, help="Run only what failed in an earlier run: its --json or --results.")
@click.option("--expected-failures", type=_FILE, help="Known failures: lines of 'PATTERN # reason'.")
@click.option("--jobs", type=click.IntRange(min=1), default=1, show_default=True, help="Processes to use.")
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    default=60.0,
    show_default=True,
    help="Seconds the device has for a case.",
)
@click.option(
    "--explain",
    "explained",
    type=click.IntRange(min=0),
    default=1,
    show_default=True,
    help="For how many of the ops that fail to explain an element, step by step.",
)
@click.option("--json", "json_file", type=_TARGET, help="Write the report as JSON; - prints it instead of the table.")
@click.option("--junit", "junit_file", type=_TARGET, help="Write the results as JUnit XML.")
@click.option("--results", type=click.Path(dir_okay=False, path_type=Path), help="Write each result, a line of JSON.")
@debug_option
def command(  # noqa: PLR0913 - the verb's options
    suite: Path,
    runner: str,
    profile: str | None,
    cases: str | None,
    failed: Path | None,
    *,
    expected_failures: Path | None,
    jobs: int,
    timeout: float,
    explained: int,
    json_file: Path | None,
    junit_file: Path | None,
    results: Path | None,
) -> int:
    """Run a golden-vector suite on a device, and compare every output bit for bit (floats within 1e-5).

    For every op that fails: whose arithmetic the device follows, and the smallest failing case. Each case runs once,
    in a process of its own where it may crash or hang. Exits with 1 if a case fails that was not expected to.
    """
    from quantref.conform import conform, failed_in, write_junit  # noqa: PLC0415 - keeps --help quick

    pool = ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn")) if jobs > 1 else nullcontext()
    only = None if failed is None else failed_in(failed)
    with progress(f"running {suite.name}") as report, pool as executor:
        found = conform(
            suite,
            runner,
            profile,
            cases=cases,
            only=only,
            expected_failures=expected_failures,
            executor=executor,
            timeout=timeout,
            results=results,
            progress=report,
        )
    for path, write in ((json_file, found.write_json), (junit_file, lambda file: write_junit(found, file))):
        if path is not None:
            with _opened(path) as file:
                write(file)
    if json_file != Path("-"):
        show(found, explained)
    return 0 if found.passed else 1


@contextmanager
def _opened(path: Path) -> Iterator[IO[str]]:
    """Give a file that appears when it is complete, or stdout for ``-``."""
    from fbs.files import replacing  # noqa: PLC0415 - keeps --help quick
    from qmath.errors import InputError  # noqa: PLC0415 - keeps --help quick

    if path == Path("-"):
        yield sys.stdout
        return
    try:
        with replacing(path) as draft, draft.open("w", encoding="utf-8") as file:
            yield file
    except OSError as error:
        raise InputError(f"{path}: expected a place to write, found: {error.strerror or error}") from error


def show(found: Conformance, explained: int) -> None:
    """Print a table by op and types, what is known of the failures, and the outcome."""
    from rich.table import Table  # noqa: PLC0415 - keeps --help quick
    from rich.text import Text  # noqa: PLC0415 - keeps --help quick

    from quantref.conform.report import cells  # noqa: PLC0415 - keeps --help quick

    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("op", "types"):
        table.add_column(name)
    for name in ("cases", "passed", "failed", "elements", "differ"):
        table.add_column(name, justify="right")
    table.add_column("the device follows")
    for row in found.totals.ordered:
        style = "red" if row.failed else "" if row.elements or row.outcomes else "yellow"
        table.add_row(*(Text(cell) for cell in cells(row)), style=style)
    out = console()
    out.print(table)
    out.print()
    say: Callable[[str], None] = lambda line: out.print(Text(line), soft_wrap=True)  # noqa: E731 - one line
    for diagnosis in found.diagnoses(explained):
        case = diagnosis.failure
        say(f"{diagnosis.op} {diagnosis.dtypes}: {case.verdict}; smallest case {case.id} ({case.size:,} elements)")
        if case.aims:
            say(f"  aimed at: {', '.join(case.aims)}")
        say(f"  {case.message}")
        if diagnosis.follows:
            say(f"  the device follows {diagnosis.follows}")
        if diagnosis.explanation is not None:
            say("")
            say("\n".join(f"  {line}".rstrip() for line in str(diagnosis.explanation).splitlines()))
        say("")
    for number, line in enumerate(found.headlines):
        style = "" if number else "bold green" if found.passed else "bold red"
        out.print(Text(line, style=style), soft_wrap=True)
