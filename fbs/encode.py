"""Any table of the schema into a ``flatbuffers.Builder``: the mirror of :mod:`fbs.decode`."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Any

import flatbuffers
import numpy as np

from fbs import schema
from fbs.schema import Field, Kind, Table
from qmath.errors import InputError

_ALIGNMENT = 16  # of byte vectors: the schema wants it of buffers, so that weights can be used in place


def table(builder: flatbuffers.Builder, description: Table, record: Mapping[str, Any]) -> int:
    """Write one table and all it refers to; return its offset in the builder.

    Parameters
    ----------
    builder
        Where to write.
    description
        The table's description.
    record
        Values by field name. What is missing takes its default; None leaves out what may be absent.

    Raises
    ------
    InputError
        A field is unknown, or its value does not fit its type.

    """
    unknown = set(record) - set(description.defaults)
    if unknown:
        msg = f"expected fields of {description.name} ({', '.join(description.defaults)}), found {sorted(unknown)}"
        raise InputError(msg)
    offsets: dict[str, Any] = {}
    for field in description.fields:
        value = record.get(field.name)
        if field.kind is not Kind.SCALAR and value is not None:
            offsets[field.name] = _checked(_child, builder, description, field, value)
    description.start(builder)
    for field in description.fields:
        value = record.get(field.name)
        if value is None:
            continue
        if field.kind is Kind.SCALAR:
            _checked(_scalar, builder, description, field, value)
            continue
        if field.add_type is not None:
            field.add_type(builder, schema.numbers(field.table)[value[0]])
        field.add(builder, offsets[field.name])
    return description.end(builder)


def _checked(write: Any, builder: flatbuffers.Builder, owner: Table, field: Field, value: Any) -> Any:
    """Write a field's value; what flatbuffers or NumPy say about a bad one becomes an InputError."""
    try:
        return write(builder, field, value)
    except InputError as error:  # of a table inside, which said what is wrong
        raise (error if field.kind is Kind.TABLES else error.within(field.name)) from None
    except (TypeError, ValueError, OverflowError, KeyError, struct.error) as error:
        kind = field.kind.name.lower()
        what = f"{owner.name}.{field.name} to be a {field.table or field.dtype.name} {kind}"
        msg = f"expected {what}, found {value!r:.80} ({error})"
        raise InputError(msg) from error


def _scalar(builder: flatbuffers.Builder, field: Field, value: Any) -> None:
    if field.dtype.kind == "f":
        field.add(builder, float(value))
        return
    number = int(value)
    if number != value:
        msg = "not a whole number"
        raise ValueError(msg)
    field.add(builder, number)


def _child(builder: flatbuffers.Builder, field: Field, value: Any) -> int:
    match field.kind:
        case Kind.STRING:
            return int(builder.CreateString(value))
        case Kind.TABLE:
            return table(builder, schema.table(field.table), value)
        case Kind.UNION:
            return table(builder, schema.table(value[0]), value[1])
        case Kind.STRINGS:
            return _offset_vector(builder, [builder.CreateString(item) for item in value])
        case Kind.TABLES:
            return _table_vector(builder, field, value)
        case _:
            return _number_vector(builder, field, value)


def _table_vector(builder: flatbuffers.Builder, field: Field, records: Sequence[Mapping[str, Any]]) -> int:
    description = schema.table(field.table)
    offsets: list[int] = []
    try:
        offsets.extend(table(builder, description, record) for record in records)
    except InputError as error:
        raise error.within(f"{field.name}[{len(offsets)}]") from None
    return _offset_vector(builder, offsets)


def _offset_vector(builder: flatbuffers.Builder, offsets: list[int]) -> int:
    builder.StartVector(4, len(offsets), 4)
    for offset in reversed(offsets):
        builder.PrependUOffsetTRelative(offset)
    return int(builder.EndVector())


def _number_vector(builder: flatbuffers.Builder, field: Field, value: Any) -> int:
    if field.dtype.itemsize == 1 and field.dtype.kind == "u":
        raw = bytes(value)
        builder.Prep(_ALIGNMENT, len(raw))
        return int(builder.CreateByteVector(raw))
    numbers = np.asarray(value if isinstance(value, np.ndarray) else list(value), field.dtype)
    return int(builder.CreateNumpyVector(numbers))
