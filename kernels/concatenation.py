"""CONCATENATION: tensors joined along an axis; uint8 ones are rescaled to the output's quantization.

Quirk: CONCATENATION rescales uint8 alone; int8 inputs must share the output's quantization, int16 scales are ignored.

Source: ``tflite/kernels/concatenation.cc``, ``internal/reference/concatenation.h``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from kernels.engine import compile as fast
from kernels.engine import delegate, micro
from kernels.engine.activation import Activation
from kernels.engine.contract import choice, expect, expect_dtype, input_tensor, option, output_tensor
from kernels.engine.movement import (
    Movement,
    expect_covered,
    expect_same_quant,
    expect_zero_point_zero,
    in_words,
    per_tensor_quant,
    resolve_axis,
)
from kernels.engine.registry import Kernel
from kernels.engine.types import Inputs, OpView, Outputs, Prepared, Runner, TensorView, given
from kernels.profiles import LITERT_OPTIMIZED_ARM64, LITERT_REFERENCE, TFLM, XNNPACK, Profile, Rules
from qmath.rounding import TieRule, float_to_int32_x86, round_to_integer
from qmath.stages import Note, silent
from qmath.types import Array, DType

ROUNDING: Rules[TieRule] = Rules(
    "CONCATENATION",
    {LITERT_REFERENCE: TieRule.HALF_AWAY_FROM_ZERO, XNNPACK: TieRule.HALF_AWAY_FROM_ZERO},
)
#: Whether codes are multiplied and shifted in one instruction.
FUSED: Rules[bool] = Rules("CONCATENATION", {LITERT_REFERENCE: False, LITERT_OPTIMIZED_ARM64: True})


@dataclass(frozen=True, slots=True)
class Rescaling:
    """From the codes of one uint8 input to the output's.

    Attributes
    ----------
    scale, bias
        float32: ``output = round(code * scale + bias) + zero_point``.
    zero_point
        Of the output.
    rounding
        What happens to ties.
    fused
        Whether product and sum are rounded once.

    """

    scale: np.float32
    bias: np.float32
    zero_point: int
    rounding: TieRule
    fused: bool = False


def rescale(codes: Array, rescaling: Rescaling | None, note: Note = silent) -> Array:
    """Rescale uint8 codes; None leaves them as they are.

    1. real: ``code * scale + bias``, each step rounded to float32.
    2. rounded: to an integer.
    3. clamped: after the zero point is added.
    """
    if rescaling is None:
        return codes
    product = codes.astype(np.float64) * rescaling.scale
    real = ((product if rescaling.fused else product.astype(np.float32)) + rescaling.bias).astype(np.float32)
    rule = "float32(code * scale + bias)" if rescaling.fused else "float32(float32(code * scale) + bias)"
    note("real", real, rule, code=codes, scale=rescaling.scale, bias=rescaling.bias)
    rounded = float_to_int32_x86(round_to_integer(real, rescaling.rounding))
    note("rounded", rounded, f"{rescaling.rounding.rule}(real)", real=real)
    clamped = np.clip(rounded + rescaling.zero_point, 0, 255)
    note("clamped", clamped, "clamp(rounded + zero_point, 0, 255)", rounded=rounded, zero_point=rescaling.zero_point)
    return clamped.astype(np.uint8)


@dataclass(frozen=True, slots=True)
class RescalingConcatenation(Prepared):
    """A prepared CONCATENATION of uint8 codes of different quantization; None for inputs that need no rescaling."""

    axis: int
    rescalings: tuple[Rescaling | None, ...]

    def evaluate(self, inputs: Inputs, note: Note) -> Outputs:
        """Rescale each input (:func:`rescale`), then join them."""
        pieces = [rescale(given(inputs, slot), how, note) for slot, how in enumerate(self.rescalings)]
        return (concatenate(*pieces, axis=self.axis),)

    def compile(self, constants: Inputs) -> Runner:
        """Look rescaled codes up."""
        del constants
        look_ups: list[Callable[[Array], Array]] = [
            fast.table_of(partial(rescale, rescaling=how), DType.UINT8) for how in self.rescalings
        ]

        def run(inputs: Inputs) -> Outputs:
            pieces = [look_up(given(inputs, slot)) for slot, look_up in enumerate(look_ups)]
            return (concatenate(*pieces, axis=self.axis),)

        return run


def concatenate(*tensors: Array, axis: int) -> Array:
    """Join tensors along an axis; scalars become the elements of a vector."""
    return np.concatenate([np.atleast_1d(tensor) for tensor in tensors], axis)


def prepare(op: OpView, profile: Profile) -> Prepared:
    """Check the contract of CONCATENATION and derive how uint8 inputs are rescaled.

    Raises
    ------
    ModelError
        The op breaks its contract.
    UnsupportedError
        The element type is not covered.

    """
    y, tensors = output_tensor(op), [input_tensor(op, slot) for slot in range(len(op.inputs))]
    expect(len(op.outputs) == 1 and bool(tensors), f"inputs and 1 output, found {len(tensors)} and {len(op.outputs)}")
    expect_covered(op, tensors[0], JOINED)
    expect_dtype(y, tensors[0].dtype)
    activation = choice(op, "fused_activation_function", Activation)
    expect(activation is Activation.NONE, f"no fused activation, found {activation.name}")
    axis = _check_shapes(op, tensors)
    if y.dtype is DType.UINT8:
        rescalings = tuple(_rescaling(tensor, y, profile) for tensor in tensors)
        if any(rescalings):
            return RescalingConcatenation(axis, rescalings)
    if y.dtype is DType.INT8:
        for tensor in tensors:
            expect_same_quant(tensor, y)
    if y.dtype is DType.INT16:
        expect_zero_point_zero(*tensors, y)
    return Movement(partial(concatenate, axis=axis))


def _check_shapes(op: OpView, tensors: list[TensorView]) -> int:
    """Check types and shapes of the inputs and return the axis, counted from the front."""
    first = tensors[0]
    if first.shape == ():
        constant = all(tensor.data is not None for tensor in tensors)
        expect(constant and option(op, "axis") == 0, "scalars only as constants and along axis 0")
    axis = resolve_axis(option(op, "axis"), max(1, len(first.shape)))
    for tensor in tensors:
        expect_dtype(tensor, first.dtype)
        alike = len(tensor.shape) == len(first.shape) and all(
            mine == theirs or place == axis
            for place, (mine, theirs) in enumerate(zip(tensor.shape, first.shape, strict=True))
        )
        expect(alike, f"shapes that differ along axis {axis} alone, found {first.shape} and {tensor.shape}")
    return axis


def _rescaling(x: TensorView, y: TensorView, profile: Profile) -> Rescaling | None:
    (input_scale, input_zero), (output_scale, output_zero) = per_tensor_quant(x), per_tensor_quant(y)
    if (input_scale, input_zero) == (output_scale, output_zero):
        return None
    expect(output_scale > 0, f"a positive scale on {y.name!r}, found {output_scale}")
    inverse_output_scale = np.float32(1) / np.float32(output_scale)
    scale = np.float32(input_scale) * inverse_output_scale
    return Rescaling(scale, np.float32(-input_zero) * scale, output_zero, ROUNDING[profile], FUSED[profile])


JOINED = (
    DType.INT8,
    DType.UINT8,
    DType.INT4,
    DType.INT16,
    DType.INT32,
    DType.UINT32,
    DType.INT64,
    DType.BOOL,
    DType.FLOAT16,
    DType.BFLOAT16,
    DType.FLOAT32,
)

KERNELS = (
    Kernel(
        "CONCATENATION",
        prepare,
        covers=in_words(JOINED),
        refusal={TFLM: micro.no_uint8, XNNPACK: delegate.concatenation},
        demands={XNNPACK: delegate.same_scale_and_zero_point},
    ),
)
