"""REDUCE_MAX, REDUCE_MIN, REDUCE_PROD, REDUCE_ANY, REDUCE_ALL: elements folded into one along axes.

Source: ``tflite/kernels/reduce.cc``, ``internal/reference/reduce.h`` (ReduceGeneric, QuantizedReduceProd).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kernels.engine import delegate, micro
from kernels.engine.contract import expect, scale_of, unsupported, zero_point_of
from kernels.engine.movement import expect_covered, expect_same_quant, expect_zero_point_zero, in_words
from kernels.engine.reducing import Reduction, reduction_operands
from kernels.engine.registry import Kernel
from kernels.engine.types import Inputs, OpView, Outputs, Prepared, given
from kernels.profiles import LITERT_OPTIMIZED, LITERT_REFERENCE, TFLM, XNNPACK, Profile, Rules
from qmath.errors import UnsupportedError
from qmath.requantize import REDUCED_64, Regime
from qmath.stages import Note
from qmath.types import Array, DType, Float64Array

PRODUCT: Rules[Regime] = Rules("REDUCE_PROD", {LITERT_REFERENCE: REDUCED_64})
#: Whether a product of single elements is a copy of their codes.
COPIES_SINGLES: Rules[bool] = Rules("REDUCE_PROD", {LITERT_REFERENCE: False, LITERT_OPTIMIZED: True})
#: Whether REDUCE_MAX and REDUCE_MIN take booleans.
EXTREMUM_OF_BOOL: Rules[bool] = Rules(
    "REDUCE_MAX and REDUCE_MIN", {LITERT_REFERENCE: True, LITERT_OPTIMIZED: False, XNNPACK: False}
)


@dataclass(frozen=True, slots=True)
class Fold(Prepared):
    """A prepared reduction that combines elements as they are.

    Attributes
    ----------
    name
        Of the op.
    keep_dims
        Whether reduced axes stay, with size 1.
    copies_only
        Whether the runtime has no form for the type but to copy elements along axes of size 1.

    """

    name: str
    keep_dims: bool
    copies_only: bool = False

    def evaluate(self, inputs: Inputs, note: Note) -> Outputs:
        """Evaluate :func:`fold`."""
        x = given(inputs, 0)
        reduction = Reduction.of(x.shape, given(inputs, 1), keep_dims=self.keep_dims)
        if self.copies_only and x.size and reduction.count > 1:
            raise UnsupportedError(f"{self.name} of bool is refused by the optimized kernels along axes longer than 1")
        return (note("folded", fold(x, reduction, self.name)).reshape(reduction.output_shape),)


def fold(x: Array, reduction: Reduction, name: str) -> Array:
    """Combine the elements of each output, in the order of memory; an empty axis gives the neutral element.

    Integer products wrap. A maximum or minimum starts from the lowest or highest finite number and never takes NaN,
    unless everything is reduced to one output and its first element is NaN.
    """
    rows = reduction.rows(x)
    if name in {"REDUCE_ANY", "REDUCE_ALL"}:
        return np.asarray(rows.any(axis=0) if name == "REDUCE_ANY" else rows.all(axis=0))
    if name == "REDUCE_PROD":
        ones = np.ones((1, rows.shape[1]), x.dtype)
        return np.asarray(np.multiply.accumulate(np.concatenate([ones, rows]), axis=0, dtype=x.dtype)[-1])
    choose, start = (np.fmax, _lowest(x.dtype)) if name == "REDUCE_MAX" else (np.fmin, _highest(x.dtype))
    if reduction.reduces_all and x.size:
        if x.dtype.kind == "f" and np.isnan(rows[0, 0]):
            return np.asarray(rows[0])
        return np.asarray(choose.reduce(rows, axis=0))
    return np.asarray(choose.reduce(rows, axis=0, initial=start))


def _lowest(dtype: np.dtype) -> float | int | bool:
    if dtype.kind == "b":
        return False
    return float(np.finfo(dtype).min) if dtype.kind == "f" else int(np.iinfo(dtype).min)


def _highest(dtype: np.dtype) -> float | int | bool:
    if dtype.kind == "b":
        return True
    return float(np.finfo(dtype).max) if dtype.kind == "f" else int(np.iinfo(dtype).max)


@dataclass(frozen=True, slots=True)
class QuantizedProduct(Prepared):
    """A prepared REDUCE_PROD of codes.

    Attributes
    ----------
    keep_dims
        Whether reduced axes stay, with size 1.
    regime
        Of each rescaling.
    input_scale, output_scale
        Real units per code.
    input_zero_point, output_zero_point
        Codes of the real value 0.
    dtype
        Of input and output.
    copies_singles
        Whether a product of one factor is its code, not rescaled.

    """

    keep_dims: bool
    regime: Regime
    input_scale: float
    output_scale: float
    input_zero_point: int
    output_zero_point: int
    dtype: DType
    copies_singles: bool = False

    def real_multiplier(self, count: int) -> Float64Array:
        """Return what each of ``count`` products is scaled by: input scale over the count-th root of output scale."""
        return np.asarray(self.input_scale / self.output_scale ** (1.0 / count), np.float64)

    def evaluate(self, inputs: Inputs, note: Note) -> Outputs:
        """Evaluate :func:`multiply_codes`."""
        return (multiply_codes(given(inputs, 0), given(inputs, 1), self, note),)


def multiply_codes(x: Array, axes: Array, op: QuantizedProduct, note: Note) -> Array:
    """Multiply codes along axes, rescaling after every step so that nothing overflows.

    Notes
    -----
    1. factors: codes minus the input zero point.
    2. product: starting with the first factor, multiply by the next and rescale, in the order of memory.
    3. rescaled: once more, so that as many rescalings as factors were made.
    4. clamped: after the output zero point is added.

    Quirk: Optimized REDUCE_PROD along axes of size 1 copies codes without rescaling them.

    """
    reduction = Reduction.of(x.shape, axes, keep_dims=op.keep_dims)
    if op.copies_singles and reduction.count == 1:
        return note("copied", x.reshape(reduction.output_shape))
    if 0 in reduction.output_shape:
        return np.zeros(reduction.output_shape, x.dtype)
    # The runtime would leave its output unwritten.
    expect(x.size > 0, f"elements to multiply, found shape {x.shape}")
    factor = op.regime.encode(op.real_multiplier(reduction.count))
    factors = reduction.rows(x).astype(np.int64) - op.input_zero_point
    product = note("factor 1", factors[0])
    for number, row in enumerate(factors[1:], 2):
        note(f"factor {number}", row)
        accumulator = note("accumulator", product * row, "product * factor", product=product, factor=row)
        product = op.regime.apply(accumulator, factor, note)
    rescaled = op.regime.apply(product, factor, note)
    low, high = op.dtype.min, op.dtype.max
    clamped = np.clip(rescaled + op.output_zero_point, low, high)
    terms = {"rescaled": rescaled, "zero_point": np.asarray(op.output_zero_point)}
    note("clamped", clamped, "clamp(rescaled + zero_point, low, high)", low=low, high=high, **terms)
    return clamped.astype(op.dtype.storage).reshape(reduction.output_shape)


def prepare_extremum(op: OpView, profile: Profile) -> Prepared:
    """Check the contract of REDUCE_MAX and REDUCE_MIN.

    Raises
    ------
    ModelError
        The op breaks its contract.
    UnsupportedError
        The element type is not covered.

    """
    x, y, keep_dims = reduction_operands(op)
    expect_covered(op, x, ORDERED)
    if x.dtype in {DType.INT8, DType.UINT8, DType.INT16}:
        expect_same_quant(x, y)
    if x.dtype is DType.INT16:
        expect_zero_point_zero(x, y)
    return Fold(op.name, keep_dims, copies_only=x.dtype is DType.BOOL and not EXTREMUM_OF_BOOL[profile])


def prepare_product(op: OpView, profile: Profile) -> Prepared:
    """Check the contract of REDUCE_PROD: codes of int8 and int16, or plain numbers.

    Raises
    ------
    ModelError
        The op breaks its contract.
    UnsupportedError
        The element type is not covered, or not with quantization.

    """
    x, y, keep_dims = reduction_operands(op)
    expect_covered(op, x, ORDERED)
    if x.dtype is DType.INT16:
        expect_zero_point_zero(x, y)
    if x.quant is None:
        return Fold(op.name, keep_dims)
    if x.dtype not in {DType.INT8, DType.INT16}:
        raise unsupported(op, "quantized int8 and int16; other types without quantization")
    expect(scale_of(y) > 0, f"a positive scale on {y.name!r}, found {scale_of(y)}")
    return QuantizedProduct(
        keep_dims,
        PRODUCT[profile],
        scale_of(x),
        scale_of(y),
        zero_point_of(x),
        zero_point_of(y),
        x.dtype,
        COPIES_SINGLES[profile],
    )


def prepare_logical(op: OpView, profile: Profile) -> Prepared:
    """Check the contract of REDUCE_ANY and REDUCE_ALL.

    Raises
    ------
    ModelError
        The op breaks its contract.
    UnsupportedError
        The input is not boolean.

    """
    del profile
    x, _, keep_dims = reduction_operands(op)
    expect_covered(op, x, (DType.BOOL,))
    return Fold(op.name, keep_dims)


ORDERED = (DType.INT8, DType.UINT8, DType.INT16, DType.INT32, DType.INT64, DType.FLOAT32, DType.BOOL)

KERNELS = (
    Kernel(
        "REDUCE_MAX",
        prepare_extremum,
        covers=in_words(ORDERED),
        refusal={TFLM: micro.no_uint8, XNNPACK: delegate.reduction},
        demands={XNNPACK: delegate.same_scale_and_zero_point},
    ),
    Kernel(
        "REDUCE_MIN",
        prepare_extremum,
        covers=in_words(ORDERED),
        refusal={TFLM: micro.no_uint8, XNNPACK: delegate.reduction},
        demands={XNNPACK: delegate.same_scale_and_zero_point},
    ),
    Kernel("REDUCE_PROD", prepare_product, covers=in_words(ORDERED)),
    Kernel("REDUCE_ANY", prepare_logical, covers=("bool",)),
    Kernel("REDUCE_ALL", prepare_logical, covers=("bool",)),
)
