"""Files of arrays: whole or not at all, the same bytes every time."""

from __future__ import annotations

import io
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest

from qmath.errors import InputError
from quantref.npz import load_npz, parse_npz, save_npz

ARRAYS = {"a/b;c:0": np.arange(6, dtype=np.int8).reshape(2, 3), "0:": np.float32(1.5), "": np.zeros((0, 2), np.int64)}


def test_arrays_come_back(tmp_path: Path) -> None:
    save_npz(tmp_path / "t.npz", ARRAYS)
    found = load_npz(tmp_path / "t.npz")
    assert list(found) == list(ARRAYS)
    for name, array in ARRAYS.items():
        assert found[name].dtype == array.dtype
        assert np.array_equal(found[name], array)


def test_the_same_arrays_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one.npz", "two.npz"):
        save_npz(tmp_path / name, ARRAYS)
    assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "two.npz").read_bytes()


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "t.npz"
    save_npz(target, ARRAYS)
    before = target.read_bytes()
    with pytest.raises(ValueError, match="Object arrays"):
        save_npz(target, {"good": np.zeros(3), "bad": np.array([object()])})
    assert target.read_bytes() == before
    assert list(tmp_path.iterdir()) == [target]


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected a place to write"):
        save_npz(tmp_path / "no" / "t.npz", ARRAYS)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 and no more", b"\x93NUMPY\x01\x00", b"\x80\x04N."])
def test_what_is_no_archive_of_arrays(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "t.npz"
    path.write_bytes(content)
    with pytest.raises(InputError, match="expected an"):
        load_npz(path)


def test_objects_and_single_arrays_are_declined(tmp_path: Path) -> None:
    np.savez(tmp_path / "objects.npz", x=np.array([object()]), allow_pickle=True)
    np.save(tmp_path / "single.npy", np.zeros(3))
    with pytest.raises(InputError, match="plain arrays"):
        load_npz(tmp_path / "objects.npz")
    with pytest.raises(InputError, match="found a single array"):
        load_npz(tmp_path / "single.npy")
    with pytest.raises(InputError, match="No such file"):
        load_npz(tmp_path / "none.npz")


def _member(header: str, data: bytes = b"", version: int = 2) -> bytes:
    words = header.encode() + b"\n"
    return b"\x93NUMPY" + bytes([version, 0]) + struct.pack("<I" if version == 2 else "<H", len(words)) + words + data


@pytest.mark.parametrize(
    "header",
    [
        "(" * 300,
        "{'descr': '|O', 'fortran_order': False, 'shape': (1,)}",
        "{'descr': 'i1'}",
        "[" * 5000,
        "\0",
        "9" * 9999,
    ],
)
def test_members_that_are_no_arrays(tmp_path: Path, header: str) -> None:
    with zipfile.ZipFile(tmp_path / "t.npz", "w") as archive:
        archive.writestr("x.npy", _member(header))
    with pytest.raises(InputError, match=r"expected an \.npz archive of plain arrays"):
        load_npz(tmp_path / "t.npz")


def test_an_archive_unpacks_to_what_its_size_allows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.savez_compressed(tmp_path / "t.npz", x=np.zeros(4_000_000, np.int8))  # 1 in 1000
    assert load_npz(tmp_path / "t.npz")["x"].size == 4_000_000
    monkeypatch.setattr("quantref.npz.SLACK", 1000)
    with pytest.raises(InputError, match=r"expected arrays of at most .* bytes, found 4,000,"):
        load_npz(tmp_path / "t.npz")


def test_an_array_that_is_there_twice(tmp_path: Path) -> None:
    content = io.BytesIO()
    np.save(content, np.zeros(3))
    with zipfile.ZipFile(tmp_path / "t.npz", "w") as archive:
        archive.writestr("x.npy", content.getvalue())
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("x.npy", content.getvalue())
    with pytest.raises(InputError, match="expected every array once"):
        load_npz(tmp_path / "t.npz")


def test_damage_of_any_byte_is_an_input_error_or_none(tmp_path: Path) -> None:
    path, rng, refused = tmp_path / "t.npz", np.random.default_rng(1), 0
    np.savez_compressed(path, x=np.arange(60, dtype=np.int16), y=np.zeros((2, 3), np.float32))
    whole = path.read_bytes()
    for _ in range(400):
        damaged = bytearray(whole)
        damaged[rng.integers(len(whole))] = rng.integers(256)
        try:
            parse_npz(bytes(damaged), "damaged")
        except InputError:
            refused += 1
    assert refused > 100
