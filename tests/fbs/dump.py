"""All that the generated accessors of the ``tflite`` package see in a file: a second opinion on the codec."""

from __future__ import annotations

from typing import Any

import flatbuffers
import numpy as np
import tflite

_UNIONS = {
    "BuiltinOptions": tflite.BuiltinOptions,
    "BuiltinOptions2": tflite.BuiltinOptions2,
    "Details": tflite.QuantizationDetails,
    "ArraySegments": tflite.SparseIndexVector,
    "ArrayIndices": tflite.SparseIndexVector,
}
#: Where the runtime makes no difference between absent and empty, nor should a comparison.
_EMPTY_IS_ABSENT = frozenset({"Name", "Description", "CustomCode", "Intermediates", "MutatingVariableInputs"}) | {
    "Shape",
    "Inputs",
    "Outputs",
    "VariantTensors",
    "SignatureDefs",
    "Metadata",
    "MetadataBuffer",
}
_HELPERS = ("AsNumpy", "Length", "IsNone")


def dump(data: bytes) -> Any:
    """Return a model as nested tuples."""
    return _table(tflite.Model.GetRootAs(data, 0))


def _table(table: Any) -> tuple[Any, ...]:
    owner = type(table).__name__
    found = []
    for name in vars(type(table)):
        if not name[0].isupper() or name == "Init" or name.startswith("GetRootAs") or "BufferHas" in name:
            continue
        if name.endswith(_HELPERS) and any(hasattr(type(table), name.removesuffix(end)) for end in _HELPERS):
            continue
        if owner == "OperatorCode" and "Builtin" in name:
            found.append(("code", _operator_code(table)))
            continue
        value = _field(table, name)
        found.append((name, None if not value and name in _EMPTY_IS_ABSENT else value))
    return (owner, *found)


def _operator_code(table: Any) -> int:
    # The package's BuiltinCode() is no plain accessor: it overlooks codes that are in the newer field alone.
    place = table._tab.Offset(10)
    code = table._tab.Get(flatbuffers.number_types.Int32Flags, place + table._tab.Pos) if place else 0
    return max(code, table.DeprecatedBuiltinCode())


def _field(table: Any, name: str) -> Any:
    if hasattr(table, f"{name}Length"):
        return None if getattr(table, f"{name}IsNone")() else _vector(table, name)
    value = getattr(table, name)()
    if not isinstance(value, flatbuffers.table.Table):
        return _value(value)
    kind = getattr(table, f"{name}Type")()
    member = next(key for key, number in vars(_UNIONS[name]).items() if number == kind and key[0] != "_")
    if member == "NONE":
        return None
    inner = getattr(tflite, member)()
    inner.Init(value.Bytes, value.Pos)
    return _table(inner)


def _vector(table: Any, name: str) -> tuple[Any, ...]:
    count = getattr(table, f"{name}Length")()
    if count and hasattr(table, f"{name}AsNumpy"):
        array = getattr(table, f"{name}AsNumpy")()
        return array.dtype.str, array.tobytes()
    return tuple(_value(getattr(table, name)(index)) for index in range(count))


def _value(value: Any) -> Any:
    if isinstance(value, float):
        return np.float64(value).tobytes()
    if value is None or isinstance(value, bytes | bool | int):
        return value
    return _table(value)
