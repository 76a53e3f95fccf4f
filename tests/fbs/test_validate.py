"""Models that contradict themselves, each in one way, and oddities that are only noted."""

from __future__ import annotations

import dataclasses
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

import fbs
from fbs.validate import MAX_CALL_DEPTH, MAX_SHARING
from qmath.errors import ModelError
from qmath.types import DType
from quantref.interpreter import Interpreter
from tests.fbs.models import control_flow, conv, recurrent, sparse


def _with_tensor(index: int, **changes: Any) -> fbs.Model:
    model = conv()
    graph = model.subgraphs[0]
    tensors = list(graph.tensors)
    tensors[index] = dataclasses.replace(tensors[index], **changes)
    return dataclasses.replace(model, subgraphs=(dataclasses.replace(graph, tensors=tuple(tensors)),))


def _with_quantization(index: int, **changes: Any) -> fbs.Model:
    quantization = conv().subgraphs[0].tensors[index].quantization
    assert quantization is not None
    return _with_tensor(index, quantization=dataclasses.replace(quantization, **changes))


def _with_operator(**changes: Any) -> fbs.Model:
    model = conv()
    graph = model.subgraphs[0]
    operator = dataclasses.replace(graph.operators[0], **changes)
    return dataclasses.replace(model, subgraphs=(dataclasses.replace(graph, operators=(operator,)),))


def _with_graph(**changes: Any) -> fbs.Model:
    model = conv()
    return dataclasses.replace(model, subgraphs=(dataclasses.replace(model.subgraphs[0], **changes),))


def _with_signature(**changes: Any) -> fbs.Model:
    return dataclasses.replace(conv(), signatures=(dataclasses.replace(conv().signatures[0], **changes),))


def _twice() -> fbs.Model:
    return _with_graph(operators=conv().subgraphs[0].operators * 2)


def _cycle() -> fbs.Model:
    b = fbs.Builder()
    x, y, z = (b.tensor(name, DType.FLOAT32, (1,)) for name in "xyz")
    b.op("ADD", [x, z], [y])
    b.op("EXP", [y], [z])
    return b.finish(outputs=[z])


def _chain(length: int) -> fbs.Model:
    """Return a model of subgraphs each of which calls the next."""
    model = fbs.Builder()
    builders = [(0, model), *(model.subgraph() for _ in range(length))]
    for (_, caller), (callee, _) in pairwise(builders):
        caller.op("CALL_ONCE", [], [], init_subgraph_index=callee)
    return model.finish()


def _recursion() -> fbs.Model:
    model = control_flow()
    main, condition, body = model.subgraphs
    operator = dataclasses.replace(main.operators[0], outputs=(body.operators[0].outputs[0],))
    nested = dataclasses.replace(body, operators=(dataclasses.replace(operator, inputs=(2,)),))
    return dataclasses.replace(model, subgraphs=(main, condition, nested))


def _callee_out_of_range() -> fbs.Model:
    model = control_flow()
    return dataclasses.replace(model, subgraphs=model.subgraphs[:2])


NAN, INF = np.float32("nan"), np.float32("inf")
WRONG = {
    "no subgraph": (fbs.Model(()), "expected a subgraph, found none"),
    "negative dimension": (_with_tensor(3, shape=(1, 8, -8, 4)), r"'y'.*without negative dimensions"),
    "overflow": (_with_tensor(3, shape=(1 << 30,) * 4, shape_signature=None), "bytes, found 4 dimensions"),
    "too many dimensions": (_with_tensor(3, shape=(1,) * 33, shape_signature=None), "at most 32 dimensions"),
    "signature of another rank": (_with_tensor(3, shape_signature=(-1, 8)), "shape signature for 4 dimensions"),
    "data too short": (_with_tensor(2, shape=(5,)), r"'bias'.*expected 20 bytes for INT32 of shape \[5\], found 16"),
    "variable constant": (_with_tensor(2, is_variable=True), "variable tensor without data"),
    "scales without zero points": (_with_quantization(1, zero_point=None), "zero points as the 4 scales, found none"),
    "too few zero points": (_with_quantization(1, zero_point=[0, 0]), "zero points as the 4 scales, found 2"),
    "NaN": (_with_quantization(1, scale=[1, 1, NAN, 1]), "finite scales above 0, found nan at 2"),
    "infinity": (_with_quantization(0, scale=[INF]), "finite scales above 0, found inf"),
    "negative scale": (_with_quantization(0, scale=[-0.5]), r"finite scales above 0, found -0\.5"),
    "axis out of range": (_with_quantization(1, quantized_dimension=4), "'w'.*found quantized_dimension 4"),
    "axis negative": (_with_quantization(1, quantized_dimension=-1), "'w'.*found quantized_dimension -1"),
    "axis of another size": (_with_quantization(1, quantized_dimension=3), "4 scales to run along a dimension"),
    "input out of range": (_with_operator(inputs=(0, 1, 4)), r"CONV_2D.*one of 4 tensors, or -1 for none; found 4"),
    "input negative": (_with_operator(inputs=(0, 1, -2)), "found -2"),
    "output absent": (_with_operator(outputs=(-1,)), r"each output to be one of 4 tensors; found -1"),
    "intermediate out of range": (_with_operator(intermediates=(9,)), "found 9"),
    "output to a constant": (_with_operator(outputs=(2,)), "found it is a constant"),
    "output to an input": (_with_operator(outputs=(0,)), "found it is an input of the subgraph"),
    "options of another operator": (
        _with_operator(options=fbs.Options("Pool2DOptions")),
        "expected options Conv2DOptions, found Pool2DOptions",
    ),
    "version": (_with_operator(code=fbs.OperatorCode("CONV_2D", 0)), "version from 1"),
    "no custom code": (_with_operator(code=fbs.OperatorCode("CUSTOM"), options=None), "with a name"),
    "delegate": (_with_operator(code=fbs.OperatorCode("DELEGATE"), options=None), "found DELEGATE"),
    "graph input out of range": (_with_graph(inputs=(7,)), "each input to be one of 4 tensors; found 7"),
    "graph output that nothing writes": (_with_graph(operators=()), r"output 3 \('y'\) to hold a value"),
    "written twice": (_twice(), r"operator 1 \(CONV_2D\).*found it is an earlier output"),
    "cycle": (_cycle(), r"operator 0 \(ADD\): expected input 0 \('x'\) to hold a value"),
    "subgraphs that call themselves": (_recursion(), r"a circle of calls among: \[0, 2\]"),
    "calls inside each other": (
        _chain(3000),
        "at most 32 calls of subgraphs inside each other, found 3000 below subgraph",
    ),
    "subgraph out of range": (_callee_out_of_range(), "body_subgraph_index to be one of 2 subgraphs, found 2"),
    "signature of no subgraph": (_with_signature(subgraph_index=1), "'serving_default'.*one of 1 subgraphs, found 1"),
    "signature of no tensor": (_with_signature(inputs=(("x", 12),)), "found 12"),
    "data in the first buffer": (
        dataclasses.replace(
            conv(),
            buffers=(conv_buffer := fbs.Buffer(b"1234"),),
            subgraphs=(fbs.Subgraph((fbs.Tensor("x", DType.INT8, (4,), conv_buffer),), (), (0,), ()),),
            signatures=(),
        ),
        "first buffer to be empty",
    ),
}
ODD = {
    "older biases": (_with_quantization(2, quantized_dimension=3), "'bias'.*has quantized_dimension 3"),
    "axis of one scale": (_with_quantization(0, quantized_dimension=7), "'x'.*one scale holds for all"),
    "scale 0": (_with_quantization(1, scale=[0, 1, 1, 1]), r"has a scale of 0 \(1 of 4\)"),
    "zero point out of range": (_with_quantization(0, zero_point=[200]), "zero points from 200 to 200"),
    "too much data": (_with_tensor(2, shape=(3,), quantization=None), "has 16 bytes of data where its shape needs 12"),
    "empty buffer": (_with_tensor(0, buffer=fbs.Buffer(b"")), "buffer of no bytes"),
    "shape against signature": (_with_tensor(3, shape=(1, 8, 8, 5)), "does not fit its signature"),
    "custom details": (recurrent(), "custom quantization details"),
    "mutated inputs": (_with_operator(mutating_variable_inputs=(True,)), "says of 1 inputs whether"),
    "options for nothing": (
        _with_operator(code=fbs.OperatorCode("RELU"), inputs=(0,)),
        "has options Conv2DOptions, though the operator takes none",
    ),
    "input twice": (_with_graph(inputs=(0, 0)), "lists an input twice"),
    "name twice": (_with_signature(inputs=(("x", 0), ("x", 0))), "uses a name for two inputs"),
    "stranger in a signature": (
        _with_signature(outputs=(("w", 1),)),
        "names outputs that the subgraph does not have: w",
    ),
    "key twice": (dataclasses.replace(conv(), signatures=conv().signatures * 2), "the same key"),
}


@pytest.mark.parametrize("case", WRONG)
def test_contradictions_raise(case: str) -> None:
    model, message = WRONG[case]
    with pytest.raises(ModelError, match=message):
        fbs.validate(model)


@pytest.mark.parametrize("case", ODD)
def test_oddities_are_noted(case: str) -> None:
    model, message = ODD[case]
    (finding,) = fbs.validate(model)
    with pytest.raises(ModelError, match=message):
        raise ModelError(str(finding))


def test_the_place_is_named(tmp_path: Any) -> None:
    path = tmp_path / "bad.tflite"
    fbs.save(_with_tensor(3, shape=(-1, 8, 8, 4)), path)
    with pytest.raises(ModelError) as caught:
        fbs.validate(fbs.read(path))
    assert str(caught.value).startswith(f"{path}: subgraph 0 ('main'): tensor 3 ('y'): expected a shape without")


def test_tensors_without_elements_need_no_value() -> None:
    b = fbs.Builder()
    x, shape, y = b.input("x", DType.FLOAT32, (1,)), b.tensor("s", DType.INT32, (0,)), b.tensor("y", DType.FLOAT32, ())
    b.op("RESHAPE", [x, shape], [y])
    assert fbs.validate(b.finish(outputs=[y])) == ()


def test_calls_as_deep_as_allowed_run() -> None:
    fbs.validate(_chain(MAX_CALL_DEPTH))
    interpreter = Interpreter(_chain(MAX_CALL_DEPTH))
    interpreter.allocate_tensors()
    interpreter.invoke()


def test_sparse_tensors_do_not_share_a_buffer_by_the_thousand() -> None:
    model = sparse()
    graph = model.subgraphs[0]
    constant = next(tensor for tensor in graph.tensors if tensor.sparsity is not None)
    for count, fits in ((MAX_SHARING - 1, True), (MAX_SHARING, False)):
        more = dataclasses.replace(graph, tensors=(*graph.tensors, *[constant] * count))
        crowded = dataclasses.replace(model, subgraphs=(more,))
        if fits:
            fbs.validate(crowded)
            continue
        with pytest.raises(ModelError, match="at most 64 sparse tensors a buffer, found 65 that share 1"):
            fbs.validate(crowded)
