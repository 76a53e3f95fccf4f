"""LiteRT runs what we write as it runs the original."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import fbs
from quantref.runtimes import LiteRT
from tests.fbs.models import control_flow, conv, outside, recurrent, sparse

pytestmark = pytest.mark.litert

REAL = [
    "models/mobilenet_v2/mobilenet_v2_224_int8.tflite",
    "models/tflm/hello_world_int8.tflite",
    "converter/edge.int8.tflite",
    "models/mlperf-tiny/streaming_wakeword_int8.tflite",
]


def test_control_flow(litert: LiteRT) -> None:
    (answer,) = litert.run(fbs.write(control_flow()), [[np.array(-3, np.int32)]])
    assert answer.outputs[0] == 11


def test_packed_weights_and_signatures(litert: LiteRT) -> None:
    (answer,) = litert.run(fbs.write(conv()), [[np.full((1, 8, 8, 3), -1, np.int8)]])
    # The input stands for zero: the outputs are the biases in units of 4, by 0.05 to 0.2 a step.
    assert answer.outputs[0][0, 4, 4].tolist() == [2, 3, 3, 53]
    assert np.array_equal(answer.tensors[1], conv().subgraphs[0].tensors[1].data)


def test_sparse_weights(litert: LiteRT) -> None:
    x = np.array([[1, 10, 100, 1000]], np.float32)
    (answer,) = litert.run(fbs.write(sparse()), [[x]])
    assert answer.outputs[0].tolist() == [[2100, 4300, 65, 87]]
    dense = sparse().subgraphs[0].tensors[2].data
    assert dense is not None
    assert np.array_equal(answer.outputs[0], x @ dense.T)


def test_variable_tensors(litert: LiteRT) -> None:
    x = np.array([[15, 5, 5, 5]], np.int8)
    first, second = litert.run(fbs.write(recurrent()), [[x], [x]])
    assert first.outputs[0].shape == (1, 2)
    assert not np.array_equal(first.outputs[0], second.outputs[0])


def test_buffers_behind_the_flatbuffer(litert: LiteRT, tmp_path: Path) -> None:
    path = tmp_path / "outside.tflite"
    fbs.save(fbs.extract(outside(), 0, 0), path)
    assert fbs.read(path).buffers[1].outside
    (answer,) = litert.run(path, [[np.array([10, 20, 30], np.float32)]])
    assert answer.outputs[0].tolist() == [11, 22, 33]


@pytest.mark.shared
@pytest.mark.parametrize("name", REAL)
def test_real_models_give_the_same(name: str, litert: LiteRT, shared: Path) -> None:
    path = shared / name
    if not path.exists():
        pytest.skip(f"there is no {path}")
    model = fbs.read(path)
    rng = np.random.default_rng(0)
    sample = []
    for tensor in (model.subgraphs[0].tensors[index] for index in model.subgraphs[0].inputs):
        values = rng.integers(-100, 100, tensor.shape)
        sample.append(values.astype(tensor.dtype.storage))
    (original,) = litert.run(path, [sample], all_tensors=False)
    (copy,) = litert.run(fbs.write(model), [sample], all_tensors=False)
    assert len(original.outputs) > 0
    for theirs, ours in zip(original.outputs, copy.outputs, strict=True):
        assert theirs.dtype == ours.dtype
        assert theirs.tobytes() == ours.tobytes()
