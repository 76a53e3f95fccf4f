"""RELU, RELU6, RELU_N1_TO_1 and RELU_0_TO_1 as ops of their own: rescale, then clamp.

Source: ``tflite/kernels/activations.cc`` (QuantizedReluX), ``tflite/kernels/internal/reference/reference_ops.h``.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np

from kernels.engine import delegate, elementwise, micro
from kernels.engine.contract import expect_count, expect_dtype, input_tensor, output_tensor, unsupported, zero_point_of
from kernels.engine.elementwise import expect_zero_points_of_zero, float32_scale, less_zero_point
from kernels.engine.registry import Kernel, Refusal
from kernels.engine.types import Inputs, OpView, Outputs, Prepared, Runner, TensorView, given
from kernels.profiles import LITERT_REFERENCE, TFLM, XNNPACK, Profile, Rules
from qmath.fixed_point import wrap_int32
from qmath.requantize import DOUBLE_ROUNDING, Regime, Requantize
from qmath.rounding import float_to_int32_x86, round_half_away_from_zero
from qmath.stages import Note, silent
from qmath.types import ActivationRange, Array, DType

REGIME: Rules[Regime] = Rules("RELU", {LITERT_REFERENCE: DOUBLE_ROUNDING})
#: Ops that rescale codes to the output's scale.
RESCALED: Rules[frozenset[str]] = Rules(
    "RELU",
    {
        LITERT_REFERENCE: frozenset({"RELU", "RELU6", "RELU_N1_TO_1", "RELU_0_TO_1"}),
        TFLM: frozenset({"RELU", "RELU_N1_TO_1", "RELU_0_TO_1"}),
    },
)


@dataclass(frozen=True, slots=True)
class Bounds:
    """What an op clamps real values to; no upper bound is None."""

    lower: float
    upper: float | None


BOUNDS = {
    "RELU": Bounds(0.0, None),
    "RELU6": Bounds(0.0, 6.0),
    "RELU_N1_TO_1": Bounds(-1.0, 1.0),
    "RELU_0_TO_1": Bounds(0.0, 1.0),
}


@dataclass(frozen=True, slots=True)
class Relu(Prepared):
    """A prepared integer op of the family."""

    codes: DType
    input_zero_point: int
    requantize: Requantize

    def evaluate(self, inputs: Inputs, note: Note) -> Outputs:
        """Evaluate :func:`relu`."""
        return (relu(given(inputs, 0), self, note),)

    def compile(self, constants: Inputs) -> Runner:
        """Tabulate every code."""
        del constants
        return elementwise.unary(partial(relu, op=self), self.codes)


def relu(x: Array, op: Relu, note: Note = silent) -> Array:
    """Bring codes to the output's scale and clamp them.

    Parameters
    ----------
    x
        int8, uint8 or int16, any shape: quantized.
    op
        The prepared op.
    note
        Receives the stages.

    Returns
    -------
    Codes of the same type and shape.

    Notes
    -----
    1. accumulator: ``x - input_zero_point``.
    2. Requantize by the regime with ``input_scale / output_scale`` in float32; the clamp's ends are the codes of the
       real bounds, rounded half away from zero.

    """
    return op.requantize(less_zero_point(x, op.input_zero_point, note), note)


@dataclass(frozen=True, slots=True)
class FloatRelu(Prepared):
    """A prepared float32 op of the family."""

    bounds: Bounds

    def evaluate(self, inputs: Inputs, note: Note) -> Outputs:
        """Clamp."""
        del note
        return (np.asarray(np.clip(given(inputs, 0), np.float32(self.bounds.lower), self._upper())),)

    def _upper(self) -> np.float32 | None:
        return None if self.bounds.upper is None else np.float32(self.bounds.upper)


@dataclass(frozen=True, slots=True)
class ClampedCodes(Prepared):
    """A prepared RELU6 of TFLite Micro: codes are clamped, not rescaled."""

    range: ActivationRange

    def evaluate(self, inputs: Inputs, note: Note) -> Outputs:
        """Evaluate :func:`clamp_codes`."""
        return (clamp_codes(given(inputs, 0), self, note),)


def clamp_codes(x: Array, op: ClampedCodes, note: Note = silent) -> Array:
    """Clamp codes between those of 0 and 6 on the input's scale.

    Quirk: RELU6 in TFLite Micro copies codes without regard to the output's scale and zero point.

    """
    low, high = op.range.min, op.range.max
    clamped = note("clamped", np.clip(x, low, high), "clamp(x, low, high)", x=x, low=low, high=high)
    return np.asarray(clamped, x.dtype)


def prepare(op: OpView, profile: Profile) -> Prepared:
    """Check the contract of the family and derive multiplier and range.

    Raises
    ------
    ModelError
        The op breaks its contract.
    UnsupportedError
        The type is not covered.

    """
    expect_count(op, {1})
    x, y = input_tensor(op, 0), output_tensor(op)
    expect_dtype(y, x.dtype)
    bounds = BOUNDS[op.name]
    if x.dtype is DType.FLOAT32:
        return FloatRelu(bounds)
    has_int16 = op.name in {"RELU", "RELU6"}
    if x.dtype not in {DType.INT8, DType.UINT8} and not (x.dtype is DType.INT16 and has_int16):
        raise unsupported(op, "; ".join(_covers(op.name)))
    if x.dtype is DType.INT16:
        expect_zero_points_of_zero(x, y)
    if op.name not in RESCALED[profile]:
        return ClampedCodes(_range(bounds, x))
    with np.errstate(over="ignore"):
        real_multiplier = np.asarray(float32_scale(x) / float32_scale(y)).astype(np.float64)
    output = Requantize(REGIME[profile], real_multiplier, zero_point_of(y), _range(bounds, y), y.dtype)
    return Relu(x.dtype, zero_point_of(x), output)


def _range(bounds: Bounds, y: TensorView) -> ActivationRange:
    """Return the clamp in codes; what does not fit int32 becomes its lowest value before the zero point is added."""
    highest = y.dtype.max if bounds.upper is None else min(y.dtype.max, _code(bounds.upper, y))
    return ActivationRange(max(y.dtype.min, _code(bounds.lower, y)), highest)


def _code(real: float, y: TensorView) -> int:
    with np.errstate(over="ignore"):
        steps = round_half_away_from_zero(np.asarray(np.float32(real) / float32_scale(y)))
    return int(wrap_int32(float_to_int32_x86(steps) + zero_point_of(y)))


def _covers(name: str) -> tuple[str, ...]:
    integers = ("int8", "uint8", "int16") if name in {"RELU", "RELU6"} else ("int8", "uint8")
    return (*integers, "float32")


def _refusal(name: str) -> dict[Profile, Refusal]:
    """XNNPACK has no RELU_0_TO_1."""
    taken: dict[Profile, Refusal] = {} if name == "RELU_0_TO_1" else {XNNPACK: delegate.unary(delegate.FLOATS)}
    return {TFLM: micro.no_uint8, **taken}


KERNELS = tuple(
    Kernel(
        name,
        prepare,
        covers=_covers(name),
        refusal=_refusal(name),
    )
    for name in BOUNDS
)
