"""Ops and versions of ops that a runtime's resolver lacks."""

from __future__ import annotations

from collections.abc import Iterator

from kernels.profiles import TFLM
from qmath.types import DType
from quantref.checks.context import OpContext
from quantref.checks.finding import Finding, Severity
from quantref.checks.rule import LITERT, MICRO, Effect, Rule
from quantref.support import op_versions

_REGISTER = "tflite/kernels/register.cc, register_ref.cc; measured: quantref/data/op_versions.json"

TOO_NEW = Rule(
    "QR701",
    "version-too-new",
    Severity.ERROR,
    Effect.REFUSES,
    "no resolver of LiteRT has this version of the op",
    "An op's version says which of its features a model uses; a resolver that knows only lower ones does not load it.",
    _REGISTER,
    "convert for an older runtime, or update the runtime; a version that was set by hand may be lowered",
    LITERT,
)
REFERENCE_LACKS_VERSION = Rule(
    "QR702",
    "version-beyond-reference",
    Severity.WARNING,
    Effect.REFUSES,
    "LiteRT's reference resolver lacks this version of the op",
    "Some features were added to the optimized kernels alone.",
    _REGISTER,
    "use the default resolver, or a version of the op that both have",
    ("litert-reference",),
)
UNKNOWN = Rule(
    "QR703",
    "op-not-builtin",
    Severity.WARNING,
    Effect.REFUSES,
    "no resolver of LiteRT has the op",
    "Custom ops, and builtin ones without a kernel, run only where somebody registers a kernel for them.",
    _REGISTER,
    "register a kernel for it, or replace the op",
)
REFERENCE_LACKS_OP = Rule(
    "QR704",
    "op-not-in-reference",
    Severity.WARNING,
    Effect.REFUSES,
    "LiteRT's reference resolver lacks the op",
    "register_ref.cc leaves out some ops that register.cc has.",
    _REGISTER,
    "use the default resolver",
    ("litert-reference",),
)
MICRO_LACKS_OP = Rule(
    "QR705",
    "op-not-in-micro",
    Severity.NOTE,
    Effect.REFUSES,
    "TFLite Micro lacks the op",
    "TFLite Micro has kernels for a part of the builtin ops.",
    "tensorflow/lite/micro/micro_mutable_op_resolver.h",
    "replace the op by others, or run it outside of the model",
    MICRO,
)
TOO_OLD = Rule(
    "QR706",
    "version-too-old",
    Severity.NOTE,
    Effect.DIFFERS,
    "the op's version is lower than its types need",
    "Runtimes of that age would load the model and fail later, or worse. Current ones look at types, not at versions.",
    "tflite/converter/tools/versioning/op_version.cc",
    "raise the version of the operator code; TFLiteConverter does, other tools may not",
    (),
)
RULES = (TOO_NEW, REFERENCE_LACKS_VERSION, UNKNOWN, REFERENCE_LACKS_OP, MICRO_LACKS_OP, TOO_OLD)

#: Builtin ops that TFLite Micro has.
MICRO_OPS = TFLM.ops or frozenset()
#: Custom ops that LiteRT's resolvers have.
_CUSTOM_OPS = frozenset({"NumericVerify", "Mfcc", "AudioSpectrogram", "TFLite_Detection_PostProcess"})
#: The version from which on an op takes int8 activations, and int16 ones.
_SINCE: dict[str, tuple[int, int]] = {
    "CONV_2D": (3, 4),
    "DEPTHWISE_CONV_2D": (3, 5),
    "FULLY_CONNECTED": (4, 7),
    "TRANSPOSE_CONV": (2, 3),
    "ADD": (2, 3),
    "SUB": (2, 3),
    "MUL": (2, 4),
    "AVERAGE_POOL_2D": (2, 3),
    "MAX_POOL_2D": (2, 3),
    "SOFTMAX": (2, 3),
    "LOGISTIC": (2, 3),
    "TANH": (2, 3),
    "MEAN": (2, 3),
    "CONCATENATION": (2, 3),
    "PAD": (2, 3),
    "RESIZE_BILINEAR": (2, 4),
    "BATCH_MATMUL": (2, 3),
}
_COLUMNS = {DType.INT8: 0, DType.INT16: 1}


def versions(op: OpContext, count: int) -> Iterator[Finding]:
    """Check whether resolvers have an op, and in its version, for the first of ``count`` ops alike."""
    code = op.view.operator.code
    if code.builtin == "CUSTOM" and op.name in _CUSTOM_OPS:
        return
    alike = f"the first of {count} such ops" if count > 1 else ""
    known = op_versions().get(op.name) if code.builtin != "CUSTOM" else None
    if known is None:
        yield op.finding(UNKNOWN, [], "an op with a kernel", f"{code.builtin} {op.name}", detail=alike)
        return
    for rule, expected, found in _wrong(op, known["litert-reference"], known["litert-optimized"]):
        yield op.finding(rule, [], expected, found, detail=alike)


def _wrong(op: OpContext, reference: int, optimized: int) -> Iterator[tuple[Rule, str, str]]:
    version, highest = op.view.version, max(reference, optimized)
    if version > highest:
        yield TOO_NEW, f"version {highest} at most", str(version)
    elif reference == 0:
        yield REFERENCE_LACKS_OP, "an op of the reference resolver", op.name
    elif version > reference:
        yield REFERENCE_LACKS_VERSION, f"version {reference} at most", str(version)
    if op.name not in MICRO_OPS:
        yield MICRO_LACKS_OP, "an op of TFLite Micro", op.name
    column = None if op.main is None or not op.quantized else _COLUMNS.get(op.main.dtype)
    since = _SINCE.get(op.name)
    if column is not None and since is not None and version < since[column]:
        yield TOO_OLD, f"version {since[column]} or later", str(version)
