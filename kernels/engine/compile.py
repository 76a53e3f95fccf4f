"""Fast forms derived from literal definitions by exhausting their finite domain.

A requantization is a monotone step function of the integer accumulator. Two monotone step functions are equal if they
agree on both sides of each step that the accumulator can reach, and a code of ``n`` bits has at most ``2**n - 1``
steps. So a float expression is *proven* to equal any regime by comparing it with the definition at every step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from kernels.engine.exact import LinearSum, Reach
from kernels.engine.types import Inputs, Outputs, Runner, given
from qmath.multiplier import real_value
from qmath.requantize import Requantize
from qmath.types import Array, DType, FixedPointMultiplier, Float64Array, Int64Array

#: Accumulators requantized at once: large enough to hide call overhead, small enough for the outer caches.
BLOCK = 1 << 20


def table_of(definition: Callable[[Array], Array], codes: DType) -> Callable[[Array], Array]:
    """Evaluate an elementwise definition on every code of an 8- or 16-bit type and return the lookup."""
    domain = np.arange(codes.min, codes.max + 1).astype(codes.storage)
    table = definition(domain)
    index = np.uint8 if codes.bits == 8 else np.uint16
    # Seen as unsigned, negative codes index the upper half: rotate the table once instead of every input.
    table = np.ascontiguousarray(np.roll(table, codes.min))

    def look_up(x: Array) -> Array:
        return table.take(np.ascontiguousarray(x).view(index))

    return look_up


def table_of_pairs(
    definition: Callable[[Array, Array], Array], first: DType, second: DType
) -> Callable[[Array, Array], Array]:
    """Evaluate a binary elementwise definition on all pairs of 8-bit codes and return the broadcasting lookup."""
    a = np.arange(first.min, first.max + 1).astype(first.storage)
    b = np.arange(second.min, second.max + 1).astype(second.storage)
    table = definition(a[:, None], b[None, :])
    table = np.ascontiguousarray(np.roll(table, (first.min, second.min), (0, 1))).reshape(-1)

    def look_up(x: Array, y: Array) -> Array:
        high = np.ascontiguousarray(x).view(np.uint8).astype(np.uint16) << 8
        return table.take(high | np.ascontiguousarray(y).view(np.uint8))

    return look_up


def requantized_sum(sums: LinearSum, offset: Int64Array, requantize: Requantize, definition: Runner) -> Runner:
    """Compile "sum exactly, add a constant per channel, requantize" for input slot 0.

    Parameters
    ----------
    sums
        The raw sums.
    offset
        int64, shape ``(channels,)``: bias and zero-point terms, added to the raw sums.
    requantize
        Of the accumulator.
    definition
        The literal form: what runs where no fast form is proven.

    """
    step = step_function(requantize, offset, sums.reach)
    if step is None:
        return definition

    def run(inputs: Inputs) -> Outputs:
        images = given(inputs, 0)
        if images.size == 0:
            return definition(inputs)
        first = step(sums(images[:1]))
        if len(images) == 1:
            return (first,)
        out = np.empty((len(images), *first.shape[1:]), first.dtype)
        out[:1] = first
        many = max(1, BLOCK // max(1, first.size))
        for start in range(1, len(images), many):
            out[start : start + many] = step(sums(images[start : start + many]))
        return (out,)

    return run


@dataclass(frozen=True)
class StepFunction:
    """A float64 form of a requantization: ``clip(round(v) + zero_point)`` with ``v = (raw + offset) * scale``.

    ``round(v)`` is ``floor(v + up)``, or ``floor(v + up + copysign(away, v))`` where ties depend on the sign, or
    ``rint(v)`` where ``up`` is None.
    """

    offset: Float64Array
    scale: Float64Array
    up: Float64Array | None
    away: Float64Array | None
    requantize: Requantize

    def __call__(self, raw: Array) -> Array:
        """Return codes for raw sums, channels last."""
        act, zero_point = self.requantize.activation, self.requantize.zero_point
        v = np.add(raw, self.offset, dtype=np.float64)
        v *= self.scale
        if self.up is None:
            np.rint(v, out=v)
        else:
            if self.away is not None:
                v += np.copysign(self.away, v)
            v += self.up
            np.floor(v, out=v)
        v += zero_point
        np.clip(v, act.min, act.max, out=v)
        return v.astype(self.requantize.dtype.storage)


def step_function(requantize: Requantize, offset: Int64Array, reach: Reach) -> StepFunction | None:
    """Return a float64 form of ``requantize(raw + offset)`` proven on every reachable step, or None."""
    lowest, highest = reach.lowest + offset, reach.highest + offset
    limit = requantize.regime.limit(requantize.factor)
    if reach.dtype is None or requantize.dtype.bits > 8:
        return None
    if not (np.maximum(np.abs(lowest), np.abs(highest)) <= limit).all():
        return None
    factor = requantize.factor
    scale = real_value(factor) if isinstance(factor, FixedPointMultiplier) else np.asarray(factor, np.float64)
    scale = np.broadcast_to(scale, offset.shape)
    codes, first = first_accumulators(requantize, scale, lowest, highest)
    sides = [np.clip(first + delta, lowest, highest) for delta in (-1, 0)]
    reached = [requantize(side) >= codes for side in sides]
    for up, away in _roundings(requantize, len(offset)):
        step = StepFunction(offset.astype(np.float64), scale, up, away, requantize)
        if all(((step(side - offset) >= codes) == right).all() for side, right in zip(sides, reached, strict=True)):
            return step
    return None


def _roundings(requantize: Requantize, channels: int) -> Iterator[tuple[Float64Array | None, Float64Array | None]]:
    """Yield candidate roundings, as (up, away) of :class:`StepFunction`; the proof picks one.

    A first rounding to units of ``2**shift`` moves the tie of a second one by half such a unit: for double rounding,
    away from zero or up. A single rounding has no such shift, and ties go up, away from zero or to even.
    """
    half = np.full(channels, 0.5)
    factor = requantize.factor
    if isinstance(factor, FixedPointMultiplier):
        unit = np.where(factor.shift < 0, np.ldexp(0.5, np.minimum(factor.shift, 0).astype(np.int32)), 0.0)
        unit = np.broadcast_to(unit, (channels,))
        yield half, unit
        yield half + unit, None
    yield half, None
    yield half, np.full(channels, 2.0**-40)
    yield None, None


def first_accumulators(
    requantize: Requantize, scale: Float64Array, lowest: Int64Array, highest: Int64Array
) -> tuple[Int64Array, Int64Array]:
    """Find where each step lies: the smallest accumulator whose output is at least each code.

    The real-valued formula gives a guess; the definition then moves it until it is right.

    Returns
    -------
    codes
        int64, shape ``(steps, 1)``: every code above the lowest.
    first
        int64, shape ``(steps, channels)``; ``highest + 1`` where the code is not reached, ``lowest`` where even
        the lowest accumulator reaches it.

    """
    act = requantize.activation
    codes = np.arange(act.min + 1, act.max + 1)[:, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        guess = np.ceil((codes - requantize.zero_point - 0.5) / scale)
    guess = np.nan_to_num(guess, nan=0.0, posinf=2.0**53, neginf=-(2.0**53))
    first = np.clip(guess, lowest, highest + 1).astype(np.int64)
    while True:
        short = (first <= highest) & (requantize(np.minimum(first, highest)) < codes)
        far = (first > lowest) & (requantize(np.maximum(first - 1, lowest)) >= codes)
        if not (short | far).any():
            return codes, first
        first = first + short - far


def unary(definition: Callable[[Array], Array], codes: DType) -> Runner:
    """Compile an elementwise op of one input by its table."""
    look_up = table_of(definition, codes)

    def run(inputs: Inputs) -> Outputs:
        return (look_up(given(inputs, 0)),)

    return run
