"""Builtin options of operators: one immutable mapping for every op, by the schema's field names.

Which fields a table of options has, their types and defaults, comes from :mod:`fbs.schema`; that an op
called ``X`` has options ``XOptions`` is the schema's habit, and :data:`_NAMED_OTHERWISE` lists where it
breaks it (compare ``tflite/core/api/flatbuffer_conversions.cc``).
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from typing import Any

from fbs import schema
from fbs.schema import Kind
from qmath.errors import InputError

_NAMED_OTHERWISE = {
    "AVERAGE_POOL_2D": "Pool2DOptions",
    "MAX_POOL_2D": "Pool2DOptions",
    "L2_POOL_2D": "Pool2DOptions",
    "L2_NORMALIZATION": "L2NormOptions",
    "MAXIMUM": "MaximumMinimumOptions",
    "MINIMUM": "MaximumMinimumOptions",
    "MEAN": "ReducerOptions",
    "SUM": "ReducerOptions",
    "REDUCE_ALL": "ReducerOptions",
    "REDUCE_ANY": "ReducerOptions",
    "REDUCE_MAX": "ReducerOptions",
    "REDUCE_MIN": "ReducerOptions",
    "REDUCE_PROD": "ReducerOptions",
    "RANDOM_UNIFORM": "RandomOptions",
    "RANDOM_STANDARD_NORMAL": "RandomOptions",
    "MULTINOMIAL": "RandomOptions",
    "UNIDIRECTIONAL_SEQUENCE_RNN": "SequenceRNNOptions",
    "CONV_3D_TRANSPOSE": "Conv3DOptions",
}


class Options(Mapping[str, Any]):
    """The options of one operator: an immutable, hashable mapping with every field of its table.

    Numbers are Python numbers, enumerations integers, vectors tuples, vectors of bytes ``bytes``; strings
    and vectors that are absent are None.

    Parameters
    ----------
    table
        Name of the schema's table, for example ``"Conv2DOptions"``.
    values
        Some of its fields; the rest takes the schema's defaults.

    Raises
    ------
    InputError
        The schema has no such table or field.

    """

    __slots__ = ("_table", "_values")

    def __init__(self, table: str, values: Mapping[str, Any] | None = None) -> None:
        description = schema.table(table)
        given = dict(values or {})
        unknown = sorted(set(given) - set(description.defaults))
        if unknown:
            known = ", ".join(description.defaults) or "none"
            msg = f"expected options of {table} ({known}), found {', '.join(unknown)}"
            raise InputError(msg)
        for field in description.fields:
            if field.kind in {Kind.TUPLE, Kind.STRINGS} and given.get(field.name) is not None:
                freeze = bytes if field.dtype.str == "|u1" else tuple
                given[field.name] = freeze(given[field.name])
        self._table = table
        self._values = {**description.defaults, **given}

    @property
    def table(self) -> str:
        """Name of the schema's table."""
        return self._table

    def replace(self, **changes: Any) -> Options:
        """Return a copy with some fields changed."""
        return Options(self._table, {**self._values, **changes})

    def __getitem__(self, name: str) -> Any:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __eq__(self, other: object) -> bool:
        """Compare the table and every field."""
        if not isinstance(other, Options):
            return NotImplemented
        return self._table == other._table and self._values == other._values

    def __hash__(self) -> int:
        """Hash what ``==`` compares."""
        return hash((self._table, tuple(self._values.items())))

    def __repr__(self) -> str:
        """Return the expression that makes an equal value."""
        return f"Options({self._table!r}, {self._values!r})"


@functools.cache
def table_of(operator: str) -> str | None:
    """Return the name of a builtin operator's table of options, or None if the schema has none for it."""
    return _NAMED_OTHERWISE.get(operator) or _tables().get(f"{operator.replace('_', '')}OPTIONS")


def in_second_union(table: str) -> bool:
    """Whether a table of options belongs to BuiltinOptions2, where the schema's first union is full."""
    return table in schema.numbers("BuiltinOptions2")


@functools.cache
def defaults_of(operator: str) -> Mapping[str, Any]:
    """Return an operator's options as the schema has them by default; empty if it has none."""
    table = table_of(operator)
    return Options(table) if table else {}


@functools.cache
def _tables() -> Mapping[str, str]:
    """Return the names of all tables of options by their upper-case form."""
    names = [*schema.numbers("BuiltinOptions"), *schema.numbers("BuiltinOptions2")]
    return {name.upper(): name for name in names if name != "NONE"}
