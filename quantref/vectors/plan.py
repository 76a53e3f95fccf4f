"""What a suite is to hold, as a TOML file says it: ``docs/vectors.md`` has the reference of the keys."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import os
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, TypeAlias

from kernels.profiles import PROFILES
from qmath.errors import InputError, QuantrefError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

#: Ways to lay out the files of cases, and formats that may be written beside ``.npz``.
LAYOUTS, FORMATS = ("folders", "records"), ("json", "c", "hex")
#: Kinds of negative cases.
DAMAGES = ("file", "structure", "contract")
Setting: TypeAlias = "int | float | str | bool"
#: Name and value of some options of an op.
Options: TypeAlias = "tuple[tuple[str, Setting], ...]"
_UNITS = {"": 1, "B": 1, "kB": 1000, "MB": 1000**2, "GB": 1000**3}


@dataclass(frozen=True, slots=True)
class Selection:
    """An entry ``[[cells]]``.

    Attributes
    ----------
    cells
        Shell patterns of cells' names.
    dtypes
        Words such as ``"int8"``; if there are any, a cell's name must have one of them.
    count
        How many cases a cell, or a combination of options, gets.
    options
        A grid: for each option of the op the values to combine; every combination gets its cases.

    """

    cells: tuple[str, ...] = ("*",)
    dtypes: tuple[str, ...] = ()
    count: int = 1
    options: tuple[tuple[str, tuple[Setting, ...]], ...] = ()

    def combinations(self) -> Iterator[Options]:
        """Yield every combination of the grid; an empty one if there is no grid."""
        names = [name for name, _ in self.options]
        for values in itertools.product(*(values for _, values in self.options)):
            yield tuple(zip(names, values, strict=True))


@dataclass(frozen=True, slots=True)
class WholeModel:
    """An entry ``[[models]]``: a file, relative to the plan's folder or ``bundled:NAME``, and how many samples."""

    path: str
    samples: int = 1


@dataclass(frozen=True, slots=True)
class Plan:
    """A plan.

    Attributes
    ----------
    name, seed
        What it is called, and what every random choice follows from.
    profiles
        Whose outputs to hold.
    layout, shard_cases
        ``"folders"``, or ``"records"`` with so many cases a shard.
    formats
        What to write beside ``.npz``.
    stages
        Whether to hold every stage under every profile.
    budget, largest_case
        Bytes of the whole, after which no case is added; and of the model and inputs of a case.
    selections, models, negative
        Its cases; of negative ones the kinds.
    folder
        Where paths of models begin.

    """

    name: str = "default"
    seed: int = 0
    profiles: tuple[str, ...] = tuple(PROFILES)
    layout: str = "folders"
    shard_cases: int = 64
    formats: tuple[str, ...] = ()
    stages: bool = False
    budget: int = 200 * 1000**2
    largest_case: int = 64 * 1000
    selections: tuple[Selection, ...] = ()
    models: tuple[WholeModel, ...] = ()
    negative: tuple[str, ...] = ()
    folder: str = ""

    @property
    def sha256(self) -> str:
        """Checksum of what the plan says, without where it lies."""
        plain = dataclasses.asdict(dataclasses.replace(self, folder=""))
        return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()

    @classmethod
    def load(cls, path: str | os.PathLike[str] | None = None) -> Plan:
        """Read a plan; by default the one that ships.

        Raises
        ------
        InputError
            The file cannot be read, or is no plan.

        """
        file = resources.files("quantref") / "data" / "plans" / "default.toml" if path is None else Path(path)
        try:
            found = tomllib.loads(file.read_text(encoding="utf-8"))
        except OSError as error:
            raise InputError(f"{path}: expected a readable file, found: {error.strerror or error}") from error
        except ValueError as error:
            raise InputError(f"{path}: expected TOML, found: {error}") from error
        try:
            name = "default" if path is None else Path(path).stem
            return cls.of({"name": name, **found}, folder="" if path is None else str(Path(path).resolve().parent))
        except QuantrefError as error:
            raise error.within(str(path or "the default plan")) from None

    @classmethod
    def of(cls, found: Mapping[str, Any], folder: str = "") -> Plan:
        """Read a plan from what its TOML says.

        Raises
        ------
        InputError
            A key is unknown, or a value is not what it should be.

        """
        _only(found, {*(field.name for field in dataclasses.fields(cls)), "cells"} - {"selections", "folder"})
        plain: dict[str, Any] = {name: value for name, value in found.items() if name in _READERS}
        values = {name: _READERS[name](name, value) for name, value in plain.items()}
        tables = {"selections": ("cells", _selection), "models": ("models", _whole_model)}
        for name, (key, read) in tables.items():
            values[name] = tuple(read(entry, f"{key} {n}") for n, entry in enumerate(_list(key, found.get(key, []))))
        return cls(**values, folder=folder)


# --- Values -------------------------------------------------------------------------------------------------------


def _only(found: Mapping[str, Any], known: set[str]) -> None:
    unknown = set(found) - known
    if unknown:
        raise InputError(f"expected the keys {', '.join(sorted(known))}, found {', '.join(sorted(unknown))}")


def _list(name: str, value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise InputError(f"{name}: expected a list, found {value!r}")
    return value


def _words(name: str, value: Any) -> tuple[str, ...]:
    words = [value] if isinstance(value, str) else _list(name, value)
    if not all(isinstance(word, str) for word in words):
        raise InputError(f"{name}: expected text, found {value!r}")
    return tuple(words)


def _among(known: tuple[str, ...]) -> Any:
    def read(name: str, value: Any) -> tuple[str, ...]:
        words = _words(name, value)
        for word in words:
            if word not in known:
                raise InputError(f"{name}: expected some of {', '.join(known)}, found {word!r}")
        return words

    return read


def _one_of(known: tuple[str, ...]) -> Any:
    return lambda name, value: _among(known)(name, [value])[0]


def _number(name: str, value: Any, least: int = 0) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise InputError(f"{name}: expected an integer of {least} or more, found {value!r}")
    return value


def _positive(name: str, value: Any) -> int:
    return _number(name, value, 1)


def _truth(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise InputError(f"{name}: expected true or false, found {value!r}")
    return value


def _size(name: str, value: Any) -> int:
    match = re.fullmatch(r"(\d+)\s*([a-zA-Z]*)", str(value))
    if match is None or match[2] not in _UNITS or isinstance(value, bool):
        raise InputError(f'{name}: expected a size such as "200 MB" (kB, MB, GB), found {value!r}')
    return int(match[1]) * _UNITS[match[2]]


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise InputError(f"{name}: expected text, found {value!r}")
    return value


def _profiles(name: str, value: Any) -> tuple[str, ...]:
    return tuple(PROFILES) if value == "*" else tuple(_among(tuple(PROFILES))(name, value))


_READERS: Mapping[str, Any] = {
    "name": _text,
    "seed": _number,
    "profiles": _profiles,
    "layout": _one_of(LAYOUTS),
    "shard_cases": _positive,
    "formats": _among(FORMATS),
    "stages": _truth,
    "budget": _size,
    "largest_case": _size,
    "negative": _among(DAMAGES),
}


def _selection(entry: Any, place: str) -> Selection:
    table = _table(entry, place, {"cells", "dtypes", "count", "options"})
    options = _table(table.get("options", {}), f"{place}: options", None)
    grid = []
    for name, value in options.items():
        values = value if isinstance(value, list) else [value]
        if not values or not all(isinstance(one, bool | int | float | str) for one in values):
            raise InputError(f"{place}: option {name}: expected numbers, words, true or false, found {value!r}")
        grid.append((name, tuple(values)))
    return Selection(
        _words(f"{place}: cells", table.get("cells", "*")),
        _words(f"{place}: dtypes", table.get("dtypes", [])),
        _number(f"{place}: count", table.get("count", 1)),
        tuple(grid),
    )


def _whole_model(entry: Any, place: str) -> WholeModel:
    table = _table(entry, place, {"path", "samples"})
    return WholeModel(
        _text(f"{place}: path", table.get("path")), _positive(f"{place}: samples", table.get("samples", 1))
    )


def _table(entry: Any, place: str, known: set[str] | None) -> Mapping[str, Any]:
    if not isinstance(entry, Mapping):
        raise InputError(f"{place}: expected a table, found {entry!r}")
    if known is not None:
        try:
            _only(entry, known)
        except QuantrefError as error:
            raise error.within(place) from None
    return entry
