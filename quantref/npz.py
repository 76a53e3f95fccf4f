"""Arrays in ``.npz`` files; written whole or not at all, and the same bytes every time."""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO

import numpy as np

from fbs.files import replacing
from qmath.errors import InputError, QuantrefError
from qmath.types import Array

_EPOCH = (1980, 1, 1, 0, 0, 0)


def load_npz(path: str | os.PathLike[str]) -> dict[str, Array]:
    """Read every array of an ``.npz`` file.

    Raises
    ------
    InputError
        The file cannot be read, is no ``.npz``, or holds Python objects.

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
        It is no ``.npz``, or holds Python objects.

    """
    return _arrays(io.BytesIO(content), place)


def _arrays(file: IO[bytes], place: str) -> dict[str, Array]:
    try:
        archive = np.load(file, allow_pickle=False)
        if not isinstance(archive, np.lib.npyio.NpzFile):
            raise InputError(f"{place}: expected an .npz archive, found a single array")
        return dict(archive)
    except QuantrefError:
        raise
    except (ValueError, EOFError, KeyError, MemoryError, zipfile.BadZipFile, NotImplementedError) as error:
        raise InputError(f"{place}: expected an .npz archive of plain arrays, found: {error}") from error


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
