"""Any table of the schema from bytes, every access checked: a damaged file raises ModelError, never more.

The generated accessors of the ``tflite`` package follow whatever offset they find, so they cannot be used
on bytes that nobody vouches for. :class:`Decoder` follows the same descriptions (:mod:`fbs.schema`) and
checks each offset, vtable and length against the file before it looks there.

A table comes back as a dict by snake-case field name, defaults filled in; a union as ``(member, dict)``.
Flatbuffers may share tables and vectors, so a few bytes could stand for endless data: what one file may
unfold to is bounded by :data:`MAX_UNFOLDING` times its size.

The layout of vtables, tables and vectors follows https://flatbuffers.dev/internals.
"""

from __future__ import annotations

import functools
import struct
from typing import Any, TypeAlias

import numpy as np

from fbs import schema
from fbs.schema import Field, Kind, Table
from qmath.errors import ModelError, QuantrefError

Record: TypeAlias = dict[str, Any]

#: Tables and vectors may unfold to this many times the file's size; files share little, damaged ones a lot.
MAX_UNFOLDING = 4
#: Tables in one file, as in LiteRT's own check; no model comes near it.
MAX_TABLES = 1_000_000
_SLACK = 4096
_TABLE_COST = 64  # a table in memory takes more than its bytes in the file, however few they are
_U32 = struct.Struct("<I").unpack_from
_I32 = struct.Struct("<i").unpack_from
_U16_PAIR = struct.Struct("<HH").unpack_from


class Decoder:
    """Reads tables out of one buffer.

    Parameters
    ----------
    data
        The whole flatbuffer, read-only.

    """

    def __init__(self, data: memoryview) -> None:
        self._data = data
        self._size = len(data)
        self._allowance = MAX_UNFOLDING * self._size + _SLACK
        self._tables = 0
        self._layouts: dict[tuple[int, str], tuple[int, tuple[tuple[Field, int, int], ...]]] = {}
        #: Where what has been read so far ends; nothing that the file refers to lies behind it.
        self.end = 0

    def root(self, table: Table) -> Record:
        """Return the root table."""
        return self.table(table, self._follow(0))

    def outside(self, offset: int, size: int) -> memoryview:
        """Return bytes that lie behind the flatbuffer, counted from the start of the file.

        Raises
        ------
        ModelError
            There are fewer.

        """
        self._check(offset, size, "data behind the flatbuffer")
        return self._data[offset : offset + size]

    def table(self, table: Table, position: int) -> Record:
        """Return the table at a position.

        Raises
        ------
        ModelError
            Something lies outside of the buffer, is not UTF-8, unfolds to more than the file could hold, or is a field
            or a member of a union that no schema has.
        UnsupportedError
            The table has a field, or a union a member, of a schema that is newer than the ``tflite`` package. What
            lies behind an unknown field cannot be kept: the format does not say how long it is.

        """
        self._check(position, 4, "a table")
        vtable = position - _I32(self._data, position)[0]
        layout = self._layouts.get((vtable, table.name))
        if layout is None:
            layout = self._layouts[vtable, table.name] = self._layout(table, vtable)
        size, fields = layout
        self._check(position, size, "a table")
        self._spend(size + _TABLE_COST)
        self._tables += 1
        if self._tables > MAX_TABLES:
            msg = f"expected at most {MAX_TABLES} tables, found more"
            raise ModelError(msg)
        record = dict(table.defaults)
        name = ""
        try:
            for field, offset, type_offset in fields:
                name = field.name
                record[name] = self._field(field, position + offset, position + type_offset)
        except QuantrefError as error:
            raise error.within(name) from None
        return record

    def _layout(self, table: Table, vtable: int) -> tuple[int, tuple[tuple[Field, int, int], ...]]:
        """Return a table's size and the place of each field that a vtable says is present."""
        self._check(vtable, 4, "a vtable")
        vtable_size, size = _U16_PAIR(self._data, vtable)
        self._check(vtable, vtable_size, "a vtable")
        if vtable_size < 4 or vtable_size % 2 or size < 4:
            msg = f"expected a vtable of whole slots, found one of {vtable_size} bytes for a table of {size}"
            raise ModelError(msg)
        offsets = struct.unpack_from(f"<{vtable_size // 2 - 2}H", self._data, vtable + 4)
        for slot in range(table.slots, len(offsets)):
            if offsets[slot]:
                raise schema.unknown(table.name, slot, "field ")
        fields = []
        for field in table.fields:
            offset = offsets[field.slot] if field.slot < len(offsets) else 0
            if not offset:
                continue
            width = field.dtype.itemsize if field.kind is Kind.SCALAR else 4
            if offset < 4:
                msg = f"expected field {field.name} behind the offset of the vtable, found it at {offset}"
                raise ModelError(msg)
            # Some writers let tables of different sizes share a vtable, so a field may lie beyond the size it gives.
            size = max(size, offset + width)
            type_offset = offsets[field.slot - 1] if field.kind is Kind.UNION else 0
            size = max(size, type_offset + 1)
            fields.append((field, offset, type_offset))
        return size, tuple(fields)

    def _field(self, field: Field, position: int, type_position: int) -> Any:
        match field.kind:
            case Kind.SCALAR:
                return _scalar(field.dtype.str)(self._data, position)[0]
            case Kind.STRING:
                return self._string(self._follow(position))
            case Kind.TABLE:
                return self.table(schema.table(field.table), self._follow(position))
            case Kind.UNION:
                return self._union(field, position, type_position)
            case Kind.ARRAY | Kind.TUPLE:
                return self._numbers(field, self._follow(position))
            case Kind.STRINGS | Kind.TABLES:
                return self._vector(field, self._follow(position))

    def _union(self, field: Field, position: int, type_position: int) -> tuple[str, Record] | None:
        # A union's type lies one slot before its value; at the table's own position it is absent: NONE.
        number = self._data[type_position] if type_position else 0
        names = schema.members(field.table)
        if number not in names:
            raise schema.unknown(field.table, number)
        if names[number] == "NONE":
            return None
        return names[number], self.table(schema.table(names[number]), self._follow(position))

    def _vector(self, field: Field, position: int) -> list[Any]:
        start, count = self._extent(position, 4, field.name)
        self._spend(4 * count)
        items: list[Any] = []
        try:
            for index in range(count):
                item = self._follow(start + 4 * index)
                if field.kind is Kind.STRINGS:
                    items.append(self._string(item))
                else:
                    items.append(self.table(schema.table(field.table), item))
        except QuantrefError as error:
            raise error.within(f"[{len(items)}]") from None
        return items

    def _numbers(self, field: Field, position: int) -> Any:
        start, count = self._extent(position, field.dtype.itemsize, field.name)
        if field.name != "data":  # a buffer's bytes cost nothing until they are used; all else is looked through
            self._spend(field.dtype.itemsize * count)
        if field.kind is Kind.ARRAY:
            return np.frombuffer(self._data, field.dtype, count, start) if count else np.empty(0, field.dtype)
        if field.dtype.itemsize == 1 and field.dtype.kind == "u":
            return bytes(self._data[start : start + count])
        return struct.unpack_from(f"<{count}{_code(field.dtype.str)}", self._data, start)

    def _string(self, position: int) -> str:
        start, count = self._extent(position, 1, "a string")
        self._spend(count)
        raw = bytes(self._data[start : start + count])
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError as error:
            msg = f"expected UTF-8 text, found {raw[:40]!r} ({error.reason} at {error.start})"
            raise ModelError(msg) from None

    def _extent(self, position: int, width: int, what: str) -> tuple[int, int]:
        """Return where the elements of a vector start, and their number."""
        self._check(position, 4, f"the length of {what}")
        count = _U32(self._data, position)[0]
        self._check(position + 4, count * width, f"{what} ({count} elements of {width} bytes)")
        return position + 4, count

    def _follow(self, position: int) -> int:
        self._check(position, 4, "an offset")
        return position + int(_U32(self._data, position)[0])

    def _check(self, position: int, size: int, what: str) -> None:
        if position < 0 or position + size > self._size:
            msg = f"expected {what} within the file's {self._size} bytes, found bytes {position} to {position + size}"
            raise ModelError(msg)
        self.end = max(self.end, position + size)

    def _spend(self, size: int) -> None:
        self._allowance -= size
        if self._allowance < 0:
            msg = f"expected tables that unfold to at most {MAX_UNFOLDING} times the file's {self._size} bytes"
            raise ModelError(f"{msg}, found more: tables or vectors share their bytes")


@functools.cache
def _code(dtype: str) -> str:
    """Return the struct module's letter for an element type."""
    return np.dtype(dtype).char if np.dtype(dtype).itemsize < 8 else {"i": "q", "u": "Q", "f": "d"}[dtype[1]]


@functools.cache
def _scalar(dtype: str) -> Any:
    return struct.Struct(f"<{_code(dtype)}").unpack_from
