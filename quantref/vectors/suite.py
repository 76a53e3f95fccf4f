"""A golden-vector suite on disk: opened, read case by case, and its checksums verified.

``docs/vectors.md`` describes the format for readers in other languages.
"""

from __future__ import annotations

import fnmatch
import hashlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from qmath.errors import InputError
from qmath.types import Array
from quantref.npz import npz_bytes, parse_npz
from quantref.vectors.entries import Entry, Manifest

MANIFEST, INDEX = "manifest.json", "index.jsonl"
MODEL, INPUTS, NOTE = "model.tflite", "inputs.npz", "case.json"


@dataclass(frozen=True, slots=True)
class SuiteCase:
    """One case: read from disk when it is asked for, and its checksums verified then; may travel to other processes.

    Attributes
    ----------
    root
        Folder of the suite.
    entry
        The case's line of the index.

    """

    root: Path
    entry: Entry

    @property
    def id(self) -> str:
        """Unique name."""
        return self.entry.id

    @property
    def op(self) -> str:
        """Name of the op; of a whole model, ``"MODEL"``."""
        return self.entry.op

    @property
    def cell(self) -> str:
        """What the case is one of: op, types, and what is special."""
        return self.entry.cell

    @property
    def dtypes(self) -> str:
        """Element types in short, such as ``"int8"`` or ``"int16 x int8"``."""
        return self.entry.dtypes

    @property
    def kind(self) -> str:
        """``"op"``, ``"model"`` or ``"negative"``."""
        return self.entry.kind

    @property
    def invocations(self) -> int:
        """How often the model runs."""
        return self.entry.invocations

    @property
    def profiles(self) -> tuple[str, ...]:
        """Profiles whose outputs the case holds."""
        return tuple(self.entry.profiles)

    @property
    def aims(self) -> tuple[str, ...]:
        """What the case hits, such as ``"tie negative"``."""
        return self.entry.aims

    @property
    def expected_error(self) -> str | None:
        """For a negative case, the class of quantref's exception."""
        return self.entry.expected_error

    @property
    def files(self) -> tuple[str, ...]:
        """Names of its files."""
        return tuple(self.entry.files)

    def read(self, name: str) -> bytes:
        """Return the content of a file.

        Raises
        ------
        InputError
            The case has no such file, or it is damaged.

        """
        stored = self.entry.files.get(name)
        if stored is None:
            raise InputError(f"case {self.id}: expected a file among {', '.join(self.files)}, found {name!r}")
        path = self.root / self.entry.place / ("" if self.entry.in_shard else name)
        try:
            with path.open("rb") as file:
                file.seek(stored.offset or 0)
                content = file.read(stored.size)
        except OSError as error:
            raise InputError(f"case {self.id}: expected a file {path}, found: {error.strerror or error}") from error
        found = hashlib.sha256(content).hexdigest()
        if found != stored.sha256:
            raise InputError(f"case {self.id}: expected {name} of sha256 {stored.sha256}, found {found}")
        return content

    def model_bytes(self) -> bytes:
        """Return the model as a file's content; of a negative case, it may be no model at all."""
        return self.read(MODEL)

    def inputs(self) -> tuple[dict[str, Array], ...]:
        """Return an array for each input by name, one mapping an invocation."""
        return self._invocations(INPUTS)

    def expected(self, profile: str) -> tuple[dict[str, Array], ...]:
        """Return an array for each output by name, one mapping an invocation.

        Raises
        ------
        InputError
            The case holds no outputs under the profile, or is damaged.

        """
        if profile not in self.entry.profiles:
            raise InputError(f"case {self.id}: expected a profile among {', '.join(self.profiles)}, found {profile!r}")
        return self._invocations(self.entry.profiles[profile])

    def stages(self, profile: str) -> dict[str, Array]:
        """Return every stage of every op under a profile: ``INVOCATION/op/INDEX:OP/stage/NUMBER:NAME``.

        Raises
        ------
        InputError
            The suite was made without stages, or has none for this profile.

        """
        name = f"stages.{profile}.npz"
        return parse_npz(self.read(name), f"case {self.id}: {name}")

    def _invocations(self, name: str) -> tuple[dict[str, Array], ...]:
        place = f"case {self.id}: {name}"
        return split_invocations(parse_npz(self.read(name), place), self.invocations, place)

    def export(self, directory: str | os.PathLike[str]) -> Path:
        """Write ``model.tflite`` and ``inputs.npz`` for a device's command, and return the folder.

        With one invocation the arrays are called as the inputs; with several, ``0/NAME``, ``1/NAME`` and so on, in
        the order in which to run them. A command answers in the same way, with the names of the outputs.

        Raises
        ------
        InputError
            The case is damaged, or the folder cannot be written.

        """
        target = Path(directory)
        try:
            target.mkdir(parents=True, exist_ok=True)
            for name in (MODEL, INPUTS):
                (target / name).write_bytes(self.read(name))
        except OSError as error:
            raise InputError(f"{target}: expected a folder to write to, found: {error.strerror or error}") from error
        return target

    def verify(self) -> None:
        """Read every file.

        Raises
        ------
        InputError
            One is missing or damaged.

        """
        for name in self.entry.files:
            self.read(name)


@dataclass(frozen=True, slots=True)
class Suite:
    """A suite that was opened.

    Attributes
    ----------
    directory
        Its folder.
    manifest
        What it is.

    """

    directory: Path
    manifest: Manifest

    @classmethod
    def open(cls, directory: str | os.PathLike[str]) -> Suite:
        """Open a suite, and check its index against its manifest.

        Raises
        ------
        InputError
            There is no suite, it is not finished, or it is damaged.

        """
        root = Path(directory)
        try:
            manifest = Manifest.from_text((root / MANIFEST).read_text("utf-8"), str(root / MANIFEST))
            with (root / INDEX).open("rb") as file:
                found = hashlib.sha256()
                while block := file.read(1 << 20):
                    found.update(block)
        except OSError as error:
            what = f"{error.filename}: {error.strerror or error}"
            raise InputError(f"{root}: expected a suite ({MANIFEST}, {INDEX}), found {what}") from error
        except UnicodeDecodeError as error:
            raise InputError(f"{root / MANIFEST}: expected UTF-8 text, found: {error}") from error
        if found.hexdigest() != manifest.index_sha256:
            expected = f"expected sha256 {manifest.index_sha256}"
            raise InputError(f"{root / INDEX}: {expected}, found {found.hexdigest()}")
        return cls(root, manifest)

    def __len__(self) -> int:
        """Return the number of cases."""
        return self.manifest.cases

    def cases(self, pattern: str | None = None) -> Iterator[SuiteCase]:
        """Yield the cases in order, none of which is kept.

        Parameters
        ----------
        pattern
            Shell pattern of ids, ops or cells, such as ``"CONV_2D*"``.

        Raises
        ------
        InputError
            A line of the index is damaged.

        """
        with (self.directory / INDEX).open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                entry = Entry.from_line(line, f"{self.directory / INDEX}: line {number}")
                if pattern is None or any(
                    fnmatch.fnmatchcase(name, pattern) for name in (entry.id, entry.op, entry.cell)
                ):
                    yield SuiteCase(self.directory, entry)

    def case(self, name: str) -> SuiteCase:
        """Return a case by its id.

        Raises
        ------
        InputError
            There is none.

        """
        for case in self.cases():
            if case.id == name:
                return case
        raise InputError(f"{self.directory}: expected the id of one of {len(self)} cases, found {name!r}")

    def verify(self) -> int:
        """Read every file of every case, and return the number of cases.

        Raises
        ------
        InputError
            A file is missing or damaged, or cases are.

        """
        count = 0
        for case in self.cases():
            case.verify()
            count += 1
        if count != self.manifest.cases:
            raise InputError(f"{self.directory}: expected {self.manifest.cases} cases, found {count}")
        return count


# --- Invocations in one archive -----------------------------------------------------------------------------------


def join_invocations(invocations: tuple[Mapping[str, Array], ...]) -> bytes:
    """Return an ``.npz``: keys are names if there is one invocation, else ``0/NAME``, ``1/NAME`` ...; none is empty."""
    if len(invocations) == 1:
        return npz_bytes(invocations[0])
    return npz_bytes({f"{n}/{name}": array for n, arrays in enumerate(invocations) for name, array in arrays.items()})


def split_invocations(arrays: Mapping[str, Array], count: int, place: str = "arrays") -> tuple[dict[str, Array], ...]:
    """Undo :func:`join_invocations`; ``place`` says in errors where the arrays came from.

    Raises
    ------
    InputError
        A key does not begin with the number of an invocation.

    """
    if count == 1:
        return (dict(arrays),)
    found: tuple[dict[str, Array], ...] = tuple({} for _ in range(count))
    for key, array in arrays.items():
        number, slash, name = key.partition("/")
        if not (slash and number.isdecimal() and int(number) < count):
            raise InputError(f"{place}: expected keys 0/NAME to {count - 1}/NAME, found {key!r}")
        found[int(number)][name] = array
    return found
