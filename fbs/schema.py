"""The tables of the TensorFlow Lite schema, learned from the generated code of the ``tflite`` package.

The generated module of a table has one ``<Table>Add<Field>(builder, value)`` function and one accessor
``<Table>.<Field>()`` a field. Called with a recording builder, the first tells the field's slot, type and
default; called on a recording table, the second tells what lies behind an offset. From both follows a
:class:`Table` that :mod:`fbs.decode` and :mod:`fbs.encode` work from, so no table is spelled out by hand.
"""

from __future__ import annotations

import enum
import functools
import importlib
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np

from qmath.errors import InputError, ModelError, QuantrefError, UnsupportedError

_UNIONS = {
    "builtin_options": "BuiltinOptions",
    "builtin_options2": "BuiltinOptions2",
    "details": "QuantizationDetails",
    "array_segments": "SparseIndexVector",
    "array_indices": "SparseIndexVector",
}
"""Enumeration that numbers the members of each union, by field; accessors do not tell."""

_BULK_TABLES = frozenset(
    {"Buffer", "QuantizationParameters", "CustomQuantization", "Int32Vector", "Uint16Vector", "Uint8Vector"}
)
"""Tables whose vectors are data: they stay NumPy views on the file; vectors elsewhere are short tuples."""

_NEWER = {
    ("Tensor", 10): "external_buffer",
    ("Model", 8): "external_buffer_groups",
    ("Model", 9): "external_buffers",
    ("QuantizationDetails", 2): "BlockwiseQuantization",
    ("QuantizationDetails", 3): "MultiAxisQuantization",
    ("BuiltinOptions2", 23): "StablehloCaseOptions",
    ("BuiltinOperator", 209): "STABLEHLO_CASE",
    ("TensorType", 21): "FLOAT8_E4M3FN",
    ("TensorType", 22): "FLOAT8_E5M2",
}
"""What newer schemas call the numbers that the package does not know yet; up to LiteRT of August 2026."""


class Kind(enum.Enum):
    """What a field of a table holds."""

    SCALAR = enum.auto()
    STRING = enum.auto()
    TABLE = enum.auto()
    UNION = enum.auto()
    ARRAY = enum.auto()
    TUPLE = enum.auto()
    STRINGS = enum.auto()
    TABLES = enum.auto()


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a table.

    Attributes
    ----------
    name
        In the schema's snake case.
    slot
        Position in the vtable; for a union that of its value, the type is one before.
    kind
        What it holds.
    default
        Value when absent: a number for scalars, None for what lies behind an offset.
    dtype
        Element type of scalars and of vectors of scalars, little-endian.
    table
        Type of the sub-table or of a vector's tables; for a union the enumeration of its members.
    add, add_type
        Generated functions that store the field, and the type of a union, in a builder.

    """

    name: str
    slot: int
    kind: Kind
    default: Any
    dtype: np.dtype[Any]
    table: str
    add: Callable[[Any, Any], None]
    add_type: Callable[[Any, Any], None] | None = None


@dataclass(frozen=True, slots=True)
class Table:
    """One table of the schema.

    Attributes
    ----------
    name
        As in the schema, for example ``"Conv2DOptions"``.
    fields
        All that are not deprecated, widest scalars first: the order in which they are stored.
    slots
        Number of vtable slots that the package knows, deprecated ones included.
    defaults
        Value of each field when absent.
    start, end
        Generated functions that open and close the table in a builder.

    """

    name: str
    fields: tuple[Field, ...]
    slots: int
    defaults: Mapping[str, Any]
    start: Callable[[Any], None]
    end: Callable[[Any], int]


@functools.cache
def table(name: str) -> Table:
    """Return the description of a table.

    Raises
    ------
    InputError
        The ``tflite`` package has no such table.

    """
    generated = getattr(_generated(), name, None)
    if generated is None or not hasattr(_generated(), f"{name}Start"):
        msg = f"expected a table of the schema that tflite {version()} knows, found {name!r}"
        raise InputError(msg)
    module = vars(sys.modules[generated.__module__])
    prefix = f"{name}Add"
    found = [_field(generated, key, add) for key, add in module.items() if key.startswith(prefix)]
    fields = {field.name: field for field in found}
    for union in [field.name for field in fields.values() if field.kind is Kind.UNION]:
        del fields[f"{union}_type"]
    recorder = _Recorder()
    module[f"{name}Start"](recorder)
    by_width = sorted(fields.values(), key=lambda field: -field.dtype.itemsize)
    return Table(
        name=name,
        fields=tuple(by_width),
        slots=recorder.calls[0][1][0],
        defaults=MappingProxyType({key: field.default for key, field in fields.items()}),
        start=module[f"{name}Start"],
        end=module[f"{name}End"],
    )


@functools.cache
def members(enumeration: str) -> Mapping[int, str]:
    """Return the names of an enumeration or union of the schema by number, for example ``BuiltinOperator``."""
    values = vars(getattr(_generated(), enumeration))
    return MappingProxyType({value: name for name, value in values.items() if name[0] != "_"})


@functools.cache
def numbers(enumeration: str) -> Mapping[str, int]:
    """Return the numbers of an enumeration or union of the schema by name."""
    return MappingProxyType({name: number for number, name in members(enumeration).items()})


def unknown(owner: str, number: int, kind: str = "") -> QuantrefError:
    """Return the error for a slot or member that the package does not know.

    It is an UnsupportedError, with its name, if a newer schema has it; if none known here has it, the file is taken
    for damaged: a ModelError.
    """
    name = _NEWER.get((owner, number))
    if name is None:
        return ModelError(f"uses {kind}{owner} {number}, which no schema has that is known here")
    return UnsupportedError(
        f"uses {kind}{owner} {number} ({name}), which the schema of tflite {version()} does not know"
    )


def version() -> str:
    """Return the version of the installed ``tflite`` package."""
    return str(_generated().__version__)


@functools.cache
def _generated() -> Any:
    """Import ``tflite`` when it is first needed: it imports some 180 modules at once."""
    return importlib.import_module("tflite")


class _Recorder:
    """Stands in for a ``flatbuffers.Builder`` and notes which of its methods are called, and how."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, tuple[Any, ...]]] = []

    def __getattr__(self, method: str) -> Callable[..., None]:
        return lambda *arguments: self.calls.append((method, arguments))


class _Witness:
    """Stands in for a ``flatbuffers.table.Table`` in which every field is present, and notes what is fetched."""

    Bytes = b""
    Pos = 0

    def __init__(self) -> None:
        self.fetched = ""

    def Offset(self, _: int) -> int:  # noqa: N802 (the name is flatbuffers')
        return 4

    def Get(self, flags: Any, _: int) -> int:  # noqa: N802 (the name is flatbuffers')
        self.fetched = flags.__name__.removesuffix("Flags")
        return 0

    def String(self, _: int) -> None:  # noqa: N802 (the name is flatbuffers')
        self.fetched = "String"

    def Union(self, *_: Any) -> None:  # noqa: N802 (the name is flatbuffers')
        self.fetched = "Union"

    def Vector(self, _: int) -> int:  # noqa: N802 (the name is flatbuffers')
        return 0

    def Indirect(self, _: int) -> int:  # noqa: N802 (the name is flatbuffers')
        return 0


def _field(generated: Any, key: str, add: Callable[[Any, Any], None]) -> Field:
    """Learn one field from its Add function and its accessor."""
    owner = generated.__name__
    camel = key[len(owner) + len("Add") :]
    name = _snake(camel)
    recorder = _Recorder()
    add(recorder, 0)
    method, (slot, _, default) = recorder.calls[0]
    stored = method.removeprefix("Prepend").removesuffix("Slot")
    if stored != "UOffsetTRelative":
        dtype = _dtype(stored)
        return Field(name, slot, Kind.SCALAR, dtype.type(default).item(), dtype, "", add)
    witness = _Witness()
    holder = generated()
    holder._tab = witness  # noqa: SLF001 (generated classes offer no other way to look through their eyes)
    is_vector = hasattr(generated, f"{camel}Length")
    found = getattr(holder, camel)(*([0] if is_vector else []))
    offset = np.dtype("<u4")
    match witness.fetched:
        case "String":
            return Field(name, slot, Kind.STRINGS if is_vector else Kind.STRING, None, offset, "", add)
        case "Union":
            add_type = vars(sys.modules[generated.__module__])[f"{key}Type"]
            return Field(name, slot, Kind.UNION, None, offset, _UNIONS[name], add, add_type)
        case "":
            return Field(name, slot, Kind.TABLES if is_vector else Kind.TABLE, None, offset, type(found).__name__, add)
        case scalar:
            kind = Kind.ARRAY if owner in _BULK_TABLES else Kind.TUPLE
            return Field(name, slot, kind, None, _dtype(scalar), "", add)


def _dtype(scalar: str) -> np.dtype[Any]:
    return np.dtype(scalar.lower()).newbyteorder("<")


def _snake(camel: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", camel).lower()
