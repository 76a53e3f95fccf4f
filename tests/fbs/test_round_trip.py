"""What was read is what gets written: by our own reader, and by the generated accessors of ``tflite``."""

from __future__ import annotations

import dataclasses
import pickle
from pathlib import Path

import numpy as np
import pytest
import tflite

import fbs
import fbs.writer
from fbs import encode, schema
from qmath.errors import InputError
from qmath.types import DType
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
