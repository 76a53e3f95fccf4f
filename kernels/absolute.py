"""ABS, NEG and SIGN.

Source: ``tflite/kernels/elementwise.cc``, ``tflite/kernels/neg.cc``, ``tflite/kernels/sign.cc``.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np

from kernels.engine import delegate, elementwise, micro
from kernels.engine.contract import expect_count, expect_dtype, input_tensor, output_tensor, unsupported, zero_point_of
from kernels.engine.elementwise import PlainUnary, expect_zero_points_of_zero, float32_scale
from kernels.engine.registry import Kernel
from kernels.engine.types import Inputs, OpView, Outputs, Prepared, Runner, given
from kernels.profiles import LITERT_REFERENCE, TFLM, XNNPACK, Profile, Rules
from qmath.fixed_point import wrap_int32
from qmath.requantize import DOUBLE_ROUNDING, Factor, Regime, to_codes
from qmath.stages import Note, silent
from qmath.types import ActivationRange, Array, DType

REGIME: Rules[Regime] = Rules("ABS", {LITERT_REFERENCE: DOUBLE_ROUNDING})


@dataclass(frozen=True, slots=True)
class Abs(Prepared):
    """A prepared ABS of int8 or int16; ``factor`` is None if both scales are the same."""

    input_zero_point: int
    output_zero_point: int
    regime: Regime
    factor: Factor | None
    dtype: DType

    def evaluate(self, inputs: Inputs, note: Note) -> Outputs:
        """Evaluate :func:`absolute`."""
        return (absolute(given(inputs, 0), self, note),)

    def compile(self, constants: Inputs) -> Runner:
        """Tabulate every code."""
        del constants
        return elementwise.unary(partial(absolute, op=self), self.dtype)


def absolute(x: Array, op: Abs, note: Note = silent) -> Array:
    """Take magnitudes of codes.

    Parameters
    ----------
    x
        int8 or int16, any shape: quantized.
    op
        The prepared op.
    note
        Receives the stages.

    Returns
    -------
    Codes of the same type and shape.

    Notes
    -----
    1. magnitude: of ``x - input_zero_point``.
    2. scaled: if the scales differ, by the regime with ``input_scale / output_scale`` in float32.
    3. Add the zero point; clamp to the range of the type.

    """
    magnitude = np.abs(wrap_int32(x.astype(np.int64) - op.input_zero_point))
    note("magnitude", magnitude, "abs(wrap(x - zero_point))", x=x, zero_point=op.input_zero_point)
    scaled = magnitude if op.factor is None else op.regime.apply(magnitude, op.factor, note)
    return to_codes(scaled, op.output_zero_point, ActivationRange.of(op.dtype), op.dtype, note)


def prepare_abs(op: OpView, profile: Profile) -> Prepared:
    """Check the contract of ABS and derive its multiplier.

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
    if x.dtype in {DType.FLOAT32, DType.INT32} or (x.dtype is DType.INT16 and x.quant is None):
        return PlainUnary(np.abs)
    if x.dtype not in {DType.INT8, DType.INT16}:
        raise unsupported(op, "; ".join(ABS.covers))
    if x.dtype is DType.INT16:
        expect_zero_points_of_zero(x, y)
    first, second, regime = float32_scale(x), float32_scale(y), REGIME[profile]
    with np.errstate(over="ignore"):
        factor = None if first == second else regime.encode(np.asarray(first / second).astype(np.float64))
    return Abs(zero_point_of(x), zero_point_of(y), regime, factor, x.dtype)


_SIGNED = (DType.INT8, DType.INT16, DType.INT32, DType.INT64, DType.FLOAT32, DType.FLOAT16)
_SIGN = (DType.FLOAT32, DType.FLOAT64, DType.INT32)


def prepare_plain(op: OpView, profile: Profile) -> Prepared:
    """Check the contract of NEG or SIGN.

    Quirk: NEG of int8 and int16 negates the code itself, whatever zero point and scale, and the lowest code stays.

    Raises
    ------
    ModelError
        The op breaks its contract.
    UnsupportedError
        The type is not covered.

    """
    del profile
    expect_count(op, {1})
    x = input_tensor(op, 0)
    expect_dtype(output_tensor(op), x.dtype)
    if x.dtype not in (_SIGNED if op.name == "NEG" else _SIGN):
        raise unsupported(op, "; ".join((NEG if op.name == "NEG" else SIGN).covers))
    return PlainUnary(np.negative if op.name == "NEG" else np.sign)


ABS = Kernel(
    "ABS",
    prepare_abs,
    covers=("int8", "int16", "int16 without quantization", "int32", "float32"),
    refusal={XNNPACK: delegate.unary(delegate.FLOATS)},
)
NEG = Kernel(
    "NEG",
    prepare_plain,
    covers=tuple(dtype.name.lower() for dtype in _SIGNED),
    refusal={TFLM: micro.no_int8, XNNPACK: delegate.unary(delegate.FLOATS)},
)
SIGN = Kernel("SIGN", prepare_plain, covers=tuple(dtype.name.lower() for dtype in _SIGN))
KERNELS = (ABS, NEG, SIGN)
