"""Options of custom ops: a FlexBuffers map of plain scalars, from its bytes.

Only what options of custom ops hold is read: a map whose values are numbers and booleans; other values are left out.

Source: the FlexBuffers format, https://flatbuffers.dev/internals (FlexBuffers).
"""

from __future__ import annotations

import struct
from collections.abc import Mapping

from qmath.errors import ModelError

#: Types of values, in the upper six bits of a type byte; the lower two hold the width.
_INT, _UINT, _FLOAT, _MAP, _BOOL = 1, 2, 3, 9, 26
_INDIRECT = {6: _INT, 7: _UINT, 8: _FLOAT}
_FORMATS = {
    _INT: {1: "<b", 2: "<h", 4: "<i", 8: "<q"},
    _UINT: {1: "<B", 2: "<H", 4: "<I", 8: "<Q"},
    _FLOAT: {2: "<e", 4: "<f", 8: "<d"},
    _BOOL: {1: "<?", 2: "<H", 4: "<I", 8: "<Q"},
}


def scalars(data: bytes) -> Mapping[str, float | int | bool]:
    """Return the numbers and booleans of a map by name; nothing if the bytes hold something else than a map.

    Raises
    ------
    ModelError
        The bytes point outside of themselves.

    """
    if len(data) < 3 or data[-2] >> 2 != _MAP:
        return {}
    try:
        return _read_map(data, len(data) - 2 - data[-1], data[-1], 1 << (data[-2] & 3))
    except (struct.error, ValueError, UnicodeDecodeError) as error:
        raise ModelError(f"expected custom options that are a FlexBuffers map, found {data.hex()}") from error


def _read_map(data: bytes, root: int, root_width: int, width: int) -> dict[str, float | int | bool]:
    start = root - _unsigned(data, root, root_width)
    count, key_width = _unsigned(data, start - width, width), _unsigned(data, start - 2 * width, width)
    keys = start - 3 * width - _unsigned(data, start - 3 * width, width)
    if start + count * (width + 1) > len(data):
        raise ValueError(count)
    found = {}
    for number in range(count):
        at, kind = start + number * width, data[start + count * width + number]
        value = _scalar(data, at, width, kind)
        if value is not None:
            key = keys + number * key_width
            found[_text(data, key - _unsigned(data, key, key_width))] = value
    return found


def _scalar(data: bytes, at: int, width: int, kind: int) -> float | int | bool | None:
    """Return a value that lies in the map, or where the map points to; None if it is no scalar."""
    base, own = kind >> 2, 1 << (kind & 3)
    if base in _INDIRECT:
        at, width, base = at - _unsigned(data, at, width), own, _INDIRECT[base]
    if width not in _FORMATS.get(base, {}):
        return None
    value = _unpack(data, at, _FORMATS[base][width], width)
    return bool(value) if base == _BOOL else value


def _unsigned(data: bytes, at: int, width: int) -> int:
    if width not in _FORMATS[_UINT]:
        raise ValueError(width)
    return int(_unpack(data, at, _FORMATS[_UINT][width], width))


def _unpack(data: bytes, at: int, layout: str, width: int) -> float | int | bool:
    if at < 0:
        raise ValueError(at)
    value: float | int | bool = struct.unpack(layout, data[at : at + width])[0]
    return value


def _text(data: bytes, at: int) -> str:
    if at < 0:
        raise ValueError(at)
    return data[at : data.index(0, at)].decode()
