"""What stays the same in a graph that is rewritten, and what is added."""

from __future__ import annotations

import numpy as np
import pytest

import fbs
import quantref
from qmath.types import DType
from quantref.quantizer import quantize
from tests.quantref.quantizer.small_graphs import FloatGraphBuilder, ops, statistics, tensor

INTEGER = {"input_type": "int8", "output_type": "int8"}


def names(model: fbs.Model, indices: tuple[int, ...]) -> list[str]:
    return [model.subgraphs[0].tensors[index].name for index in indices]


def test_signatures_and_metadata_follow() -> None:
    g = FloatGraphBuilder()
    x = g.input()
    y = g.dense(x, "y")
    g.builder.signature("serve", {"features": x}, {"scores": y})
    g.builder.metadata("note", b"kept")
    model = g.finish(y)
    for types in ({}, INTEGER, {"input_type": "uint8", "output_type": "uint8"}):
        quantized = quantize(model, mode="int8", statistics=statistics(model), **types)
        (signature,) = quantized.signatures
        assert (signature.key, [name for name, _ in signature.inputs], [name for name, _ in signature.outputs]) == (
            "serve",
            ["features"],
            ["scores"],
        )
        assert tuple(index for _, index in signature.inputs) == quantized.subgraphs[0].inputs
        assert tuple(index for _, index in signature.outputs) == quantized.subgraphs[0].outputs
        assert [(item.name, bytes(item.data)) for item in quantized.metadata] == [("note", b"kept")]


def test_names_stay_unique() -> None:
    g = FloatGraphBuilder()
    model = g.finish(g.dense(g.dense(g.input(), "x_int8"), "y"))
    found = [tensor.name for tensor in quantize(model, mode="int8", statistics=statistics(model)).subgraphs[0].tensors]
    assert len(found) == len(set(found))
    assert {"x", "x_int8", "y"} <= set(found)


def test_a_constant_that_two_read_alike_is_stored_once() -> None:
    g = FloatGraphBuilder()
    weights = g.builder.constant("w", np.eye(4, dtype=np.float32))
    value = g.op("FULLY_CONNECTED", [g.op("FULLY_CONNECTED", [g.input(), weights], "first"), weights], "second")
    model = g.finish(value)
    subgraph = quantize(model, mode="int8", statistics=statistics(model), **INTEGER).subgraphs[0]
    first, second = subgraph.operators
    assert first.inputs[1] == second.inputs[1]


def test_a_constant_that_two_read_differently_is_stored_twice() -> None:
    g = FloatGraphBuilder()
    bias = g.builder.constant("b", np.full(4, 0.5, np.float32))
    value = g.input()
    for name, size in (("first", 1), ("second", 2)):
        weights = g.builder.constant(f"{name}/w", size * np.eye(4, dtype=np.float32))
        value = g.op("FULLY_CONNECTED", [value, weights, bias], name)
    model = g.finish(g.op("COS", [value], "y"), bias)
    quantized = quantize(model, mode="int8", statistics=statistics(model), input_type="int8", fallback=True)
    subgraph = quantized.subgraphs[0]
    first, second, *_ = subgraph.operators
    forms = [subgraph.tensors[index] for index in (first.inputs[2], second.inputs[2], subgraph.outputs[1])]
    assert [form.dtype for form in forms] == [DType.INT32, DType.INT32, DType.FLOAT32]
    assert forms[0].quant != forms[1].quant
    assert forms[2].name == "b"


@pytest.mark.parametrize("types", [{}, INTEGER])
def test_inputs_that_are_outputs_and_outputs_that_are_given_twice(types: dict[str, str]) -> None:
    g = FloatGraphBuilder()
    x, unread = g.input(), g.input("unread")
    y = g.dense(x, "y")
    model = g.finish(y, x, y)
    quantized = quantize(model, mode="int8", statistics=statistics(model), **types)
    subgraph = quantized.subgraphs[0]
    assert len(subgraph.outputs) == 3
    assert subgraph.outputs[0] == subgraph.outputs[2]
    assert names(quantized, subgraph.inputs) == ["x", "unread"]
    assert subgraph.tensors[subgraph.inputs[1]].dtype is DType.FLOAT32
    assert unread == 1
    interpreter = quantref.Interpreter(quantized)
    interpreter.allocate_tensors()
    interpreter.invoke()


def test_what_a_file_says_of_the_oldest_runtime_is_dropped() -> None:
    g = FloatGraphBuilder()
    y = g.dense(g.input(), "y")
    g.builder.metadata("min_runtime_version", b"1.5.0")
    model = g.finish(y)
    assert quantize(model, mode="int8", statistics=statistics(model)).metadata == ()


@pytest.mark.parametrize(("mode", "version"), [("float32", 1), ("int8", 4), ("16x8", 11), ("int4", 12)])
def test_operators_get_the_versions_of_their_types(mode: str, version: int) -> None:
    g = FloatGraphBuilder()
    model = g.finish(g.dense(g.input(), "y"))
    known = statistics(model) if "8" in mode else None
    (layer,) = [
        op for op in quantize(model, mode=mode, statistics=known).subgraphs[0].operators if op.name == "FULLY_CONNECTED"
    ]
    assert layer.version == version


def test_float16_goes_by_a_dequantize_a_constant() -> None:
    g = FloatGraphBuilder()
    model = g.finish(g.dense(g.input(), "y", bias=70000.0))
    half = quantize(model, mode="float16")
    assert ops(half) == ["DEQUANTIZE", "DEQUANTIZE", "FULLY_CONNECTED"]
    stored = {found.name: found for found in half.subgraphs[0].tensors if found.dtype is DType.FLOAT16}
    assert len(stored) == 2
    biggest = max(float(found.data.max()) for found in stored.values())
    assert biggest == 65504  # beyond it float16 has only infinity
    assert tensor(model, "y/b").data.max() == 70000
