"""IF, WHILE, CALL_ONCE, variables and STABLEHLO_COMPOSITE against LiteRT, over subgraphs of quantized ops."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import fbs
import quantref
from qmath.errors import ModelError, QuantrefError
from qmath.types import Array, DType
from quantref.runtimes import LiteRT

CODES = {"scale": 0.5, "zero_point": 3}
SHAPE = (2, 3)
#: Codes whose doubles, or products, saturate at both ends.
X = np.array([[-128, -61, -1], [3, 64, 127]], np.int8)


def _unary(graph: fbs.SubgraphBuilder, op: str, **options: int) -> None:
    """Fill a subgraph with an op of one int8 tensor, taken twice if it is a binary one."""
    x = graph.input("a", DType.INT8, SHAPE, **CODES)
    y = graph.tensor("b", DType.INT8, SHAPE, **CODES)
    graph.op(op, [x] if op == "RELU" else [x, x], [y], **options)
    graph.outputs(y)


def choosing() -> fbs.Model:
    """IF: double the input, or clamp it to what is not negative."""
    b = fbs.Builder()
    condition, x = b.input("condition", DType.BOOL, ()), b.input("x", DType.INT8, SHAPE, **CODES)
    y = b.tensor("y", DType.INT8, SHAPE, **CODES)
    (then, first), (otherwise, second) = b.subgraph("then"), b.subgraph("else")
    _unary(first, "ADD", pot_scale_int16=False)
    _unary(second, "RELU")
    b.op("IF", [condition, x], [y], then_subgraph_index=then, else_subgraph_index=otherwise)
    return b.finish([y])


def looping() -> fbs.Model:
    """WHILE: count to the limit and double the codes each time."""
    b = fbs.Builder()
    count, x = b.input("count", DType.INT32, ()), b.input("x", DType.INT8, SHAPE, **CODES)
    outputs = [b.tensor("counted", DType.INT32, ()), b.tensor("y", DType.INT8, SHAPE, **CODES)]
    condition, test = b.subgraph("condition")
    counted = test.input("count", DType.INT32, ())
    test.input("x", DType.INT8, SHAPE, **CODES)
    below = test.tensor("below", DType.BOOL, ())
    test.op("LESS", [counted, test.constant("limit", np.array(4, np.int32))], [below])
    test.outputs(below)
    body_index, body = b.subgraph("body")
    counted, codes = body.input("count", DType.INT32, ()), body.input("x", DType.INT8, SHAPE, **CODES)
    more, doubled = body.tensor("more", DType.INT32, ()), body.tensor("doubled", DType.INT8, SHAPE, **CODES)
    body.op("ADD", [counted, body.constant("one", np.array(1, np.int32))], [more])
    body.op("ADD", [codes, codes], [doubled], pot_scale_int16=False)
    body.outputs(more, doubled)
    b.op("WHILE", [count, x], outputs, cond_subgraph_index=condition, body_subgraph_index=body_index)
    return b.finish(outputs)


def growing() -> fbs.Model:
    """WHILE: a state that gets longer with each iteration."""
    b = fbs.Builder()
    x = b.input("x", DType.INT32, (1,))
    y = b.tensor("y", DType.INT32, (1,), shape_signature=(-1,))
    condition, test = b.subgraph("condition")
    length, below = test.tensor("length", DType.INT32, (1,)), test.tensor("short", DType.BOOL, (1,))
    test.op("SHAPE", [test.input("x", DType.INT32, (1,), shape_signature=(-1,))], [length], out_type=DType.INT32.value)
    test.op("LESS", [length, test.constant("limit", np.array([5], np.int32))], [below])
    test.outputs(below)
    body_index, body = b.subgraph("body")
    longer = body.tensor("longer", DType.INT32, (2,), shape_signature=(-1,))
    state = body.input("x", DType.INT32, (1,), shape_signature=(-1,))
    body.op("CONCATENATION", [state, body.constant("seven", np.array([7], np.int32))], [longer], axis=0)
    body.outputs(longer)
    b.op("WHILE", [x], [y], cond_subgraph_index=condition, body_subgraph_index=body_index)
    return b.finish([y])


def remembering() -> fbs.Model:
    """CALL_ONCE sets a variable, to which each invocation adds its input."""
    b = fbs.Builder()
    x, start = b.input("x", DType.FLOAT32, (2,)), np.array([100.0, -1.0], np.float32)
    init_index, init = b.subgraph("init")
    handle = init.tensor("handle", DType.RESOURCE, ())
    init.op("VAR_HANDLE", [], [handle], container="", shared_name="total")
    init.op("ASSIGN_VARIABLE", [handle, init.constant("start", start)], [])
    init.outputs()
    b.op("CALL_ONCE", [], [], init_subgraph_index=init_index)
    handle = b.tensor("handle", DType.RESOURCE, ())
    before, after = b.tensor("before", DType.FLOAT32, (2,)), b.tensor("after", DType.FLOAT32, (2,))
    b.op("VAR_HANDLE", [], [handle], container="", shared_name="total")
    b.op("READ_VARIABLE", [handle], [before])
    b.op("ADD", [before, x], [after])
    b.op("ASSIGN_VARIABLE", [handle, after], [])
    return b.finish([after])


def composed() -> fbs.Model:
    """STABLEHLO_COMPOSITE by its decomposition."""
    b = fbs.Builder()
    x, y = b.input("x", DType.INT8, SHAPE, **CODES), b.tensor("y", DType.INT8, SHAPE, **CODES)
    index, inner = b.subgraph("decomposition")
    _unary(inner, "MUL")
    options = {"name": "test.square", "decomposition_subgraph_index": index, "composite_attributes": b"\0\x24\1"}
    b.op("STABLEHLO_COMPOSITE", [x], [y], options=options)
    return b.finish([y])


CASES: dict[str, tuple[Callable[[], fbs.Model], list[list[Array]]]] = {
    "IF": (choosing, [[np.array(yes), X] for yes in (True, False, True)]),
    "WHILE": (looping, [[np.array(count, np.int32), X] for count in (0, 3, 4, 9)]),
    "WHILE that grows": (growing, [[np.array([count], np.int32)] for count in (1, 2)]),
    "CALL_ONCE": (remembering, [[np.array(pair, np.float32)] for pair in ((1, 2), (0.5, -3), (1e9, 0))]),
    "STABLEHLO_COMPOSITE": (composed, [[X], [X[::-1].copy()]]),
}


@pytest.mark.litert
@pytest.mark.parametrize("case", CASES)
def test_litert_gives_the_same(case: str, litert: LiteRT):
    make, samples = CASES[case]
    model = make()
    answers = litert.run(fbs.write(model), samples, all_tensors=False)
    interpreter = quantref.Interpreter(model)
    interpreter.allocate_tensors()
    graph = interpreter.model.subgraphs[0]
    for sample, answer in zip(samples, answers, strict=True):
        for index, value in zip(graph.inputs, sample, strict=True):
            interpreter.set_tensor(index, value)
        interpreter.invoke()
        for index, expected in zip(graph.outputs, answer.outputs, strict=True):
            found = interpreter.get_tensor(index)
            assert found.dtype == expected.dtype
            assert found.tolist() == expected.tolist()


def test_loop_by_hand():
    # Code 64 stands for 30.5; doubled it is 61, code 125; doubled again it saturates.
    outputs = quantref.run(looping(), {"count": np.array(3, np.int32), "x": X})
    assert outputs["counted"].tolist() == 4
    assert outputs["y"].tolist() == [[-128, -125, -5], [3, 125, 127]]


@pytest.mark.parametrize("stride", [1, 3])
def test_a_loop_whose_values_come_again_never_ends(stride: int) -> None:
    """The condition is always true, and the values go round in a circle."""
    b = fbs.Builder()
    x = b.input("x", DType.INT32, (3,))
    y = b.tensor("y", DType.INT32, (3,))
    condition, test = b.subgraph("condition")
    test.input("x", DType.INT32, (3,))
    test.outputs(test.constant("always", np.ones((), np.bool_)))
    body_index, body = b.subgraph("body")
    before, after = body.input("x", DType.INT32, (3,)), body.tensor("after", DType.INT32, (3,))
    turned = np.roll(np.arange(3, dtype=np.int32), stride)
    body.op("GATHER", [before, body.constant("turned", turned)], [after])
    body.outputs(after)
    b.op("WHILE", [x], [y], cond_subgraph_index=condition, body_subgraph_index=body_index)
    with pytest.raises(ModelError, match=r"the loop never ends: after .* iterations its values are as after 1024"):
        quantref.run(b.finish([y]), {"x": np.array([1, 2, 3], np.int32)})


def test_variables_live_from_one_invocation_to_the_next():
    interpreter = quantref.Interpreter(remembering())
    interpreter.allocate_tensors()
    for expected in ([101.0, 0.0], [102.0, 1.0]):
        interpreter.set_tensor(0, np.ones(2, np.float32))
        interpreter.invoke()
        assert interpreter.get_tensor(interpreter.model.subgraphs[0].outputs[0]).tolist() == expected


def test_a_variable_must_be_assigned_first():
    b = fbs.Builder()
    handle, value = b.tensor("handle", DType.RESOURCE, ()), b.tensor("value", DType.FLOAT32, (1,))
    b.op("VAR_HANDLE", [], [handle], container="", shared_name="nothing")
    b.op("READ_VARIABLE", [handle], [value])
    with pytest.raises(ModelError, match="assigned before it is read"):
        quantref.run(b.finish([value]), {})


def test_a_subgraph_that_calls_itself_is_refused():
    b = fbs.Builder()
    x, y = b.input("x", DType.INT8, SHAPE, **CODES), b.tensor("y", DType.INT8, SHAPE, **CODES)
    b.op("STABLEHLO_COMPOSITE", [x], [y], options={"name": "endless", "decomposition_subgraph_index": 0})
    with pytest.raises(QuantrefError, match="subgraph 0"):
        quantref.run(b.finish([y]), {"x": X})
