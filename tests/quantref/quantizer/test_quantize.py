"""``quantref.quantize``: what it takes and what it refuses."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fbs
import quantref
from qmath.errors import InputError, ModelError, UnsupportedError
from qmath.types import DType
from quantref.quantizer import Statistics, plan, quantize
from quantref.quantizer.calibration import calibrate
from tests.quantref.quantizer.small_graphs import SHAPE, FloatGraphBuilder, ops, statistics

DATA = [[np.linspace(-1, 1, 4, dtype=np.float32).reshape(SHAPE) * n] for n in (1, 2, 3)]


def network() -> fbs.Model:
    g = FloatGraphBuilder()
    return g.finish(g.op("SOFTMAX", [g.dense(g.input(), "hidden")], "y", beta=1.0))


def test_models_come_as_paths_bytes_or_models(tmp_path: Path) -> None:
    model = network()
    fbs.save(model, tmp_path / "m.tflite")
    expected = fbs.write(quantref.quantize(model, mode="int8", representative_dataset=DATA))
    for source in (tmp_path / "m.tflite", str(tmp_path / "m.tflite"), fbs.write(model)):
        assert fbs.write(quantref.quantize(source, mode="int8", representative_dataset=DATA)) == expected


@pytest.mark.parametrize("style", ["quantref", "tflite", "aeq"])
def test_data_becomes_statistics_by_the_styles_own_calibration(style: str) -> None:
    model = network()
    known = calibrate(model, DATA, style=style)
    ours = quantize(model, mode="int8", style=style, representative_dataset=DATA)
    assert fbs.write(ours) == fbs.write(quantize(model, mode="int8", style=style, statistics=known))


@pytest.mark.parametrize("mode", ["float32", "dynamic", "int4", "weight-only", "float16"])
def test_modes_without_integer_activations_need_no_statistics(mode: str) -> None:
    quantized = quantize(network(), mode=mode)
    assert {quantized.subgraphs[0].tensors[index].dtype for index in quantized.subgraphs[0].inputs} == {DType.FLOAT32}
    assert fbs.write(quantize(network(), mode="float32")) == fbs.write(network())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"mode": "int7"}, "expected a mode among float32, dynamic"),
        ({"mode": "int8", "style": "onnx"}, "expected a style among quantref, tflite, aeq, found 'onnx'"),
        ({"mode": "int8"}, "expected statistics or a representative dataset, found neither"),
        ({"mode": "16x8", "style": "tflite"}, "expected statistics or a representative dataset, found neither"),
        ({"mode": "int8", "representative_dataset": []}, "expected at least one"),
        ({"mode": "int8", "representative_dataset": DATA, "statistics": Statistics({})}, "found both"),
        ({"mode": "int8", "statistics": Statistics({}, model_digest="other")}, "the digests differ"),
        ({"mode": "int8", "input_type": "int16"}, "expected input_type among float32, int8, uint8, found int16"),
        ({"mode": "16x8", "output_type": "int8"}, "expected output_type among float32, int16, found int8"),
        ({"mode": "dynamic", "input_type": "int8"}, "expected input_type among float32, found int8"),
        ({"mode": "int8", "input_type": "int9"}, "expected a type among float32, int8, uint8, int16, found 'int9'"),
        ({"mode": "int8", "weight_bits": 2}, "expected weight_bits 8 or 4, found 2"),
        ({"mode": "int8", "bias_bits": 64}, "expected biases of 32 bits, found 64"),
        ({"mode": "16x8", "bias_bits": 16}, "expected bias_bits 32 or 64, found 16"),
        ({"mode": "uint8"}, "expected statistics or a representative dataset|ranges from training"),
        (
            {"mode": "uint8", "statistics": Statistics({})},
            "expected ranges from training, input_stats or default_ranges",
        ),
        ({"mode": "uint8", "input_stats": "ab"}, r"expected input_stats as \(mean, std\)"),
        ({"mode": "dynamic", "style": "tflite", "weight_bits": 4}, "style tflite: expected 8 bits of weights"),
        ({"mode": "16x8", "style": "aeq", "bias_bits": 32, "statistics": Statistics({})}, "expected biases of 64 bits"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        quantize(network(), **arguments)


def test_modes_that_a_tool_does_not_have_are_refused() -> None:
    with pytest.raises(UnsupportedError, match="style tflite has no mode weight-only"):
        quantize(network(), mode="weight-only", style="tflite")
    with pytest.raises(UnsupportedError, match="style aeq has no mode uint8"):
        quantize(network(), mode="uint8", style="aeq")


def test_a_quantized_model_is_refused() -> None:
    quantized = quantize(network(), mode="int8", representative_dataset=DATA)
    for mode in ("int8", "dynamic", "float16"):
        with pytest.raises(UnsupportedError, match=r"expected a float model, found .* such as .*int8"):
            quantize(quantized, mode=mode, representative_dataset=None)


def test_a_model_without_operators_is_refused() -> None:
    model = network()
    empty = dataclasses.replace(model, subgraphs=(dataclasses.replace(model.subgraphs[0], operators=()),))
    with pytest.raises(ModelError, match="expected a model with operators, found none"):
        quantize(empty, mode="dynamic")
    with pytest.raises(ModelError):
        quantize(b"no model", mode="dynamic")


def test_float16_constants_are_taken_for_what_they_stand_for() -> None:
    half = quantize(network(), mode="float16")
    assert ops(half).count("DEQUANTIZE") == 2
    again = quantize(half, mode="int8", representative_dataset=DATA)
    assert ops(again) == ["QUANTIZE", "FULLY_CONNECTED", "SOFTMAX", "DEQUANTIZE"]
    weights = again.subgraphs[0].tensors[again.subgraphs[0].operators[1].inputs[1]]
    assert weights.dtype is DType.INT8


def open_batch() -> fbs.Model:
    model = network()
    subgraph = model.subgraphs[0]
    tensors = tuple(
        found if found.is_constant else dataclasses.replace(found, shape_signature=(-1, *found.shape[1:]))
        for found in subgraph.tensors
    )
    return dataclasses.replace(model, subgraphs=(dataclasses.replace(subgraph, tensors=tensors),))


@pytest.mark.parametrize("mode", ["int8", "16x8", "dynamic", "float16"])
def test_open_dimensions_stay_open(mode: str) -> None:
    data = DATA if mode in {"int8", "16x8"} else None
    quantized = quantize(open_batch(), mode=mode, representative_dataset=data)
    subgraph = quantized.subgraphs[0]
    ends = [subgraph.tensors[index] for index in (*subgraph.inputs, *subgraph.outputs)]
    assert [end.shape_signature for end in ends] == [(-1, 4), (-1, 4)]
    interpreter = quantref.Interpreter(quantized)
    interpreter.resize_tensor_input(interpreter.get_input_details()[0]["index"], (3, 4))
    interpreter.allocate_tensors()
    interpreter.invoke()
    assert interpreter.get_tensor(interpreter.get_output_details()[0]["index"]).shape == (3, 4)


def with_branches() -> fbs.Model:
    """A layer, then IF with a layer in each branch."""
    g = FloatGraphBuilder()
    b = g.builder
    condition, hidden = b.input("condition", DType.BOOL, (1,)), g.dense(g.input(), "hidden")
    y = b.tensor("y", DType.FLOAT32, SHAPE)
    b.op("IF", [condition, hidden], [y], then_subgraph_index=1, else_subgraph_index=2)
    main = g.finish(y)
    branches = []
    for name in ("then", "else"):
        branch = FloatGraphBuilder()
        branches.append(branch.finish(branch.dense(branch.input(), name)).subgraphs[0])
    return dataclasses.replace(main, subgraphs=(*main.subgraphs, *branches))


def test_control_flow_stays_float_with_a_reason_and_works() -> None:
    model = with_branches()
    known = statistics(model)
    found = plan(model, mode="int8").ops
    assert [(op.op, op.form) for op in found] == [("FULLY_CONNECTED", "int8"), ("IF", "float32")]
    assert found[1].reason == "no runtime has an integer IF"
    with pytest.raises(UnsupportedError, match=r"op 1 \(IF\)"):
        quantize(model, mode="int8", statistics=known, fallback=False)
    quantized = quantize(model, mode="int8", statistics=known)
    assert len(quantized.subgraphs) == 3
    interpreter = quantref.Interpreter(quantized)
    interpreter.allocate_tensors()
    interpreter.invoke()


def test_weights_of_further_subgraphs_are_quantized_too() -> None:
    quantized = quantize(with_branches(), mode="weight-only")
    assert [tuple(op.name for op in subgraph.operators) for subgraph in quantized.subgraphs] == [
        ("DEQUANTIZE", "FULLY_CONNECTED", "IF"),
        ("DEQUANTIZE", "FULLY_CONNECTED"),
        ("DEQUANTIZE", "FULLY_CONNECTED"),
    ]
