"""Cases of IF, WHILE, CALL_ONCE with a variable, and STABLEHLO_COMPOSITE: subgraphs of one op or two."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

import fbs
from qmath.types import DType
from quantref.vectors.cells import values
from quantref.vectors.cells.case import Case, Generator
from quantref.vectors.cells.models import Params

_SHAPE = (2, 3)


def _unary(graph: fbs.SubgraphBuilder, op: str, params: Params) -> None:
    """Fill a subgraph with an op of one int8 tensor, taken twice if it is a binary one."""
    x = graph.input("a", DType.INT8, _SHAPE, **params)
    y = graph.tensor("b", DType.INT8, _SHAPE, **params)
    graph.op(op, [x] if op == "RELU" else [x, x], [y])
    graph.outputs(y)


def _params(rng: np.random.Generator) -> Params:
    return {"scale": values.scale(rng, -4, 0), "zero_point": values.zero_point(rng, DType.INT8)}


def choices(rng: np.random.Generator) -> Iterator[Case]:
    """Take one subgraph or the other."""
    while True:
        b, params = fbs.Builder(), _params(rng)
        condition, x = b.input("condition", DType.BOOL, ()), b.input("x", DType.INT8, _SHAPE, **params)
        y = b.tensor("y", DType.INT8, _SHAPE, **params)
        (then, first), (otherwise, second) = b.subgraph("then"), b.subgraph("else")
        _unary(first, "MUL", params)
        _unary(second, "RELU", params)
        b.op("IF", [condition, x], [y], then_subgraph_index=then, else_subgraph_index=otherwise)
        codes = values.codes(rng, DType.INT8, _SHAPE)
        samples = tuple({"condition": np.array(taken), "x": codes} for taken in (True, False, True))
        yield Case("IF int8", b.finish([y]), samples)


def loops(rng: np.random.Generator) -> Iterator[Case]:
    """Count to a limit, and multiply codes each time."""
    while True:
        b, params = fbs.Builder(), _params(rng)
        count, x = b.input("count", DType.INT32, ()), b.input("x", DType.INT8, _SHAPE, **params)
        outputs = [b.tensor("counted", DType.INT32, ()), b.tensor("y", DType.INT8, _SHAPE, **params)]
        condition, test = b.subgraph("condition")
        counted = test.input("count", DType.INT32, ())
        test.input("x", DType.INT8, _SHAPE, **params)
        below = test.tensor("below", DType.BOOL, ())
        test.op("LESS", [counted, test.constant("limit", np.array(4, np.int32))], [below])
        test.outputs(below)
        body_index, body = b.subgraph("body")
        counted, codes = body.input("count", DType.INT32, ()), body.input("x", DType.INT8, _SHAPE, **params)
        more, squared = body.tensor("more", DType.INT32, ()), body.tensor("squared", DType.INT8, _SHAPE, **params)
        body.op("ADD", [counted, body.constant("one", np.array(1, np.int32))], [more])
        body.op("MUL", [codes, codes], [squared])
        body.outputs(more, squared)
        b.op("WHILE", [count, x], outputs, cond_subgraph_index=condition, body_subgraph_index=body_index)
        starts = (0, 3, 4, int(rng.integers(-3, 9)))
        samples = ({"count": np.array(n, np.int32), "x": values.codes(rng, DType.INT8, _SHAPE)} for n in starts)
        yield Case("WHILE int8", b.finish(outputs), tuple(samples))


def variables(rng: np.random.Generator) -> Iterator[Case]:
    """Set a variable once, and add to it at each invocation."""
    while True:
        b = fbs.Builder()
        x = b.input("x", DType.FLOAT32, (2,))
        init_index, init = b.subgraph("init")
        handle = init.tensor("handle", DType.RESOURCE, ())
        init.op("VAR_HANDLE", [], [handle], container="", shared_name="total")
        init.op("ASSIGN_VARIABLE", [handle, init.constant("start", values.floats(rng, (2,)))], [])
        init.outputs()
        b.op("CALL_ONCE", [], [], init_subgraph_index=init_index)
        handle = b.tensor("handle", DType.RESOURCE, ())
        before, after = b.tensor("before", DType.FLOAT32, (2,)), b.tensor("after", DType.FLOAT32, (2,))
        b.op("VAR_HANDLE", [], [handle], container="", shared_name="total")
        b.op("READ_VARIABLE", [handle], [before])
        b.op("ADD", [before, x], [after])
        b.op("ASSIGN_VARIABLE", [handle, after], [])
        samples = tuple({"x": values.floats(rng, (2,))} for _ in range(3))
        yield Case("CALL_ONCE VAR_HANDLE READ_VARIABLE ASSIGN_VARIABLE float32", b.finish([after]), samples)


def composites(rng: np.random.Generator) -> Iterator[Case]:
    """Run a composite by its decomposition."""
    while True:
        b, params = fbs.Builder(), _params(rng)
        x, y = b.input("x", DType.INT8, _SHAPE, **params), b.tensor("y", DType.INT8, _SHAPE, **params)
        index, inner = b.subgraph("decomposition")
        _unary(inner, "MUL", params)
        options = {"name": "test.square", "decomposition_subgraph_index": index, "composite_attributes": b"\0\x24\1"}
        b.op("STABLEHLO_COMPOSITE", [x], [y], options=options)
        yield Case("STABLEHLO_COMPOSITE int8", b.finish([y]), ({"x": values.codes(rng, DType.INT8, _SHAPE)},))


CELLS: dict[str, Generator] = {
    "IF int8": choices,
    "WHILE int8": loops,
    "CALL_ONCE VAR_HANDLE READ_VARIABLE ASSIGN_VARIABLE float32": variables,
    "STABLEHLO_COMPOSITE int8": composites,
}
