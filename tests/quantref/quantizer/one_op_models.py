"""Float models of one op, for every op that style ``quantref`` makes integer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import fbs
from qmath.types import DType

Build = Callable[[fbs.Builder, int], None]
SHAPE = (1, 4, 6, 3)


def one_op_model(name: str) -> fbs.Model:
    """Return the float model of an op, with a row of :data:`MODELS` as its recipe."""
    b = fbs.Builder()
    x = b.input("x", DType.FLOAT32, SHAPES.get(name, SHAPE))
    MODELS[name](b, x)
    return b.finish()


def samples(model: fbs.Model, count: int = 8) -> list[list[np.ndarray]]:
    """Return samples that suit every op of this file: both signs, but roots and logarithms get positive numbers."""
    (index,) = model.subgraphs[0].inputs
    names = {op.name for op in model.subgraphs[0].operators}
    low = 0.25 if names & {"LOG", "SQRT", "RSQRT", "DIV"} else -2.0
    rng = np.random.default_rng(5)
    shape = model.subgraphs[0].tensors[index].shape
    return [[rng.uniform(low, 3, shape).astype(np.float32)] for _ in range(count)]


def _rng() -> np.random.Generator:
    return np.random.default_rng(11)


def _floats(*shape: int) -> np.ndarray:
    return _rng().normal(0, 0.5, shape).astype(np.float32)


def _simple(name: str, shape: Sequence[int] = SHAPE, **options: Any) -> Build:
    """An op with the input as its only operand."""

    def build(b: fbs.Builder, x: int) -> None:
        y = b.tensor("y", DType.FLOAT32, shape)
        b.op(name, [x], [y], **options)
        b.outputs(y)

    return build


def _with(name: str, shape: Sequence[int], *constants: np.ndarray, x_slot: int = 0, **options: Any) -> Build:
    """An op with the input and constants as its operands."""

    def build(b: fbs.Builder, x: int) -> None:
        operands: list[int] = [b.constant(f"c{n}", values) for n, values in enumerate(constants)]
        operands.insert(x_slot, x)
        y = b.tensor("y", DType.FLOAT32, shape)
        b.op(name, operands, [y], **options)
        b.outputs(y)

    return build


def _binary(name: str, dtype: DType = DType.FLOAT32, shift: float = 0.75) -> Build:
    """An op with two operands: the input, and the input plus a constant."""

    def build(b: fbs.Builder, x: int) -> None:
        other = b.tensor("other", DType.FLOAT32, SHAPE)
        b.op("ADD", [x, b.constant("shift", np.array(shift, np.float32))], [other])
        y = b.tensor("y", dtype, SHAPE)
        b.op(name, [x, other], [y])
        b.outputs(y)

    return build


def _several(name: str, count: int, shape: Sequence[int], *before: np.ndarray, **options: Any) -> Build:
    """An op with several results."""

    def build(b: fbs.Builder, x: int) -> None:
        constants = [b.constant(f"c{n}", values) for n, values in enumerate(before)]
        operands = {"SPLIT": [*constants, x], "SPLIT_V": [x, *constants]}.get(name, [x])
        results = [b.tensor(f"y{n}", DType.FLOAT32, shape) for n in range(count)]
        b.op(name, operands, results, **options)
        b.outputs(*results)

    return build


def _join(name: str, shape: Sequence[int], **options: Any) -> Build:
    """An op that joins the input with its double, which has another range."""

    def build(b: fbs.Builder, x: int) -> None:
        double = b.tensor("double", DType.FLOAT32, SHAPE)
        b.op("MUL", [x, b.constant("two", np.array(2, np.float32))], [double])
        y = b.tensor("y", DType.FLOAT32, shape)
        b.op(name, [x, double], [y], **options)
        b.outputs(y)

    return build


def _select(name: str) -> Build:
    def build(b: fbs.Builder, x: int) -> None:
        mask = b.constant("mask", _rng().random(SHAPE) < 0.5)
        zero = b.constant("values", _floats(*SHAPE))
        y = b.tensor("y", DType.FLOAT32, SHAPE)
        b.op(name, [mask, x, zero], [y])
        b.outputs(y)

    return build


def _topk(b: fbs.Builder, x: int) -> None:
    values, indices = b.tensor("y", DType.FLOAT32, (1, 4, 6, 2)), b.tensor("i", DType.INT32, (1, 4, 6, 2))
    b.op("TOPK_V2", [x, b.constant("k", np.array(2, np.int32))], [values, indices])
    b.outputs(values, indices)


def _arg(name: str) -> Build:
    def build(b: fbs.Builder, x: int) -> None:
        y = b.tensor("y", DType.INT32, (1, 4, 6))
        b.op(name, [x, b.constant("axis", np.array(3, np.int32))], [y], output_type=DType.INT32.value)
        b.outputs(y)

    return build


def _matmul(b: fbs.Builder, x: int) -> None:
    y = b.tensor("y", DType.FLOAT32, (1, 4, 6, 6))
    b.op("BATCH_MATMUL", [x, x], [y], adj_y=True)
    b.outputs(y)


def _lstm(b: fbs.Builder, x: int) -> None:
    units, features = 4, 3
    w = [b.constant(f"w{n}", _floats(units, features)) for n in range(4)]
    r = [b.constant(f"r{n}", _floats(units, units)) for n in range(4)]
    biases = [b.constant(f"b{n}", _floats(units)) for n in range(4)]
    states = [b.variable(name, DType.FLOAT32, (1, units)) for name in ("hidden", "cell")]
    y = b.tensor("y", DType.FLOAT32, (1, 5, units))
    operands = [x, *w, *r, None, None, None, *biases, None, None, *states, *[None] * 4]
    b.op("UNIDIRECTIONAL_SEQUENCE_LSTM", operands, [y], fused_activation_function=4)
    b.outputs(y)


_POOL = {"filter_width": 2, "filter_height": 2, "stride_w": 2, "stride_h": 2, "padding": 1}
_STRIDES = {"stride_w": 1, "stride_h": 1, "padding": 0}
_I = np.int32


def _ints(*values: int) -> np.ndarray:
    return np.array(values, _I)


MODELS: dict[str, Build] = {
    "CONV_2D": _with("CONV_2D", (1, 4, 6, 5), _floats(5, 3, 3, 3), _floats(5), **_STRIDES),
    "DEPTHWISE_CONV_2D": _with(
        "DEPTHWISE_CONV_2D", (1, 4, 6, 6), _floats(1, 3, 3, 6), _floats(6), depth_multiplier=2, **_STRIDES
    ),
    "TRANSPOSE_CONV": _with(
        "TRANSPOSE_CONV",
        (1, 8, 12, 2),
        _ints(1, 8, 12, 2),
        _floats(2, 2, 2, 3),
        x_slot=2,
        stride_w=2,
        stride_h=2,
        padding=1,
    ),
    "FULLY_CONNECTED": _with("FULLY_CONNECTED", (24, 5), _floats(5, 3), _floats(5)),
    "BATCH_MATMUL": _matmul,
    "ADD": _binary("ADD"),
    "SUB": _with("SUB", SHAPE, _floats(3)),
    "MUL": _with("MUL", SHAPE, _floats(1)),
    "SQUARED_DIFFERENCE": _with("SQUARED_DIFFERENCE", SHAPE, _floats(3)),
    "DIV": _binary("DIV"),
    "MEAN": _with("MEAN", (1, 3), _ints(1, 2)),
    "REDUCE_PROD": _with("REDUCE_PROD", (1, 4, 6), _ints(3)),
    "REDUCE_MAX": _with("REDUCE_MAX", (1, 3), _ints(1, 2)),
    "REDUCE_MIN": _with("REDUCE_MIN", (1, 3), _ints(1, 2)),
    "PRELU": _with("PRELU", SHAPE, np.abs(_floats(1, 1, 3))),
    "LEAKY_RELU": _simple("LEAKY_RELU", alpha=0.25),
    "SOFTMAX": _simple("SOFTMAX", beta=1.0),
    "RESHAPE": _with("RESHAPE", (4, 18), _ints(4, 18)),
    "SQUEEZE": _simple("SQUEEZE", SHAPE[1:], squeeze_dims=[0]),
    "EXPAND_DIMS": _with("EXPAND_DIMS", (1, 1, 4, 6, 3), _ints(0)),
    "TRANSPOSE": _with("TRANSPOSE", (1, 6, 4, 3), _ints(0, 2, 1, 3)),
    "SLICE": _with("SLICE", (1, 2, 3, 3), _ints(0, 1, 1, 0), _ints(1, 2, 3, 3)),
    "STRIDED_SLICE": _with("STRIDED_SLICE", (1, 2, 3, 3), _ints(0, 0, 0, 0), _ints(1, 4, 6, 3), _ints(1, 2, 2, 1)),
    "GATHER": _with("GATHER", (1, 4, 6, 2), _ints(2, 0), axis=3),
    "GATHER_ND": _with("GATHER_ND", (2, 6, 3), np.array([[0, 1], [0, 3]], _I)),
    "SPLIT": _several("SPLIT", 2, (1, 2, 6, 3), np.array(1, _I), num_splits=2),
    "SPLIT_V": _several("SPLIT_V", 2, (1, 4, 3, 3), _ints(3, 3), np.array(2, _I), num_splits=2),
    "UNPACK": _several("UNPACK", 4, (1, 6, 3), num=4, axis=1),
    "PAD": _with("PAD", (1, 6, 8, 3), np.array([[0, 0], [1, 1], [1, 1], [0, 0]], _I)),
    "PADV2": _with("PADV2", (1, 6, 6, 3), np.array([[0, 0], [1, 1], [0, 0], [0, 0]], _I), np.array(1.5, np.float32)),
    "MIRROR_PAD": _with("MIRROR_PAD", (1, 6, 6, 3), np.array([[0, 0], [1, 1], [0, 0], [0, 0]], _I), mode=0),
    "BROADCAST_TO": _with("BROADCAST_TO", (2, 4, 6, 3), _ints(2, 4, 6, 3)),
    "TILE": _with("TILE", (1, 4, 12, 3), _ints(1, 1, 2, 1)),
    "REVERSE_V2": _with("REVERSE_V2", SHAPE, _ints(1)),
    "MAX_POOL_2D": _simple("MAX_POOL_2D", (1, 2, 3, 3), **_POOL),
    "AVERAGE_POOL_2D": _simple("AVERAGE_POOL_2D", (1, 2, 3, 3), **_POOL),
    "RESIZE_BILINEAR": _with("RESIZE_BILINEAR", (1, 8, 12, 3), _ints(8, 12)),
    "RESIZE_NEAREST_NEIGHBOR": _with("RESIZE_NEAREST_NEIGHBOR", (1, 8, 12, 3), _ints(8, 12)),
    "SPACE_TO_BATCH_ND": _with("SPACE_TO_BATCH_ND", (4, 2, 3, 3), _ints(2, 2), np.zeros((2, 2), _I)),
    "BATCH_TO_SPACE_ND": _with("BATCH_TO_SPACE_ND", (1, 4, 6, 3), _ints(2, 2), np.zeros((2, 2), _I)),
    "SPACE_TO_DEPTH": _simple("SPACE_TO_DEPTH", (1, 2, 3, 12), block_size=2),
    "DEPTH_TO_SPACE": _simple("DEPTH_TO_SPACE", (1, 4, 6, 3), block_size=2),
    "TOPK_V2": _topk,
    "CONCATENATION": _join("CONCATENATION", (1, 4, 6, 6), axis=3),
    "PACK": _join("PACK", (2, 1, 4, 6, 3), values_count=2, axis=0),
    "MAXIMUM": _join("MAXIMUM", SHAPE),
    "MINIMUM": _join("MINIMUM", SHAPE),
    "SELECT": _select("SELECT"),
    "SELECT_V2": _select("SELECT_V2"),
    "DYNAMIC_UPDATE_SLICE": _with("DYNAMIC_UPDATE_SLICE", SHAPE, _floats(1, 2, 2, 3), _ints(0, 1, 2, 0)),
    "UNIDIRECTIONAL_SEQUENCE_LSTM": _lstm,
    **{name: _arg(name) for name in ("ARG_MAX", "ARG_MIN")},
    **{
        name: _binary(name, DType.BOOL, shift=0.0)
        for name in ("EQUAL", "NOT_EQUAL", "GREATER", "GREATER_EQUAL", "LESS", "LESS_EQUAL")
    },
    **{
        name: _simple(name)
        for name in ("RELU", "RELU6", "RELU_N1_TO_1", "RELU_0_TO_1", "HARD_SWISH", "ELU", "GELU", "ABS", "EXP", "LOG")
    },
    **{name: _simple(name) for name in ("SQRT", "RSQRT", "LOGISTIC", "TANH", "L2_NORMALIZATION", "LOG_SOFTMAX")},
}
#: Shapes of inputs that are not :data:`SHAPE`.
SHAPES: dict[str, tuple[int, ...]] = {
    "BATCH_TO_SPACE_ND": (4, 2, 3, 3),
    "DEPTH_TO_SPACE": (1, 2, 3, 12),
    "UNIDIRECTIONAL_SEQUENCE_LSTM": (1, 5, 3),
}
