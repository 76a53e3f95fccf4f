"""Damaged files give ModelError or UnsupportedError, or a model after all; never anything else, and soon."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
import pytest

import fbs
from fbs import encode, schema
from qmath.errors import ModelError, UnsupportedError
from qmath.types import DType
from tests.fbs.damage import outcomes
from tests.fbs.models import MODELS, conv

REAL = ["models/tflm/hello_world_int8.tflite", "models/tflm/micro_speech_int8.tflite", "converter/edge.int8.tflite"]


@pytest.mark.parametrize("name", MODELS)
def test_damaged_copies(name: str) -> None:
    started = time.monotonic()
    found = outcomes(fbs.write(MODELS[name]()), 150, seed=len(name))
    assert found.total() == 150
    assert found["reading: ModelError"] > 10
    assert found["a model"] > 10
    assert time.monotonic() - started < 20


@pytest.mark.shared
@pytest.mark.parametrize("name", REAL)
def test_damaged_copies_of_real_models(name: str, shared: Path) -> None:
    assert outcomes((shared / name).read_bytes(), 50, seed=1).total() == 50


def test_every_truncation() -> None:
    data = fbs.write(conv())
    for size in range(len(data)):
        with pytest.raises((ModelError, UnsupportedError)):
            fbs.validate(fbs.read(data[:size]))


def test_files_that_are_no_models(tmp_path: Path) -> None:
    empty = tmp_path / "empty.tflite"
    empty.touch()
    with pytest.raises(ModelError, match=r"empty\.tflite: .*found a file of 0 bytes"):
        fbs.read(empty)
    with pytest.raises(ModelError, match="identifier b'TFL3' at byte 4, found b'ONNX'"):
        fbs.read(b"0000ONNX" + bytes(100))
    with pytest.raises(ModelError, match="expected a table within the file's 108 bytes"):
        fbs.read(b"\xff\xff\xff\xffTFL3" + bytes(100))


def _file(record: dict[str, Any]) -> bytes:
    """Return a file with a record that the model classes would not allow."""
    builder = flatbuffers.Builder()
    root = encode.table(builder, schema.table("Model"), {"version": 3, "buffers": [{}], **record})
    builder.Finish(root, file_identifier=b"TFL3")
    return bytes(builder.Output())


def _tensor(**record: Any) -> dict[str, Any]:
    return {"subgraphs": [{"tensors": [{}, {"name": "t", **record}]}]}


NEWER = {
    "version 2 of the schema": ({"version": 2}, "expected version 3 of the schema, found 2"),
    "FLOAT8": (_tensor(type=21), r"subgraph 0: tensor 1: uses TensorType 21 \(FLOAT8_E4M3FN\)"),
    "operator": ({"operator_codes": [{"builtin_code": 209}]}, r"BuiltinOperator 209 \(STABLEHLO_CASE\)"),
}


@pytest.mark.parametrize("case", NEWER)
def test_what_the_package_does_not_know_is_named(case: str) -> None:
    record, message = NEWER[case]
    with pytest.raises(UnsupportedError, match=message):
        fbs.read(_file(record))


@pytest.mark.parametrize("number", [210, 4000, (1 << 31) - 1])
def test_an_operator_that_no_schema_has_is_damage(number: int) -> None:
    with pytest.raises(ModelError, match=f"^operator code 0: uses BuiltinOperator {number}, which no schema has"):
        fbs.read(_file({"operator_codes": [{"builtin_code": number}]}))


@pytest.mark.parametrize("number", [-1, 23, 127])
def test_a_type_that_no_schema_has_is_damage(number: int) -> None:
    with pytest.raises(ModelError, match=f"^subgraph 0: tensor 1: uses TensorType {number}, which no schema has"):
        fbs.read(_file(_tensor(type=number)))


def test_blockwise_quantization_is_named() -> None:
    known = _file(_tensor(quantization={"details": ("CustomQuantization", {})}))
    place = next(
        place
        for place in range(8, len(known))
        if known[place] == 1 and "details" in _message(known[:place] + b"\2" + known[place + 1 :])
    )
    message = _message(known[:place] + b"\2" + known[place + 1 :])
    assert "uses QuantizationDetails 2 (BlockwiseQuantization)" in message
    assert message.startswith("subgraphs: [0]: tensors: [1]: quantization: details")


def test_unknown_fields_are_named() -> None:
    # A table of seven fields where the union says that it is one of two.
    data = bytearray(_file({"subgraphs": [{"operators": [{"builtin_options": ("Conv2DOptions", {"stride_w": 1})}]}]}))
    number = schema.numbers("BuiltinOptions")
    for place in (place for place in range(8, len(data)) if data[place] == number["Conv2DOptions"]):
        data[place] = number["FillOptions"]
        if "FillOptions" in _message(bytes(data)):
            break
        data[place] = number["Conv2DOptions"]
    assert "builtin_options: uses field FillOptions 1, which no schema has" in _message(bytes(data))


def _message(data: bytes) -> str:
    try:
        fbs.read(data)
    except (ModelError, UnsupportedError) as error:
        return str(error)
    return ""


@pytest.mark.parametrize("dtype", [DType.INT2, DType.UINT4])
def test_types_newer_than_the_package_are_bytes_like_others(dtype: DType) -> None:
    b = fbs.Builder()
    constant = b.constant("c", np.array([0, 1, 1]), dtype)
    data = fbs.read(fbs.write(b.finish(outputs=[constant]))).subgraphs[0].tensors[0].data
    assert data is not None
    assert data.tolist() == [0, 1, 1]


def test_indices_out_of_range() -> None:
    for record in (
        {"metadata": [{"buffer": 1}]},
        {"metadata_buffer": [-1]},
        _tensor(buffer=7),
        {"subgraphs": [{"operators": [{"opcode_index": 0}]}]},
        {"buffers": [{"offset": 1 << 40, "size": 4}]},
        {"buffers": [{"offset": 16, "size": (1 << 64) - 1}]},
    ):
        with pytest.raises(ModelError, match="expected"):
            fbs.read(_file(record))


def test_the_place_of_an_index_is_named() -> None:
    with pytest.raises(ModelError, match=r"^metadata_buffer: expected the index of one of 1 buffers, found -1"):
        fbs.read(_file({"metadata_buffer": [-1]}))
    with pytest.raises(ModelError, match=r"^buffer 0: expected data behind the flatbuffer within the file's"):
        fbs.read(_file({"buffers": [{"offset": 1 << 40, "size": 4}]}))


def test_text_that_is_no_text() -> None:
    data = _file({"description": "abcdefgh"}).replace(b"abcdefgh", b"abc\xff\xfefgh")
    with pytest.raises(ModelError, match="description: expected UTF-8 text, found b'abc"):
        fbs.read(data)


def test_shared_tables_cannot_unfold_without_end() -> None:
    # One tensor, listed half a million times in a vector that all subgraphs share.
    builder = flatbuffers.Builder()
    tensor = encode.table(builder, schema.table("Tensor"), {"name": "t"})
    builder.StartVector(4, 10_000, 4)
    for _ in range(10_000):
        builder.PrependUOffsetTRelative(tensor)
    tensors = builder.EndVector()
    graph = schema.table("SubGraph")
    graph.start(builder)
    next(field for field in graph.fields if field.name == "tensors").add(builder, tensors)
    subgraph = graph.end(builder)
    builder.StartVector(4, 10_000, 4)
    for _ in range(10_000):
        builder.PrependUOffsetTRelative(subgraph)
    subgraphs = builder.EndVector()
    model = schema.table("Model")
    model.start(builder)
    next(field for field in model.fields if field.name == "version").add(builder, 3)
    next(field for field in model.fields if field.name == "subgraphs").add(builder, subgraphs)
    builder.Finish(model.end(builder), file_identifier=b"TFL3")
    with pytest.raises(ModelError, match="unfold to at most 4 times"):
        fbs.read(bytes(builder.Output()))


def test_shared_scales_cannot_be_looked_through_without_end() -> None:
    # Thousands of tensors with one quantization of many scales: a few bytes each in the file, all of it to check.
    b = fbs.Builder()
    b.input("x", DType.INT8, (10_000,), scale=np.ones(10_000))
    known = fbs.write(b.finish(outputs=[0]))
    builder = flatbuffers.Builder()
    record = {"shape": (10_000,), "type": DType.INT8.value}
    record["quantization"] = {"scale": np.ones(10_000, np.float32), "zero_point": np.zeros(10_000, np.int64)}
    tensor = encode.table(builder, schema.table("Tensor"), record)
    builder.StartVector(4, 1000, 4)
    for _ in range(1000):
        builder.PrependUOffsetTRelative(tensor)
    root = _subgraph_of(builder, builder.EndVector())
    builder.Finish(root, file_identifier=b"TFL3")
    with pytest.raises(ModelError, match=r"tensors: \[\d+\]: quantization: .*unfold to at most 4 times"):
        fbs.read(bytes(builder.Output()))
    assert fbs.read(known).subgraphs[0].tensors[0].quant is not None


def _subgraph_of(builder: flatbuffers.Builder, tensors: int) -> int:
    """Write a model of one subgraph that has a vector of tensors written before; return its offset."""
    graph, model = schema.table("SubGraph"), schema.table("Model")
    graph.start(builder)
    next(field for field in graph.fields if field.name == "tensors").add(builder, tensors)
    subgraph = graph.end(builder)
    builder.StartVector(4, 1, 4)
    builder.PrependUOffsetTRelative(subgraph)
    subgraphs = builder.EndVector()
    model.start(builder)
    next(field for field in model.fields if field.name == "version").add(builder, 3)
    next(field for field in model.fields if field.name == "subgraphs").add(builder, subgraphs)
    return model.end(builder)
