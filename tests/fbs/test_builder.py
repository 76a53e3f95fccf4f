"""Models made by hand, one operator taken out of a model, and an operator as a kernel sees it."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest

import fbs
from kernels.engine import types as kernel_types
from qmath.errors import InputError, ModelError
from qmath.types import DType
from tests.fbs.models import MODELS, control_flow, conv, recurrent, sparse, stablehlo


@pytest.mark.parametrize("name", MODELS)
def test_what_the_builder_makes_is_sound(name: str) -> None:
    findings = fbs.validate(MODELS[name]())
    assert [str(finding) for finding in findings if "custom quantization" not in finding.message] == []


def test_options_are_written_with_the_schemas_defaults() -> None:
    operator = fbs.read(fbs.write(conv())).subgraphs[0].operators[0]
    assert operator.options is not None
    assert operator.options["stride_h"] == 1
    assert operator.options["dilation_w_factor"] == 1
    assert stablehlo().subgraphs[0].operators[0].options is None
    assert stablehlo().subgraphs[0].operators[0].options_2 is not None


def test_one_zero_point_serves_all_scales() -> None:
    quant = conv().subgraphs[0].tensors[1].quant
    assert quant is not None
    assert quant.scale.tolist() == np.array([0.1, 0.2, 0.3, 0.4], np.float32).tolist()
    assert quant.zero_point.tolist() == [0, 0, 0, 0]


def test_mistakes_are_named() -> None:
    b = fbs.Builder()
    x = b.input("x", DType.INT8, (1,))
    with pytest.raises(InputError, match="found 'CONV2D'"):
        b.op("CONV2D", [x], [x])
    with pytest.raises(InputError, match=r"options of Conv2DOptions .* found stride"):
        b.op("CONV_2D", [x], [x], stride=1)
    with pytest.raises(InputError, match="LOGISTIC: expected no options, found beta"):
        b.op("LOGISTIC", [x], [x], beta=1)
    with pytest.raises(InputError, match="found str"):
        b.constant("c", np.array(["text"]))


def test_view_resolves_tensors_and_takes_shapes_from_the_caller() -> None:
    graph = recurrent().subgraphs[0]
    op = fbs.view(graph, 0, shapes={0: (7, 4)})
    assert (op.name, op.version, op.custom_options) == ("SVDF", 3, b"")
    assert [tensor and tensor.name for tensor in op.inputs] == ["x", "feature", "time", None, "state"]
    assert op.inputs[0] is not None
    assert op.inputs[0].shape == (7, 4)
    assert op.inputs[1] is graph.tensors[1]
    assert [tensor.name for tensor in op.intermediates] == ["carrier"]
    assert op.options["rank"] == 1
    with pytest.raises(ModelError, match="one of 1 operators, found 1"):
        fbs.view(graph, 1)


def test_view_fills_in_options_that_the_file_leaves_out() -> None:
    code = fbs.OperatorCode("CONV_2D")
    graph = fbs.Subgraph((fbs.Tensor("x", DType.INT8),), (fbs.Operator(code, (0,), (0,)),), (0,), (0,))
    assert fbs.view(graph, 0).options["dilation_h_factor"] == 1


def test_views_are_what_kernels_expect() -> None:
    op = fbs.view(conv().subgraphs[0], 0)
    for thing, protocol in ((op, kernel_types.OpView), (op.inputs[0], kernel_types.TensorView)):
        wanted = [name for name, _ in inspect.getmembers(protocol, lambda member: isinstance(member, property))]
        assert len(wanted) >= 6
        assert all(hasattr(thing, name) for name in wanted)


def test_extract_keeps_constants_and_turns_activations_into_inputs() -> None:
    alone = fbs.extract(sparse(), 0, 1)
    graph = alone.subgraphs[0]
    assert [operator.name for operator in graph.operators] == ["FULLY_CONNECTED"]
    assert [graph.tensors[index].name for index in graph.inputs] == ["x", "dense"]
    assert graph.operators[0].inputs == (0, 2, -1)
    assert fbs.validate(fbs.read(fbs.write(alone))) == ()
    graph = fbs.extract(recurrent(), 0, 0).subgraphs[0]
    assert [graph.tensors[index].name for index in graph.inputs] == ["x"]
    assert [tensor.name for tensor in graph.tensors] == ["x", "feature", "time", "state", "y", "carrier"]


def test_extract_brings_called_subgraphs_along() -> None:
    alone = fbs.extract(control_flow(), 0, 0)
    assert alone.subgraphs == control_flow().subgraphs
    assert len(fbs.extract(control_flow(), 2, 0).subgraphs) == 1
    with pytest.raises(InputError, match="one of 1 operators, found 5"):
        fbs.extract(control_flow(), 0, 5)


@pytest.mark.parametrize(
    ("fields", "found"),
    [
        ({"scale": 0.1, "zero_point": 0.5}, "^zero_point: expected whole numbers that fit int64, found 0.5"),
        ({"scale": 0.1, "zero_point": 1 << 70}, "^zero_point: expected whole numbers that fit int64, found object"),
        ({"scale": "a"}, "^scale: expected real numbers, found <U1"),
        ({"scale": 1j}, "^scale: expected real numbers, found complex128"),
        ({"scale": [[0.1]]}, r"expected scale in one dimension, found shape \(1, 1\)"),
        ({"shape": (1.5, 4)}, "^shape: expected whole numbers that fit int64, found 1.5"),
    ],
)
def test_quantization_that_is_no_vector_of_numbers_is_named(fields: dict[str, Any], found: str) -> None:
    with pytest.raises(InputError, match=found):
        fbs.Builder().tensor("x", DType.INT8, **{"shape": (1, 4), **fields})


@pytest.mark.parametrize(
    ("values", "dtype", "found"),
    [
        ([1.5], DType.INT8, "expected integers from -128 to 127 for INT8, found float64"),
        ([np.nan], DType.INT16, "expected integers from -32768 to 32767 for INT16, found float64"),
        ([8], DType.INT4, "expected integers from -8 to 7 for INT4, found int64 from 8 to 8"),
        ([1.5], DType.BFLOAT16, "expected integers from 0 to 65535 for BFLOAT16, found float64"),
        ([1 << 16], DType.BFLOAT16, "found int64 from 65536 to 65536"),
        ([1e300], DType.FLOAT32, r"expected numbers that fit FLOAT32, found 1e\+300"),
        ([1j], DType.FLOAT32, "expected real numbers for FLOAT32, found complex128"),
        (["a"], DType.FLOAT32, "expected real numbers for FLOAT32, found str"),
        ([300], DType.STRING, "expected integers from 0 to 255 for UINT8"),
        ([[1], [1, 2]], None, "expected an array, found nested lists of different lengths"),
    ],
)
def test_constants_that_do_not_fit_their_type_are_named(values: Any, dtype: DType | None, found: str) -> None:
    with pytest.raises(InputError, match=found):
        fbs.Builder().constant("c", values, dtype)


def test_constants_that_fit_come_back() -> None:
    for values, dtype in (
        ([np.inf, np.nan, 1], DType.FLOAT32),
        ([1 + 2j], DType.COMPLEX64),
        ([0, 1, True], DType.BOOL),
        ([], DType.INT8),
        ([0x3F80], DType.BFLOAT16),
        ([1 << 63], DType.UINT64),
    ):
        b = fbs.Builder()
        constant = b.constant("c", values, dtype)
        found = fbs.read(fbs.write(b.finish(outputs=[constant]))).subgraphs[0].tensors[0].data
        assert np.array_equal(found, np.array(values, dtype.storage), equal_nan=dtype is DType.FLOAT32)


def test_a_writer_says_once_and_where_what_does_not_fit() -> None:
    b = fbs.Builder()
    x = b.input("x", DType.FLOAT32, (2,))
    b.op("ADD", [x, x], [b.tensor("y", DType.FLOAT32, (2,))], fused_activation_function="RELU")
    with pytest.raises(InputError) as caught:
        fbs.write(b.finish(outputs=[1]))
    place, _, rest = str(caught.value).partition(": expected ")
    assert place == "subgraphs[0]: operators[0]: builtin_options"
    assert rest.startswith("AddOptions.fused_activation_function to be a int8 scalar, found 'RELU'")
