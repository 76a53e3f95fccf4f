"""Devices that are wrong in one way each: quantref's own definitions with one part of a prepared op exchanged.

They run the literal definition, so that what is exchanged is what its reader sees: the rounding, the saturation, the
shift, the window, the bias.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

import quantref
from kernels.engine.geometry import Span, Window
from kernels.engine.registry import prepare
from kernels.engine.types import Inputs, Outputs, Prepared
from kernels.profiles import LITERT_REFERENCE
from qmath.fixed_point import rounding_divide_by_power_of_two, saturate, wrap
from qmath.requantize import DOUBLE_ROUNDING_HALF_UP, DoubleRounding, Factor, Regime, Requantize, fixed_point
from qmath.stages import Note, silent
from qmath.types import ActivationRange, Array, DType, FixedPointMultiplier, Int64Array

#: Exchanges a part of a prepared op.
Change = Callable[[Any], Prepared]


@dataclass(frozen=True)
class Device:
    """A device that changes every op after it was prepared as it should be."""

    change: Change

    def __call__(self, model: bytes, inputs: Mapping[str, Array]) -> Mapping[str, Array]:
        """Invoke a model of one op."""
        interpreter = quantref.Interpreter(model, LITERT_REFERENCE)
        interpreter._session.prepare = lambda _graph, _index, op: self.change(prepare(op, LITERT_REFERENCE))
        graph = interpreter.graph
        indices = {graph.subgraph.tensors[index].name: index for index in graph.subgraph.inputs}
        for name, array in inputs.items():
            interpreter.resize_tensor_input(indices[name], array.shape)
        interpreter.allocate_tensors()
        for name, array in inputs.items():
            interpreter.set_tensor(indices[name], array)
        (op,) = graph.subgraph.operators
        outputs = graph.evaluate_op(0, [None if index < 0 else graph.value(index) for index in op.inputs])
        return {graph.subgraph.tensors[index].name: array for index, array in zip(op.outputs, outputs, strict=True)}


# --- Requantization -----------------------------------------------------------------------------------------------


def requantized(change: Callable[[Requantize], Requantize]) -> Change:
    """Exchange the requantizations that an op holds."""

    def of(prepared: Any) -> Prepared:
        held = {field.name: getattr(prepared, field.name) for field in fields(prepared)}
        found: Any = replace(prepared, **{n: change(r) for n, r in held.items() if isinstance(r, Requantize)})
        return found

    return of


class Truncating(DoubleRounding):
    """Shifts right without rounding."""

    def apply(self, accumulator: Array, factor: Factor, note: Note = silent) -> Int64Array:
        """Multiply, and cut off what is shifted out."""
        fixed = fixed_point(factor)
        product = super().apply(accumulator, FixedPointMultiplier(fixed.multiplier, np.maximum(fixed.shift, 0)), note)
        return product >> np.maximum(-fixed.shift, 0)


class FloorOfProduct(DoubleRounding):
    """Takes the high half of the product as it is."""

    def apply(self, accumulator: Array, factor: Factor, note: Note = silent) -> Int64Array:
        """Multiply without rounding, then divide by a power of two with rounding."""
        del note
        fixed = fixed_point(factor)
        shifted = wrap(np.asarray(accumulator, np.int64) << np.maximum(fixed.shift, 0), 32)
        return rounding_divide_by_power_of_two(shifted * fixed.multiplier >> 31, np.maximum(-fixed.shift, 0))


class Wrapping(Requantize):
    """Does not saturate: codes beyond the range wrap around."""

    def __call__(self, accumulator: Array, note: Note = silent) -> Array:
        """Multiply, round, add the zero point, and keep the low bits."""
        scaled = self.regime.apply(accumulator, self.factor, note) + self.zero_point
        return scaled.astype(self.dtype.storage)


class ClampedEarly(Requantize):
    """Saturates before it adds the zero point, and again after."""

    def __call__(self, accumulator: Array, note: Note = silent) -> Array:
        """Multiply, round, clamp, add the zero point, clamp."""
        scaled = np.clip(self.regime.apply(accumulator, self.factor, note), self.dtype.min, self.dtype.max)
        return np.clip(scaled + self.zero_point, self.activation.min, self.activation.max).astype(self.dtype.storage)


def by_regime(regime: Regime) -> Change:
    """Round otherwise."""
    return requantized(lambda r: replace(r, regime=regime))


def by_kind(kind: type[Requantize]) -> Change:
    """Make codes otherwise."""
    return requantized(lambda r: kind(r.regime, r.real_multiplier, r.zero_point, r.activation, r.dtype))


def shifted_by(bits: int) -> Change:
    """Shift too far to the left."""
    return requantized(lambda r: replace(r, real_multiplier=np.ldexp(r.real_multiplier, bits)))


def _of_first_channel(r: Requantize) -> Requantize:
    real = np.asarray(r.real_multiplier)
    return replace(r, real_multiplier=np.full(real.shape, real.flat[0]))


first_channel = requantized(_of_first_channel)
no_activation = requantized(lambda r: replace(r, activation=ActivationRange.of(r.dtype)))
no_zero_point = requantized(lambda r: replace(r, zero_point=0))


# --- Windows and operands -----------------------------------------------------------------------------------------


def windowed(change: Callable[[Span, Span], Span]) -> Change:
    """Exchange each axis of a window; the change is given the axis and the other one."""

    def of(prepared: Any) -> Prepared:
        high, wide = prepared.window.height, prepared.window.width
        found: Any = replace(prepared, window=Window(change(high, wide), change(wide, high)))
        return found

    return of


def _long_enough(along: Span) -> Span:
    """Let the padding at the end grow, so that the last window lies on something."""
    reach = (along.output - 1) * along.stride + (along.kernel - 1) * along.dilation + 1
    return replace(along, after=max(reach - along.before - along.size, along.after))


odd_padding_first = windowed(lambda along, _: replace(along, before=along.after, after=along.before))
no_dilation = windowed(lambda along, _: _long_enough(replace(along, dilation=1)))
swapped_strides = windowed(lambda along, other: _long_enough(replace(along, stride=other.stride)))


@dataclass(frozen=True)
class Fed(Prepared):
    """A prepared op that reads something else."""

    inner: Prepared
    feed: Callable[[Any, list[Any]], list[Any]]

    def evaluate(self, inputs: Inputs, note: Note = silent) -> Outputs:
        """Exchange what is read, and evaluate."""
        return self.inner.evaluate(self.feed(self.inner, list(inputs)), note)


def fed(feed: Callable[[Any, list[Any]], list[Any]]) -> Change:
    """Exchange what an op reads."""
    return lambda prepared: Fed(prepared, feed)


@dataclass(frozen=True)
class ZeroPadded(Prepared):
    """Pads the codes with 0 and not with the zero point, and then slides a window that needs no padding."""

    right: Any

    def evaluate(self, inputs: Inputs, note: Note = silent) -> Outputs:
        """Pad, and evaluate."""
        axes = self.right.window.height, self.right.window.width
        edges = [(0, 0), *((along.before, along.after) for along in axes), (0, 0)]
        x = np.pad(np.asarray(inputs[0]), [(max(a, 0), max(b, 0)) for a, b in edges])
        inside = (replace(a, size=a.size + max(a.before, 0) + max(a.after, 0), before=0, after=0) for a in axes)
        return replace(self.right, window=Window(*inside)).evaluate([x, *inputs[1:]], note)


@dataclass(frozen=True)
class SaturatingSum(Requantize):
    """Is given sums of 64 bits, and saturates them to 32."""

    def __call__(self, accumulator: Array, note: Note = silent) -> Array:
        """Saturate, and go on as usual."""
        return super().__call__(saturate(accumulator), note)


def saturating_sums(prepared: Any) -> Prepared:
    """Sum in 64 bits and saturate, where 32 bits would wrap around."""
    found: Any = replace(by_kind(SaturatingSum)(prepared), accumulator=DType.INT64)
    return found


def _no_bias(prepared: Any, inputs: list[Any]) -> list[Any]:
    return [*inputs[:2], *(np.zeros_like(bias) for bias in inputs[2:] if bias is not None)]


def _multiplier_first(prepared: Any, inputs: list[Any]) -> list[Any]:
    """Order the channels of a depthwise filter as frameworks do that put the channel multiplier first."""
    filter_, channels = inputs[1], inputs[0].shape[3]
    apart = filter_.reshape(*filter_.shape[:3], channels, filter_.shape[3] // channels)
    return [inputs[0], apart.swapaxes(3, 4).reshape(filter_.shape), *inputs[2:]]


def _narrow_weights(prepared: Any, inputs: list[Any]) -> list[Any]:
    """Take the code -128 of weights for -127, as hardware with a symmetric multiplier does."""
    return [inputs[0], np.maximum(inputs[1], -127), *inputs[2:]]


@dataclass(frozen=True)
class Defect:
    """One way to be wrong, and the cases that are aimed at it.

    Attributes
    ----------
    name
        What the implementer did.
    change
        The same, done to a prepared op.
    aimed
        Shell pattern of the cells whose cases are aimed at it.
    marks
        What a case hits (one of these, under the right arithmetic) that can notice it at all; empty if every case
        may.

    """

    name: str
    change: Change
    aimed: str
    marks: tuple[str, ...] = ()

    @property
    def op(self) -> str:
        """The op that it is looked for in."""
        return self.aimed.partition(" ")[0]


_CLAMPED = ("saturated above: clamped", "saturated below: clamped")
_HALF_UP = by_regime(DOUBLE_ROUNDING_HALF_UP)
_TIES = ("tie negative: shifted right",)
_CONV, _DEPTHWISE = "CONV_2D int8 aimed at", "DEPTHWISE_CONV_2D int8 aimed at"
_PER_AXIS = "CONV_2D int8 x int8 per-axis int32 bias"
DEFECTS = (
    Defect("half up instead of away from zero", _HALF_UP, f"{_CONV} ties of the last rounding", _TIES),
    Defect("cuts off what it shifts out", by_regime(Truncating()), f"{_CONV} ties of the last rounding"),
    Defect("cuts off half of the product", by_regime(FloorOfProduct()), f"{_CONV} ties of the high multiply"),
    Defect("does not saturate", by_kind(Wrapping), f"{_CONV} both ends", _CLAMPED),
    Defect("saturates before the zero point", by_kind(ClampedEarly), f"{_CONV} both ends"),
    Defect("ignores the fused activation", no_activation, "CONV_2D int8 x int8 per-*", _CLAMPED),
    Defect("saturates sums instead of wrapping", saturating_sums, f"{_CONV} 32 bits", ("wrapped: accumulator",)),
    Defect("one bit too far left", shifted_by(1), f"{_CONV} shifts"),
    Defect("one bit too far right", shifted_by(-1), f"{_DEPTHWISE} shifts"),
    Defect("no output zero point", no_zero_point, f"{_CONV} zero points at the ends"),
    Defect("no bias", fed(_no_bias), f"{_CONV} ties of the last rounding"),
    Defect("one multiplier for all channels", first_channel, _PER_AXIS),
    Defect("pads with code 0", ZeroPadded, f"{_CONV} padding corners", ("padding",)),
    Defect("pads with code 0, depthwise", ZeroPadded, f"{_DEPTHWISE} padding corners", ("padding",)),
    Defect("odd padding first", odd_padding_first, f"{_CONV} padding corners", ("uneven padding",)),
    Defect("no dilation", no_dilation, f"{_CONV} dilation", ("dilation",)),
    Defect("strides exchanged", swapped_strides, f"{_CONV} strides", ("stride",)),
    Defect("multiplier first", fed(_multiplier_first), f"{_DEPTHWISE} channel multiplier", ("channel multiplier",)),
    Defect("weights of -128 are -127", fed(_narrow_weights), "DEPTHWISE_CONV_2D int8 x int8 per-tensor int32 bias"),
    Defect("average counts the padding", ZeroPadded, "AVERAGE_POOL_2D int8", ("padding",)),
    Defect("maximum with a border of 0", ZeroPadded, "MAX_POOL_2D int8", ("padding",)),
    Defect("half up in a product", _HALF_UP, "MUL int8", _TIES),
    Defect("a product that wraps", by_kind(Wrapping), "MUL int8", _CLAMPED),
)
