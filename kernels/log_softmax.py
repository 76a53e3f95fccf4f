"""LOG_SOFTMAX: the logarithm of SOFTMAX, along the last axis.

Source: ``tflite/kernels/activations.cc``, ``tflite/kernels/internal/reference/log_softmax.h``,
``integer_ops/log_softmax.h``, ``tflite/kernels/internal/quantization_util.cc`` (PreprocessLogSoftmaxScalingExp).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from typing import TypeAlias

import numpy as np

from kernels.engine import micro
from kernels.engine.contract import (
    expect,
    expect_count,
    input_tensor,
    output_tensor,
    scale_of,
    unsupported,
    zero_point_of,
)
from kernels.engine.elementwise import expect_right_shift, float32_scale
from kernels.engine.registry import Kernel
from kernels.engine.taps import Products, Reads, row
from kernels.engine.types import Inputs, OpView, Outputs, Prepared, Runner, TensorView, given
from kernels.profiles import LITERT_OPTIMIZED, LITERT_REFERENCE, TFLM, Profile, Rules
from kernels.softmax import DIFFERENCE_BITS, SUM_BITS, ScaledDifferences, below_maximum, powers_and_terms
from kernels.softmax_tables import log_of_float_table
from qmath.errors import UnsupportedError
from qmath.fixed_point import (
    log_x_for_x_greater_than_or_equal_to_1,
    rounding_divide_by_power_of_two,
    wrap_int32,
)
from qmath.multiplier import quantize_multiplier
from qmath.requantize import DOUBLE_ROUNDING
from qmath.stages import Note, silent
from qmath.types import Array, DType, FixedPointMultiplier, Float32Array, Int64Array

#: Real units per output code are ``2**OUTPUT_BITS / 256``.
OUTPUT_BITS = 4


@dataclass(frozen=True, slots=True)
class FixedPointLogSoftmax(Prepared):
    """A prepared LOG_SOFTMAX of int8 or uint8.

    Attributes
    ----------
    scaling
        From differences to the argument of e**x.
    unscaling
        The inverse of its multiplier.
    dtype
        Of input and output.

    """

    scaling: ScaledDifferences
    unscaling: FixedPointMultiplier
    dtype: DType

    def evaluate(self, inputs: Inputs, note: Note) -> Outputs:
        """Evaluate :func:`fixed_point_log_softmax`."""
        return (fixed_point_log_softmax(given(inputs, 0), self, note),)

    def products(self, inputs: Inputs, index: tuple[int, ...]) -> Products:
        """Return the terms of the sum of powers."""
        return Products((Reads("term", row(index, given(inputs, 0).shape[-1])),), stage="sum of powers")

    def compile(self, constants: Inputs) -> Runner:
        """Tabulate step 2 for the 256 differences that 8-bit codes can have."""
        del constants
        table = cache(partial(powers_and_terms, np.arange(-255, 1), self.scaling))

        def run(inputs: Inputs) -> Outputs:
            difference = below_maximum(given(inputs, 0))
            _, terms = table()
            return (_logarithms(difference, terms.take(difference + 255), self),)

        return run


def fixed_point_log_softmax(x: Array, op: FixedPointLogSoftmax, note: Note = silent) -> Array:
    """Compute LOG_SOFTMAX in fixed point.

    Parameters
    ----------
    x
        int8 or uint8, any shape of at least one dimension: quantized.
    op
        The prepared op.
    note
        Receives the stages.

    Returns
    -------
    Codes of the same type; scale 1/16, the highest code is 0.

    Notes
    -----
    1. difference: each code less the largest of its row.
    2. sum of powers: of e**(scale * difference), as in SOFTMAX.
    3. logarithm: of the sum, with 5 integer bits; see
       :func:`qmath.fixed_point.log_x_for_x_greater_than_or_equal_to_1`.
    4. threshold: the smallest difference whose result fits 5 integer bits, found by the inverse multiplier.
    5. The scaled difference less the logarithm, divided by 2**22, ties away from zero; the highest code is added;
       clamp. Differences up to the threshold give the lowest code.

    """
    difference = below_maximum(x, note)
    _, terms = powers_and_terms(difference, op.scaling, note)
    return _logarithms(difference, terms, op, note)


def _logarithms(difference: Int64Array, terms: Int64Array, op: FixedPointLogSoftmax, note: Note = silent) -> Array:
    """Steps 2 to 5 of :func:`fixed_point_log_softmax`."""
    total = note("sum of powers", terms.sum(axis=-1, keepdims=True))
    if difference.size == 0:
        return difference.astype(op.dtype.storage)
    if total.max() > DType.INT32.max:
        raise UnsupportedError("LOG_SOFTMAX is not covered where a row's powers sum up to 4096: the sum overflows")
    logarithm = log_x_for_x_greater_than_or_equal_to_1(total, SUM_BITS, DIFFERENCE_BITS)
    note("logarithm", logarithm, f"~ 2**{31 - DIFFERENCE_BITS} * log(total / 2**{31 - SUM_BITS})", total=total)
    reached = DOUBLE_ROUNDING.apply(wrap_int32(logarithm + DType.INT32.min), op.unscaling)
    threshold = note("threshold", np.maximum(op.scaling.lowest - 1, reached))
    counts = difference > threshold
    scaled = op.scaling(np.where(counts, difference, 0))
    share = wrap_int32(scaled - logarithm)
    note("logarithm of the share", share, "wrap(scaled - logarithm)", scaled=scaled, logarithm=logarithm)
    right = 31 - DIFFERENCE_BITS - OUTPUT_BITS
    steps = rounding_divide_by_power_of_two(share, right)
    note("steps", steps, "half_away(share / 2**right)", share=share, right=right)
    low, high = op.dtype.min, op.dtype.max
    codes = np.clip(np.where(counts, steps + high, low), low, high)
    rule = "clamp(steps + high if difference > threshold else low, low, high)"
    note("clamped", codes, rule, steps=steps, difference=difference, threshold=threshold, low=low, high=high)
    return codes.astype(op.dtype.storage)


@dataclass(frozen=True, slots=True)
class FloatLogSoftmax(Prepared):
    """A prepared LOG_SOFTMAX of float32."""

    def evaluate(self, inputs: Inputs, note: Note) -> Outputs:
        """Evaluate :func:`float_log_softmax`."""
        return (float_log_softmax(given(inputs, 0), note),)


def float_log_softmax(x: Float32Array, note: Note = silent) -> Float32Array:
    """Compute LOG_SOFTMAX in float32.

    Notes
    -----
    1. difference: each element less the largest of its row.
    2. sum of powers: of e**difference.
    3. The difference less the logarithm of the sum.

    """
    largest = np.fmax.reduce(x, axis=-1, keepdims=True, initial=np.finfo(np.float32).min)
    with np.errstate(all="ignore"):
        difference = note("difference", np.asarray(x - largest))
        total = note("sum of powers", np.exp(difference).sum(axis=-1, keepdims=True))
        return np.asarray(difference - np.log(total))


#: From input and output to a prepared LOG_SOFTMAX of 8-bit codes.
EightBit: TypeAlias = Callable[[TensorView, TensorView], Prepared]


def fixed_point(x: TensorView, y: TensorView) -> Prepared:
    """Prepare :class:`FixedPointLogSoftmax`."""
    del y
    scaling = ScaledDifferences.of(1.0, float(float32_scale(x)))
    shift, multiplier = int(scaling.factor.shift), int(scaling.factor.multiplier)
    unscaling = expect_right_shift(quantize_multiplier(2.0 ** (31 - shift) / multiplier), "the inverse of the scale")
    return FixedPointLogSoftmax(scaling, unscaling, x.dtype)


EIGHT_BIT: Rules[EightBit] = Rules("LOG_SOFTMAX", {LITERT_REFERENCE: fixed_point, LITERT_OPTIMIZED: log_of_float_table})


def prepare(op: OpView, profile: Profile) -> Prepared:
    """Check the contract of LOG_SOFTMAX and derive what its arithmetic needs.

    Raises
    ------
    ModelError
        The op breaks its contract.
    UnsupportedError
        The combination of types is not covered.

    """
    expect_count(op, {1})
    x, y = input_tensor(op, 0), output_tensor(op)
    expect(len(x.shape) >= 1, f"tensor {x.name!r} to have dimensions, found shape {x.shape}")
    if x.dtype is y.dtype is DType.FLOAT32:
        return FloatLogSoftmax()
    if x.dtype is y.dtype and x.dtype in {DType.INT8, DType.UINT8}:
        found = scale_of(y), zero_point_of(y)
        fits = found == (1 / 16, x.dtype.max)
        expect(fits, f"output scale 1/16 and zero point {x.dtype.max}, found {found}")
        return EIGHT_BIT[profile](x, y)
    raise unsupported(op, "; ".join(KERNELS[0].covers))


KERNELS = (Kernel("LOG_SOFTMAX", prepare, covers=("int8", "uint8", "float32"), refusal={TFLM: micro.no_uint8}),)
