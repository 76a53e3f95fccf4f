"""What single runtimes refuse, and what they are known to compute wrongly."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from kernels.engine import registry
from kernels.profiles import CMSIS_NN, LITERT_REFERENCE, TFLM, XNNPACK, Profile
from qmath.errors import ModelError, QuantrefError
from qmath.types import DType
from quantref.checks.context import OpContext, in_words
from quantref.checks.finding import Finding, Severity
from quantref.checks.rule import ALL, LITERT, MICRO, Effect, Rule
from quantref.checks.rule import XNNPACK as XNNPACK_NAMES
from quantref.checks.versions import MICRO_OPS

CONTRACT = Rule(
    "QR801",
    "contract",
    Severity.ERROR,
    Effect.UNDEFINED,
    "the op breaks its kernel's contract",
    "Shapes, options and operands have to fit one another; the message says what did not.",
    "tflite/kernels/*.cc (Prepare), as quantref's own kernels demand it",
    "mend what the message names",
)
MICRO_REFUSES = Rule(
    "QR802",
    "micro-refuses",
    Severity.NOTE,
    Effect.REFUSES,
    "TFLite Micro does not take the op in this form",
    "TFLite Micro and CMSIS-NN have kernels for fewer types; each refusal was met on the runtime.",
    "tensorflow/lite/micro/kernels/*.cc",
    "use int8, or int16 where there is a kernel",
    MICRO,
)
XNNPACK_FAILS = Rule(
    "QR803",
    "xnnpack-fails",
    Severity.WARNING,
    Effect.REFUSES,
    "XNNPACK takes the op and then fails on it",
    "The delegate takes ops by their types and checks parameters later; then the interpreter fails to allocate instead "
    "of falling back.",
    "XNNPACK/src/subgraph/*.c; tflite/delegates/xnnpack/xnnpack_delegate.cc",
    "give the op's operands one scale and zero point, or run without the delegate",
    XNNPACK_NAMES,
)
DEFECT = Rule(
    "QR804",
    "known-defect",
    Severity.WARNING,
    Effect.WRONG,
    "a runtime is known to compute the op wrongly",
    "Measured on the runtimes that the profiles stand for; docs/quirks.md tells each defect.",
    "docs/quirks.md",
    "use another op or another runtime, or expect these values",
)
MICRO_ONLY = Rule(
    "QR805",
    "micro-only",
    Severity.WARNING,
    Effect.REFUSES,
    "only TFLite Micro has the op for these types",
    "TFLite Micro has a few kernels that LiteRT does not have; each refusal was met on the runtime.",
    "tensorflow/lite/micro/kernels/{cumsum,add_n,squared_difference,quantize,unidirectional_sequence_lstm}.cc",
    "use types that both have, if LiteRT is to run the model, too",
    LITERT,
)
RULES = (CONTRACT, MICRO_REFUSES, XNNPACK_FAILS, DEFECT, MICRO_ONLY)

#: Ops and types of their first operand that TFLite Micro alone has.
_MICRO_FORMS = frozenset(
    {
        ("CUMSUM", DType.INT8),
        ("ADD_N", DType.INT8),
        ("SQUARED_DIFFERENCE", DType.INT16),
        ("UNIDIRECTIONAL_SEQUENCE_LSTM", DType.INT16),
    }
)


@dataclass(frozen=True, slots=True)
class Defect:
    """Something that a runtime computes wrongly.

    Attributes
    ----------
    ops
        Names of ops.
    dtypes
        Types of activations.
    runtimes
        Names of profiles.
    what
        What it does instead.
    applies
        Whether it matters for an op.

    """

    ops: frozenset[str]
    dtypes: frozenset[DType]
    runtimes: tuple[str, ...]
    what: str
    applies: Callable[[OpContext], bool] = lambda _: True


def _rescales(op: OpContext) -> bool:
    x, y = op.input(0), op.view.outputs[0]
    return x is not None and (x.quant is None or y.quant is None or x.quant != y.quant)


def _has_zero_point(op: OpContext) -> bool:
    x = op.input(0)
    return x is not None and x.quant is not None and bool(x.quant.zero_point.any())


def _activates(op: OpContext) -> bool:
    return int(op.view.options.get("fused_activation_function", 0)) != 0


def _has_short_state(op: OpContext) -> bool:
    state = op.input(4)
    return state is not None and state.dtype is DType.INT8


_INT8, _INT16 = frozenset({DType.INT8}), frozenset({DType.INT16})
DEFECTS = (
    Defect(
        frozenset({"SUM"}),
        _INT8 | _INT16,
        ("litert-reference",),
        "the reference kernel reads int8 and int16 codes as uint8; TFLite Micro and the optimized kernel are right",
    ),
    Defect(
        frozenset({"NEG"}), _INT8 | _INT16, ALL, "codes are negated as they are, zero points ignored", _has_zero_point
    ),
    Defect(
        frozenset({"RELU6"}), _INT8 | _INT16, MICRO, "TFLite Micro clamps input codes and does not rescale", _rescales
    ),
    Defect(frozenset({"TRANSPOSE_CONV"}), _INT8 | _INT16, ("cmsis-nn",), "the fused activation is ignored", _activates),
    Defect(
        frozenset({"SVDF"}),
        _INT8,
        LITERT,
        "the int8 state is taken for int16 and written beyond its end: the process may die",
        _has_short_state,
    ),
    Defect(frozenset({"GREATER"}), _INT16, MICRO, "the multipliers are never computed, so nothing is ever greater"),
)


def runtimes(op: OpContext) -> Iterator[Finding]:
    """Check what TFLite Micro refuses, what XNNPACK fails on, and known defects."""
    kernel = registry.registry().get(op.name)
    if kernel is None or not op.view.outputs:
        return
    refusing = ((TFLM, MICRO), (CMSIS_NN, ("cmsis-nn",))) if op.name in MICRO_OPS else ()
    for profile, names in refusing:
        reason = _answer(kernel.refused_by, op.view, profile)
        if reason is not None:
            yield op.finding(MICRO_REFUSES, [], "a form that it has", reason, runtimes=names)
            break
    if _is_micro_form(op):
        yield op.finding(MICRO_ONLY, [op.main], "types that LiteRT has a kernel for", in_words(_dtypes(op)))
    broken = xnnpack_fails(op)
    if broken is not None:
        yield op.finding(XNNPACK_FAILS, [], "operands that it demands", broken)
    dtype = None if op.main is None else op.main.dtype
    for defect in DEFECTS:
        if op.name in defect.ops and dtype in defect.dtypes and op.quantized and defect.applies(op):
            found = f"{op.name} of {'' if dtype is None else dtype.name.lower()}"
            yield op.finding(
                DEFECT, [], "an op that is computed rightly", found, detail=defect.what, runtimes=defect.runtimes
            )


def _is_micro_form(op: OpContext) -> bool:
    types = _dtypes(op)
    if op.name == "QUANTIZE":
        return types[:2] == [DType.INT8, DType.INT32]
    return bool(types) and (op.name, types[0]) in _MICRO_FORMS


def _dtypes(op: OpContext) -> list[DType]:
    """Return the types of the first operand and of the output."""
    return [tensor.dtype for tensor in (op.main, *op.view.outputs[:1]) if tensor is not None]


def xnnpack_fails(op: OpContext) -> str | None:
    """Return what XNNPACK demands of an op that it takes, and does not find; None if nothing is amiss."""
    kernel = registry.registry().get(op.name)
    demand = None if kernel is None else kernel.demands.get(XNNPACK)
    if kernel is None or demand is None:
        return None
    left = _answer(kernel.refused_by, op.view, XNNPACK, otherwise="malformed")
    return _answer(demand, op.view) if left is None else None


def _answer(question: Callable[..., str | None], *about: object, otherwise: str | None = None) -> str | None:
    """Ask a kernel's own check; what it cannot answer for a malformed op is left to the op's contract."""
    try:
        return question(*about)
    except (QuantrefError, LookupError, ValueError, TypeError, ArithmeticError):
        return otherwise


def contract(op: OpContext) -> Iterator[Finding]:
    """Prepare the op as the reference kernels do; for ops that no other rule has found anything wrong with."""
    tensors = [tensor for tensor in op.view.inputs if tensor is not None and not tensor.is_constant]
    unknown = any(not tensor.shape and not tensor.has_rank for tensor in tensors)
    if unknown or op.name not in registry.registry():
        return  # a shape that the file does not say cannot break a contract
    try:
        registry.prepare(op.view, LITERT_REFERENCE)
    except ModelError as error:
        expected, _, found = str(error).removeprefix("expected ").rpartition(", found ")
        severity = Severity.WARNING if _prepares(op, TFLM) else Severity.ERROR
        yield op.finding(CONTRACT, [], expected or str(error), found or "otherwise", severity=severity, runtimes=LITERT)
    except QuantrefError:
        return


def _prepares(op: OpContext, profile: Profile) -> bool:
    """Whether the kernels of another runtime take the op."""
    try:
        registry.prepare(op.view, profile)
    except QuantrefError:
        return False
    return True
