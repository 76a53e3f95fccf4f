"""Accumulators: whether any input can make them overflow, proven from the weights."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

import fbs
from qmath.types import Array, BoolArray, DType, Int64Array
from quantref.checks.channels import Channels, code_range, depth_of, extreme_product
from quantref.checks.context import OpContext, in_channels
from quantref.checks.finding import Finding, Severity
from quantref.checks.rule import ALL, XNNPACK, Effect, Rule

INT32_OVERFLOW = Rule(
    "QR501",
    "accumulator-overflow",
    Severity.WARNING,
    Effect.WRONG,
    "an input exists for which a 32-bit accumulator overflows",
    "The sum of products and bias is kept in int32 and wraps. The bound is proven: each weight times the code that "
    "makes the product largest, or smallest, plus the bias.",
    "tflite/kernels/internal/reference/integer_ops/conv.h, depthwise_conv.h, fully_connected.h (int32 acc)",
    "scale the channel's weights down by a coarser weight scale, split the layer, or bound its input",
)
INT64_HEADROOM = Rule(
    "QR502",
    "wide-accumulator",
    Severity.WARNING,
    Effect.WRONG,
    "an input exists for which a 64-bit accumulator leaves the 48 bits that requantization takes",
    "The accumulator is multiplied by a 15-bit multiplier in 64 bits: that is right for less than 48 bits.",
    "tflite/kernels/internal/common.cc (MultiplyByQuantizedMultiplier for int64)",
    "check the bias: products alone do not come near",
)
RESULT_OVERFLOW = Rule(
    "QR503",
    "requantized-overflow",
    Severity.WARNING,
    Effect.WRONG,
    "an input exists for which the requantized value does not fit 32 bits",
    "It is clamped to the type only after it has been cut to int32, or shifted left in it: beyond, it wraps and the "
    "clamp takes the wrong end. A multiplier above 1 has to leave that room.",
    "tflite/kernels/internal/common.h (MultiplyByQuantizedMultiplier), cppmath.h",
    "widen the output's scale: it is far smaller than the sums",
)
SUM_OVERFLOW = Rule(
    "QR504",
    "sum-overflow",
    Severity.WARNING,
    Effect.WRONG,
    "an input exists for which the 32-bit sum of a reduction overflows",
    "MEAN and SUM add codes in int32, less the number of codes times the zero point.",
    "tflite/kernels/internal/reference/reduce.h (QuantizedMeanOrSum)",
    "reduce in two steps, one axis after the other",
)
RULES = (INT32_OVERFLOW, INT64_HEADROOM, RESULT_OVERFLOW, SUM_OVERFLOW)

_INT32 = 1 << 31


def headroom(op: OpContext) -> Iterator[Finding]:
    """Check what the accumulators of an op can reach."""
    if op.channels is not None:
        yield from _of_channels(op, op.channels)
    elif op.name == "BATCH_MATMUL":
        yield from _of_products(op)
    elif op.name in {"MEAN", "SUM"}:
        yield from _of_sum(op)
    elif op.name == "SVDF":
        yield from _of_svdf(op)


def _of_channels(op: OpContext, channels: Channels) -> Iterator[Finding]:
    over = channels.beyond & ~channels.cut  # a bias that was cut has a rule of its own
    weights = op.input(1)
    if over.any():
        rule = INT64_HEADROOM if channels.wide else INT32_OVERFLOW
        expected = f"accumulators within {48 if channels.wide else 32} bits"
        yield op.finding(rule, [weights], expected, _worst(channels, over), detail=in_channels(over), runtimes=ALL)
        return
    extent = np.maximum(np.abs(channels.low), np.abs(channels.high)) * channels.real
    # Multipliers from 2**30 have a rule of their own.
    beyond = (extent >= _INT32) & (channels.real < 2.0**30) & ~channels.cut
    if beyond.any():
        mind = tuple(name for name in ALL if channels.wide or name not in XNNPACK)
        expected, found = "requantized values below 2^31", f"up to {extent[beyond].max():.3g}"
        tensors = [weights, op.view.outputs[0]]
        yield op.finding(RESULT_OVERFLOW, tensors, expected, found, detail=in_channels(beyond), runtimes=mind)


def _worst(channels: Channels, over: BoolArray) -> str:
    index = int(np.flatnonzero(over)[0])
    return f"sums from {channels.low[index]:,} to {channels.high[index]:,} in channel {index}"


def _of_products(op: OpContext) -> Iterator[Finding]:
    """BATCH_MATMUL of int8: int16 sums in 64 bits, which its products cannot fill."""
    tensors = [tensor for tensor in op.view.inputs[:2] if tensor is not None and tensor.dtype is DType.INT8]
    if len(tensors) < 2 or any(tensor.quant is None for tensor in tensors):
        return
    left, right = tensors
    if right.data is not None and right.quant is not None and right.data.ndim >= 2:
        offset = int(right.quant.zero_point[0])
        sums = np.moveaxis(right.data, -1 if op.view.options.get("adj_y") else -2, -1).astype(np.int64) - offset
        yield from _of_rows(op, right, sums.reshape(-1, sums.shape[-1]), left)
        return
    reach = depth_of(op.view) * extreme_product(left, right)
    if reach >= _INT32:
        yield op.finding(INT32_OVERFLOW, tensors, "accumulators within 32 bits", f"sums up to {reach:,}")


def _of_sum(op: OpContext) -> Iterator[Finding]:
    x, axes = op.input(0), op.input(1)
    if x is None or axes is None or axes.data is None or op.scheme is None or x.quant is None:
        return
    rank = len(x.shape)
    chosen = {int(axis) % rank for axis in axes.data.ravel()[:32] if -rank <= int(axis) < rank}
    count = int(np.prod([x.shape[axis] for axis in sorted(chosen)], dtype=object)) if chosen else 1
    reach = count * max(abs(x.dtype.min), x.dtype.max)
    if reach >= _INT32:
        yield op.finding(SUM_OVERFLOW, [x], "sums within 32 bits", f"up to {reach:,} from {count:,} codes")


def _of_svdf(op: OpContext) -> Iterator[Finding]:
    """Both sums of an SVDF: features over the input, and times over the memory, the filters of a unit together."""
    x, features, times, bias, state = (op.input(slot) for slot in range(5))
    if x is None or features is None or times is None or state is None or op.scheme is None:
        return
    if features.data is not None:
        yield from _of_rows(op, features, features.data, x)
    rank = int(op.view.options.get("rank", 1))
    if times.data is None or rank < 1 or times.data.ndim != 2 or times.data.shape[0] % rank:
        return
    rows = times.data.reshape(times.data.shape[0] // rank, -1)
    start = np.zeros(rows.shape[0], np.int64) if bias is None or bias.data is None else bias.data.ravel()
    if start.shape == rows.shape[:1]:
        yield from _of_rows(op, times, rows, state, start.astype(np.int64))


def _of_rows(
    op: OpContext, weights: fbs.Tensor, rows: Array, codes: fbs.Tensor, start: Int64Array | None = None
) -> Iterator[Finding]:
    """Check sums of rows of weights times any codes of a tensor, each less its zero point."""
    if rows.ndim != 2 or rows.size == 0:
        return
    below, above = code_range(codes)
    highest = np.maximum(rows, 0).sum(axis=1, dtype=np.int64)
    lowest = rows.sum(axis=1, dtype=np.int64) - highest
    begin = 0 if start is None else start
    low, high = highest * below + lowest * above + begin, highest * above + lowest * below + begin
    over = np.asarray((low < -_INT32) | (high >= _INT32), bool)
    if over.any():
        found = f"sums from {int(low[over].min()):,} to {int(high[over].max()):,}"
        yield op.finding(INT32_OVERFLOW, [weights], "accumulators within 32 bits", found, detail=in_channels(over))
