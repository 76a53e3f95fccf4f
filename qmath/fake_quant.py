"""Fake quantization: what quantization will do to floats, done to them while a network trains; and its gradient.

TensorFlow has three ops for it, equal in exact arithmetic and not in float32: the range is an attribute (*args*), two
scalar tensors (*vars*), or two tensors with an entry a channel (*per channel*). Each is here under its name, with the
bits of TensorFlow's kernels for x86-64, which flush denormal numbers to zero at every step.

The gradient is the straight-through estimator: rounding counts as the identity. What lies within the range passes its
gradient on to the input, what lies below or above passes it to the range's minimum or maximum.

Codes are unsigned: 0 (1 in a narrow range) to ``2**num_bits - 1``.

Source: ``tensorflow/core/kernels/fake_quant_ops_functor.h``, ``tensorflow/core/kernels/fake_quant_ops.cc``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from qmath.arguments import as_real
from qmath.eigen_sum import eigen_sum, flush_denormals
from qmath.errors import InputError
from qmath.rounding import round_half_away_from_zero
from qmath.types import BoolArray, Float32Array

#: Numbers of bits that TensorFlow takes.
FEWEST_BITS, MOST_BITS = 2, 16

#: What becomes of the result of a step: nothing, or :func:`qmath.eigen_sum.flush_denormals`.
Finish = Callable[[Float32Array], Float32Array]


@dataclass(frozen=True, slots=True, eq=False)
class NudgedRange:
    """A range moved until 0 is one of its codes; float32 arrays, all of the shape of the bounds that were moved.

    Attributes
    ----------
    minimum, maximum
        Real values of the lowest and the highest code.
    scale
        Real units a step.
    zero_point
        The code that stands for 0, an integer.

    """

    minimum: Float32Array
    maximum: Float32Array
    scale: Float32Array
    zero_point: Float32Array


def nudge(
    minimum: Float32Array, maximum: Float32Array, lowest: int, highest: int, finish: Finish = np.asarray
) -> NudgedRange:
    """Move a range so that 0 is one of its codes, all in float32: the rule of TensorFlow and of LiteRT's FAKE_QUANT.

    1. ``scale = (maximum - minimum) / (highest - lowest)``.
    2. ``zero_point = lowest - minimum / scale``, rounded half away from zero, clamped to the codes; 0 for 0 / 0, where
       the range is so short that its scale is 0.
    3. The range is from ``(lowest - zero_point) * scale`` to ``(highest - zero_point) * scale``.

    A range that lies on one side of 0 moves as a whole until it touches 0; one of a single number other than 0 becomes
    0 to 0; one in the wrong order has a negative scale, and its minimum above its maximum.

    Parameters
    ----------
    minimum, maximum
        float32, same shape.
    lowest, highest
        The codes.
    finish
        What becomes of the result of each step.

    """
    low, high = np.float32(lowest), np.float32(highest)
    with np.errstate(all="ignore"):
        scale = finish(np.asarray(finish(np.asarray(maximum - minimum)) / (high - low)))
        zero_point = np.asarray(low - finish(np.asarray(minimum / scale)))
        zero_point = np.clip(round_half_away_from_zero(zero_point), low, high)
        zero_point = np.where(np.isnan(zero_point), np.float32(0), zero_point)
        return NudgedRange(
            finish(np.asarray((low - zero_point) * scale)),
            finish(np.asarray((high - zero_point) * scale)),
            scale,
            zero_point,
        )


# --- Forward ----------------------------------------------------------------------------------------------------------


def fake_quant_args(
    x: npt.ArrayLike, minimum: float = -6.0, maximum: float = 6.0, num_bits: int = 8, *, narrow_range: bool = False
) -> Float32Array:
    """Round to the values of a fixed range, as FakeQuantWithMinMaxArgs does.

    As :func:`fake_quant_vars`, but steps are found by a multiplication with ``(highest - lowest) / (max - min)``.

    Parameters
    ----------
    x
        float32, any shape.
    minimum, maximum
        Of the range before it is nudged.
    num_bits
        2 to 16.
    narrow_range
        Whether the lowest code stays unused.

    Raises
    ------
    InputError
        The number of bits is another one, or the minimum is not below the maximum.

    """
    low, high = _ordered(minimum, maximum)
    return _rounded(_float32(x), low, high, _codes(num_bits, narrow_range), divides=False)


def fake_quant_vars(
    x: npt.ArrayLike,
    minimum: npt.ArrayLike,
    maximum: npt.ArrayLike,
    num_bits: int = 8,
    *,
    narrow_range: bool = False,
) -> Float32Array:
    """Round to the values of a range, as FakeQuantWithMinMaxVars does.

    1. Nudge the range; see :func:`nudge`. If both bounds are 0, the result is 0.
    2. Clamp to the nudged range.
    3. ``steps = (clamped - minimum) / scale``, in float32.
    4. ``floor(steps - zero_step + 0.5) * scale``, where ``zero_step`` is the step of 0: ties go up, whatever the sign.

    Parameters
    ----------
    x
        float32, any shape.
    minimum, maximum
        Of the range before it is nudged, float32, scalars. They may be equal or in the wrong order.
    num_bits
        2 to 16.
    narrow_range
        Whether the lowest code stays unused.

    Raises
    ------
    InputError
        The number of bits is another one, or the bounds are no scalars.

    """
    low, high = _scalars(minimum, maximum)
    return _rounded(_float32(x), low, high, _codes(num_bits, narrow_range), divides=True)


def fake_quant_per_channel(
    x: npt.ArrayLike,
    minimum: npt.ArrayLike,
    maximum: npt.ArrayLike,
    num_bits: int = 8,
    *,
    narrow_range: bool = False,
) -> Float32Array:
    """Round to the values of a range for each index of the last axis, as FakeQuantWithMinMaxVarsPerChannel does.

    As :func:`fake_quant_vars`, but steps are found by a multiplication, as in :func:`fake_quant_args`.

    Parameters
    ----------
    x
        float32, shape ``(..., channels)``.
    minimum, maximum
        Of the ranges before they are nudged, float32, shape ``(channels,)``.
    num_bits
        2 to 16.
    narrow_range
        Whether the lowest code stays unused.

    Raises
    ------
    InputError
        The number of bits is another one, or the bounds are not one a channel.

    """
    values = _float32(x)
    low, high = _channels(values, minimum, maximum)
    return _rounded(values, low, high, _codes(num_bits, narrow_range), divides=False)


def _rounded(
    x: Float32Array, low: Float32Array, high: Float32Array, codes: tuple[int, int], *, divides: bool
) -> Float32Array:
    flush = flush_denormals
    lowest, highest = codes
    nudged = nudge(low, high, lowest, highest, flush)
    with np.errstate(all="ignore"):
        inverse = flush(np.asarray(np.float32(highest - lowest) / flush(high - low)))
        zero_step = np.floor(-nudged.minimum * inverse + np.float32(0.5))
        clamped = np.maximum(np.minimum(flush(x), nudged.maximum), nudged.minimum)
        above = flush(clamped - nudged.minimum)
        steps = above / nudged.scale if divides else above * inverse
        rounded = np.floor(steps - zero_step + np.float32(0.5)) * nudged.scale
        return np.where(_is_empty(low, high), np.float32(0), rounded)


# --- Gradient ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class FakeQuantGradients:
    """Gradients of a loss: float32, each of the shape of what it belongs to."""

    inputs: Float32Array
    minimum: Float32Array
    maximum: Float32Array


def fake_quant_args_gradient(
    gradient: npt.ArrayLike,
    x: npt.ArrayLike,
    minimum: float = -6.0,
    maximum: float = 6.0,
    num_bits: int = 8,
    *,
    narrow_range: bool = False,
) -> Float32Array:
    """Return the gradient for the input of :func:`fake_quant_args`, as FakeQuantWithMinMaxArgsGradient does.

    ``gradient`` is that for the output; the other parameters and the errors are those of the forward function. A
    ``gradient`` of another shape than ``x`` raises InputError too.
    """
    low, high = _ordered(minimum, maximum)
    output, values = _alike(gradient, x)
    inside, _, _ = _masks(values, low, high, _codes(num_bits, narrow_range))
    return _masked(output, inside)


def fake_quant_vars_gradient(
    gradient: npt.ArrayLike,
    x: npt.ArrayLike,
    minimum: npt.ArrayLike,
    maximum: npt.ArrayLike,
    num_bits: int = 8,
    *,
    narrow_range: bool = False,
) -> FakeQuantGradients:
    """Return the gradients of :func:`fake_quant_vars`, as FakeQuantWithMinMaxVarsGradient does.

    1. For the input: ``gradient * 1`` from the nudged minimum to the nudged maximum, both included, else
       ``gradient * 0``, which keeps its sign.
    2. For the minimum and the maximum: the sum of ``gradient * 1`` below, or above, and ``gradient * 0`` elsewhere;
       see :func:`qmath.eigen_sum.eigen_sum`. That is TensorFlow's order on one thread; more may split long sums
       elsewhere, though two gave the same bits for up to a million terms.
    3. If both bounds are 0, everything goes to the input.

    ``gradient`` is that for the output; the other parameters and the errors are those of the forward function. A
    ``gradient`` of another shape than ``x`` raises InputError too.
    """
    low, high = _scalars(minimum, maximum)
    output, values = _alike(gradient, x)
    masks = _masks(values, low, high, _codes(num_bits, narrow_range))
    return _gradients(output, masks, _is_empty(low, high), output.reshape(-1).shape)


def fake_quant_per_channel_gradient(
    gradient: npt.ArrayLike,
    x: npt.ArrayLike,
    minimum: npt.ArrayLike,
    maximum: npt.ArrayLike,
    num_bits: int = 8,
    *,
    narrow_range: bool = False,
) -> FakeQuantGradients:
    """Return the gradients of :func:`fake_quant_per_channel`, as FakeQuantWithMinMaxVarsPerChannelGradient does.

    As :func:`fake_quant_vars_gradient`, channel by channel.
    """
    output, values = _alike(gradient, x)
    low, high = _channels(values, minimum, maximum)
    masks = _masks(values, low, high, _codes(num_bits, narrow_range))
    return _gradients(output, masks, _is_empty(low, high), (-1, len(low)))


def _masks(
    x: Float32Array, low: Float32Array, high: Float32Array, codes: tuple[int, int]
) -> tuple[BoolArray, BoolArray, BoolArray]:
    """Return which elements lie inside the nudged range, below, and above."""
    x, nudged = flush_denormals(x), nudge(low, high, *codes, flush_denormals)
    return (
        np.asarray((x >= nudged.minimum) & (x <= nudged.maximum)),
        np.asarray(x < nudged.minimum),
        np.asarray(x > nudged.maximum),
    )


def _gradients(
    output: Float32Array, masks: tuple[BoolArray, BoolArray, BoolArray], empty: BoolArray, layout: tuple[int, ...]
) -> FakeQuantGradients:
    """Give each gradient its part; ``layout`` is the shape in which sums run along the first axis."""
    inside, below, above = masks
    sums = [eigen_sum(_masked(output, mask).reshape(layout).T) for mask in (below, above)]
    minimum, maximum = (np.where(empty, np.float32(0), total) for total in sums)
    return FakeQuantGradients(np.where(empty, output, _masked(output, inside)), minimum, maximum)


def _masked(gradient: Float32Array, mask: BoolArray) -> Float32Array:
    with np.errstate(invalid="ignore"):  # an infinite gradient times 0
        return flush_denormals(flush_denormals(gradient) * mask.astype(np.float32))


# --- Arguments --------------------------------------------------------------------------------------------------------


def _float32(values: npt.ArrayLike) -> Float32Array:
    return as_real(values, np.float32)


def _codes(num_bits: int, narrow_range: bool) -> tuple[int, int]:  # noqa: FBT001 - passed on
    if not FEWEST_BITS <= num_bits <= MOST_BITS:
        raise InputError(f"expected num_bits from {FEWEST_BITS} to {MOST_BITS}, found {num_bits}")
    return int(narrow_range), (1 << num_bits) - 1


def _ordered(minimum: float, maximum: float) -> tuple[Float32Array, Float32Array]:
    low, high = _scalars(minimum, maximum)
    if not low < high:
        raise InputError(f"expected a minimum below the maximum, found {low} and {high}")
    return low, high


def _scalars(minimum: npt.ArrayLike, maximum: npt.ArrayLike) -> tuple[Float32Array, Float32Array]:
    low, high = _float32(minimum), _float32(maximum)
    if low.shape or high.shape:
        raise InputError(f"expected scalars for minimum and maximum, found shapes {low.shape} and {high.shape}")
    return flush_denormals(low), flush_denormals(high)


def _channels(x: Float32Array, minimum: npt.ArrayLike, maximum: npt.ArrayLike) -> tuple[Float32Array, Float32Array]:
    low, high = _float32(minimum), _float32(maximum)
    if not (x.ndim and low.shape == high.shape == x.shape[-1:]):
        expected = f"expected a minimum and a maximum for each index of the last axis of shape {x.shape}"
        raise InputError(f"{expected}, found shapes {low.shape} and {high.shape}")
    return flush_denormals(low), flush_denormals(high)


def _alike(gradient: npt.ArrayLike, x: npt.ArrayLike) -> tuple[Float32Array, Float32Array]:
    output, values = _float32(gradient), _float32(x)
    if output.shape != values.shape:
        raise InputError(f"expected a gradient of the shape of x, {values.shape}, found {output.shape}")
    return output, values


def _is_empty(low: Float32Array, high: Float32Array) -> BoolArray:
    return np.asarray((low == 0) & (high == 0))
