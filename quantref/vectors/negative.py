"""Models that a runtime has to refuse: damaged files, structures that contradict themselves, illegal combinations.

Each is damaged in one way. The class of error that a case expects is the one that quantref raises; what a runtime has
to do is to refuse, with whatever error it has, and to go on living. LiteRT's three resolvers refuse every one of them:
a test runs them, because what LiteRT takes cannot be held against a device.
"""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

import fbs
from qmath.types import Array, DType


@dataclass(frozen=True, slots=True)
class Negative:
    """A negative case: the file, what to feed if it loads, its op, and what is wrong with it."""

    content: bytes
    inputs: Mapping[str, Array]
    op: str
    wrong: str


def negative_cells(kinds: Sequence[str]) -> Iterator[str]:
    """Yield the names of the negative cases of some kinds: ``file``, ``structure``, ``contract``."""
    for kind in kinds:
        yield from (f"NEGATIVE {kind}: {wrong}" for wrong in _KINDS[kind])


def negative(cell: str, rng: np.random.Generator) -> Negative:
    """Make the negative case of that name."""
    kind, _, wrong = cell.removeprefix("NEGATIVE ").partition(": ")
    return _KINDS[kind][wrong](wrong, rng)


# --- A sound model to start from ----------------------------------------------------------------------------------

_X, _FILTER, _BIAS, _Y = range(4)


def _conv(rng: np.random.Generator, **changes: Any) -> fbs.Model:
    """Build an int8 CONV_2D of 4 x 4 x 2 with three filters of 2 x 2; ``changes`` replace shapes, types, options."""
    given: dict[str, Any] = {
        "x": (1, 4, 4, 2),
        "filter": (3, 2, 2, 2),
        "bias": (3,),
        "bias_type": DType.INT32,
    } | changes
    b = fbs.Builder()
    x = b.input("x", DType.INT8, given["x"], scale=0.5, zero_point=3)
    codes = rng.integers(-127, 128, given["filter"]).astype(np.int8)
    filter_ = b.constant("filter", codes, scale=[0.25, 0.5, 0.125], quantized_dimension=0)
    bias_type: DType = given["bias_type"]
    bias_values = rng.integers(-99, 100, given["bias"]).astype(bias_type.storage)
    bias = b.constant("bias", bias_values, bias_type, scale=[0.125, 0.25, 0.0625])
    y = b.tensor("y", given.get("y_type", DType.INT8), (1, 3, 3, 3), scale=4.0, zero_point=-5)
    options = {"padding": 1, "stride_h": 1, "stride_w": 1} | given.get("options", {})
    b.op("CONV_2D", [x, filter_, bias][: given.get("inputs", 3)], [y], version=3, options=options)
    return b.finish([y])


def _inputs(rng: np.random.Generator, model: fbs.Model) -> dict[str, Array]:
    graph = model.subgraphs[0]
    tensors = [graph.tensors[index] for index in graph.inputs if index < len(graph.tensors)]
    return {t.name: rng.integers(-100, 100, np.abs(t.shape)).astype(t.dtype.storage) for t in tensors}


# --- Damaged files ------------------------------------------------------------------------------------------------


def _file(damage: Callable[[bytearray], bytes | bytearray], wrong: str, rng: np.random.Generator) -> Negative:
    model = _conv(rng)
    return Negative(bytes(damage(bytearray(fbs.write(model)))), _inputs(rng, model), "CONV_2D", wrong)


def _cut(share: float, data: bytearray) -> bytearray:
    return data[: int(len(data) * share)]


def _overwrite(place: int, word: int, data: bytearray) -> bytearray:
    data[place : place + 4] = struct.pack("<I", word)
    return data


_FILE: Mapping[str, Callable[[bytearray], bytes | bytearray]] = {
    "empty": lambda _: b"",
    "seven bytes": lambda data: data[:7],
    "half of it": partial(_cut, 0.5),
    "nine tenths of it": partial(_cut, 0.9),
    "another identifier": partial(_overwrite, 4, 0x304C4654),
    "root beyond the end": partial(_overwrite, 0, 0x7FFFFFF0),
    "root at zero": partial(_overwrite, 0, 0),
    "root inside a string": partial(_overwrite, 0, 5),
    "zeros after the header": lambda data: data[:8] + bytes(len(data) - 8),
    "text": lambda _: b"this is no model, but a line of text that is long enough to be read as one\n",
}


# --- Structures that contradict themselves ------------------------------------------------------------------------


def _structure(change: Callable[[fbs.Model], fbs.Model], wrong: str, rng: np.random.Generator) -> Negative:
    model = _conv(rng)
    return Negative(fbs.write(change(model)), _inputs(rng, model), "CONV_2D", wrong)


def _graph(**changes: Any) -> Callable[[fbs.Model], fbs.Model]:
    def change(model: fbs.Model) -> fbs.Model:
        graph = dataclasses.replace(model.subgraphs[0], **changes)
        return dataclasses.replace(model, subgraphs=(graph,))

    return change


def _operator(**changes: Any) -> Callable[[fbs.Model], fbs.Model]:
    def change(model: fbs.Model) -> fbs.Model:
        operator = dataclasses.replace(model.subgraphs[0].operators[0], **changes)
        return _graph(operators=(operator,))(model)

    return change


def _tensor(index: int, **changes: Any) -> Callable[[fbs.Model], fbs.Model]:
    def change(model: fbs.Model) -> fbs.Model:
        tensors = list(model.subgraphs[0].tensors)
        tensors[index] = dataclasses.replace(tensors[index], **changes)
        return _graph(tensors=tuple(tensors))(model)

    return change


def _quantization(index: int, **changes: Any) -> Callable[[fbs.Model], fbs.Model]:
    def change(model: fbs.Model) -> fbs.Model:
        quantization = model.subgraphs[0].tensors[index].quantization
        if quantization is None:
            return model
        return _tensor(index, quantization=dataclasses.replace(quantization, **changes))(model)

    return change


_STRUCTURE: Mapping[str, Callable[[fbs.Model], fbs.Model]] = {
    "no subgraph": lambda model: dataclasses.replace(model, subgraphs=()),
    "an op reads a tensor that is not there": _operator(inputs=(_X, 9, _BIAS)),
    "an op writes a tensor that is not there": _operator(outputs=(9,)),
    "an input is not there": _graph(inputs=(12,)),
    "an output is not there": _graph(outputs=(12,)),
    "negative dimension": _tensor(_X, shape=(1, 4, -4, 2)),
    "bias shorter than its shape": _tensor(_BIAS, shape=(5,)),
    "filter shorter than its shape": _tensor(_FILTER, shape=(3, 3, 3, 2)),
    "fewer scales than channels": _quantization(_FILTER, scale=np.array([0.5, 0.25], np.float32)),
    "quantized dimension beyond the rank": _quantization(_FILTER, quantized_dimension=4),
    "unknown op": _operator(code=fbs.OperatorCode("CUSTOM", custom_code="NoSuchOp")),
}


# --- Combinations that no kernel takes ----------------------------------------------------------------------------


def _contract(build: Callable[[np.random.Generator], fbs.Model], wrong: str, rng: np.random.Generator) -> Negative:
    model = build(rng)
    return Negative(fbs.write(model), _inputs(rng, model), model.subgraphs[0].operators[0].name, wrong)


def _elementwise(
    op: str, types: Sequence[DType], shapes: Sequence[tuple[int, ...]], params: Sequence[Mapping[str, Any]]
) -> Callable[[np.random.Generator], fbs.Model]:
    """Return what builds an op; the last type, shape and parameters are the output's."""

    def build(_: np.random.Generator) -> fbs.Model:
        b = fbs.Builder()
        given = list(zip(types, shapes, params, strict=True))
        inputs = [b.input(f"x{n}", dtype, shape, **more) for n, (dtype, shape, more) in enumerate(given[:-1])]
        dtype, shape, more = given[-1]
        y = b.tensor("y", dtype, shape, **more)
        b.op(op, inputs, [y])
        return b.finish([y])

    return build


_Q, _S = {"scale": 0.5, "zero_point": 3}, (1, 4, 4, 2)
_I8, _I16, _F32 = DType.INT8, DType.INT16, DType.FLOAT32


def _changed(**changes: Any) -> Callable[[np.random.Generator], fbs.Model]:
    return lambda rng: _conv(rng, **changes)


_CONTRACT: Mapping[str, Callable[[np.random.Generator], fbs.Model]] = {
    "CONV_2D input channels that the filter does not divide": _changed(x=(1, 4, 4, 3)),
    "CONV_2D input of three dimensions": _changed(x=(4, 4, 2)),
    "CONV_2D bias of another length": _changed(bias=(4,)),
    "CONV_2D int64 bias beside int8": _changed(bias_type=DType.INT64),
    "CONV_2D int16 output of int8 input": _changed(y_type=_I16),
    "CONV_2D without a filter": _changed(inputs=1),
    "CONV_2D stride 0": _changed(options={"stride_h": 0}),
    "ADD int8 and int16": _elementwise("ADD", (_I8, _I16, _I8), (_S, _S, _S), (_Q, _Q, _Q)),
    "ADD shapes that do not broadcast": _elementwise("ADD", (_I8,) * 3, (_S, (1, 4, 3, 2), _S), (_Q,) * 3),
    "ADD int16 with a zero point": _elementwise("ADD", (_I16,) * 3, (_S,) * 3, (_Q,) * 3),
    "ADD one operand": _elementwise("ADD", (_I8,) * 2, (_S,) * 2, (_Q,) * 2),
    "MUL shapes that do not broadcast": _elementwise("MUL", (_I8,) * 3, (_S, (1, 4, 3, 2), _S), (_Q,) * 3),
    "SOFTMAX int8 with another output scale": _elementwise("SOFTMAX", (_I8,) * 2, (_S,) * 2, (_Q, _Q)),
    "L2_NORMALIZATION int8 with another output scale": _elementwise(
        "L2_NORMALIZATION", (_I8,) * 2, (_S,) * 2, (_Q, _Q)
    ),
    "SIN of int8": _elementwise("SIN", (_I8,) * 2, (_S,) * 2, (_Q, _Q)),
    "RELU int8 to float32": _elementwise("RELU", (_I8, _F32), (_S,) * 2, (_Q, {})),
    "MAXIMUM of int8 and float32": _elementwise("MAXIMUM", (_I8, _F32, _I8), (_S,) * 3, (_Q, {}, _Q)),
    "DEQUANTIZE of float32": _elementwise("DEQUANTIZE", (_F32, _F32), (_S,) * 2, ({}, {})),
    "CONCATENATION int8 of two scales": _elementwise(
        "CONCATENATION", (_I8,) * 3, (_S, _S, (2, 4, 4, 2)), (_Q, {"scale": 0.25, "zero_point": 3}, _Q)
    ),
}

_KINDS: Mapping[str, Mapping[str, Callable[[str, np.random.Generator], Negative]]] = {
    "file": {name: partial(_file, damage) for name, damage in _FILE.items()},
    "structure": {name: partial(_structure, change) for name, change in _STRUCTURE.items()},
    "contract": {name: partial(_contract, build) for name, build in _CONTRACT.items()},
}
