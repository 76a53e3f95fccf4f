"""Arrays in ``.npz`` files; written whole or not at all, and the same bytes every time."""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np

from fbs.files import replacing
from qmath.errors import InputError, QuantrefError
from qmath.types import Array

_EPOCH = (1980, 1, 1, 0, 0, 0)
#: Arrays may take this many times the file's size in memory, and this many bytes beyond; more is taken for an attack.
MOST_RATIO, SLACK = 100, 256 << 20


def load_npz(path: str | os.PathLike[str]) -> dict[str, Array]:
    """Read every array of an ``.npz`` file.

    Raises
    ------
    InputError
        The file cannot be read, is no ``.npz``, holds Python objects, or unpacks to more than 100 times its size.

    """
    try:
        with Path(path).open("rb") as file:
            return _arrays(file, str(path))
    except OSError as error:
        raise InputError(f"{path}: expected a readable .npz file, found: {error.strerror or error}") from error


def parse_npz(content: bytes, place: str) -> dict[str, Array]:
    """Read every array of an ``.npz`` that lies in memory; ``place`` says in errors where it came from.

    Raises
    ------
    InputError
        It is no ``.npz``, holds Python objects, or unpacks to more than 100 times its size.

    """
    return _arrays(io.BytesIO(content), place)


def _arrays(file: IO[bytes], place: str) -> dict[str, Array]:
    try:
        archive = np.load(file, allow_pickle=False)
        _check(archive, file.seek(0, os.SEEK_END), place)
        return dict(archive)
    except QuantrefError:
        raise
    except Exception as error:  # what NumPy, zipfile and their decoders make of damage has no common class
        words = str(error) if "pickle" not in str(error) else "something else, perhaps Python objects"
        raise InputError(f"{place}: expected an .npz archive of plain arrays, found: {words}") from error


def _check(archive: Any, size: int, place: str) -> None:
    """Check what an archive of ``size`` bytes says of itself, before any of it is unpacked."""
    if not isinstance(archive, np.lib.npyio.NpzFile) or archive.zip is None:
        raise InputError(f"{place}: expected an .npz archive, found a single array")
    unpacked, allowed = sum(member.file_size for member in archive.zip.infolist()), SLACK + MOST_RATIO * size
    if unpacked > allowed:
        raise InputError(f"{place}: expected arrays of at most {allowed:,} bytes, found {unpacked:,}")
    if len(set(archive.files)) < len(archive.zip.infolist()):
        raise InputError(f"{place}: expected every array once, found one twice among {sorted(archive.files)}")


def npz_bytes(arrays: Mapping[str, Array]) -> bytes:
    """Return what :func:`save_npz` writes; it depends on the arrays alone."""
    content = io.BytesIO()
    _write(content, arrays)
    return content.getvalue()


def save_npz(path: str | os.PathLike[str], arrays: Mapping[str, Array]) -> None:
    """Write arrays; the file appears when it is complete, and its bytes depend on the arrays alone.

    Raises
    ------
    InputError
        The file cannot be written.

    """
    try:
        with replacing(path) as draft, draft.open("wb") as file:
            _write(file, arrays)
    except OSError as error:
        raise InputError(f"{path}: expected a place to write, found: {error.strerror or error}") from error


def _write(file: IO[bytes], arrays: Mapping[str, Array]) -> None:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name, array in arrays.items():
            content = io.BytesIO()
            np.lib.format.write_array(content, np.asanyarray(array), allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy", _EPOCH), content.getbuffer())
