"""What was read is what gets written: by our own reader, and by the generated accessors of ``tflite``."""

from __future__ import annotations

import copy
import dataclasses
import io
import mmap
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tflite

import fbs
import fbs.writer
from fbs import encode, schema
from qmath.errors import InputError
from qmath.types import Array, DType
from tests.fbs.dump import dump
from tests.fbs.models import MODELS, conv, outside, recurrent


@pytest.fixture(params=MODELS)
def model(request: pytest.FixtureRequest) -> fbs.Model:
    return MODELS[request.param]()


def test_read_gives_what_was_written(model: fbs.Model) -> None:
    data = fbs.write(model)
    assert fbs.read(data) == model
    assert fbs.write(fbs.read(data)) == data
    assert dump(fbs.write(fbs.read(data))) == dump(data)


@pytest.mark.shared
def test_real_models_survive(shared: Path) -> None:
    paths = sorted(shared.glob("**/*.tflite"))
    assert len(paths) > 100
    for path in paths:
        model = fbs.read(path)
        copy = fbs.write(model)
        assert fbs.read(copy) == model, path
        assert dump(copy) == dump(path.read_bytes()), path
        fbs.validate(model)


def test_equality_sees_single_bits() -> None:
    model = recurrent()
    tensor = model.subgraphs[0].tensors[0]
    assert tensor.quantization is not None
    scale = np.nextafter(tensor.quantization.scale, np.float32(1))
    other = dataclasses.replace(tensor, quantization=dataclasses.replace(tensor.quantization, scale=scale))
    assert other != tensor
    assert hash(tensor) == hash(fbs.read(fbs.write(model)).subgraphs[0].tensors[0])


def test_buffers_are_aligned_and_the_file_identified(model: fbs.Model) -> None:
    data = fbs.write(model)
    assert data[4:8] == b"TFL3"
    base = np.frombuffer(data, np.uint8).ctypes.data
    root = tflite.Model.GetRootAs(data, 0)
    for index in range(root.BuffersLength()):
        buffer = root.Buffers(index)
        if buffer.DataLength():
            assert (buffer.DataAsNumpy().ctypes.data - base) % 16 == 0
        assert buffer.Offset() % 16 == 0


def test_constants_are_views_of_the_mapped_file(tmp_path: Path) -> None:
    path = tmp_path / "conv.tflite"
    fbs.save(conv(), path)
    model = fbs.read(path)
    assert model.path == path
    bias = model.subgraphs[0].tensors[2]
    assert bias.data is not None
    assert np.shares_memory(bias.data, bias.buffer.data)
    assert not bias.data.flags.owndata
    with pytest.raises(ValueError, match="read-only"):
        bias.data[0] = 1


def test_bytes_that_may_change_are_not_handed_out_for_writing() -> None:
    model = fbs.read(bytearray(fbs.write(conv())))
    bias = model.subgraphs[0].tensors[2].data
    assert bias is not None
    assert not bias.flags.writeable


def test_a_model_can_be_sent_to_another_process(model: fbs.Model) -> None:
    assert pickle.loads(pickle.dumps(model)) == model  # noqa: S301 (made a moment ago)


def test_copies_are_read_only_and_carry_nothing_twice() -> None:
    model = fbs.read(fbs.write(conv()))
    size = len(pickle.dumps(model))
    for tensor in model.subgraphs[0].tensors:
        assert tensor.data is None or not tensor.data.flags.writeable
        assert tensor.quant is None or tensor.quant.scale.size
    assert len(pickle.dumps(model)) == size
    for twin in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):  # noqa: S301 (made a moment ago)
        assert twin == model
        arrays = [_arrays(tensor) for tensor in twin.subgraphs[0].tensors]
        assert sum(map(len, arrays)) > 10
        assert not any(array.flags.writeable for found in arrays for array in found)


def _arrays(tensor: fbs.Tensor) -> list[Array]:
    stored, quant = tensor.quantization, tensor.quant
    found = [tensor.data, tensor.buffer.data]
    found += [] if stored is None else [stored.scale, stored.zero_point, stored.min, stored.max]
    found += [] if quant is None else [quant.scale, quant.zero_point]
    return [array for array in found if array is not None]


def test_whatever_offers_bytes_is_read(tmp_path: Path) -> None:
    data = fbs.write(conv())
    data += bytes(-len(data) % 8)
    path = tmp_path / "conv.tflite"
    path.write_bytes(data)
    spread = bytes(byte for pair in zip(data, data, strict=True) for byte in pair)
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        sources = [str(path), data, bytearray(data), memoryview(data).cast("I"), memoryview(spread)[::2], mapped]
        sources += [np.frombuffer(data, np.uint8), np.frombuffer(data, ">u2")]
        for source in sources:
            assert fbs.read(source) == conv()
    for other in (io.BytesIO(data), 3, None, list(data)):
        with pytest.raises(InputError, match="expected the path or the bytes of a file, found an object of type"):
            fbs.read(other)  # type: ignore[arg-type]


def test_paths_that_are_no_files_are_named(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path, found in (
        (tmp_path, "expected a file, found a directory"),
        (tmp_path / "pipe", "expected a file, found none"),
        (tmp_path / "none", "expected a readable file, found: No such file"),
        ("x\0y", "expected a readable file, found: .*embedded null"),
        ("x" * 5000, "expected a readable file, found: File name too long"),
    ):
        with pytest.raises(InputError, match=found):
            fbs.read(path)
    for place in ("x\0y", tmp_path, tmp_path / "no" / "where"):
        with pytest.raises(InputError, match="expected a file that can be written"):
            fbs.save(conv(), place)
    with pytest.raises(InputError, match="expected the path of a file to write, found an object of type BytesIO"):
        fbs.save(conv(), io.BytesIO())  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"expected a fbs\.Model to write, found an object of type str"):
        fbs.save("model.tflite", tmp_path / "x")  # type: ignore[arg-type]


def test_a_mapped_file_may_be_deleted_or_replaced(tmp_path: Path) -> None:
    path = tmp_path / "conv.tflite"
    fbs.save(conv(), path)
    model = fbs.read(path)
    fbs.save(recurrent(), path)
    assert model == conv()
    assert fbs.read(path) == recurrent()
    path.unlink()
    assert fbs.write(model) == fbs.write(conv())


@pytest.mark.parametrize("make", [conv, outside])
def test_files_that_metadata_tools_append_survive(make: Callable[[], fbs.Model]) -> None:
    file = io.BytesIO(fbs.write(make()))
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr("labels.txt", "cat\ndog\n")
    model = fbs.read(file.getvalue())
    assert model.appended.startswith(b"PK")
    assert dataclasses.replace(model, appended=b"") == make()
    edited = dataclasses.replace(model, description="longer than it was before")
    for written in (fbs.write(model), fbs.write(edited)):
        assert zipfile.ZipFile(io.BytesIO(written)).read("labels.txt") == b"cat\ndog\n"
    assert fbs.read(fbs.write(model)) == model
    assert not fbs.read(fbs.write(make())).appended


def test_data_behind_the_flatbuffer() -> None:
    data = fbs.write(outside())
    buffer = tflite.Model.GetRootAs(data, 0).Buffers(1)
    assert buffer.DataIsNone()
    assert np.frombuffer(data, "<f4", 3, buffer.Offset()).tolist() == [1, 2, 3]
    operator = tflite.Model.GetRootAs(data, 0).Subgraphs(0).Operators(1)
    assert operator.CustomOptionsIsNone()
    place = operator.LargeCustomOptionsOffset()
    assert data[place : place + operator.LargeCustomOptionsSize()] == b"large options"


def test_models_too_large_for_a_flatbuffer_put_their_buffers_behind_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fbs.writer, "LARGEST_INSIDE", 50)
    model = fbs.read(fbs.write(conv()))
    assert [buffer.outside for buffer in model.buffers] == [False, True, True, True]
    for found, made in zip(model.subgraphs[0].tensors, conv().subgraphs[0].tensors, strict=True):
        assert np.array_equal(found.data, made.data) if made.data is not None else found.data is None


def test_what_does_not_fit_a_flatbuffer_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flatbuffers.Builder.MAX_BUFFER_SIZE", 1 << 17)
    b = fbs.Builder()
    x = b.input("x", DType.FLOAT32, (1,))
    b.custom("Big", [x], [b.tensor("y", DType.FLOAT32, (1,))], bytes(1 << 18))
    with pytest.raises(InputError, match="expected a model that fits the 2 GB of a flatbuffer"):
        fbs.write(b.finish(outputs=[1]))


def test_operator_codes_old_and_new() -> None:
    def codes(**record: int) -> fbs.OperatorCode:
        builder = encode.flatbuffers.Builder()
        root = encode.table(builder, schema.table("Model"), {"version": 3, "operator_codes": [record]})
        builder.Finish(root, file_identifier=b"TFL3")
        return fbs.read(bytes(builder.Output())).operator_codes[0]

    assert codes(deprecated_builtin_code=3).builtin == "CONV_2D"
    assert codes(builtin_code=3).builtin == "CONV_2D"
    assert codes(deprecated_builtin_code=127, builtin_code=150).builtin == "GELU"
    data = fbs.write(fbs.Model((), (fbs.OperatorCode("GELU", 2), fbs.OperatorCode("CONV_2D"))))
    written = [tflite.Model.GetRootAs(data, 0).OperatorCodes(index) for index in range(2)]
    assert [(code.DeprecatedBuiltinCode(), code.BuiltinCode()) for code in written] == [(127, 150), (3, 3)]


def test_edits_need_no_bookkeeping() -> None:
    model = fbs.read(fbs.write(conv()))
    graph = model.subgraphs[0]
    weights = fbs.Buffer.of(np.zeros((4, 3, 3, 3), np.int8), DType.INT8)
    tensors = list(graph.tensors)
    tensors[1] = dataclasses.replace(tensors[1], dtype=DType.INT8, buffer=weights)
    operator = dataclasses.replace(graph.operators[0], code=fbs.OperatorCode("CONV_2D", 5))
    edited = dataclasses.replace(
        model, subgraphs=(dataclasses.replace(graph, tensors=tuple(tensors), operators=(operator,)),)
    )
    found = fbs.read(fbs.write(edited))
    assert not found.subgraphs[0].tensors[1].data.any()
    assert found.subgraphs[0].operators[0].version == 5
    assert len(found.buffers) == len(model.buffers) + 1
    assert len(found.pruned().buffers) == len(model.buffers)
    assert fbs.read(fbs.write(edited.pruned())) == edited.pruned()


def test_saving_is_all_or_nothing(tmp_path: Path) -> None:
    path = tmp_path / "model.tflite"
    fbs.save(conv(), path)
    before = path.read_bytes()
    with pytest.raises(InputError, match=r"model\.tflite.*Tensor\.shape"):
        fbs.save(fbs.Model((fbs.Subgraph((fbs.Tensor("x", DType.INT8, (1 << 40,)),), (), (), ()),)), path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(InputError, match="expected a file that can be written"):
        fbs.save(conv(), tmp_path / "missing" / "model.tflite")
    with pytest.raises(InputError, match="expected a readable file"):
        fbs.read(tmp_path / "missing.tflite")
