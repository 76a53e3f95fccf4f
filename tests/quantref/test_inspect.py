"""What is in a model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import fbs
from qmath.errors import InputError
from qmath.types import DType
from quantref.inspect import Role, inspect
from tests.quantref.small_models import custom_op, two_layers


def test_tensors_ops_and_sizes() -> None:
    result = inspect(two_layers())
    (graph,) = result.subgraphs
    roles = [tensor.role for tensor in graph.tensors]
    weights, bias = Role.CONSTANT, Role.CONSTANT
    assert roles == [Role.INPUT, weights, bias, Role.ACTIVATION, weights, bias, Role.OUTPUT]
    assert result.op_counts == {"FULLY_CONNECTED": 2}
    assert result.sizes(Role.CONSTANT) == {"int32": 20, "int8": 18}
    assert graph.tensors[0].quantization == "0.5, -1"
    assert graph.ops[1].inputs == (3, 4, 5)


def test_text_json_and_html() -> None:
    result = inspect(two_layers())
    lines = result.summary().splitlines()
    assert lines[0] == "model: 2 ops, 7 tensors"
    assert "input: 'x' int8 [1, 4], quantized (0.5, -1)" in lines
    assert "signature 'serving_default': features -> scores" in lines
    assert "metadata 'note': 14 bytes" in lines
    again = json.loads(json.dumps(result.to_json(), allow_nan=False))
    assert again["subgraphs"][0]["tensors"][0]["quantization"]["scale"] == [0.5]
    assert again["subgraphs"][0]["ops"][0]["options"]["keep_num_dims"] is False
    assert result._repr_html_().count("<table>") == 2


def test_options_that_matter_are_in_words(data: Path) -> None:
    (graph,) = inspect(data / "digits_int8.tflite").subgraphs
    assert graph.ops[0].remarkable == "SAME, stride_w 1, stride_h 1, RELU"
    assert "32 scales" in next(tensor for tensor in graph.tensors if tensor.name == "strided/Conv2D").quantization


def test_ops_that_cannot_run_can_be_looked_at() -> None:
    assert [op.name for op in inspect(custom_op()).subgraphs[0].ops] == ["RESHAPE", "Mystery"]


def test_options_that_are_no_number_are_named() -> None:
    builder = fbs.Builder()
    x, y = builder.input("x", DType.FLOAT32, (1, 4)), builder.tensor("y", DType.FLOAT32, (1, 4))
    builder.op("LEAKY_RELU", [x], [y], alpha=float("nan"))
    result = inspect(builder.finish([y]))
    again = json.loads(json.dumps(result.to_json(), allow_nan=False))
    assert again["subgraphs"][0]["ops"][0]["options"] == {"alpha": "nan"}


def test_a_file_that_is_not_there() -> None:
    with pytest.raises(InputError, match="no-such"):
        inspect("no-such.tflite")


@pytest.mark.shared
def test_the_odd_bias_of_person_detect_is_a_warning(shared: Path) -> None:
    warnings = inspect(shared / "models/tflm/person_detect_int8.tflite").warnings
    assert warnings
    assert all("quantized_dimension 3" in warning for warning in warnings)
