"""Files that appear whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give the path of a draft to write; at the end it takes the place of ``path``, after an error it is removed.

    Whoever reads ``path`` finds what was there before or all that is new. A link is followed: the file that it leads
    to is replaced, and keeps its permissions. A device or a pipe stays what it is: the draft, once complete, is
    written to it.

    Raises
    ------
    OSError
        There is no place to write.

    """
    if "\0" in os.fspath(path):
        raise OSError(errno.EINVAL, "a path with a zero byte", os.fspath(path))
    try:
        there = Path(path).stat()
    except FileNotFoundError:
        there = None
    if there is not None and stat.S_ISDIR(there.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), os.fspath(path))
    if there is not None and not stat.S_ISREG(there.st_mode):
        with _written_to(path) as draft:
            yield draft
        return
    target = Path(os.path.realpath(path))
    draft = target.with_name(f".draft.{secrets.token_hex(8)}")
    try:
        yield draft
        with draft.open("rb+") as written:
            os.fsync(written.fileno())
        if there is not None:
            draft.chmod(stat.S_IMODE(there.st_mode))
        draft.replace(target)
    finally:
        draft.unlink(missing_ok=True)


@contextlib.contextmanager
def _written_to(device: str | os.PathLike[str]) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="quantref-") as folder:
        draft = Path(folder) / "draft"
        yield draft
        with draft.open("rb") as whole, Path(device).open("wb") as out:
            shutil.copyfileobj(whole, out)
