"""A child process that answers requests one after another, and whose death is an exception."""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
import threading
import weakref
from collections.abc import Mapping, Sequence
from typing import IO, Any

from qmath.errors import RuntimeUnavailableError
from quantref.runtimes.failures import RuntimeCrashed, RuntimeTimedOut, name_of_exit
from quantref.runtimes.litert_worker import read_frame, write_frame

#: How much of the child's last words a message repeats, in bytes.
_TAIL = 2000


class Child:
    """A running child process; ends with this object, or when the interpreter exits, at the latest.

    Parameters
    ----------
    command
        Program and arguments.
    environment
        Environment variables to set beside those inherited.

    Attributes
    ----------
    served
        Requests sent so far.

    Raises
    ------
    RuntimeUnavailableError
        The program cannot be started.

    """

    def __init__(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self.served = 0
        self._words = tempfile.TemporaryFile()  # noqa: SIM115 - closed by _end
        try:
            self._process = subprocess.Popen(  # noqa: S603 - our own worker
                list(command),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._words,
                env=os.environ | environment,
            )
        except OSError as error:
            self._words.close()
            raise RuntimeUnavailableError(f"{command[0]} cannot be started: {error.strerror or error}") from error
        self.end = weakref.finalize(self, _end, self._process, self._words)

    def send(self, request: Any, timeout: float) -> None:
        """Send a request.

        Raises
        ------
        RuntimeCrashed, RuntimeTimedOut
            The child does not take it.

        """
        self.served += 1
        with self._deadline(timeout):
            write_frame(_pipe(self._process.stdin), request)

    def receive(self, timeout: float) -> Any:
        """Return the next answer.

        Raises
        ------
        RuntimeCrashed, RuntimeTimedOut
            There is none.

        """
        with self._deadline(timeout):
            answer = read_frame(_pipe(self._process.stdout))
            if answer is None:
                raise EOFError
            return answer

    @contextlib.contextmanager
    def _deadline(self, timeout: float) -> Any:
        """End the child after ``timeout`` seconds; turn a broken pipe into what happened to the child."""
        late = threading.Event()

        def give_up() -> None:
            late.set()
            self._process.kill()

        timer = threading.Timer(timeout, give_up)
        timer.daemon = True
        timer.start()
        try:
            yield
        except Exception as error:
            # A pickle cut short or overwritten by a dying child raises nearly anything.
            timer.cancel()
            raise self._obituary(timeout if late.is_set() else None) from error
        finally:
            timer.cancel()

    def _obituary(self, timeout: float | None) -> RuntimeCrashed | RuntimeTimedOut:
        alive = False
        try:
            self._process.wait(1.0)
        except subprocess.TimeoutExpired:
            alive = True
        self._process.kill()
        code = self._process.wait()
        self._words.seek(max(0, self._words.seek(0, os.SEEK_END) - _TAIL))
        words = self._words.read().decode(errors="replace").strip()
        self.end()
        if timeout is not None:
            return RuntimeTimedOut(f"no answer within {timeout:g} s", seconds=timeout)
        if alive:
            return RuntimeCrashed("the runtime gave an answer that cannot be read, and was ended", stderr=words)
        signal = name_of_exit(code)
        last = f"; its last words: {words.splitlines()[-1]}" if words else ""
        return RuntimeCrashed(f"the runtime died of {signal}{last}", signal=signal, stderr=words)


def _pipe(stream: IO[bytes] | None) -> Any:
    if stream is None or stream.closed:
        raise BrokenPipeError
    return stream


def _end(process: subprocess.Popen[bytes], words: IO[bytes]) -> None:
    """End the process, leaving no zombie and no open pipe."""
    process.kill()
    for stream in (process.stdin, process.stdout, words):
        with contextlib.suppress(OSError):
            if stream is not None:
                stream.close()
    process.wait()
