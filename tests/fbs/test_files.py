"""Files appear whole or not at all; links are followed, and what is no file stays what it is."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import pytest

import fbs
from fbs.files import replacing
from tests.fbs.models import conv


def test_a_file_appears_when_it_is_complete(tmp_path: Path) -> None:
    target = tmp_path / ("n" * 255)  # the longest name that a file can have
    with replacing(target) as draft:
        draft.write_bytes(b"whole")
        assert not target.exists()
    assert target.read_bytes() == b"whole"
    assert list(tmp_path.iterdir()) == [target]


def test_after_an_error_what_was_there_is_there_still(tmp_path: Path) -> None:
    target = tmp_path / "x"
    target.write_bytes(b"old")
    with pytest.raises(KeyError), replacing(target) as draft:  # noqa: PT012 - what is written before the error counts
        draft.write_bytes(b"half")
        raise KeyError
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


def test_new_files_have_the_permissions_of_new_files_and_old_ones_keep_theirs(tmp_path: Path) -> None:
    (tmp_path / "ordinary").write_bytes(b"")
    with replacing(tmp_path / "x") as draft:
        draft.write_bytes(b"")
    assert (tmp_path / "x").stat().st_mode == (tmp_path / "ordinary").stat().st_mode
    (tmp_path / "x").chmod(0o600)
    with replacing(tmp_path / "x") as draft:
        draft.write_bytes(b"more")
    assert stat.S_IMODE((tmp_path / "x").stat().st_mode) == 0o600


def test_a_link_stays_and_what_it_leads_to_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "inner" / "file")
    with replacing(link) as draft:
        draft.write_bytes(b"new")
    assert link.is_symlink()
    assert (tmp_path / "inner" / "file").read_bytes() == b"new"


def test_a_pipe_is_written_to_and_not_replaced(tmp_path: Path) -> None:
    """A device likewise; an output called ``/dev/null`` must not become a file."""
    pipe, read = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()))
    reader.start()
    with replacing(pipe) as draft:
        draft.write_bytes(b"through the pipe")
    reader.join(10)
    assert read == [b"through the pipe"]
    assert stat.S_ISFIFO(pipe.stat().st_mode)


@pytest.mark.parametrize("name", [".", "nowhere/x", "zero\0byte"])
def test_no_place_to_write(name: str, tmp_path: Path) -> None:
    with pytest.raises(OSError), replacing(tmp_path / name) as draft:  # noqa: PT011 - its kinds are the system's
        draft.write_bytes(b"")
    assert list(tmp_path.iterdir()) == []


def test_models_are_saved_in_this_way(tmp_path: Path) -> None:
    pipe, read = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()))
    reader.start()
    fbs.save(conv(), pipe)
    reader.join(10)
    assert read == [fbs.write(conv())]
    assert stat.S_ISFIFO(pipe.stat().st_mode)
