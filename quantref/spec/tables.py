"""The tables: what each op demands, under int8, int16 and uint8 activations.

The first two follow the public "LiteRT 8-bit quantization specification" where it names an op. What it leaves open,
and all of 16x8, follows the Prepare functions of ``tflite/kernels/*.cc``: which types they take, which zero points and
equal scales they insist on. Types are those that a runtime of the profiles takes, not those of LiteRT alone.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType

from qmath.types import DType
from quantref.spec.operands import ARGUMENT, INT8, INT16, UINT8, Kind
from quantref.spec.types import BiasScale, FixedOutput, Operand, OpSpec, PowerOfTwo, Relation, Role, SameScale

PUBLIC = "LiteRT 8-bit quantization specification"
_KERNELS = "tflite/kernels/"


class Scheme(enum.Enum):
    """Which table an op falls under, by the type of its activations."""

    EIGHT_BIT = "8-bit"
    SIXTEEN_BY_EIGHT = "16x8"
    LEGACY = "uint8"


def _spec(
    op: str,
    inputs: tuple[Operand, ...],
    outputs: tuple[Operand, ...],
    source: str,
    *relations: Relation,
    strict: bool = True,
) -> OpSpec:
    return OpSpec(op, inputs, outputs, relations, strict, source)


def named(names: str) -> frozenset[str]:
    """Return the names of ops that a text lists."""
    return frozenset(names.split())


#: Ops in the public specification, beyond those with weights and with fixed outputs.
_NAMED = named(
    "AVERAGE_POOL_2D MAX_POOL_2D CONCATENATION RESHAPE RESIZE_BILINEAR SPACE_TO_DEPTH PAD GATHER BATCH_TO_SPACE_ND "
    "SPACE_TO_BATCH_ND TRANSPOSE SQUEEZE MAXIMUM MINIMUM PADV2 SLICE MEAN SUM "
    "EQUAL NOT_EQUAL GREATER GREATER_EQUAL LESS LESS_EQUAL"
)


def _source(kind: Kind, name: str, file: str) -> str:
    """Return where a row comes from: the public specification knows int8 alone."""
    return f"{PUBLIC}; {_KERNELS}{file}" if kind is INT8 and name in _NAMED else f"{_KERNELS}{file}"


# --- Ops with weights ---------------------------------------------------------------------------------------------


def _affine(kind: Kind, source: str) -> Iterator[OpSpec]:
    """Yield the ops that multiply by weights and add a bias."""
    x, y = kind.activation("input"), kind.activation("output")
    depthwise_bias = kind.bias(*((DType.INT64,) if kind is INT16 else ()))
    yield _spec("CONV_2D", (x, kind.weight(0), kind.bias()), (y,), f"{source}; {_KERNELS}conv.cc", BiasScale(2, 0, 1))
    yield _spec(
        "DEPTHWISE_CONV_2D",
        (x, kind.weight(3), depthwise_bias),
        (y,),
        f"{source}; {_KERNELS}depthwise_conv.cc",
        BiasScale(2, 0, 1),
    )
    wide = (DType.INT16,) if kind is INT16 else ()
    wide_out = (DType.INT16,) if kind is not INT16 else ()
    weights = kind.weight(0, *wide, *((DType.INT2,) if kind is not UINT8 else ()))
    yield _spec(
        "FULLY_CONNECTED",
        (x, weights, kind.bias()),
        (kind.activation("output", *wide_out),),
        f"{source}; {_KERNELS}fully_connected.cc",
        BiasScale(2, 0, 1),
    )
    yield _spec(
        "TRANSPOSE_CONV",
        (ARGUMENT, kind.weight(0), x, kind.bias()),
        (y,),
        f"{_KERNELS}transpose_conv.cc",
        BiasScale(3, 2, 1),
    )


def _matmul(kind: Kind, *outputs: DType) -> OpSpec:
    left, right = kind.activation("left"), kind.activation("right", *((DType.INT8,) if kind is INT16 else ()))
    return _spec(
        "BATCH_MATMUL", (left, right), (kind.activation("output", *outputs),), f"{_KERNELS}batch_matmul.cc", strict=True
    )


#: Ops that take scales near the prescribed one, and how near, relatively.
_NEARLY = {"SOFTMAX": 1e-3, "TANH": 1e-3}


# --- Elementwise, reducing, fixed ---------------------------------------------------------------------------------


def _rescaling(kind: Kind, names: str, source: str) -> Iterator[OpSpec]:
    """Yield ops that compute from any parameters to any parameters."""
    x, y = kind.activation("input"), kind.activation("output")
    for name in names.split():
        yield _spec(name, (x,), (y,), source)


def _reducing(kind: Kind, names: str) -> Iterator[OpSpec]:
    x, y = kind.activation("input"), kind.activation("output")
    for name in names.split():
        yield _spec(name, (x, ARGUMENT), (y,), _source(kind, name, "reduce.cc"))


def _comparing(kind: Kind) -> Iterator[OpSpec]:
    """Yield ops whose outputs are booleans or indices."""
    x, y = kind.activation("input"), kind.argument("output")
    for name in ("EQUAL", "NOT_EQUAL", "GREATER", "GREATER_EQUAL", "LESS", "LESS_EQUAL"):
        yield _spec(name, (x,), (y,), _source(kind, name, "comparisons.cc"))


def _fixed(
    kind: Kind, name: str, source: str, outputs: tuple[tuple[DType, float, int], ...], *, demanded: bool
) -> OpSpec:
    """Return an op that prescribes its output's parameters."""
    types = tuple(dict.fromkeys(dtype for dtype, _, _ in outputs))
    y = Operand("output", Role.ACTIVATION, types)
    return _spec(
        name,
        (kind.activation("input"),),
        (y,),
        source,
        FixedOutput(outputs, demanded, _NEARLY.get(name, 0.0), any_zero_point=name == "LOGISTIC"),
    )


# --- Moving codes -------------------------------------------------------------------------------------------------

#: Ops that move codes: places of their activations among the inputs ("a": activation, "-": argument), whether LiteRT
#: refuses parameters that differ, and the names.
_MOVING: tuple[tuple[str, bool, str], ...] = (
    ("a-", False, "RESHAPE SQUEEZE EXPAND_DIMS TRANSPOSE SLICE STRIDED_SLICE GATHER GATHER_ND TILE BROADCAST_TO"),
    ("a-", False, "SPLIT_V RESIZE_BILINEAR RESIZE_NEAREST_NEIGHBOR SPACE_TO_DEPTH DEPTH_TO_SPACE REVERSE_V2 TOPK_V2"),
    ("a-", False, "AVERAGE_POOL_2D MAX_POOL_2D PAD REVERSE_SEQUENCE"),
    ("a-", True, "MIRROR_PAD REDUCE_MAX REDUCE_MIN SPACE_TO_BATCH_ND BATCH_TO_SPACE_ND UNPACK"),
    ("-a", False, "SPLIT"),
    ("-aa", False, "SELECT SELECT_V2"),
    ("a-a", True, "PADV2"),
    ("aa-", False, "DYNAMIC_UPDATE_SLICE"),
    ("-a-", False, "SCATTER_ND"),
    ("-a", False, "FILL"),
    ("a", False, "MAXIMUM MINIMUM"),
    ("a", True, "CONCATENATION PACK"),
)
#: Ops that copy int16 and uint8 of any parameters, or rescale them, though they refuse it of int8.
_LAXER = frozenset({"CONCATENATION"})


def _moving(kind: Kind) -> Iterator[OpSpec]:
    x, y = kind.activation("input"), kind.activation("output")
    for places, demanded, names in _MOVING:
        inputs = tuple(x if place == "a" else ARGUMENT for place in places)
        for name in names.split():
            if kind is UINT8 and name in _LAXER:
                yield _spec(name, inputs, (y,), f"{_KERNELS}concatenation.cc", strict=False)
                continue
            slots = (2,) if name == "PADV2" else ()
            same = SameScale(demanded and not (kind is INT16 and name in _LAXER), slots)
            outputs = (y, ARGUMENT) if name == "TOPK_V2" else (y,)
            source = PUBLIC if kind is INT8 and name in _NAMED else "TFLiteConverter's same-scale ops; tflite/kernels"
            yield _spec(name, inputs, outputs, source, same, strict=False)


# --- Recurrent ----------------------------------------------------------------------------------------------------

_GATES = ("input", "forget", "cell", "output")


def _lstm(kind: Kind, name: str, source: str) -> OpSpec:
    """Return an LSTM with int16 cell state: weights have one scale each, the cell's scale is a power of two."""
    bias = (DType.INT64,) if kind is INT16 else (DType.INT32,)
    inputs = (
        kind.activation("input"),
        *(kind.single(f"input_to_{gate}_weights", DType.INT8, optional=gate == "input") for gate in _GATES),
        *(kind.single(f"recurrent_to_{gate}_weights", DType.INT8, optional=gate == "input") for gate in _GATES),
        *(kind.single(f"cell_to_{gate}_weights", DType.INT16, optional=True) for gate in ("input", "forget", "output")),
        *(kind.single(f"{gate}_gate_bias", *bias, role=Role.BIAS, optional=gate == "input") for gate in _GATES),
        kind.single("projection_weights", DType.INT8, optional=True),
        kind.single("projection_bias", DType.INT32, role=Role.BIAS, optional=True),
        Operand("output_state", Role.STATE, (kind.activations,), zero_point=kind.zero_point),
        kind.single("cell_state", DType.INT16, role=Role.STATE),
        *(kind.single(f"{gate}_layer_norm", DType.INT16, optional=True) for gate in _GATES),
    )
    return _spec(name, inputs, (kind.activation("output"),), source, PowerOfTwo(19))


def _svdf() -> OpSpec:
    inputs = (
        INT8.activation("input"),
        INT8.single("feature_weights", DType.INT8),
        INT8.single("time_weights", DType.INT16, DType.INT8),
        INT8.single("bias", DType.INT32, role=Role.BIAS, optional=True),
        Operand("state", Role.STATE, (DType.INT16, DType.INT8)),
    )
    return _spec("SVDF", inputs, (INT8.activation("output"),), f"{_KERNELS}svdf.cc")


# --- The three tables ---------------------------------------------------------------------------------------------

_ELEMENTWISE = "ADD SUB MUL"
_CURVES = "RELU RELU6 LEAKY_RELU ABS GELU EXP LOG SQRT RSQRT"


def _eight_bit() -> Iterator[OpSpec]:
    yield from _affine(INT8, PUBLIC)
    yield _matmul(INT8, DType.INT32)
    yield from _rescaling(INT8, _ELEMENTWISE, PUBLIC)
    yield from _rescaling(INT8, f"DIV SQUARED_DIFFERENCE PRELU {_CURVES}", f"{_KERNELS}*.cc")
    yield from _rescaling(INT8, "RELU_N1_TO_1 RELU_0_TO_1 HARD_SWISH ELU", f"{_KERNELS}activations.cc")
    yield from _reducing(INT8, "MEAN SUM REDUCE_PROD")
    yield from _comparing(INT8)
    for name in ("ARG_MAX", "ARG_MIN"):
        yield _spec(name, (INT8.activation("input"), ARGUMENT), (ARGUMENT,), PUBLIC, strict=False)
    softmax = ((DType.INT8, 1 / 256, -128), (DType.INT16, 1 / 65536, -32768), (DType.INT16, 1 / 32768, 0))
    yield _fixed(INT8, "SOFTMAX", PUBLIC, softmax, demanded=True)
    yield _fixed(INT8, "LOGISTIC", PUBLIC, ((DType.INT8, 1 / 256, -128),), demanded=True)
    yield _fixed(INT8, "TANH", PUBLIC, ((DType.INT8, 1 / 128, 0),), demanded=False)
    yield _fixed(INT8, "LOG_SOFTMAX", PUBLIC, ((DType.INT8, 16 / 256, 127),), demanded=True)
    yield _fixed(INT8, "L2_NORMALIZATION", PUBLIC, ((DType.INT8, 1 / 128, 0),), demanded=True)
    yield from _moving(INT8)
    yield _lstm(INT8, "UNIDIRECTIONAL_SEQUENCE_LSTM", f"{_KERNELS}unidirectional_sequence_lstm.cc")
    yield _svdf()


def _sixteen_by_eight() -> Iterator[OpSpec]:
    yield from _affine(INT16, "the 16x8 scheme of TFLiteConverter")
    yield _matmul(INT16)
    product = INT16.activation("output", DType.INT8, DType.UINT8)
    yield _spec("MUL", (INT16.activation("input"),), (product,), f"{_KERNELS}mul.cc")
    yield from _rescaling(INT16, f"ADD SUB DIV SQUARED_DIFFERENCE {_CURVES}", f"{_KERNELS}*.cc")
    slopes = INT16.single("slope", DType.INT8, role=Role.ACTIVATION)
    yield _spec(
        "PRELU", (INT16.activation("input"), slopes), (INT16.activation("output"),), f"{_KERNELS}activations.cc"
    )
    yield from _reducing(INT16, "MEAN SUM REDUCE_PROD")
    yield from _comparing(INT16)
    unit = ((DType.INT16, 1 / 32768, 0),)
    for name in ("SOFTMAX", "LOGISTIC", "TANH"):
        yield _fixed(INT16, name, f"{_KERNELS}activations.cc", unit, demanded=True)
    yield from _moving(INT16)
    yield _lstm(INT16, "UNIDIRECTIONAL_SEQUENCE_LSTM", "TFLite Micro's unidirectional_sequence_lstm.cc")


def _legacy() -> Iterator[OpSpec]:
    yield from _affine(UINT8, "the uint8 scheme of older converters")
    names = f"{_ELEMENTWISE} DIV PRELU RELU RELU6 LEAKY_RELU RELU_N1_TO_1 RELU_0_TO_1 HARD_SWISH GELU"
    yield from _rescaling(UINT8, names, f"{_KERNELS}*.cc")
    yield from _reducing(UINT8, "MEAN SUM REDUCE_PROD")
    yield from _comparing(UINT8)
    for name in ("ARG_MAX", "ARG_MIN"):
        yield _spec(name, (UINT8.activation("input"), ARGUMENT), (ARGUMENT,), f"{_KERNELS}arg_min_max.cc", strict=False)
    unit = (DType.UINT8, 1 / 256, 0)
    wide = (unit, (DType.INT16, 1 / 65536, -32768), (DType.INT16, 1 / 32768, 0))
    yield _fixed(UINT8, "SOFTMAX", f"{_KERNELS}activations.cc", wide, demanded=True)
    yield _fixed(UINT8, "LOGISTIC", f"{_KERNELS}activations.cc", (unit,), demanded=True)
    yield _fixed(UINT8, "TANH", f"{_KERNELS}activations.cc", ((DType.UINT8, 1 / 128, 128),), demanded=False)
    yield _fixed(UINT8, "LOG_SOFTMAX", f"{_KERNELS}activations.cc", ((DType.UINT8, 16 / 256, 255),), demanded=True)
    yield _fixed(UINT8, "L2_NORMALIZATION", f"{_KERNELS}l2norm.cc", ((DType.UINT8, 1 / 128, 128),), demanded=True)
    yield from _moving(UINT8)


def _table(rows: Callable[[], Iterator[OpSpec]]) -> Mapping[str, OpSpec]:
    return MappingProxyType({spec.op: spec for spec in rows()})


EIGHT_BIT = _table(_eight_bit)
SIXTEEN_BY_EIGHT = _table(_sixteen_by_eight)
LEGACY = _table(_legacy)
SCHEMES: Mapping[Scheme, Mapping[str, OpSpec]] = MappingProxyType(
    {Scheme.EIGHT_BIT: EIGHT_BIT, Scheme.SIXTEEN_BY_EIGHT: SIXTEEN_BY_EIGHT, Scheme.LEGACY: LEGACY}
)
_BY_TYPE = {DType.INT8: Scheme.EIGHT_BIT, DType.INT16: Scheme.SIXTEEN_BY_EIGHT, DType.UINT8: Scheme.LEGACY}


def scheme_of(activations: DType) -> Scheme | None:
    """Return the scheme that activations of a type fall under, or None."""
    return _BY_TYPE.get(activations)


def spec_of(op: str, scheme: Scheme) -> OpSpec | None:
    """Return what a scheme says of an op, or None if it has no such op."""
    return SCHEMES[scheme].get(op)
