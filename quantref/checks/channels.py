"""How large the accumulators of an op with constant weights can become: proven from the weights, channel by channel.

Each product ``weight * (code - zero_point)`` is largest for the highest or the lowest code of the input's type. The sum
over a window reaches the sum of those extremes, as each tap may hold any code; a tap in the padding adds 0, which lies
between them. In two's complement it does not matter whether the sum overflows on the way, only where it ends.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

import fbs
from kernels.engine.activation import Activation, quantized_range
from qmath.types import ActivationRange, Array, BoolArray, DType, Float64Array, Int64Array

#: Places of input, weights and bias, and the dimension of the weights that output channels run along.
AFFINE: Mapping[str, tuple[int, int, int, int]] = {
    "CONV_2D": (0, 1, 2, 0),
    "DEPTHWISE_CONV_2D": (0, 1, 2, 3),
    "FULLY_CONNECTED": (0, 1, 2, 0),
    "TRANSPOSE_CONV": (2, 1, 3, 0),
}
_ACTIVATIONS = frozenset({DType.INT8, DType.UINT8, DType.INT16})
#: Biases beyond this are taken for it, so that bounds fit int64; it lies far beyond every headroom.
_CUT = 1 << 61
#: Magnitude of a 64-bit accumulator that requantization is right for.
MOST_WIDE = 1 << 47


@dataclass(frozen=True, slots=True, eq=False)
class Channels:
    """What an op with constant weights can compute, for any input.

    Attributes
    ----------
    low, high
        int64, shape ``(channels,)``: lowest and highest accumulator, bias included.
    zero
        bool, same shape: whether all weights of the channel stand for 0.
    cut
        bool, same shape: whether the bias is the lowest or the highest number of its type, and so stands for nothing.
    real
        float64, same shape: input scale times weight scale over output scale.
    zero_point
        Of the output.
    clamp
        Codes that the fused activation leaves.
    codes
        Type of the activations.
    wide
        Whether the accumulator has 64 bits.

    """

    low: Int64Array
    high: Int64Array
    zero: BoolArray
    cut: BoolArray
    real: Float64Array
    zero_point: int
    clamp: ActivationRange
    codes: DType
    wide: bool

    @property
    def beyond(self) -> BoolArray:
        """Whether some input takes the accumulator beyond what it, or its requantization, can hold."""
        limit = MOST_WIDE if self.wide else 1 << 31
        return np.asarray((self.low < -limit) | (self.high >= limit), bool)


def channels_of(op: fbs.OpView) -> Channels | None:
    """Return the bounds of an op's accumulators, or None if it is no such op or has no constant weights.

    Raises
    ------
    QuantrefError
        The op's tensors contradict one another.

    """
    if op.name not in AFFINE or not op.outputs:
        return None
    x, w, bias = (op.inputs[slot] if slot < len(op.inputs) else None for slot in AFFINE[op.name][:3])
    y = op.outputs[0]
    if x is None or w is None or x.dtype not in _ACTIVATIONS or y.dtype not in _ACTIVATIONS:
        return None
    if x.quant is None or w.quant is None or y.quant is None or w.data is None or w.data.size == 0:
        return None
    axis = AFFINE[op.name][3]
    if w.data.ndim <= axis or w.quant.scale.size not in {1, w.data.shape[axis]}:
        return None
    offset = int(w.quant.zero_point[0]) if _subtracts(op.name, w) else 0
    weights = w.data if offset == 0 else w.data.astype(np.int32) - offset
    positive, negative = _extremes(op, weights, axis)
    biases = _biases(bias, weights.shape[axis])
    if biases is None:
        return None
    below, above = code_range(x)
    return Channels(
        low=np.min(positive * below + negative * above, axis=0) + biases,
        high=np.max(positive * above + negative * below, axis=0) + biases,
        zero=np.logical_not(positive.any(axis=0) | negative.any(axis=0)),
        cut=_cut(bias, biases),
        real=_real(x.quant.scale, w.quant.scale, y.quant.scale, weights.shape[axis]),
        zero_point=int(y.quant.zero_point[0]),
        clamp=_clamp(op, y),
        codes=x.dtype,
        wide=x.dtype is DType.INT16 and not narrow_sums(bias),
    )


def narrow_sums(bias: fbs.Tensor | None) -> bool:
    """Whether a 16x8 op sums in 32 bits: it has an int32 bias."""
    return bias is not None and bias.dtype is DType.INT32


def _subtracts(name: str, weights: fbs.Tensor) -> bool:
    """Whether kernels subtract the weights' zero point: of uint8, and in FULLY_CONNECTED with one scale."""
    single = weights.quant is not None and not weights.quant.per_axis
    return single and (weights.dtype is DType.UINT8 or name == "FULLY_CONNECTED")


def _extremes(op: fbs.OpView, weights: Array, axis: int) -> tuple[Int64Array, Int64Array]:
    """Return the sums of positive and of negative weights, shape ``(phases, channels)``.

    A transposed convolution with a stride reaches each output with some of its taps alone: those of one phase.
    """
    others = tuple(dimension for dimension in range(weights.ndim) if dimension != axis)
    positive, negative = [], []
    for part in _phases(op, weights):
        total = part.sum(axis=others, dtype=np.int64)
        above = np.maximum(part, 0).sum(axis=others, dtype=np.int64)
        positive.append(above)
        negative.append(total - above)
    return np.stack(positive), np.stack(negative)


def _phases(op: fbs.OpView, weights: Array) -> Iterator[Array]:
    if op.name != "TRANSPOSE_CONV" or weights.ndim != 4:
        yield weights
        return
    rows, columns = (max(1, int(op.options.get(name, 1))) for name in ("stride_h", "stride_w"))
    for top in range(min(rows, weights.shape[1])):
        for left in range(min(columns, weights.shape[2])):
            yield weights[:, top::rows, left::columns]


def _biases(bias: fbs.Tensor | None, channels: int) -> Int64Array | None:
    if bias is None:
        return np.zeros(channels, np.int64)
    if bias.data is None or bias.dtype not in {DType.INT32, DType.INT64} or bias.data.size != channels:
        return None
    return np.clip(bias.data.ravel().astype(np.int64), -_CUT, _CUT)


def _cut(bias: fbs.Tensor | None, codes: Int64Array) -> BoolArray:
    if bias is None or bias.data is None:
        return np.zeros(codes.shape, bool)
    stored = bias.data.ravel()
    return np.asarray((stored == bias.dtype.min) | (stored == bias.dtype.max), bool)


def _real(x: Array, w: Array, y: Array, channels: int) -> Float64Array:
    with np.errstate(all="ignore"):
        product = x.astype(np.float64)[0] * w.astype(np.float64) / y.astype(np.float64)[0]
    return np.broadcast_to(product, channels).astype(np.float64)


def _clamp(op: fbs.OpView, y: fbs.Tensor) -> ActivationRange:
    try:
        return quantized_range(Activation(int(op.options.get("fused_activation_function", 0))), y)
    except ValueError:
        return ActivationRange.of(y.dtype)


def depth_of(op: fbs.OpView) -> int:
    """Return how many products a BATCH_MATMUL sums for one output, 0 if its shapes do not say."""
    left = op.inputs[0]
    if left is None or len(left.shape) < 2:
        return 0
    return max(0, left.shape[-2 if op.options.get("adj_x") else -1])


def code_range(tensor: fbs.Tensor) -> tuple[int, int]:
    """Return the lowest and the highest value that a code less the tensor's zero point can have."""
    zero_point = int(tensor.quant.zero_point[0]) if tensor.quant is not None else 0
    return tensor.dtype.min - zero_point, tensor.dtype.max - zero_point


def extreme_product(*tensors: fbs.Tensor) -> int:
    """Return the largest magnitude that a product of codes, each less its zero point, can have."""
    return math.prod(max(above, -below) for below, above in map(code_range, tensors))
