"""Every tensor and every stage of a run."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import fbs
import quantref as qr
from qmath.errors import InputError
from qmath.types import DType
from quantref.npz import load_npz
from quantref.recording import Ends, Recorder
from tests.quantref.small_models import float_layer, two_layers, with_state
from tests.quantref.test_control_flow import remembering

X = np.array([[3, -7, 100, 20]], np.int8)


def test_tensors_are_those_of_a_run() -> None:
    model = two_layers()
    trace = qr.trace(model, {"x": X})
    interpreter = qr.Interpreter(model)
    interpreter.allocate_tensors()
    interpreter.set_tensor(0, X)
    interpreter.invoke()
    for tensor in trace.tensors:
        assert np.array_equal(tensor.value, interpreter.get_tensor(tensor.index))
    assert [tensor.name for tensor in trace.tensors] == ["x", "w0", "b0", "hidden", "w1", "b1", "y"]


def test_stages_and_parameters_of_a_fully_connected_op() -> None:
    op = qr.trace(two_layers(), {"x": X}).ops[0]
    assert (op.index, op.name, op.profile, op.outputs) == (0, "FULLY_CONNECTED", "litert-reference", ("hidden",))
    names = [stage.name for stage in op.stages]
    assert names[:2] == ["sum", "accumulator"]
    assert names[-2:] == ["zero point added", "clamped"]
    assert np.array_equal(op.stage("accumulator"), op.stage("sum") + np.array([0, 100, 200]))
    assert op.parameters["input_zero_point"] == -1
    assert op.parameters["requantize.zero_point"] == -1
    assert op.parameters["requantize.regime"] == "float64 half away"
    assert (op.parameters["requantize.activation.min"], op.parameters["requantize.activation.max"]) == (-128, 127)
    with pytest.raises(InputError, match="accumulator"):
        op.stage("accumulators")


def test_fixed_point_multipliers_are_stages_and_parameters(data: Path) -> None:
    model = qr.load(data / "digits_int8.tflite")
    name = model.subgraphs[0].tensors[model.subgraphs[0].inputs[0]].name
    trace = qr.trace(model, {name: np.zeros((1, 8, 8, 1), np.int8)})
    conv = trace.ops[0]
    assert np.array_equal(conv.parameters["requantize.factor.multiplier"], conv.stage("multiplier"))
    assert np.array_equal(conv.parameters["requantize.factor.shift"], conv.stage("shift"))
    real = np.ldexp(conv.stage("multiplier").astype(float), conv.stage("shift") - 31)
    assert np.allclose(real, conv.parameters["requantize.real_multiplier"], rtol=1e-9)


def one_by_one(weight: int, bias: int, *, scale: float = 1.0) -> fbs.Model:
    """Build an int8 CONV_2D of one weight."""
    builder = fbs.Builder()
    x = builder.input("x", DType.INT8, (1, 1, 2, 1), scale=1.0)
    w = builder.constant("w", np.full((1, 1, 1, 1), weight, np.int8), scale=[1.0])
    b = builder.constant("b", np.array([bias], np.int32), scale=[1.0])
    y = builder.tensor("y", DType.INT8, (1, 1, 2, 1), scale=scale)
    builder.op("CONV_2D", [x, w, b], [y], version=3, stride_w=1, stride_h=1)
    return builder.finish([y])


def test_wraps_and_clamps_are_counted() -> None:
    model = one_by_one(127, 2**31 - 1, scale=2.0**23)
    trace = qr.trace(model, {"x": np.array([[[[1], [-1]]]], np.int8)})
    (op,) = trace.ops
    ends = {stage.name: stage.ends for stage in op.stages if stage.ends}
    assert ends == {"accumulator": Ends(wrapped=1), "clamped": Ends(below=1, above=1)}
    assert op.stage("accumulator").tolist() == [[[[-(2**31) + 126], [2**31 - 128]]]]
    assert op.ends == Ends(1, 1, 1)
    assert "op 0 CONV_2D: 1 wrapped, 1 clamped to the lowest, 1 clamped to the highest" in trace.summary()


def test_shifts_that_leave_32_bits_are_counted() -> None:
    trace = qr.trace(one_by_one(1, 2**29, scale=2.0**-4), {"x": np.zeros((1, 1, 2, 1), np.int8)})
    ends = {stage.name: stage.ends for stage in trace.ops[0].stages if stage.ends.wrapped}
    assert ends == {"shifted left": Ends(wrapped=2)}


def test_the_file_has_everything(tmp_path: Path) -> None:
    model = one_by_one(127, 2**31 - 1, scale=2.0**23)
    trace = qr.trace(model, {"x": np.array([[[[1], [-1]]]], np.int8)})
    trace.save(tmp_path / "trace.npz")
    found = load_npz(tmp_path / "trace.npz")
    assert set(found) == set(trace.arrays())
    assert found["tensor/y"].tolist() == [[[[-128], [127]]]]
    assert found["op/000:CONV_2D/stage/01:accumulator"].dtype == np.int32
    assert found["op/000:CONV_2D/parameter/requantize.zero_point"] == 0
    assert found["op/000:CONV_2D/parameter/requantize.regime"] == "double rounding"
    assert found["op/000:CONV_2D/ends/01:accumulator"].tolist() == [1, 0, 0]


def test_json_and_html() -> None:
    trace = qr.trace(two_layers(), {"x": X})
    plain = json.loads(json.dumps(trace.to_json(), allow_nan=False))
    assert plain["ops"][0]["stages"][0]["name"] == "sum"
    assert plain["ops"][0]["stages"][0]["min"] == int(trace.ops[0].stage("sum").min())
    assert trace._repr_html_().count("<tr>") == 3


def test_floats_and_state() -> None:
    assert qr.trace(float_layer(), {"x": np.ones((1, 64), np.float32)}).ops[0].stages
    trace = qr.trace(with_state(), {"x": np.array([[1, 2, 3, 4]], np.int8)})
    assert trace.tensor("state").any()


def test_repeated_stages_are_numbered_and_copied() -> None:
    recorder = Recorder(keep_terms=False)
    value = np.array([1.5])
    recorder("scaled", value)
    value[:] = 0
    recorder("scaled", value)
    assert [(stage.name, stage.value.tolist()) for stage in recorder.stages] == [("scaled", [1.5]), ("scaled 2", [0.0])]


def test_handles_are_text_in_files(tmp_path):
    qr.trace(remembering(), {"x": np.ones(2, np.float32)}).save(tmp_path / "t.npz")
    found = load_npz(tmp_path / "t.npz")
    assert found["tensor/handle"].item() == "/total"
    assert found["tensor/after"].tolist() == [101, 0]
