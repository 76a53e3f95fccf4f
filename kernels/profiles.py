"""Profiles: which arithmetic a runtime uses. :data:`PROFILES` lists those that are checked against their runtime.

"TensorFlow Lite rounding" is several arithmetics in one release. A :class:`Profile` names one runtime; each op's file
says, in a :class:`Rules` table, which definition and which regime that runtime uses for it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from qmath.errors import InputError, UnsupportedError

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Profile:
    """One runtime's arithmetic.

    Attributes
    ----------
    name
        As on the command line.
    runtime
        The release that the rules were measured on.
    description
        One line for a person.
    base
        The profile whose rules hold where an op has none for this one.
    fallback
        For a delegate: the profile that runs the ops that it does not take.
    ops
        The ops that the runtime has; None if it has every op that there is a kernel for.

    """

    name: str
    runtime: str
    description: str
    base: Profile | None = None
    fallback: Profile | None = None
    ops: frozenset[str] | None = None

    @property
    def lineage(self) -> Iterator[Profile]:
        """The profile, its base, the base of that, and so on."""
        profile: Profile | None = self
        while profile is not None:
            yield profile
            profile = profile.base


#: What TFLite Micro has: tflite-micro ``tensorflow/lite/micro/micro_mutable_op_resolver.h`` at commit 90b983c2
#: (2026-08-20); which types of it, see :mod:`kernels.engine.micro`.
MICRO_OPS = """
    ABS ADD ADD_N ARG_MAX ARG_MIN ASSIGN_VARIABLE AVERAGE_POOL_2D BATCH_MATMUL BATCH_TO_SPACE_ND BROADCAST_ARGS
    BROADCAST_TO CALL_ONCE CAST CEIL CONCATENATION CONV_2D COS CUMSUM DEPTHWISE_CONV_2D DEPTH_TO_SPACE
    DEQUANTIZE DIV DYNAMIC_UPDATE_SLICE ELU EMBEDDING_LOOKUP EQUAL EXP EXPAND_DIMS FILL FLOOR FLOOR_DIV
    FLOOR_MOD FULLY_CONNECTED GATHER GATHER_ND GREATER GREATER_EQUAL HARD_SWISH IF L2_NORMALIZATION L2_POOL_2D
    LEAKY_RELU LESS LESS_EQUAL LOG LOGICAL_AND LOGICAL_NOT LOGICAL_OR LOGISTIC LOG_SOFTMAX MAXIMUM MAX_POOL_2D
    MEAN MINIMUM MIRROR_PAD MUL NEG NOT_EQUAL PACK PAD PADV2 PRELU QUANTIZE READ_VARIABLE REDUCE_ALL REDUCE_MAX
    REDUCE_MIN RELU RELU6 RESHAPE RESIZE_BILINEAR RESIZE_NEAREST_NEIGHBOR REVERSE_V2 ROUND RSQRT SELECT_V2 SHAPE
    SIN SLICE SOFTMAX SPACE_TO_BATCH_ND SPACE_TO_DEPTH SPLIT SPLIT_V SQRT SQUARE SQUARED_DIFFERENCE SQUEEZE
    STRIDED_SLICE SUB SUM SVDF TANH TRANSPOSE TRANSPOSE_CONV UNIDIRECTIONAL_SEQUENCE_LSTM UNPACK VAR_HANDLE
    WHILE ZEROS_LIKE
"""

LITERT_REFERENCE = Profile(
    "litert-reference",
    "ai-edge-litert 2.3.0",
    "LiteRT's reference kernels (op resolver BUILTIN_REF): gemmlowp's double rounding",
)
LITERT_OPTIMIZED = Profile(
    "litert-optimized",
    "ai-edge-litert 2.3.0, x86-64",
    "LiteRT's optimized kernels without delegates (BUILTIN_WITHOUT_DEFAULT_DELEGATES) on x86-64",
    base=LITERT_REFERENCE,
)
LITERT_OPTIMIZED_ARM64 = Profile(
    "litert-optimized-arm64",
    "ai-edge-litert 2.3.0, aarch64",
    "LiteRT's optimized kernels without delegates on 64-bit Arm",
    base=LITERT_OPTIMIZED,
)
XNNPACK = Profile(
    "xnnpack",
    "ai-edge-litert 2.3.0, x86-64",
    "What a plain Interpreter runs on x86-64: XNNPACK for the ops that it takes",
    fallback=LITERT_OPTIMIZED,
)
XNNPACK_ARM64 = Profile(
    "xnnpack-arm64",
    "ai-edge-litert 2.3.0, aarch64",
    "What a plain Interpreter runs on 64-bit Arm: XNNPACK for the ops that it takes",
    base=XNNPACK,
    fallback=LITERT_OPTIMIZED_ARM64,
)
TFLM = Profile(
    "tflm",
    "tflite-micro 90b983c2",
    "TFLite Micro's portable reference kernels",
    base=LITERT_REFERENCE,
    ops=frozenset(MICRO_OPS.split()),
)
CMSIS_NN = Profile(
    "cmsis-nn",
    "tflite-micro 90b983c2 with CMSIS-NN 99f736a6, plain C",
    "TFLite Micro with CMSIS-NN's kernels",
    base=TFLM,
)

#: No runtime's arithmetic: the reference kernels with what is meant where one of them reads memory wrongly.
LITERT_REFERENCE_SOUND = Profile(
    "litert-reference-sound",
    "none; ai-edge-litert 2.3.0 where that reads its memory rightly",
    "LiteRT's reference kernels, but SUM of int8 and int16 and hybrid DEPTHWISE_CONV_2D of one scale as they are meant",
    base=LITERT_REFERENCE,
)

PROFILES: Mapping[str, Profile] = {
    profile.name: profile
    for profile in (
        LITERT_REFERENCE,
        LITERT_OPTIMIZED,
        LITERT_OPTIMIZED_ARM64,
        XNNPACK,
        XNNPACK_ARM64,
        TFLM,
        CMSIS_NN,
    )
}
#: Profiles that follow no runtime, and are called by name only.
VARIANTS: Mapping[str, Profile] = {LITERT_REFERENCE_SOUND.name: LITERT_REFERENCE_SOUND}


def profile_named(name: str | Profile) -> Profile:
    """Return the profile of that name.

    Raises
    ------
    InputError
        There is none.

    """
    if isinstance(name, Profile):
        return name
    known = {**PROFILES, **VARIANTS}
    if not isinstance(name, str) or name not in known:
        raise InputError(f"expected a profile among {', '.join(known)}, found {name!r}")
    return known[name]


@dataclass(frozen=True, slots=True)
class Rules(Generic[T]):
    """What an op does under each profile; profiles without an entry follow their base."""

    op: str
    table: Mapping[Profile, T] = field(hash=False)

    def __getitem__(self, profile: Profile) -> T:
        """Return the rule for ``profile``.

        Raises
        ------
        UnsupportedError
            The runtime of the profile does not have the op.

        """
        for candidate in profile.lineage:
            if candidate in self.table:
                return self.table[candidate]
        raise UnsupportedError(f"{self.op} is not covered under the profile {profile.name}")
