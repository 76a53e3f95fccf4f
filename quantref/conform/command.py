"""A device behind a command: it reads a model and inputs from files and leaves its outputs in another."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from qmath.errors import InputError
from quantref.conform.arrays import load_invocations
from quantref.conform.runners import TIMEOUT, Answers, Device, Refusal, Runner
from quantref.conform.trial import Trial
from quantref.runtimes import RuntimeCrashed, RuntimeTimedOut
from quantref.runtimes.failures import name_of_exit
from quantref.vectors.suite import join_invocations

_PLACEHOLDER = re.compile(r"\{([A-Za-z_]\w*)\}")
_PLACEHOLDERS = ("model", "inputs", "outputs", "case", "directory")
#: How much of a command's last words a message repeats, in bytes.
_TAIL = 2000
#: A shell or an emulator that saw its program die of signal N exits with this and N.
_WRAPPED = 128


@dataclass(frozen=True, slots=True)
class CommandRunner(Runner):
    """A command line that is run once a case, without a shell.

    Attributes
    ----------
    template
        Program and arguments, quoted as in a shell. ``{model}``, ``{inputs}`` and ``{outputs}`` become the paths of
        the ``.tflite``, of an ``.npz`` of inputs, and of the ``.npz`` to write; ``{directory}`` the scratch folder
        that they are in, ``{case}`` the case's name.
    timeout
        Seconds until the command, with all processes that it started, is killed.

    """

    template: str
    timeout: float = TIMEOUT

    @property
    def name(self) -> str:
        """The template."""
        return self.template

    @property
    def words(self) -> list[str]:
        """Program and arguments, placeholders in place.

        Raises
        ------
        InputError
            It cannot be split, names something unknown, or has no place for the model or the outputs.

        """
        try:
            words = shlex.split(self.template)
        except ValueError as error:
            raise InputError(f"expected a command, found {self.template!r}: {error}") from error
        named = {name for word in words for name in _PLACEHOLDER.findall(word)}
        if unknown := sorted(named.difference(_PLACEHOLDERS)):
            raise InputError(f"expected placeholders among {', '.join(_PLACEHOLDERS)}, found {{{unknown[0]}}}")
        for needed in ("model", "outputs"):
            if not named & {needed, "directory"}:
                raise InputError(f"expected {{{needed}}} or {{directory}} in the command, found {self.template!r}")
        return words

    def start(self) -> Device:
        """Make sure that the program exists."""
        words = self.words
        if not _PLACEHOLDER.search(words[0]) and shutil.which(words[0]) is None:
            raise InputError(f"expected a program, found none called {words[0]!r}")
        return _CommandDevice(words, self.timeout)


@dataclass(frozen=True, slots=True)
class _CommandDevice(Device):
    words: Sequence[str]
    timeout: float

    def run(self, trial: Trial) -> Answers:
        with tempfile.TemporaryDirectory(prefix="quantref-") as folder:
            directory = Path(folder)
            paths = {
                "model": str(directory / "model.tflite"),
                "inputs": str(directory / "inputs.npz"),
                "outputs": str(directory / "outputs.npz"),
                "case": trial.id,
                "directory": folder,
            }
            Path(paths["model"]).write_bytes(trial.model)
            Path(paths["inputs"]).write_bytes(join_invocations(trial.inputs))
            code, words = _run([_filled(word, paths) for word in self.words], self.timeout)
            _judge_exit(code, words.replace(folder, "{directory}"))
            if not Path(paths["outputs"]).exists():
                raise InputError("expected the command to write {outputs}, found no file")
            try:
                return load_invocations(paths["outputs"], trial.expected or ({},))
            except InputError as error:
                raise InputError(str(error).replace(folder, "{directory}")) from error


def _filled(word: str, values: Mapping[str, str]) -> str:
    return _PLACEHOLDER.sub(lambda found: values[found[1]], word)


def _run(words: Sequence[str], timeout: float) -> tuple[int, str]:
    """Run a command to its end and return its exit code and the last that it wrote."""
    with tempfile.TemporaryFile() as output:
        try:
            process = subprocess.Popen(  # noqa: S603 - the command is the user's own
                list(words),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as error:
            raise InputError(f"{words[0]} does not start: {error.strerror or error}") from error
        try:
            return process.wait(timeout), _tail(output)
        except subprocess.TimeoutExpired as error:
            raise RuntimeTimedOut(f"no answer within {timeout:g} s", seconds=timeout) from error
        finally:
            if process.poll() is None:
                _kill(process)


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End a process and what it started."""
    with contextlib.suppress(OSError):
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL)
    process.kill()
    process.wait()


def _tail(output: IO[bytes]) -> str:
    output.seek(max(0, output.seek(0, os.SEEK_END) - _TAIL))
    return output.read().decode(errors="replace").strip()


def _judge_exit(code: int, words: str) -> None:
    """Raise what an exit code other than 0 means."""
    last = words.splitlines()[-1].strip() if words else ""
    said = f"; its last words: {last}" if last else ""
    name = name_of_exit(code)
    if code > _WRAPPED and not name_of_exit(_WRAPPED - code).startswith("signal "):
        code, name = _WRAPPED - code, name_of_exit(_WRAPPED - code)
    if code < 0:
        raise RuntimeCrashed(f"the command died of {name}{said}", signal=name, stderr=words)
    if code > 0:
        raise Refusal(f"{name}{said}")
