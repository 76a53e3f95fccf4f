"""Writing a suite: cases in units, each whole or not there; a suite that was broken off is taken up again."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from fbs.files import replacing
from qmath.errors import InputError
from quantref.vectors.entries import Entry, Manifest, StoredFile, parse_object
from quantref.vectors.formats.c import SUITE_HEADER, suite_header
from quantref.vectors.plan import Plan
from quantref.vectors.produce import Made
from quantref.vectors.suite import INDEX, MANIFEST
from quantref.vectors.totals import Totals

PARTIAL, COVERAGE = ".partial", "coverage.md"
_EPOCH = (1980, 1, 1, 0, 0, 0)
#: Bytes between the start of a member of a zip file and its name.
_LOCAL_HEADER = 30


@dataclass(frozen=True, slots=True)
class Store:
    """The folder of a suite that is being written.

    A unit is some consecutive cases. Its files come first, then its lines of the index, in a file of their own; when
    all units are there, the lines are joined, and the manifest is written last. So a folder with a manifest is whole.
    """

    root: Path
    plan: Plan

    @classmethod
    def begin(cls, root: Path, plan: Plan, *, resume: bool) -> Store:
        """Prepare a folder.

        Raises
        ------
        InputError
            It holds something else, or an unfinished suite that is not to be resumed, or one of another plan.

        """
        store, stamp = cls(root, plan), root / PARTIAL / "plan.json"
        wanted = _stamp(plan)
        with _writing(root):
            if stamp.is_file():
                if not resume:
                    raise InputError(f"{root}: expected an empty folder, found an unfinished suite; resume goes on")
                if stamp.read_text("utf-8") != wanted:
                    raise InputError(f"{root}: expected an unfinished suite of this plan, found one of another")
                return store
            if root.exists() and (not root.is_dir() or any(root.iterdir())):
                raise InputError(f"{root}: expected no folder or an empty one, found something in it")
            (root / PARTIAL).mkdir(parents=True)
            _write(stamp, wanted.encode())
        return store

    def unit(self, number: int) -> Totals | None:
        """Return the totals of a unit that is already there."""
        path = self._lines(number)
        if not path.is_file():
            return None
        with path.open(encoding="utf-8") as lines:
            return Totals.from_json(parse_object(lines.readline(), str(path)))

    def write_unit(self, number: int, cases: Sequence[Made], totals: Totals) -> None:
        """Write the files of a unit's cases, and then its lines of the index.

        Raises
        ------
        InputError
            The folder cannot be written to.

        """
        with _writing(self.root):
            if self.plan.layout == "records":
                entries = self._write_shard(number, cases)
            else:
                entries = [self._write_folder(made) for made in cases]
            counted = json.dumps(totals.to_json(), separators=(",", ":")) + "\n"
            _write(self._lines(number), (counted + "".join(entry.to_line() for entry in entries)).encode())

    def finish(self, totals: Totals, manifest: Manifest, units: int) -> Manifest:
        """Join the index, write the manifest, and remove what was for resuming alone.

        Raises
        ------
        InputError
            The folder cannot be written to.

        """
        with _writing(self.root):
            manifest = replace(manifest, index_sha256=self._join_index(units))
            _write(self.root / COVERAGE, totals.markdown(self.plan.name).encode())
            if "c" in self.plan.formats and self.plan.layout == "folders":
                entries = (Entry.from_line(line.decode(), INDEX) for line in self._index_lines(units))
                _write(self.root / SUITE_HEADER, suite_header(entries))
            _write(self.root / MANIFEST, (json.dumps(manifest.to_json(), indent=1) + "\n").encode())
            shutil.rmtree(self.root / PARTIAL)
        return manifest

    def _join_index(self, units: int) -> str:
        """Write the index and return its digest."""
        digest = hashlib.sha256()
        with replacing(self.root / INDEX) as draft, draft.open("wb") as index:
            for line in self._index_lines(units):
                index.write(line)
                digest.update(line)
        return digest.hexdigest()

    def _index_lines(self, units: int) -> Iterator[bytes]:
        for number in range(units):
            with self._lines(number).open("rb") as lines:
                next(lines)
                yield from lines

    def _lines(self, number: int) -> Path:
        return self.root / PARTIAL / f"{number:06}.jsonl"

    def _write_folder(self, made: Made) -> Entry:
        place = f"cases/{made.op}/{made.item.id}"
        folder = self.root / place
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in made.files.items():
            path = folder / name
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(content)
        stored = {name: StoredFile(_sha256(content), len(content)) for name, content in made.files.items()}
        return _entry(made, place, stored)

    def _write_shard(self, number: int, cases: Sequence[Made]) -> list[Entry]:
        place, entries = f"shards/{number:05}.zip", []
        content = io.BytesIO()
        with zipfile.ZipFile(content, "w", zipfile.ZIP_STORED) as archive:
            for made in cases:
                stored = {}
                for name, data in made.files.items():
                    info = zipfile.ZipInfo(f"{made.item.id}/{name}", _EPOCH)
                    archive.writestr(info, data)
                    offset = info.header_offset + _LOCAL_HEADER + len(info.filename.encode())
                    stored[name] = StoredFile(_sha256(data), len(data), offset)
                entries.append(_entry(made, place, stored))
        (self.root / "shards").mkdir(exist_ok=True)
        _write(self.root / place, content.getvalue())
        return entries


def _stamp(plan: Plan) -> str:
    from quantref import __version__  # noqa: PLC0415 - the package imports this module

    return json.dumps({"plan": plan.name, "sha256": plan.sha256, "quantref": __version__}) + "\n"


def _entry(made: Made, place: str, files: dict[str, StoredFile]) -> Entry:
    return Entry(
        id=made.item.id,
        op=made.op,
        cell=made.item.cell,
        dtypes=made.dtypes,
        kind=made.item.kind,
        invocations=made.invocations,
        profiles=made.profiles,
        aims=made.aims,
        expected_error=made.expected_error,
        place=place,
        files=files,
    )


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@contextmanager
def _writing(root: Path) -> Iterator[None]:
    """Say of an error of the file system which folder cannot be written to."""
    try:
        yield
    except OSError as error:
        raise InputError(f"{root}: expected a folder to write to, found: {error.strerror or error}") from error


def _write(path: Path, content: bytes) -> None:
    """Write a file whole or not at all."""
    with replacing(path) as draft:
        draft.write_bytes(content)
