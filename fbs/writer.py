"""From a :class:`~fbs.model.Model` to the bytes of a .tflite file, or to a file at once and whole."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Generic, TypeVar

import flatbuffers
from flatbuffers.builder import BuilderSizeError

from fbs import encode, schema
from fbs.files import replacing
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
)
from fbs.options import Options
from fbs.reader import IDENTIFIER
from fbs.sparsity import DimensionMetadata, Sparsity
from qmath.errors import InputError, QuantrefError
from qmath.types import Array

#: Above this many bytes of buffers a flatbuffer could pass its limit of 2 GB, and buffers go behind it.
LARGEST_INSIDE = 2_000_000_000
_ALIGNMENT = 16  # of buffers behind the flatbuffer, as of those in it
_PLACEHOLDER_OFFSET = 16  # an offset counts if it is above 1
_LAST_SHORT_CODE = 127  # codes from here on do not fit the deprecated one-byte field
_T = TypeVar("_T")
_INDEX_TABLES = {"int32": "Int32Vector", "uint16": "Uint16Vector", "uint8": "Uint8Vector"}


def write(model: Model) -> bytes:
    """Return a model as the bytes of a .tflite file.

    Reading them gives an equal model. Buffers and operator codes that the model uses but does not list are
    added to the lists. Buffers are aligned to 16 bytes; those marked as outside, or all where they pass
    :data:`LARGEST_INSIDE` together, lie behind the flatbuffer.

    Raises
    ------
    InputError
        Something does not fit its field in the file.

    """
    return b"".join(_pieces(model))


def _pieces(model: Model) -> Iterator[bytes | memoryview]:
    """Yield a file piece by piece, so that a large one need not be copied."""
    if not isinstance(model, Model):
        msg = f"expected a fbs.Model to write, found an object of type {type(model).__name__}"
        raise InputError(msg)
    flatbuffer, behind = _Writer(model, _PLACEHOLDER_OFFSET).finish()
    if behind:
        # Offsets have a fixed width, so the second pass gives the same layout with the offsets filled in.
        flatbuffer, behind = _Writer(model, _aligned(len(flatbuffer))).finish()
    yield flatbuffer
    written = len(flatbuffer)
    for piece in behind:
        yield bytes(_aligned(written) - written)
        yield piece if isinstance(piece, bytes) else piece.data
        written = _aligned(written) + len(piece)
    if model.appended:
        yield model.appended


def save(model: Model, path: str | os.PathLike[str]) -> None:
    """Write a model to a file, which appears whole or not at all.

    Raises
    ------
    InputError
        The model does not fit the format, or the file cannot be written.

    """
    if not isinstance(path, str | os.PathLike):
        msg = f"expected the path of a file to write, found an object of type {type(path).__name__}"
        raise InputError(msg)
    try:
        pieces = list(_pieces(model))
    except QuantrefError as error:
        raise error.within(os.fspath(path)) from None
    try:
        with replacing(path) as draft, draft.open("xb") as file:
            file.writelines(pieces)
    except OSError as error:
        msg = f"{os.fspath(path)}: expected a file that can be written, found: {error.strerror or error}"
        raise InputError(msg) from error


class _Writer:
    """Numbers a model's buffers and operator codes, and builds one flatbuffer from it."""

    def __init__(self, model: Model, outside_from: int) -> None:
        self._model = model
        has_sentinel = model.buffers and model.buffers[0].data is None
        self._buffers = _Numbering(model.buffers if has_sentinel else (Buffer(), *model.buffers), _sentinel)
        self._codes = _Numbering(model.operator_codes, _equal_code)
        self._behind: list[bytes | Array] = []
        self._next_outside = outside_from

    def finish(self) -> tuple[bytes, list[bytes | Array]]:
        """Return the flatbuffer, and what is to follow it, in order, each piece aligned."""
        record = self._record()
        size = sum(item["data"].size for item in record["buffers"] if item.get("data") is not None)
        builder = flatbuffers.Builder(min(size + size // 8 + 65536, LARGEST_INSIDE))
        try:
            root = encode.table(builder, schema.table("Model"), record)
            builder.Finish(root, file_identifier=IDENTIFIER)
        except BuilderSizeError:
            msg = "expected a model that fits the 2 GB of a flatbuffer, its buffers aside; found a larger one"
            raise InputError(msg) from None
        return bytes(memoryview(builder.Bytes)[builder.Head() :]), self._behind  # Output() would copy once more

    def _record(self) -> dict[str, Any]:
        model = self._model
        record: dict[str, Any] = {
            "version": model.version,
            "description": model.description or None,
            "subgraphs": [self._subgraph(subgraph) for subgraph in model.subgraphs],
            "metadata": [self._metadata(item) for item in model.metadata] or None,
            "metadata_buffer": [self._buffers.index(item) for item in model.metadata_buffer] or None,
            "signature_defs": [_signature(item) for item in model.signatures] or None,
        }
        # The lists come last: only now is it known what the rest refers to.
        record["operator_codes"] = [_operator_code(code) for code in self._codes.items]
        buffers = self._buffers.items
        total = sum(buffer.data.size for buffer in buffers if buffer.data is not None)
        record["buffers"] = [self._buffer(buffer, outside=total > LARGEST_INSIDE) for buffer in buffers]
        return record

    def _buffer(self, buffer: Buffer, *, outside: bool) -> dict[str, Any]:
        if buffer.data is None or not (outside or buffer.outside):
            return {"data": buffer.data}
        return {"offset": self._put_behind(buffer.data), "size": buffer.data.size}

    def _put_behind(self, piece: bytes | Array) -> int:
        offset = self._next_outside
        self._behind.append(piece)
        self._next_outside = _aligned(offset + len(piece))
        return offset

    def _subgraph(self, subgraph: Subgraph) -> dict[str, Any]:
        return {
            "tensors": [self._tensor(tensor) for tensor in subgraph.tensors],
            "operators": [self._operator(operator) for operator in subgraph.operators],
            "inputs": subgraph.inputs,
            "outputs": subgraph.outputs,
            "name": subgraph.name or None,
            "debug_metadata_index": subgraph.debug_metadata_index,
        }

    def _tensor(self, tensor: Tensor) -> dict[str, Any]:
        variants = [
            {"shape": item.shape, "type": item.dtype.value, "has_rank": item.has_rank}
            for item in tensor.variant_tensors
        ]
        return {
            "name": tensor.name or None,
            "type": tensor.dtype.value,
            "shape": tensor.shape,
            "buffer": self._buffers.index(tensor.buffer),
            "quantization": None if tensor.quantization is None else _quantization(tensor.quantization),
            "is_variable": tensor.is_variable,
            "shape_signature": tensor.shape_signature,
            "sparsity": None if tensor.sparsity is None else _sparsity(tensor.sparsity),
            "has_rank": tensor.has_rank,
            "variant_tensors": variants or None,
        }

    def _operator(self, operator: Operator) -> dict[str, Any]:
        record: dict[str, Any] = {
            "opcode_index": self._codes.index(operator.code),
            "inputs": operator.inputs,
            "outputs": operator.outputs,
            "builtin_options": _options(operator.options),
            "builtin_options2": _options(operator.options_2),
            "custom_options": operator.custom_options,
            "custom_options_format": operator.custom_options_format,
            "intermediates": operator.intermediates or None,
            "mutating_variable_inputs": operator.mutating_variable_inputs or None,
            "debug_metadata_index": operator.debug_metadata_index,
        }
        if operator.custom_options is not None and operator.custom_options_outside:
            record["custom_options"] = None
            record["large_custom_options_offset"] = self._put_behind(operator.custom_options)
            record["large_custom_options_size"] = len(operator.custom_options)
        return record

    def _metadata(self, metadata: Metadata) -> dict[str, Any]:
        return {"name": metadata.name, "buffer": self._buffers.index(metadata.buffer)}


class _Numbering(Generic[_T]):
    """Gives objects their index in a list of the file; what is not listed yet is added.

    Objects count by identity. For others, ``stand_in`` may name the index of a listed one that will do.
    """

    def __init__(self, listed: Sequence[_T], stand_in: Callable[[_T, Sequence[_T]], int | None]) -> None:
        self.items = list(listed)
        self._places = {id(item): index for index, item in enumerate(self.items)}
        self._stand_in = stand_in

    def index(self, item: _T) -> int:
        """Return the index of an object in :attr:`items`."""
        place = self._places.get(id(item))
        if place is None:
            place = self._stand_in(item, self.items)
        if place is None:
            place = len(self.items)
            self.items.append(item)
        self._places[id(item)] = place
        return place


def _sentinel(buffer: Buffer, _: Sequence[Buffer]) -> int | None:
    """Without data, any buffer is as good as the first, which is empty by convention."""
    return 0 if buffer.data is None else None


def _equal_code(code: OperatorCode, listed: Sequence[OperatorCode]) -> int | None:
    return listed.index(code) if code in listed else None


def _operator_code(code: OperatorCode) -> dict[str, Any]:
    number = schema.numbers("BuiltinOperator").get(code.builtin)
    if number is None:
        msg = f"expected a builtin operator of the schema of tflite {schema.version()}, found {code.builtin!r}"
        raise InputError(msg)
    return {
        "builtin_code": number,
        "deprecated_builtin_code": min(number, _LAST_SHORT_CODE),
        "version": code.version,
        "custom_code": code.custom_code or None,
    }


def _options(options: Options | None) -> tuple[str, Options] | None:
    return None if options is None else (options.table, options)


def _quantization(quantization: Quantization) -> dict[str, Any]:
    custom = quantization.custom
    return {
        "min": quantization.min,
        "max": quantization.max,
        "scale": quantization.scale,
        "zero_point": quantization.zero_point,
        "quantized_dimension": quantization.quantized_dimension,
        "details": None if custom is None else ("CustomQuantization", {"custom": custom}),
    }


def _sparsity(sparsity: Sparsity) -> dict[str, Any]:
    levels = sparsity.dim_metadata
    return {
        "traversal_order": sparsity.traversal_order,
        "block_map": sparsity.block_map,
        "dim_metadata": None if levels is None else [_dimension(level) for level in levels],
    }


def _dimension(level: DimensionMetadata) -> dict[str, Any]:
    return {
        "format": level.format,
        "dense_size": level.dense_size,
        "array_segments": _index_vector(level.array_segments),
        "array_indices": _index_vector(level.array_indices),
    }


def _index_vector(values: Array | None) -> tuple[str, dict[str, Array]] | None:
    if values is None:
        return None
    table = _INDEX_TABLES.get(values.dtype.name)
    if table is None:
        msg = f"expected indices of a sparse tensor as {', '.join(_INDEX_TABLES)}, found {values.dtype.name}"
        raise InputError(msg)
    return table, {"values": values}


def _signature(signature: Signature) -> dict[str, Any]:
    return {
        "signature_key": signature.key,
        "inputs": [{"name": name, "tensor_index": index} for name, index in signature.inputs],
        "outputs": [{"name": name, "tensor_index": index} for name, index in signature.outputs],
        "subgraph_index": signature.subgraph_index,
    }


def _aligned(position: int) -> int:
    return -(-position // _ALIGNMENT) * _ALIGNMENT
