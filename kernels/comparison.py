"""EQUAL, NOT_EQUAL, LESS, LESS_EQUAL, GREATER and GREATER_EQUAL.

Source: ``tflite/kernels/comparisons.cc``, ``tflite/kernels/internal/reference/comparisons.h``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from kernels.engine import elementwise, micro
from kernels.engine.contract import (
    expect,
    expect_count,
    expect_dtype,
    input_tensor,
    output_tensor,
    unsupported,
    zero_point_of,
)
from kernels.engine.elementwise import (
    PlainBinary,
    expect_broadcast,
    expect_same_types,
    float32_scale,
)
from kernels.engine.registry import Kernel
from kernels.engine.scaling import InputScaling
from kernels.engine.shifts import ARM_ROUNDING_SHIFT, ARM_STEPS_SHIFT, SCALAR_SHIFT, VECTOR_SHIFT, EitherWay
from kernels.engine.types import Inputs, OpView, Outputs, Prepared, Runner, TensorView, given
from kernels.engine.vector import Inner, choose, innermost
from kernels.profiles import LITERT_OPTIMIZED_ARM64, LITERT_REFERENCE, TFLM, Profile, Rules
from qmath.errors import UnsupportedError
from qmath.multiplier import quantize_multiplier
from qmath.requantize import DOUBLE_ROUNDING, Regime
from qmath.stages import Note, Ruled, silent, under
from qmath.types import Array, BoolArray, DType

REGIME: Rules[Regime] = Rules("comparisons", {LITERT_REFERENCE: DOUBLE_ROUNDING})

#: Whether a scale above 1 is handled as on Arm.
FAR: Rules[bool] = Rules("comparisons", {LITERT_REFERENCE: False, LITERT_OPTIMIZED_ARM64: True})
#: Elements that Arm's vector code takes at once.
BLOCK = 8
#: Bits by which codes are shifted left before they are scaled.
LEFT_SHIFT = 8

_COMPARE: dict[str, Ruled[[Array, Array], BoolArray]] = {
    "EQUAL": Ruled("x1 == x2", np.equal),
    "NOT_EQUAL": Ruled("x1 != x2", np.not_equal),
    "LESS": Ruled("x1 < x2", np.less),
    "LESS_EQUAL": Ruled("x1 <= x2", np.less_equal),
    "GREATER": Ruled("x1 > x2", np.greater),
    "GREATER_EQUAL": Ruled("x1 >= x2", np.greater_equal),
}
_EQUALITY = {"EQUAL", "NOT_EQUAL"}
_PLAIN = {DType.FLOAT32, DType.FLOAT16, DType.INT32, DType.INT64}


@dataclass(frozen=True, slots=True)
class Comparison(Prepared):
    """A prepared comparison of quantized tensors."""

    compare: Ruled[[Array, Array], BoolArray]
    first: InputScaling
    second: InputScaling
    codes: DType

    def evaluate(self, inputs: Inputs, note: Note) -> Outputs:
        """Evaluate :func:`comparison`."""
        return (comparison(given(inputs, 0), given(inputs, 1), self, note),)

    def compile(self, constants: Inputs) -> Runner:
        """Tabulate all pairs of 8-bit codes."""
        if self.codes.bits > 8:
            return lambda inputs: self.evaluate(inputs, silent)
        return elementwise.binary(partial(comparison, op=self), self.codes, self.codes, constants)


@dataclass(frozen=True, slots=True)
class FarComparison(Comparison):
    """A comparison on Arm of tensors with a scale above 1, which shifts by a negative count.

    Vector code shifts to the left, scalar code to the right by the count modulo 32. Where shapes are equal, vector code
    has whole blocks of ``BLOCK``; where they broadcast with the same last dimension, it has everything; where the first
    input has a single element for each innermost loop, that element is scaled by scalar code.
    """

    def evaluate(self, inputs: Inputs, note: Note) -> Outputs:
        """Compare by place.

        Raises
        ------
        UnsupportedError
            The second input is a single element for an innermost loop, and the result depends on who scales what.

        """
        x1, x2 = given(inputs, 0), given(inputs, 1)
        loop, is_equal = innermost(x1.shape, x2.shape), x1.shape == x2.shape
        if not is_equal and x1.shape[-1:] == x2.shape[-1:]:
            return (comparison(x1, x2, self._shifting(ARM_ROUNDING_SHIFT, ARM_ROUNDING_SHIFT), note),)
        in_first = loop.inner is Inner.SCALAR and x1.shape[-1:] in {(), (1,)} and loop.length >= BLOCK
        first = SCALAR_SHIFT if in_first else ARM_STEPS_SHIFT
        in_blocks = comparison(x1, x2, self._shifting(first, ARM_STEPS_SHIFT), under(note, "in blocks"))
        left_over = comparison(x1, x2, self._shifting(SCALAR_SHIFT, SCALAR_SHIFT), under(note, "left over"))
        cut = loop.length // BLOCK * BLOCK
        is_known = is_equal or in_first or (loop.inner is Inner.SCALAR and cut == 0)
        if not is_known and not np.array_equal(in_blocks, left_over):
            raise UnsupportedError("a comparison with a scale above 1 whose second input broadcasts: not known on Arm")
        whole = np.arange(in_blocks.size) % max(loop.length, 1) < cut
        return (choose(in_blocks, left_over, whole, note),)

    def _shifting(self, first: Regime, second: Regime) -> Comparison:
        scalings = replace(self.first, regime=first), replace(self.second, regime=second)
        return Comparison(self.compare, *scalings, self.codes)

    def compile(self, constants: Inputs) -> Runner:
        """Keep to the definition."""
        return Prepared.compile(self, constants)


def comparison(x1: Array, x2: Array, op: Comparison, note: Note = silent) -> BoolArray:
    """Compare codes of different scales.

    Parameters
    ----------
    x1, x2
        int8, uint8 or int16, shapes that broadcast: quantized.
    op
        The prepared op.
    note
        Receives the stages.

    Returns
    -------
    bool, the broadcast shape.

    Notes
    -----
    1. Each input: subtract its zero point, shift left by 8 bits, multiply by its own scale.
    2. Compare the integers.

    Quirk: Comparisons of quantized tensors with a scale above 1 shift by a negative count, which on x86 leaves little
    but the signs to compare.

    Quirk: Comparisons multiply each input by its own scale, not by a ratio of scales, and round to integers of 1/256,
    so different values compare as equal where scales are small.

    """
    first, second = op.first(x1, under(note, "input 1")), op.second(x2, under(note, "input 2"))
    return note("result", np.asarray(op.compare(first, second)), op.compare.rule, x1=first, x2=second)


def prepare(op: OpView, profile: Profile) -> Prepared:
    """Check the contract of a comparison and derive multipliers.

    Quirk: EQUAL of int16 rescales quantized tensors; LESS, LESS_EQUAL, GREATER and GREATER_EQUAL of int16 compare raw
    codes.

    Raises
    ------
    ModelError
        The op breaks its contract.
    UnsupportedError
        The combination of types, or the scale, is not covered.

    """
    expect_count(op, {2})
    dtype = expect_same_types(op)
    expect_broadcast(op)
    expect_dtype(output_tensor(op), DType.BOOL)
    is_quantized = input_tensor(op, 0).quant is not None
    if _is_plain(op.name, dtype, quantized=is_quantized):
        return PlainBinary(_COMPARE[op.name])
    if dtype in {DType.INT8, DType.UINT8} or (dtype is DType.INT16 and op.name in _EQUALITY and is_quantized):
        return _scaled(op, dtype, profile)
    raise unsupported(op, "; ".join(_covers(op.name)))


def _is_plain(name: str, dtype: DType, *, quantized: bool) -> bool:
    """Whether raw values are compared."""
    if dtype is DType.BOOL:
        return name in _EQUALITY
    if dtype is DType.INT16:
        return name not in _EQUALITY or (name == "EQUAL" and not quantized)
    return dtype in _PLAIN


def _scaled(op: OpView, dtype: DType, profile: Profile) -> Prepared:
    """Prepare a comparison of rescaled codes."""
    x1, x2 = input_tensor(op, 0), input_tensor(op, 1)

    def form(regime: Regime) -> Comparison:
        return Comparison(_COMPARE[op.name], _scaling(x1, regime), _scaling(x2, regime), dtype)

    if max(float32_scale(x1), float32_scale(x2)) > 1:
        if FAR[profile]:
            scaled = form(SCALAR_SHIFT)
            return FarComparison(scaled.compare, scaled.first, scaled.second, dtype)
        return EitherWay(form(SCALAR_SHIFT), form(VECTOR_SHIFT), f"{op.name} with a scale above 1")
    return form(REGIME[profile])


def _scaling(x: TensorView, regime: Regime) -> InputScaling:
    scale = float32_scale(x)
    expect(bool(scale != 1), f"a scale other than 1 on {x.name!r}, for which the runtime aborts, found {scale}")
    return InputScaling(zero_point_of(x), LEFT_SHIFT, quantize_multiplier(scale.astype(np.float64)), regime)


def _covers(name: str) -> tuple[str, ...]:
    plain = ("float32", "float16", "int32", "int64")
    if name == "EQUAL":
        return ("int8", "uint8", "int16", "int16 without quantization", "bool", *plain)
    return ("int8", "uint8", "int16", *(("bool",) if name == "NOT_EQUAL" else ()), *plain)


KERNELS = tuple(
    Kernel(
        name,
        prepare,
        covers=_covers(name),
        refusal={TFLM: micro.no_scales_of_int16 if name == "GREATER" else micro.no_uint8},
    )
    for name in _COMPARE
)
