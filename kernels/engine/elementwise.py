"""What elementwise ops share: broadcasting, scales, plain forms without quantization, tables built when they pay."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from kernels.engine import compile as fast
from kernels.engine.activation import Activation, float_range
from kernels.engine.contract import checked_shape, expect, input_tensor, quant_of
from kernels.engine.types import Inputs, OpView, Outputs, Prepared, Runner, TensorView, given
from kernels.engine.ufuncs import clip
from kernels.profiles import LITERT_REFERENCE, XNNPACK, Rules
from qmath.errors import ModelError
from qmath.fixed_point import wrap_int32
from qmath.rounding import round_half_away_from_zero
from qmath.stages import Note, Ruled
from qmath.types import Array, DType, FixedPointMultiplier, Float32Array, Int64Array

#: Most dimensions that the runtime's broadcasting loop takes.
MAX_BROADCAST_RANK = 8


def expect_broadcast(op: OpView, *, max_rank: int = MAX_BROADCAST_RANK) -> tuple[int, ...]:
    """Check that the first two inputs broadcast and return the shape of the result.

    Source: ``tflite/kernels/kernel_util.cc`` (CalculateShapeForBroadcast), ``reference/broadcast_loop.h``.

    Raises
    ------
    ModelError
        The shapes do not broadcast, or need more dimensions than the runtime's loop has.
    UnsupportedError
        The result is too large.

    """
    first, second = input_tensor(op, 0).shape, input_tensor(op, 1).shape
    try:
        shape = np.broadcast_shapes(first, second)
    except ValueError:
        raise ModelError(f"expected shapes that broadcast, found {first} and {second}") from None
    same = first == second
    expect(same or len(shape) <= max_rank, f"at most {max_rank} dimensions to broadcast, found {len(shape)}")
    return checked_shape(shape)


def expect_same_types(op: OpView) -> DType:
    """Check that both inputs have one type and return it."""
    first, second = input_tensor(op, 0).dtype, input_tensor(op, 1).dtype
    expect(first is second, f"inputs of one type, found {first.name} and {second.name}")
    return first


def float32_scale(tensor: TensorView) -> Float32Array:
    """Return the one scale of a per-tensor quantized tensor as a float32 of shape ().

    Raises
    ------
    ModelError
        The tensor is not quantized, or its scale is not a positive number.

    """
    scale = quant_of(tensor).scale[0]
    expect(bool(np.isfinite(scale) and scale > 0), f"a positive scale on tensor {tensor.name!r}, found {scale}")
    return np.asarray(scale, np.float32)


def expect_zero_points_of_zero(*tensors: TensorView) -> None:
    """Check that tensors are quantized symmetrically, as the runtime's 16-bit kernels demand."""
    for tensor in tensors:
        zero_point = int(quant_of(tensor).zero_point[0])
        expect(zero_point == 0, f"zero point 0 on tensor {tensor.name!r}, found {zero_point}")


def expect_zero_points_in_range(*tensors: TensorView) -> None:
    """Check that zero points are codes of their tensors' types."""
    for tensor in tensors:
        zero_point, dtype = int(quant_of(tensor).zero_point[0]), tensor.dtype
        fits = dtype.min <= zero_point <= dtype.max
        expect(fits, f"a zero point of {dtype.name} on tensor {tensor.name!r}, found {zero_point}")


def expect_right_shift(factor: FixedPointMultiplier, what: str) -> FixedPointMultiplier:
    """Check that a multiplier lies between 0 and 1, where the runtime would abort the process, and return it."""
    fits = int(factor.multiplier) > 0 and int(factor.shift) <= 0
    found = f"multiplier {int(factor.multiplier)} and shift {int(factor.shift)}"
    # A multiplier below 2**-31 is encoded as 0; the runtime takes it.
    vanished = int(factor.multiplier) == 0
    expect(fits or vanished, f"{what} to be a multiplier between 0 and 1, found {found}")
    return factor


def exponent_of(scale: Float32Array) -> int | None:
    """Return the binary logarithm of a scale that is a power of two to within a thousandth of a bit, else None.

    Source: ``tflite/kernels/internal/quantization_util.cc`` (CheckedLog2), in float32 like there.
    """
    natural = np.float32(math.log(float(scale)))
    logarithm = np.asarray(natural * (np.float32(1) / np.float32(math.log(2))), np.float32)
    nearest = round_half_away_from_zero(logarithm)
    return int(nearest) if abs(logarithm - nearest) < np.float32(1e-3) else None


def less_zero_point(x: Array, zero_point: int, note: Note, stage: str = "accumulator") -> Int64Array:
    """Return codes less their zero point, in 32 bits that wrap around, and name them as a stage."""
    steps = wrap_int32(x.astype(np.int64) - zero_point)
    return note(stage, steps, "wrap(x - zero_point)", x=x, zero_point=zero_point)


# --- Plain forms --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PlainUnary(Prepared):
    """An elementwise op on floats or plain integers: one NumPy function."""

    function: Callable[[Array], Array]

    def evaluate(self, inputs: Inputs, note: Note) -> Outputs:
        """Apply the function."""
        del note
        x = given(inputs, 0)
        with np.errstate(all="ignore"):
            return (np.asarray(self.function(x)),)


def subnormal_as_zero(x: Array) -> Array:
    """Replace subnormal float32 numbers by zeros of their sign, as processors told to flush them do."""
    small = np.abs(x) < np.finfo(np.float32).smallest_normal
    return np.where(small, np.copysign(np.float32(0), x), x)


@dataclass(frozen=True, slots=True)
class PlainBinary(Prepared):
    """An elementwise op on two arrays of floats or plain integers that broadcast: one NumPy function, then a clamp.

    Attributes
    ----------
    function
        The op.
    activation
        What to clamp to; None for ops without a fused activation.
    finite
        Whether floats are clamped even to no activation, which leaves infinities as the largest numbers.

    """

    function: Callable[[Array, Array], Array]
    activation: Activation | None = None
    finite: bool = True

    def evaluate(self, inputs: Inputs, note: Note) -> Outputs:
        """Apply the function and clamp."""
        with np.errstate(all="ignore"):
            x1, x2 = given(inputs, 0), given(inputs, 1)
            result = np.asarray(self.function(x1, x2))
            note("result", result, plain_rule(self.function, result.dtype), x1=x1, x2=x2)
        return (result if self.activation is None else clamp_plain(result, self.activation, finite=self.finite),)

    def compile(self, constants: Inputs) -> Runner:
        """Apply the function and clamp float32 results where they are."""
        definition = Prepared.compile(self, constants)
        activation = self.activation
        if activation is None:
            return definition
        low, high = float_range(activation, finite=self.finite)

        def run(inputs: Inputs) -> Outputs:
            x1, x2 = given(inputs, 0), given(inputs, 1)
            if x1.dtype != np.float32:
                return definition(inputs)
            result = np.asarray(self.function(x1, x2))
            clip(result, low, high, result)
            return (result,)

        return run


#: Whether elementwise ops on floats clamp to finite numbers.
FINITE: Rules[bool] = Rules("elementwise ops on floats", {LITERT_REFERENCE: True, XNNPACK: False})

#: What plain functions compute, in ``x1`` and ``x2``; floats are rounded to their type.
_PLAIN_RULES: dict[str, str] = {
    "add": "x1 + x2",
    "subtract": "x1 - x2",
    "multiply": "x1 * x2",
    "divide": "x1 / x2",
    "larger": "max(x1, x2)",
    "smaller": "min(x1, x2)",
    "plain_squared_difference": "(x1 - x2) * (x1 - x2)",
}


def plain_rule(function: Callable[..., Array], dtype: np.dtype[Any]) -> str:
    """Return the rule of a plain function of two arrays, or nothing where none is known."""
    if isinstance(function, Ruled):
        return function.rule
    rule = _PLAIN_RULES.get(getattr(function, "__name__", ""), "")
    if rule and dtype.kind == "f":
        return f"float32({rule})" if dtype == np.float32 and "(x1" not in rule else ""
    return rule


def clamp_plain(values: Array, activation: Activation, *, finite: bool = True) -> Array:
    """Clamp floats or plain integers to what a fused activation allows.

    NaN stays, but for float16 in XNNPACK, which makes it the lower bound.

    Source: ``tflite/kernels/kernel_util.h`` (CalculateActivationRange).
    """
    lower, upper = activation.bounds
    if np.issubdtype(values.dtype, np.floating):
        if not finite and lower is None and upper is None:
            return values
        limits = np.finfo(values.dtype)
        low = limits.min if lower is None else values.dtype.type(lower)
        highest = limits.max if finite else values.dtype.type(np.inf)
        high = highest if upper is None else values.dtype.type(upper)
        if values.dtype == np.float16 and not finite:
            return np.asarray(np.fmin(np.fmax(values, low), high))
        return np.asarray(np.clip(values, low, high))
    if lower is None:
        return values
    # Minus one as an unsigned number is the highest: the upper bound, applied last, then wins.
    low, high = (None if bound is None else np.asarray(int(bound)).astype(values.dtype) for bound in (lower, upper))
    return np.asarray(np.clip(values, low, high))


# --- Tables, built when first needed ------------------------------------------------------------------------------

#: Elements from which on a table of a 16-bit type, or of pairs of 8-bit codes, is quicker than the definition.
TABLE_PAYS = 1 << 14


def unary(definition: Callable[[Array], Array], codes: DType) -> Runner:
    """Compile an elementwise op of one 8- or 16-bit input by its table, built when it pays and then kept."""
    table = cache(lambda: fast.table_of(definition, codes))

    def by_definition(inputs: Inputs) -> Array:
        return definition(given(inputs, 0))

    def by_table(inputs: Inputs) -> Array:
        x = given(inputs, 0)
        return table()(x).reshape(x.shape)

    return _growing(by_definition, by_table, 1 if codes.bits == 8 else TABLE_PAYS)


def binary(definition: Callable[[Array, Array], Array], first: DType, second: DType, constants: Inputs) -> Runner:
    """Compile an elementwise op of two 8-bit inputs.

    If one of them is a constant with a single element, the op is a table of 256 codes of the other; else it is a
    table of all pairs, built when it pays and then kept.
    """
    for slot, codes in ((1, first), (0, second)):
        constant = constants[slot]
        if constant is not None and constant.size == 1:
            return _with_single(definition, codes, constant, slot)
    pairs = cache(lambda: fast.table_of_pairs(definition, first, second))

    def by_definition(inputs: Inputs) -> Array:
        return definition(given(inputs, 0), given(inputs, 1))

    def by_table(inputs: Inputs) -> Array:
        x1, x2 = given(inputs, 0), given(inputs, 1)
        return pairs()(x1, x2).reshape(np.broadcast_shapes(x1.shape, x2.shape))

    return _growing(by_definition, by_table, TABLE_PAYS)


def _with_single(definition: Callable[[Array, Array], Array], codes: DType, constant: Array, slot: int) -> Runner:
    """Compile a binary op whose input ``slot`` is a constant with one element."""
    single = constant.reshape(())
    rank = constant.ndim

    def partial_definition(x: Array) -> Array:
        return definition(x, single) if slot == 1 else definition(single, x)

    table = cache(lambda: fast.table_of(partial_definition, codes))

    def run(inputs: Inputs) -> Outputs:
        x = given(inputs, 1 - slot)
        result = table()(x)
        return (result.reshape((1,) * (rank - x.ndim) + x.shape),)

    return run


def _growing(by_definition: Callable[[Inputs], Array], by_table: Callable[[Inputs], Array], pays: int) -> Runner:
    """Run by the definition until ``pays`` elements have been seen, from then on by the table."""
    seen = 0

    def run(inputs: Inputs) -> Outputs:
        nonlocal seen
        if seen < pays:
            largest = max((array.size for array in inputs if array is not None), default=0)
            seen += largest
        return ((by_table if seen >= pays else by_definition)(inputs),)

    return run
