"""MEAN and SUM: elements added along axes; quantized sums are requantized once, at the end.

Quirk: MEAN and SUM of an empty axis give code 0, not the zero point; MEAN of floats gives NaN.

Quirk: BUILTIN_REF's SUM takes int8 codes for uint8 ones, clamps to 0..255 and gives the byte as int8; litert-reference
does the same, litert-reference-sound what is meant.

Quirk: BUILTIN_REF's SUM of int16 reads the first half of the bytes as uint8 and leaves half of the output unwritten, so
litert-reference refuses it; litert-reference-sound gives what is meant.

Source: ``tflite/kernels/reduce.cc``, ``internal/reference/reduce.h`` (QuantizedMeanOrSum, Mean, ReduceGeneric).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache, partial

import numpy as np

from kernels.engine import delegate, micro
from kernels.engine.compile import requantized_sum
from kernels.engine.contract import expect, scale_of, unsupported, zero_point_of
from kernels.engine.elementwise import float32_scale
from kernels.engine.exact import EXACT_FLOAT64, PixelSum, Reach
from kernels.engine.float_sums import add_in_order
from kernels.engine.movement import expect_zero_point_zero
from kernels.engine.reducing import Reduction, folded, reduction_operands
from kernels.engine.registry import Kernel
from kernels.engine.steps import StepForm, quick_form
from kernels.engine.taps import Products
from kernels.engine.types import Inputs, OpView, Outputs, Prepared, Runner, TensorView, given
from kernels.profiles import (
    LITERT_OPTIMIZED,
    LITERT_REFERENCE,
    LITERT_REFERENCE_SOUND,
    TFLM,
    XNNPACK,
    XNNPACK_ARM64,
    Profile,
    Rules,
)
from kernels.reduction_float import (
    OPTIMIZED_SUM,
    XNNPACK_ARM_SCALE,
    XNNPACK_SCALE,
    FloatScale,
    FloatScaledReduction,
    SpatialMean,
)
from qmath.errors import UnsupportedError
from qmath.fixed_point import wrap_int32
from qmath.multiplier import scale_ratio
from qmath.requantize import DOUBLE_ROUNDING, Factor, FixedPointRegime, RealForm, Regime, Requantize
from qmath.rounding import divide_toward_zero
from qmath.stages import Note, silent, under
from qmath.types import ActivationRange, Array, DType, FixedPointMultiplier, Float64Array, Int64Array


@dataclass(frozen=True, slots=True)
class Averaging(FixedPointRegime):
    """A fixed-point regime whose multiplier takes in a division by ``count``.

    1. Encode the real multiplier as a significand and a shift.
    2. Shift the significand left by ``k``, the whole part of log2(count), at most 31 plus the shift.
    3. Divide it by ``count``, dropping the fraction, and lower the shift by ``k``.

    Source: ``internal/reference/reduce.h``.
    """

    regime: FixedPointRegime
    count: int

    def encode(self, real_multiplier: Float64Array) -> FixedPointMultiplier:
        """Encode ``real_multiplier / count``, keeping as many bits as fit."""
        whole = self.regime.encode(real_multiplier)
        more = np.minimum(self.count.bit_length() - 1, np.minimum(32, 31 + whole.shift))
        return FixedPointMultiplier((whole.multiplier << more) // self.count, whole.shift - more)

    def explain(self, real_multiplier: Float64Array, factor: Factor, note: Note) -> None:
        """Name the multiplier before and after the division."""
        whole = self.regime.encode(real_multiplier)
        self.regime.explain(real_multiplier, whole, under(note, "undivided"))
        if isinstance(factor, FixedPointMultiplier):
            rule = "min(floor_log2(count), 32, 31 + shift)"
            more = note("more bits", whole.shift - factor.shift, rule, count=np.asarray(self.count), shift=whole.shift)
            note("shift", factor.shift, "shift - more", shift=whole.shift, more=more)
            terms = {"multiplier": whole.multiplier, "more": more, "count": np.asarray(self.count)}
            note("multiplier", factor.multiplier, "floor(multiplier * 2**more / count)", **terms)

    def apply(self, accumulator: Array, factor: Factor, note: Note = silent) -> Int64Array:
        """Apply the regime."""
        return self.regime.apply(accumulator, factor, note)

    def real_form(self, factor: Factor) -> RealForm | None:
        """Return that of the regime."""
        return self.regime.real_form(factor)


@dataclass(frozen=True, slots=True)
class SumRule:
    """How a runtime sums quantized tensors.

    Attributes
    ----------
    regime
        Of the requantization.
    types
        Element types whose memory it reads rightly.
    misread
        Element types whose codes it takes for uint8 ones, byte for byte.

    """

    regime: Regime
    types: tuple[DType, ...]
    misread: tuple[DType, ...] = ()


#: Dimensions of NHWC.
IMAGES = 4
QUANTIZED = (DType.INT8, DType.UINT8, DType.INT16)
#: SUM as it is meant, and as TFLite Micro computes it.
SOUND_SUM = SumRule(DOUBLE_ROUNDING, QUANTIZED)
#: SUM of BUILTIN_REF: its kernel is instantiated for uint8 whatever the tensor holds.
SUM_OF_BYTES = SumRule(DOUBLE_ROUNDING, (DType.UINT8,), misread=(DType.INT8,))

SUM: Rules[SumRule | FloatScale] = Rules(
    "SUM",
    {
        LITERT_REFERENCE: SUM_OF_BYTES,
        LITERT_REFERENCE_SOUND: SOUND_SUM,
        LITERT_OPTIMIZED: OPTIMIZED_SUM,
        XNNPACK: XNNPACK_SCALE,
        XNNPACK_ARM64: XNNPACK_ARM_SCALE,
        TFLM: SOUND_SUM,
    },
)
AVERAGING = partial(Averaging, DOUBLE_ROUNDING)
MEAN: Rules[Callable[[int], Regime] | FloatScale] = Rules(
    "MEAN", {LITERT_REFERENCE: AVERAGING, XNNPACK: XNNPACK_SCALE, XNNPACK_ARM64: XNNPACK_ARM_SCALE}
)
#: Whether the MEAN of 8-bit images over height and width has a kernel of its own.
SPATIAL_MEAN: Rules[bool] = Rules("MEAN", {LITERT_REFERENCE: False, LITERT_OPTIMIZED: True, XNNPACK: False})


@dataclass(frozen=True, slots=True)
class QuantizedReduction(Prepared):
    """A prepared MEAN or SUM of codes.

    Attributes
    ----------
    keep_dims
        Whether reduced axes stay, with size 1.
    regime
        From the number of elements that make one output to the regime.
    real_multiplier
        Input scale over output scale.
    input_zero_point, output_zero_point
        Codes of the real value 0.
    dtype
        Of input and output.
    shape
        Of the input.

    """

    keep_dims: bool
    regime: Callable[[int], Regime]
    real_multiplier: Float64Array
    input_zero_point: int
    output_zero_point: int
    dtype: DType
    shape: tuple[int, ...]

    def evaluate(self, inputs: Inputs, note: Note) -> Outputs:
        """Evaluate :func:`reduce_codes`."""
        return (reduce_codes(given(inputs, 0), given(inputs, 1), self, note),)

    def products(self, inputs: Inputs, index: tuple[int, ...]) -> Products:
        """Return the codes that are added."""
        return folded(given(inputs, 0), given(inputs, 1), index, keep_dims=self.keep_dims)

    def compile(self, constants: Inputs) -> Runner:
        """Requantize by a float form, proven for the number of elements that make one output."""
        definition = partial(self.evaluate, note=silent)
        if constants[1] is not None and 0 not in self.shape:
            reduction = Reduction.of(self.shape, constants[1], keep_dims=self.keep_dims)
            if len(self.shape) == IMAGES and reduction.axes == (1, 2):
                sums = PixelSum(self.shape, self.keep_dims, self.dtype)
                offset = np.full(self.shape[3], -reduction.count * self.input_zero_point)
                return requantized_sum(sums, offset, self.requantize(reduction.count), definition)
        step_for = cache(self._step_form)

        def run(inputs: Inputs) -> Outputs:
            x = given(inputs, 0)
            reduction = Reduction.of(x.shape, given(inputs, 1), keep_dims=self.keep_dims)
            step = step_for(reduction.count) if x.size else None
            if step is None:
                return definition(inputs)
            sums = np.asarray(np.sum(x, axis=reduction.axes, dtype=np.int64))
            return (step(sums[..., None])[..., 0].reshape(reduction.output_shape),)

        return run

    def requantizations(self, inputs: Inputs) -> Mapping[str, Requantize]:
        """Return that of the number of elements that make one output."""
        reduction = Reduction.of(given(inputs, 0).shape, given(inputs, 1), keep_dims=self.keep_dims)
        return {"requantize": self.requantize(reduction.count)} if reduction.count else {}

    def requantize(self, count: int) -> Requantize:
        """Return the requantization of a sum of ``count`` elements."""
        full_range = ActivationRange(self.dtype.min, self.dtype.max)
        return Requantize(self.regime(count), self.real_multiplier, self.output_zero_point, full_range, self.dtype)

    def _step_form(self, count: int) -> StepForm | None:
        magnitude = count * max(self.dtype.max, -self.dtype.min)
        if magnitude >= EXACT_FLOAT64:
            return None
        reach = Reach(np.array([count * self.dtype.min]), np.array([count * self.dtype.max]), magnitude)
        offset = np.array([-count * self.input_zero_point])
        return quick_form(self.requantize(count), offset, reach)


def reduce_codes(x: Array, axes: Array, op: QuantizedReduction, note: Note = silent) -> Array:
    """Add the codes along axes and requantize.

    Parameters
    ----------
    x
        int8, uint8 or int16: quantized.
    axes
        int32.
    op
        The prepared op.
    note
        Receives the stages.

    Notes
    -----
    1. sum: of the raw codes.
    2. accumulator: minus ``count * input_zero_point``; int32, wrapping.
    3. Requantize; for MEAN the multiplier takes in the division by ``count`` (:class:`Averaging`).

    """
    reduction = Reduction.of(x.shape, axes, keep_dims=op.keep_dims)
    if x.size == 0:
        return np.zeros(reduction.output_shape, x.dtype)
    total = note("sum", reduction.rows(x).sum(axis=0, dtype=np.int64))
    accumulator = wrap_int32(total - reduction.count * op.input_zero_point)
    count, zero_point = reduction.count, op.input_zero_point
    note("accumulator", accumulator, "wrap(sum - count * zero_point)", sum=total, count=count, zero_point=zero_point)
    return op.requantize(reduction.count)(accumulator, note).reshape(reduction.output_shape)


@dataclass(frozen=True, slots=True)
class SumOfBytes(Prepared):
    """A prepared SUM of int8 whose runtime takes the memory of both tensors for uint8.

    Attributes
    ----------
    bytes
        The SUM of uint8 that it does.

    """

    bytes: QuantizedReduction

    def evaluate(self, inputs: Inputs, note: Note) -> Outputs:
        """Read int8 codes as uint8 (-1 is 255), sum them (:func:`reduce_codes`), give the sum's byte as int8."""
        codes = note("code taken for uint8", given(inputs, 0).view(np.uint8))
        return (reduce_codes(codes, given(inputs, 1), self.bytes, note).view(np.int8),)

    def products(self, inputs: Inputs, index: tuple[int, ...]) -> Products:
        """Return the bytes that are added."""
        keep_dims = self.bytes.keep_dims
        return folded(given(inputs, 0), given(inputs, 1), index, keep_dims=keep_dims, source="code taken for uint8")

    def compile(self, constants: Inputs) -> Runner:
        """Do the SUM of uint8 in its quick form."""
        run_bytes = self.bytes.compile(constants)

        def run(inputs: Inputs) -> Outputs:
            (y,) = run_bytes((given(inputs, 0).view(np.uint8), *inputs[1:]))
            return (y.view(np.int8),)

        return run

    def requantizations(self, inputs: Inputs) -> Mapping[str, Requantize]:
        """Return that of the sum of bytes."""
        return self.bytes.requantizations(inputs)


@dataclass(frozen=True, slots=True)
class SumOfNothing(Prepared):
    """A prepared SUM of a tensor without elements, under LiteRT's optimized kernels (code None) or XNNPACK.

    Quirk: SUM of an empty axis gives the zero point in XNNPACK; LiteRT's optimized kernels leave the output unwritten.
    """

    keep_dims: bool
    code: int | None

    def evaluate(self, inputs: Inputs, note: Note) -> Outputs:
        """Return the code everywhere."""
        x = given(inputs, 0)
        shape = Reduction.of(x.shape, given(inputs, 1), keep_dims=self.keep_dims).output_shape
        if self.code is None and 0 not in shape:
            raise UnsupportedError("SUM of no elements has no result: the runtime gives what lies in memory")
        return (note("zero point", np.full(shape, self.code or 0, x.dtype)),)


@dataclass(frozen=True, slots=True)
class PlainReduction(Prepared):
    """A prepared MEAN or SUM of plain numbers.

    Attributes
    ----------
    keep_dims
        Whether reduced axes stay, with size 1.
    average
        Whether to divide by the number of elements.

    """

    keep_dims: bool
    average: bool

    def evaluate(self, inputs: Inputs, note: Note) -> Outputs:
        """Add in the order of memory, in the element type (int64 for the MEAN of int32), and divide if asked to."""
        x = given(inputs, 0)
        reduction = Reduction.of(x.shape, given(inputs, 1), keep_dims=self.keep_dims)
        total = note("sum", self._sum(reduction.rows(x)))
        averaged = self._divide(total, reduction.count).astype(x.dtype) if self.average else total
        return (averaged.reshape(reduction.output_shape),)

    def products(self, inputs: Inputs, index: tuple[int, ...]) -> Products:
        """Return the numbers that are added."""
        return folded(given(inputs, 0), given(inputs, 1), index, keep_dims=self.keep_dims)

    def _sum(self, rows: Array) -> Array:
        if len(rows) == 0 or rows.dtype.kind != "f":
            wide = np.int64 if self.average and rows.dtype.kind == "i" else rows.dtype
            return np.asarray(np.sum(rows, axis=0, dtype=wide))
        # NumPy adds in pairs where it can; the runtime's order keeps its rounding.
        return add_in_order(rows.T)

    def _divide(self, total: Array, count: int) -> Array:
        if total.dtype.kind == "f":
            with np.errstate(invalid="ignore"):
                return np.divide(total, count, dtype=total.dtype)
        return divide_toward_zero(total, count) if count else np.zeros_like(total)


def prepare_mean(op: OpView, profile: Profile) -> Prepared:
    """Check the contract of MEAN.

    Raises
    ------
    ModelError
        The op breaks its contract.
    UnsupportedError
        The element type is not covered.

    """
    x, y, keep_dims = reduction_operands(op)
    if x.dtype in PLAIN:
        return PlainReduction(keep_dims, average=True)
    if x.dtype not in QUANTIZED:
        raise unsupported(op, ", ".join(COVERS))
    rule = MEAN[profile]
    if isinstance(rule, FloatScale):
        return _float_scaled(x, y, rule, keep_dims=keep_dims, average=True)
    general = _quantized(x, y, rule, keep_dims=keep_dims)
    if SPATIAL_MEAN[profile] and keep_dims and x.dtype is not DType.INT16:
        return SpatialMean(float32_scale(x), float32_scale(y), zero_point_of(x), zero_point_of(y), x.dtype, general)
    return general


def prepare_sum(op: OpView, profile: Profile) -> Prepared:
    """Check the contract of SUM.

    Raises
    ------
    ModelError
        The op breaks its contract.
    UnsupportedError
        The element type is not covered, or the profile's runtime reads its memory wrongly.

    """
    x, y, keep_dims = reduction_operands(op)
    if x.dtype in PLAIN:
        return PlainReduction(keep_dims, average=False)
    if x.dtype not in QUANTIZED:
        raise unsupported(op, ", ".join(COVERS))
    if 0 in x.shape and (XNNPACK in profile.lineage or LITERT_OPTIMIZED in profile.lineage):
        return SumOfNothing(keep_dims, zero_point_of(y) if XNNPACK in profile.lineage else None)
    rule = SUM[profile]
    if isinstance(rule, FloatScale):
        return _float_scaled(x, y, rule, keep_dims=keep_dims, average=False)
    return quantized_sum(x, y, rule, profile, keep_dims=keep_dims)


def quantized_sum(
    x: TensorView, y: TensorView, rule: SumRule, profile: Profile, *, keep_dims: bool
) -> QuantizedReduction | SumOfBytes:
    """Prepare a SUM of codes by a rule.

    Raises
    ------
    UnsupportedError
        The runtime's result depends on what lies in memory.

    """
    if x.dtype not in (*rule.types, *rule.misread):
        raise UnsupportedError(
            f"SUM of {x.dtype.name} has no result under the profile {profile.name}: its runtime ({profile.runtime}) "
            f"reads half of the bytes, as {rule.types[0].name}, and leaves half of the output as it finds it; the "
            f"profile {LITERT_REFERENCE_SOUND.name} gives the sum that is meant"
        )
    prepared = _quantized(x, y, lambda _: rule.regime, keep_dims=keep_dims)
    return SumOfBytes(replace(prepared, dtype=DType.UINT8)) if x.dtype in rule.misread else prepared


def _float_scaled(
    x: TensorView, y: TensorView, form: FloatScale, *, keep_dims: bool, average: bool
) -> FloatScaledReduction:
    if x.dtype is DType.INT16:
        expect_zero_point_zero(x, y)
    with np.errstate(over="ignore"):
        ratio = np.asarray(float32_scale(x) / float32_scale(y))
    return FloatScaledReduction(keep_dims, average, form, ratio, zero_point_of(x), zero_point_of(y), x.dtype)


def _quantized(x: TensorView, y: TensorView, regime: Callable[[int], Regime], *, keep_dims: bool) -> QuantizedReduction:
    if x.dtype is DType.INT16:
        expect_zero_point_zero(x, y)
    expect(scale_of(y) > 0, f"a positive scale on {y.name!r}, found {scale_of(y)}")
    real_multiplier = scale_ratio(scale_of(x), 1.0, scale_of(y))
    return QuantizedReduction(keep_dims, regime, real_multiplier, zero_point_of(x), zero_point_of(y), x.dtype, x.shape)


PLAIN = (DType.FLOAT32, DType.INT32, DType.INT64)
COVERS = ("int8", "uint8", "int16", "float32", "int32", "int64")

KERNELS = (
    Kernel("MEAN", prepare_mean, covers=COVERS, refusal={TFLM: micro.no_uint8, XNNPACK: delegate.reduction}),
    Kernel("SUM", prepare_sum, covers=COVERS, refusal={TFLM: micro.no_uint8, XNNPACK: delegate.reduction}),
)
