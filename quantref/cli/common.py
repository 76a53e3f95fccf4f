"""What the verbs share: options, tables, progress."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from rich.console import Console

    import fbs
    from qmath.types import Array

F = TypeVar("F", bound=Callable[..., Any])

#: Columns of text for a reader that is not a terminal.
_WIDE = 160


@dataclass
class Settings:
    """What holds for the whole program.

    Attributes
    ----------
    debug
        Whether errors come with a traceback.

    """

    debug: bool = False


def _set_debug(context: click.Context, _: click.Parameter, value: bool) -> None:  # noqa: FBT001 - click's signature
    settings = context.ensure_object(Settings)
    settings.debug = settings.debug or value


def debug_option(function: F) -> F:
    """Add the option ``--debug``."""
    return click.option(
        "--debug", is_flag=True, is_eager=True, expose_value=False, callback=_set_debug, help="Show tracebacks."
    )(function)


def common_options(function: F) -> F:
    """Add the options that every verb has: ``--json`` and ``--debug``."""
    return debug_option(click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")(function))


def model_argument(function: F) -> F:
    """Add the argument MODEL, a file that exists."""
    kind = click.Path(exists=True, dir_okay=False, path_type=Path)
    return click.argument("model", type=kind)(function)


def inputs_of(model: Path, inputs: Path | None, sample: int) -> tuple[fbs.Model, dict[str, Array]]:
    """Read a model, and one sample of its inputs from an ``.npz`` or, without one, drawn at random.

    Raises
    ------
    QuantrefError
        A file cannot be read, or does not fit the other.

    """
    from qmath.errors import InputError  # noqa: PLC0415 - keeps --help quick
    from quantref.interpreter import load  # noqa: PLC0415 - keeps --help quick
    from quantref.names import tensor_keys  # noqa: PLC0415 - keeps --help quick
    from quantref.npz import load_npz  # noqa: PLC0415 - keeps --help quick
    from quantref.samples import random_samples, samples_from  # noqa: PLC0415 - keeps --help quick

    loaded = load(model)
    samples = random_samples(loaded, sample + 1) if inputs is None else samples_from(loaded, load_npz(inputs))
    if sample >= len(samples):
        raise InputError(f"{inputs}: expected a sample below {len(samples)}, found {sample}")
    graph = loaded.subgraphs[0]
    keys = tensor_keys(graph)
    return loaded, {keys[index]: array for index, array in zip(graph.inputs, samples[sample], strict=True)}


def example(*lines: str) -> str:
    """Return an epilog for a verb's help."""
    return "\b\nExamples:\n" + "\n".join(f"  quantref {line}" for line in lines)


def print_json(value: Any) -> None:
    """Print plain values; characters that stdout cannot encode as JSON writes them in ASCII."""
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        text = json.dumps(value, indent=2, allow_nan=False)
    print_text(text + "\n")


def print_text(text: str) -> None:
    """Print text as it is; if the reader has left, to nobody: the exit code is then all that is still told."""
    try:
        click.echo(text, nl=False)
    except BrokenPipeError:
        reader_left()


def reader_left() -> None:
    """Send what else goes to stdout nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def console() -> Console:
    """Return where tables go: stdout."""
    from rich.console import Console  # noqa: PLC0415 - keeps --help quick

    class _Output(Console):
        def on_broken_pipe(self) -> None:  # rich would end the program with 1, which here means findings
            reader_left()

    # Names of files and tensors may hold what rich takes for markup or for an emoji: they are printed as they are.
    as_it_is = partial(_Output, highlight=False, markup=False, emoji=False)
    plain = as_it_is()
    return plain if plain.is_terminal else as_it_is(width=_WIDE)


@contextmanager
def progress(label: str) -> Iterator[Callable[[int, int], None]]:
    """Show a bar on stderr while work is done, if that is a terminal; gives the function to call with (done, total)."""
    from rich.console import Console  # noqa: PLC0415 - keeps --help quick
    from rich.markup import escape  # noqa: PLC0415 - keeps --help quick
    from rich.progress import Progress  # noqa: PLC0415 - keeps --help quick

    errors = Console(stderr=True)
    with Progress(console=errors, transient=True, disable=not errors.is_terminal) as bar:
        task = bar.add_task(escape(label), total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
