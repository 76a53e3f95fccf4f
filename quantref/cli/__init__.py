"""The command line: every verb is a thin module of its own, imported when it is used.

Exit codes: 0 done, equal, clean; 1 differences or findings; 2 bad input or usage; 3 an error of quantref itself.
"""

from __future__ import annotations

import enum
import importlib
import io
import os
import sys
import traceback
from collections.abc import Sequence

import click

from qmath.errors import QuantrefError
from quantref import __version__
from quantref.cli.common import Settings

_VERBS = (
    "accuracy",
    "calibrate",
    "check",
    "conform",
    "demo",
    "explain",
    "inspect",
    "optimize",
    "profiles",
    "quantize",
    "run",
    "sensitivity",
    "trace",
    "vectors",
    "verify",
)


class ExitCode(enum.IntEnum):
    """What the process tells its caller."""

    DONE = 0
    FINDINGS = 1
    BAD_INPUT = 2
    INTERNAL_ERROR = 3
    INTERRUPTED = 130


class Verbs(click.Group):
    """A group whose commands live in the modules of this package."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the verbs in order."""
        del ctx
        return list(_VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a verb."""
        del ctx
        if cmd_name not in _VERBS:
            return None
        command = importlib.import_module(f"quantref.cli.{cmd_name}").command
        return command if isinstance(command, click.Command) else None


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="%(prog)s %(version)s")
def program() -> None:
    """Run quantized TensorFlow Lite models in pure NumPy, bit for bit as the runtime does."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code; errors are one line on stderr."""
    settings = Settings()
    _encode_anything()
    try:
        code = program.main(args=arguments, prog_name="quantref", standalone_mode=False, obj=settings)
        sys.stdout.flush()
    except click.ClickException as error:
        return _misused(error, settings)
    except QuantrefError as error:
        return _fail(str(error), ExitCode.BAD_INPUT, settings)
    except (KeyboardInterrupt, click.Abort):
        return ExitCode.INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader left: nothing more to say
        return ExitCode.DONE
    except Exception as error:  # noqa: BLE001 - whatever else it is, it is our fault and not the user's
        return _fail(f"internal error: {type(error).__name__}: {error}", ExitCode.INTERNAL_ERROR, settings)
    return int(code or ExitCode.DONE)


def _encode_anything() -> None:
    """Let characters that a stream cannot hold appear as escapes, instead of ending the program."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _misused(error: click.ClickException, settings: Settings) -> ExitCode:
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        error.show()  # a page, not a sentence
        return ExitCode.BAD_INPUT
    return _fail(error.format_message(), ExitCode.BAD_INPUT, settings)


def _fail(message: str, code: ExitCode, settings: Settings) -> ExitCode:
    if settings.debug:
        traceback.print_exc()
    hint = "" if settings.debug or code is not ExitCode.INTERNAL_ERROR else " (--debug shows where)"
    click.echo(f"quantref: {' '.join(message.split())}{hint}", err=True)
    return code
