"""The lines of a suite's index, and its manifest: plain data, checked as it is read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from qmath.errors import InputError

FORMAT, VERSION = "quantref-suite", 1
#: What a case can be: one op, a whole model, or something that must be refused.
KINDS = ("op", "model", "negative")


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file of a case: its checksum, its size in bytes, and where its bytes begin in a shard, if it lies in one."""

    sha256: str
    size: int
    offset: int | None = None

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        plain: dict[str, Any] = {"sha256": self.sha256, "size": self.size}
        return plain if self.offset is None else plain | {"offset": self.offset}


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of the index.

    Attributes
    ----------
    id
        Unique; letters, digits, hyphens and full stops.
    op, cell, dtypes
        The op's name, what the case is one of, such as ``"CONV_2D int8 x int8 per-axis int32 bias"``, and the element
        types in short, such as ``"int8"`` or ``"int16 x int8"``.
    kind
        ``"op"``, ``"model"`` or ``"negative"``.
    invocations
        How often the model runs; state lives on from one to the next.
    profiles
        For each profile the name of the file of its outputs; profiles that give the same bytes share one.
    aims
        What the case hits, as its coverage note found.
    expected_error
        For a negative case, the class of quantref's exception.
    place
        The folder of the case, or the shard that holds its files; relative to the suite.
    files
        By name.

    """

    id: str
    op: str
    cell: str
    dtypes: str
    kind: str
    invocations: int
    profiles: Mapping[str, str]
    aims: tuple[str, ...]
    expected_error: str | None
    place: str
    files: Mapping[str, StoredFile] = field(default_factory=dict)

    @property
    def in_shard(self) -> bool:
        """Whether the files lie in a shard."""
        return self.place.endswith(".zip")

    def to_line(self) -> str:
        """Return the line."""
        where = "shard" if self.in_shard else "path"
        plain = {
            "id": self.id,
            "op": self.op,
            "cell": self.cell,
            "dtypes": self.dtypes,
            "kind": self.kind,
            "invocations": self.invocations,
            "profiles": dict(self.profiles),
            "aims": list(self.aims),
            "expected_error": self.expected_error,
            where: self.place,
            "files": {name: file.to_json() for name, file in self.files.items()},
        }
        return json.dumps(plain, separators=(",", ":")) + "\n"

    @classmethod
    def from_line(cls, line: str, place: str) -> Entry:
        """Read a line; ``place`` says in errors where it stands.

        Raises
        ------
        InputError
            It is not what :meth:`to_line` writes.

        """
        found = parse_object(line, place)
        where = "shard" if "shard" in found else "path"
        kind, folder = _get(found, "kind", str, place), _get(found, where, str, place)
        if kind not in KINDS:
            raise InputError(f"{place}: expected a kind among {', '.join(KINDS)}, found {kind!r}")
        if folder.startswith("/") or ".." in folder.split("/") or (where == "shard") != folder.endswith(".zip"):
            raise InputError(f"{place}: expected a {where} inside the suite, found {folder!r}")
        error = found.get("expected_error")
        profiles = _get(found, "profiles", dict, place)
        files = _get(found, "files", dict, place)
        return cls(
            id=_get(found, "id", str, place),
            op=_get(found, "op", str, place),
            cell=_get(found, "cell", str, place),
            dtypes=_get(found, "dtypes", str, place),
            kind=kind,
            invocations=_get(found, "invocations", int, place),
            profiles={str(profile): str(name) for profile, name in profiles.items()},
            aims=tuple(str(aim) for aim in _get(found, "aims", list, place)),
            expected_error=None if error is None else str(error),
            place=folder,
            files={name: _stored(file, f"{place}: {name}") for name, file in files.items()},
        )


def _stored(found: Any, place: str) -> StoredFile:
    if not isinstance(found, dict):
        raise InputError(f"{place}: expected checksum and size, found {found!r}")
    offset = _get(found, "offset", int, place) if "offset" in found else None
    return StoredFile(_get(found, "sha256", str, place), _get(found, "size", int, place), offset)


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a suite is.

    Attributes
    ----------
    plan
        Name of the plan; ``plan_sha256`` is of its text as JSON.
    seed
        The plan's.
    quantref, numpy
        Versions that made it.
    host
        The machine's processor and system.
    layout
        ``"folders"`` or ``"records"``.
    formats
        Beside ``"npz"``: ``"json"``, ``"c"``, ``"hex"``.
    profiles
        Those asked for; a case may hold fewer.
    cases, bytes
        Number of cases, and the size of their files.
    coverage
        Totals over the cases: see ``docs/vectors.md``.
    index_sha256
        Of ``index.jsonl``.

    """

    plan: str
    plan_sha256: str
    seed: int
    quantref: str
    numpy: str
    host: str
    layout: str
    formats: tuple[str, ...]
    profiles: tuple[str, ...]
    cases: int
    bytes: int
    coverage: Mapping[str, Any]
    index_sha256: str

    def to_json(self) -> dict[str, Any]:
        """Return plain values, in the order of the file."""
        names = [name for name in self.__dataclass_fields__ if name != "coverage"]
        plain = {name: getattr(self, name) for name in names}
        plain |= {"formats": list(self.formats), "profiles": list(self.profiles)}
        return {"format": FORMAT, "version": VERSION, **plain, "coverage": self.coverage}

    @classmethod
    def from_text(cls, text: str, place: str) -> Manifest:
        """Read a manifest.

        Raises
        ------
        InputError
            It is none, or one of a version that this release does not know.

        """
        found = parse_object(text, place)
        stamp = (found.get("format"), found.get("version"))
        if stamp != (FORMAT, VERSION):
            raise InputError(f"{place}: expected format {FORMAT!r} version {VERSION}, found {stamp[0]!r} {stamp[1]!r}")
        kinds = {"seed": int, "cases": int, "bytes": int, "formats": list, "profiles": list, "coverage": dict}
        values = {name: _get(found, name, kinds.get(name, str), place) for name in cls.__dataclass_fields__}
        return cls(**values | {name: tuple(values[name]) for name in ("formats", "profiles")})


def parse_object(text: str, place: str) -> dict[str, Any]:
    """Read a JSON object.

    Raises
    ------
    InputError
        It is none.

    """
    try:
        found = json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        raise InputError(f"{place}: expected JSON, found: {error}") from error
    if not isinstance(found, dict):
        raise InputError(f"{place}: expected a JSON object, found {type(found).__name__}")
    return found


def _get(found: Mapping[str, Any], name: str, kind: type[Any], place: str) -> Any:
    value: Any = found.get(name)
    if not isinstance(value, kind) or (kind is int and (isinstance(value, bool) or value < 0)):
        raise InputError(f"{place}: expected {name!r} as {kind.__name__}, found {value!r}")
    return value
