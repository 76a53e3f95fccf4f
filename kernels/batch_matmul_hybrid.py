"""BATCH_MATMUL of a float32 left side with an int8 right side: the left side is quantized on the fly.

Source: ``tflite/kernels/batch_matmul.cc`` (EvalHybrid), ``tflite/kernels/internal/reference/batch_matmul.h``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from kernels.engine import exact
from kernels.engine.contract import checked_shape, expect, input_tensor, option, quant_of
from kernels.engine.hybrid import ASYMMETRIC, SYMMETRIC, QuantizeRows
from kernels.engine.hybrid_matmul import lost_in_lanes, refuses_other_sums
from kernels.engine.hybrid_xnnpack import XNNPACK_HYBRID
from kernels.engine.sides import Sides
from kernels.engine.types import Inputs, OpView, Outputs, Prepared, Runner, given
from kernels.profiles import LITERT_OPTIMIZED_ARM64, LITERT_REFERENCE, XNNPACK, Profile, Rules
from qmath.errors import UnsupportedError
from qmath.stages import Note, silent
from qmath.types import Array, Float32Array, Int64Array

#: Whether the vector code sums long columns of the right side in 16-bit lanes.
SUMS_IN_LANES: Rules[bool] = Rules(
    "BATCH_MATMUL with float32 and int8", {LITERT_REFERENCE: True, LITERT_OPTIMIZED_ARM64: False}
)


@dataclass(frozen=True, slots=True)
class HybridBatchMatMul(Prepared):
    """A prepared hybrid BATCH_MATMUL.

    Attributes
    ----------
    sides
        Which sides are swapped.
    quantize
        How rows of the left side are quantized: symmetrically or asymmetrically.
    right_scale
        float32, shape ``(1,)``, or ``(columns,)``.
    sums_in_lanes
        Whether long columns of the right side are summed in 16-bit lanes, which wrap around.
    keeps_sums
        Whether the sums of the columns in the first run are used in all others.

    """

    sides: Sides
    quantize: QuantizeRows
    right_scale: Float32Array
    sums_in_lanes: bool
    keeps_sums: bool

    def evaluate(self, inputs: Inputs, note: Note) -> Outputs:
        """Evaluate :func:`hybrid_batch_matmul`."""
        return (hybrid_batch_matmul(given(inputs, 0), given(inputs, 1), self, note),)

    def compile(self, constants: Inputs) -> Runner:
        """Hold a right side that is no constant against the one of the first run."""
        run = partial(self.evaluate, note=silent)
        if constants[1] is not None or not self.keeps_sums:
            return run
        axis = -1 if self.sides.swap_right else -2

        def sums(inputs: Inputs) -> Int64Array:
            return np.asarray(given(inputs, 1).sum(axis=axis, dtype=np.int64))

        return refuses_other_sums(run, sums, "columns of the right side")


def hybrid_batch_matmul(left: Float32Array, right: Array, op: HybridBatchMatMul, note: Note) -> Array:
    """Multiply matrices, quantizing each row of the left side on the fly.

    Quirk: Hybrid BATCH_MATMUL with two or more leading dimensions above 1 on a side finds that side's row scales, or
    sums of its columns, at the sum of the leading indices, as if they were one index: mostly those of another matrix.

    Parameters
    ----------
    left
        float32, shape (..., rows, depth).
    right
        int8, shape (..., depth, columns): quantized, zero point 0.
    op
        The prepared op.
    note
        Receives the stages.

    Returns
    -------
    float32, shape (..., rows, columns).

    Notes
    -----
    1. Swap the last two dimensions of the sides that ask for it.
    2. Quantize each row of the left side with a scale of its own, and a zero point if asked for.
    3. sum: over the depth, of ``code * right``; int32.
    4. accumulator: ``sum - float32(zero_point * (sum of the column of right))`` in float32, the fraction dropped. On
       x86-64 the sum of a column is that of :func:`~kernels.engine.hybrid_matmul.lost_in_lanes`.
    5. The accumulator times (row scale times right scale), in float32.

    """
    shape = _result_shape(left.shape, right.shape, op.sides)
    if 0 in shape:
        return np.zeros(shape, np.float32)
    left, right = merged(*op.sides.of(left, right), op.sides)
    batch = np.broadcast_shapes(left.shape[:-2], right.shape[:-2])
    (rows, depth), columns = left.shape[-2:], right.shape[-1]
    quantized = op.quantize(np.ascontiguousarray(left).reshape(math.prod(left.shape[:-1]), depth), note)
    sums = note("sum", exact.matmul(quantized.codes.reshape(left.shape), right))
    of_left, of_right = (_misplaced(side.shape[:-2], batch) for side in (left, right))
    scale = quantized.scale.reshape(-1, rows)[of_left]
    zero_point = quantized.zero_point.reshape(-1, rows)[of_left]
    accumulator = sums
    if zero_point.any():
        column_sums = _column_sums(right, in_lanes=op.sums_in_lanes).reshape(-1, columns)[of_right]
        correction = zero_point.astype(np.float32)[..., :, None] * column_sums.astype(np.float32)[..., None, :]
        accumulator = np.trunc(sums.astype(np.float32) - correction)
    note("accumulator", accumulator)
    product = np.asarray(accumulator.astype(np.float32) * (scale[..., :, None] * op.right_scale), np.float32)
    terms = {"accumulator": accumulator, "row_scale": scale[..., :, None], "right_scale": np.asarray(op.right_scale)}
    note("scaled back", product, "float32(float32(accumulator) * float32(row_scale * right_scale))", **terms)
    return product.reshape(shape)


def _column_sums(right: Array, *, in_lanes: bool) -> Int64Array:
    """Return the sums of the columns as the runtime finds them, shape (..., columns)."""
    sums = np.asarray(right.sum(axis=-2, dtype=np.int64))
    lost = lost_in_lanes(np.swapaxes(right, -1, -2).reshape(-1, right.shape[-2])) if in_lanes and right.size else None
    return sums if lost is None else np.asarray(sums - lost.reshape(sums.shape))


def _result_shape(left: tuple[int, ...], right: tuple[int, ...], sides: Sides) -> tuple[int, ...]:
    rows, columns = left[-1 if sides.swap_left else -2], right[-2 if sides.swap_right else -1]
    return checked_shape((*np.broadcast_shapes(left[:-2], right[:-2]), rows, columns))


def merged(left: Array, right: Array, sides: Sides) -> tuple[Array, Array]:
    """Make rows of the left side's last leading dimension where the right side has 1 there: fewer, larger products."""
    if sides.swap_left or min(left.ndim, right.ndim) == 2 or right.shape[-3] != 1:
        return left, right
    rows = left.shape[-3] * left.shape[-2]
    return left.reshape(*left.shape[:-3], rows, left.shape[-1]), right.reshape(*right.shape[:-3], *right.shape[-2:])


def _misplaced(leading: tuple[int, ...], batch: tuple[int, ...]) -> Int64Array:
    """Return for each matrix of the result which matrix of a side the runtime takes, counted from the side's first."""
    total = np.zeros(batch, np.int64)
    for axis, size in enumerate(leading, len(batch) - len(leading)):
        if size != 1:
            total += np.arange(batch[axis]).reshape(-1, *(1,) * (len(batch) - axis - 1))
    return total


@dataclass(frozen=True, slots=True)
class DynamicBatchMatMul(Prepared):
    """A prepared hybrid BATCH_MATMUL, as XNNPACK computes it: sides, and the right side's scale (columns or 1)."""

    sides: Sides
    right_scale: Float32Array

    def evaluate(self, inputs: Inputs, note: Note) -> Outputs:
        """Evaluate :func:`dynamic_batch_matmul`."""
        return (dynamic_batch_matmul(given(inputs, 0), given(inputs, 1), self, note),)


def dynamic_batch_matmul(left: Float32Array, right: Array, op: DynamicBatchMatMul, note: Note) -> Array:
    """Multiply matrices, quantizing each row of the left side on the fly: XNNPACK.

    1. Swap the last two dimensions of the sides that ask for it.
    2. quantized input: each row of the left side by :func:`~kernels.engine.hybrid_xnnpack.quantize_in_float32`.
    3. accumulator: sum over the depth of ``(code - zero_point) * right``; int32.
    4. Times the row's scale, then times the right side's, both in float32.
    """
    left, right = op.sides.of(left, right)
    rows = XNNPACK_HYBRID.quantize(np.ascontiguousarray(left).reshape(-1, left.shape[-1]), note)
    accumulator = note("accumulator", exact.matmul(rows.steps(np.int64).reshape(left.shape), right))
    scale = np.broadcast_to(rows.scale.reshape(*left.shape[:-1], 1), (*accumulator.shape[:-1], 1))
    flat = replace(rows, scale=scale.reshape(-1))
    sums = accumulator.reshape(-1, accumulator.shape[-1])
    return XNNPACK_HYBRID.with_bias(sums, op.right_scale, flat, None, note).reshape(accumulator.shape)


def prepare_hybrid(op: OpView, sides: Sides, profile: Profile) -> HybridBatchMatMul | DynamicBatchMatMul:
    """Check what only the hybrid form asks for.

    Raises
    ------
    ModelError
        The op breaks its contract.
    UnsupportedError
        The runtime has no defined result.

    """
    left, right = input_tensor(op, 0), input_tensor(op, 1)
    scaling, rank = quant_of(right), len(right.shape)
    if scaling.per_axis:
        axis = rank - 2 if sides.swap_right else rank - 1
        fits = scaling.quantized_dimension == axis and scaling.scale.size == right.shape[axis]
        expect(fits, f"{right.shape[axis]} scales along axis {axis}, found {scaling.scale.size}")
    if XNNPACK in profile.lineage:
        if right.data is None:
            raise UnsupportedError(
                f"{op.name} by XNNPACK with float32 and INT8 reads the right side before it is there"
            )
        return DynamicBatchMatMul(sides, scaling.scale)
    asymmetric = bool(option(op, "asymmetric_quantize_inputs"))
    expect(asymmetric or not _has_empty_rows(left.shape, sides), f"rows with elements, found shape {left.shape}")
    if asymmetric and not _sums_are_computed(left.shape, right.shape, sides):
        msg = f"{op.name} with asymmetric inputs and right side {right.shape}: the runtime reads unset memory"
        raise UnsupportedError(msg)
    quantize = (ASYMMETRIC if asymmetric else SYMMETRIC)[profile]
    return HybridBatchMatMul(sides, quantize, scaling.scale, SUMS_IN_LANES[profile], keeps_sums=asymmetric)


def _has_empty_rows(left: tuple[int, ...], sides: Sides) -> bool:
    """Whether the left side has rows, but nothing in them: the runtime dies searching for their largest magnitude."""
    rows, depth = (left[-1], left[-2]) if sides.swap_left else left[-2:]
    return depth == 0 and math.prod(left[:-2]) * rows > 0


def _sums_are_computed(left: tuple[int, ...], right: tuple[int, ...], sides: Sides) -> bool:
    """Whether the runtime computes the sums that it looks up: it leaves the first of three leading dimensions out."""
    blank = np.zeros((), np.int8)
    shapes = (np.broadcast_to(blank, shape) for shape in (left, right))
    leading = merged(*sides.of(*shapes), sides)[1].shape[:-2]
    reached = sum(size - 1 for size in leading)
    return bool(reached < max(1, math.prod(leading[-2:])))
