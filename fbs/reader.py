"""From a .tflite file, or its bytes, to a :class:`~fbs.model.Model`. Weights stay views on the mapped file."""

from __future__ import annotations

import mmap
import os
import stat
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from fbs import schema
from fbs.decode import Decoder, Record
from fbs.model import (
    Buffer,
    Metadata,
    Model,
    Operator,
    OperatorCode,
    Quantization,
    Signature,
    Subgraph,
    Tensor,
    VariantSubType,
)
from fbs.options import Options
from fbs.sparsity import DimensionMetadata, Sparsity
from qmath.errors import InputError, ModelError, QuantrefError, UnsupportedError
from qmath.types import Array, DType

IDENTIFIER = b"TFL3"
SCHEMA_VERSION = 3
_T = TypeVar("_T")


def read(source: str | os.PathLike[str] | bytes | bytearray | memoryview | mmap.mmap | Array) -> Model:
    """Read a model.

    Parameters
    ----------
    source
        Path of a file, or its bytes, or anything else that offers bytes. A file is mapped into memory. Neither it nor
        the bytes may change while the model is in use; a file may be deleted, or replaced by another.

    Returns
    -------
    Model
        All that the file says. Whether it makes sense is for :func:`fbs.validate` to say.

    Raises
    ------
    ModelError
        The file is damaged.
    UnsupportedError
        The file uses something of a newer schema; the message names it.
    InputError
        There is no such file, it cannot be read, or ``source`` is neither a path nor bytes.

    """
    if not isinstance(source, str | os.PathLike):
        return _model(_bytes(source), None)
    path = Path(source)
    try:
        return _model(_map(path), path)
    except QuantrefError as error:
        raise error.within(str(path)) from None


def _bytes(source: object) -> memoryview:
    """Return the bytes that an object offers; a copy only where they do not lie one after the other."""
    try:
        view = memoryview(source)  # type: ignore[arg-type]
    except TypeError:
        msg = f"expected the path or the bytes of a file, found an object of type {type(source).__name__}"
        raise InputError(msg) from None
    try:
        return view.toreadonly().cast("B")
    except (TypeError, ValueError):
        return memoryview(view.tobytes())


def _map(path: Path) -> memoryview:
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # opening a pipe could wait for ever
            raise InputError("expected a file, found " + ("a directory" if stat.S_ISDIR(status.st_mode) else "none"))
        with path.open("rb") as file:
            if status.st_size == 0:
                return memoryview(b"")
            return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    except OSError as error:
        msg = f"expected a readable file, found: {error.strerror or error}"
        raise InputError(msg) from error
    except ValueError as error:  # a path that no file can have, or a file that was emptied in between
        msg = f"expected a readable file, found: {error}"
        raise InputError(msg) from error


def _model(data: memoryview, path: Path | None) -> Model:
    if len(data) < 8 or data[4:8] != IDENTIFIER:
        found = f"{bytes(data[4:8])!r}" if len(data) >= 8 else f"a file of {len(data)} bytes"
        msg = f"expected a TensorFlow Lite model with the identifier {IDENTIFIER!r} at byte 4, found {found}"
        raise ModelError(msg)
    decoder = Decoder(data)
    record = decoder.root(schema.table("Model"))
    if record["version"] != SCHEMA_VERSION:
        msg = f"expected version {SCHEMA_VERSION} of the schema, found {record['version']}"
        raise UnsupportedError(msg)
    buffers = _each("buffer", record["buffers"], lambda item: _buffer(item, decoder))
    codes = _each("operator code", record["operator_codes"], _operator_code)
    return Model(
        subgraphs=_each("subgraph", record["subgraphs"], lambda item: _subgraph(item, buffers, codes, decoder)),
        operator_codes=codes,
        buffers=buffers,
        metadata=_each("metadata", record["metadata"], lambda item: _metadata(item, buffers)),
        metadata_buffer=_metadata_buffers(record["metadata_buffer"] or (), buffers),
        signatures=_each("signature", record["signature_defs"], _signature),
        description=record["description"] or "",
        version=record["version"],
        appended=bytes(data[decoder.end :]).lstrip(b"\0"),
        path=path,
    )


def _each(what: str, records: Sequence[Record] | None, build: Callable[[Record], _T]) -> tuple[_T, ...]:
    """Build one object a record; an error says which one it came from."""
    built: list[_T] = []
    try:
        built.extend(build(record) for record in records or ())
    except QuantrefError as error:
        raise error.within(f"{what} {len(built)}") from None
    return tuple(built)


def _pick(items: Sequence[_T], index: int, what: str) -> _T:
    if not 0 <= index < len(items):
        msg = f"expected the index of one of {len(items)} {what}s, found {index}"
        raise ModelError(msg)
    return items[index]


def _buffer(record: Record, decoder: Decoder) -> Buffer:
    if record["data"] is None and record["offset"] > 1:
        outside = decoder.outside(record["offset"], record["size"])
        return Buffer(np.frombuffer(outside, np.uint8), outside=True)
    return Buffer(record["data"])


def _operator_code(record: Record) -> OperatorCode:
    # Codes below 127 used to be stored in a byte of their own; the runtime takes the larger of the two.
    number = max(record["builtin_code"], record["deprecated_builtin_code"])
    name = schema.members("BuiltinOperator").get(number)
    if name is None:
        raise schema.unknown("BuiltinOperator", number)
    return OperatorCode(name, record["version"], record["custom_code"] or "")


def _subgraph(record: Record, buffers: Sequence[Buffer], codes: Sequence[OperatorCode], decoder: Decoder) -> Subgraph:
    return Subgraph(
        tensors=_each("tensor", record["tensors"], lambda item: _tensor(item, buffers)),
        operators=_each("operator", record["operators"], lambda item: _operator(item, codes, decoder)),
        inputs=record["inputs"] or (),
        outputs=record["outputs"] or (),
        name=record["name"] or "",
        debug_metadata_index=record["debug_metadata_index"],
    )


def _tensor(record: Record, buffers: Sequence[Buffer]) -> Tensor:
    quantization, sparsity = record["quantization"], record["sparsity"]
    variants = _each("variant tensor", record["variant_tensors"], _variant)
    return Tensor(
        name=record["name"] or "",
        dtype=_dtype(record["type"]),
        shape=record["shape"] or (),
        buffer=_pick(buffers, record["buffer"], "buffer"),
        quantization=None if quantization is None else _quantization(quantization),
        is_variable=record["is_variable"],
        shape_signature=record["shape_signature"],
        sparsity=None if sparsity is None else _sparsity(sparsity),
        has_rank=record["has_rank"],
        variant_tensors=variants,
    )


def _dtype(number: int) -> DType:
    try:
        return DType(number)
    except ValueError:
        raise schema.unknown("TensorType", number) from None


def _quantization(record: Record) -> Quantization:
    details = record["details"]
    return Quantization(
        min=record["min"],
        max=record["max"],
        scale=record["scale"],
        zero_point=record["zero_point"],
        quantized_dimension=record["quantized_dimension"],
        custom=None if details is None else bytes(() if details[1]["custom"] is None else details[1]["custom"]),
    )


def _sparsity(record: Record) -> Sparsity:
    levels = record["dim_metadata"]
    return Sparsity(
        traversal_order=record["traversal_order"],
        block_map=record["block_map"],
        dim_metadata=None if levels is None else _each("dimension", levels, _dimension),
    )


def _dimension(record: Record) -> DimensionMetadata:
    return DimensionMetadata(
        format=record["format"],
        dense_size=record["dense_size"],
        array_segments=_index_vector(record["array_segments"]),
        array_indices=_index_vector(record["array_indices"]),
    )


def _index_vector(union: tuple[str, Record] | None) -> Array | None:
    return None if union is None else union[1]["values"]


def _variant(record: Record) -> VariantSubType:
    return VariantSubType(record["shape"] or (), _dtype(record["type"]), record["has_rank"])


def _operator(record: Record, codes: Sequence[OperatorCode], decoder: Decoder) -> Operator:
    custom_options: bytes | None = record["custom_options"]
    outside = custom_options is None and record["large_custom_options_offset"] > 1
    if outside:
        offset, size = record["large_custom_options_offset"], record["large_custom_options_size"]
        custom_options = bytes(decoder.outside(offset, size))
    return Operator(
        code=_pick(codes, record["opcode_index"], "operator code"),
        inputs=record["inputs"] or (),
        outputs=record["outputs"] or (),
        options=_options(record["builtin_options"]),
        options_2=_options(record["builtin_options2"]),
        custom_options=custom_options,
        custom_options_format=record["custom_options_format"],
        custom_options_outside=outside,
        intermediates=record["intermediates"] or (),
        mutating_variable_inputs=record["mutating_variable_inputs"] or (),
        debug_metadata_index=record["debug_metadata_index"],
    )


def _options(union: tuple[str, Record] | None) -> Options | None:
    return None if union is None else Options(*union)


def _metadata_buffers(indices: Sequence[int], buffers: Sequence[Buffer]) -> tuple[Buffer, ...]:
    try:
        return tuple(_pick(buffers, index, "buffer") for index in indices)
    except QuantrefError as error:
        raise error.within("metadata_buffer") from None


def _metadata(record: Record, buffers: Sequence[Buffer]) -> Metadata:
    return Metadata(record["name"] or "", _pick(buffers, record["buffer"], "buffer"))


def _signature(record: Record) -> Signature:
    return Signature(
        key=record["signature_key"] or "",
        inputs=_names(record["inputs"]),
        outputs=_names(record["outputs"]),
        subgraph_index=record["subgraph_index"],
    )


def _names(maps: list[dict[str, Any]] | None) -> tuple[tuple[str, int], ...]:
    return tuple((item["name"] or "", item["tensor_index"]) for item in maps or ())
