"""The command line: every verb is a thin module of its own, imported when it is used.

Exit codes: 0 done, equal, clean; 1 differences or findings; 2 bad input or usage; 3 an error of quantref itself.
"""

from __future__ import annotations

import enum
import errno
import importlib
import io
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

import click

from qmath.errors import QuantrefError
from quantref import __version__
from quantref.cli.common import Settings, reader_left

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


#: What the system says of a place that takes no more.
_FULL = (errno.ENOSPC, errno.EFBIG, errno.EDQUOT)


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
    _ready_streams()
    try:
        code = program.main(args=arguments, prog_name="quantref", standalone_mode=False, obj=settings)
        sys.stdout.flush()
    except (KeyboardInterrupt, click.Abort):
        return ExitCode.INTERRUPTED
    except (BrokenPipeError, SystemExit):  # the latter is click's answer to the former: --help, --version
        reader_left()
        return ExitCode.DONE
    except Exception as error:  # noqa: BLE001 - whatever it is, the user is told in one line
        return _failed(error, settings)
    return int(code or ExitCode.DONE)


def _ready_streams() -> None:
    """Let characters that a stream cannot hold appear as escapes, and closed streams lead nowhere."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115 - as long as the program
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _failed(error: Exception, settings: Settings) -> ExitCode:
    """Say what went wrong, and return whose fault it is."""
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        error.show()  # a page, not a sentence
        return ExitCode.BAD_INPUT
    if settings.debug:
        traceback.print_exc()
    message, code, hint = f"internal error: {type(error).__name__}: {error}", ExitCode.INTERNAL_ERROR, ""
    if isinstance(error, click.ClickException):
        message, code = error.format_message(), ExitCode.BAD_INPUT
    elif isinstance(error, QuantrefError):
        message, code = str(error), ExitCode.BAD_INPUT
    elif isinstance(error, MemoryError):
        message, code = f"not enough memory: {error}", ExitCode.BAD_INPUT
    elif isinstance(error, OSError) and error.errno in _FULL and error.filename is None:
        message, code = f"cannot write to stdout: {error.strerror}", ExitCode.BAD_INPUT
        reader_left()
    elif not settings.debug:
        hint = " (--debug shows where)"
    click.echo(f"quantref: {' '.join(message.split())}{hint}", err=True)
    return code
