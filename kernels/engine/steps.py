"""Requantization as a step function: fast float forms, each proven equal to the integer definition.

A requantization is a monotone step function of the integer accumulator, and so is a chain of float additions,
multiplications and clips, because each of them is monotone under rounding to nearest. Two monotone step functions are
equal if they agree on both sides of every step that the accumulator can reach; 8-bit codes have at most 255 steps. So

- the float64 form needs no search: where a product of accumulator and multiplier fits 53 bits it *is* the regime's
  real form (:class:`qmath.requantize.RealForm`), and beyond that the output has long saturated;
- the float32 form is fitted a channel at a time, then compared with the definition at every step. The few accumulators
  where 24 bits are not enough are listed, looked for at run time, and given the right code.
"""

from __future__ import annotations

import abc
import dataclasses
import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from kernels.engine.exact import Reach
from kernels.engine.ufuncs import clip
from qmath.requantize import Float32HalfEven, RealForm, Requantize
from qmath.types import Array, BoolArray, FixedPointMultiplier, Float32Array, Float64Array, Int64Array

#: Rows of channels are folded into runs of about this many elements, which the vector loops like best.
RUN = 4096
#: More exceptions than this in one channel, and the float32 form is not worth its compare passes.
MAX_EXCEPTIONS = 8
#: Up to this many elements a wider float costs less than a search for exceptions.
SMALL = 4096
#: The sign of a float, as the integer of the same bits.
SIGN_BIT: dict[np.dtype[Any], np.signedinteger[Any]] = {
    np.dtype(np.float32): np.int32(-(1 << 31)),
    np.dtype(np.float64): np.int64(-(1 << 63)),
}
#: Units in the last place of the scale that the fit tries either side.
SCALE_TRIALS = (0, 1, -1, 2, -2, 3, -3)


class StepForm(abc.ABC):
    """Raw sums to output codes, channels last. The sums may be overwritten."""

    @abc.abstractmethod
    def __call__(self, raw: Array) -> Array:
        """Return codes of the output's type, in the shape of ``raw``."""


@dataclass(frozen=True)
class Definition(StepForm):
    """The regime itself, on exact sums."""

    requantize: Requantize
    offset: Int64Array

    def __call__(self, raw: Array) -> Array:
        """Requantize integers."""
        return self.requantize(raw.astype(np.int64) + self.offset)


@dataclass(frozen=True)
class Float64Form(StepForm):
    """The regime's real form in float64: exact by :func:`exact_in_float64`."""

    requantize: Requantize
    offset: Float64Array
    form: RealForm

    def __call__(self, raw: Array) -> Array:
        """Multiply, place the ties, floor, clamp."""
        act, zero_point = self.requantize.activation, self.requantize.zero_point
        v = np.add(raw, self.offset, dtype=np.float64)
        v *= self.form.scale
        if self.form.away.any():
            v += np.copysign(self.form.away, v)
        v += self.form.up + zero_point
        np.floor(v, out=v)
        np.clip(v, act.min, act.max, out=v)
        return v.astype(self.requantize.dtype.storage)


@dataclass(frozen=True)
class Float32RintForm(StepForm):
    """:class:`~qmath.requantize.Float32HalfEven` as it stands: sum and offset are exact, and their sum rounds once."""

    requantize: Requantize
    offset: Float32Array

    def __call__(self, raw: Array) -> Array:
        """Add, multiply, round half to even, clamp."""
        act, zero_point = self.requantize.activation, self.requantize.zero_point
        np.add(raw, self.offset, out=raw)
        np.multiply(raw, np.asarray(self.requantize.factor), out=raw)
        np.rint(raw, out=raw)
        np.clip(raw, np.float32(act.min - zero_point), np.float32(act.max - zero_point), out=raw)
        raw += np.float32(zero_point)
        return raw.astype(self.requantize.dtype.storage)


def quick_form(requantize: Requantize, offset: Int64Array, reach: Reach) -> StepForm | None:
    """Return a form that costs nothing to derive, or None where the accumulator may leave the regime's domain."""
    limit = requantize.regime.limit(requantize.factor)
    if reach.dtype is None or (_largest(offset, reach) > limit).any():
        return None
    form = requantize.regime.real_form(requantize.factor)
    if isinstance(requantize.regime, Float32HalfEven) and reach.dtype == np.float32:
        rounded = offset.astype(np.float32)
        if (rounded == offset).all():
            return Float32RintForm(requantize, rounded)
    if form is not None and exact_in_float64(requantize, offset, reach):
        return Float64Form(requantize, offset.astype(np.float64), form)
    return Definition(requantize, offset)


def exact_in_float64(requantize: Requantize, offset: Int64Array, reach: Reach) -> bool:
    """Whether float64 computes the regime's real form without any rounding that matters.

    A product is a multiple of ``2**(shift - 31)``. It is exact while ``|accumulator| * multiplier < 2**53``; or, with
    ``shift >= -12``, for outputs up to 2**10, beyond which every output has saturated and stays so because rounding
    is monotone. Adding the tie terms is exact as long as 1 and that unit fit one significand. And a result far below
    one half is zero, whatever the rounding.
    """
    factor = requantize.factor
    if not isinstance(factor, FixedPointMultiplier) or requantize.dtype.bits > 8:
        return False
    product = _largest(offset, reach).astype(np.float64) * factor.multiplier
    vanishes = np.ldexp(product, (factor.shift - 31).astype(np.int32)) < 0.25
    return bool((((product < 2.0**53) & (factor.shift >= -20)) | (factor.shift >= -12) | vanishes).all())


def _largest(offset: Int64Array, reach: Reach) -> Int64Array:
    largest: Int64Array = np.maximum(np.abs(reach.lowest + offset), np.abs(reach.highest + offset))
    return largest


@dataclass(frozen=True)
class Steps:
    """Where the definition's output changes, per channel, in terms of raw sums.

    Attributes
    ----------
    codes
        int64, shape ``(steps, 1)``: every code above the lowest.
    first
        int64, shape ``(steps, channels)``: the smallest raw sum whose output is at least the code.
    inside
        bool, same shape: whether the accumulator can be on either side of the step.

    """

    codes: Int64Array
    first: Int64Array
    inside: BoolArray


def steps_of(requantize: Requantize, offset: Int64Array, reach: Reach) -> Steps | None:
    """Find every step of the definition; a real-valued guess is moved by the definition until it is right.

    Returns None if the guess is nowhere near, which no regime with a positive multiplier shows.
    """
    act = requantize.activation
    codes = np.arange(act.min + 1, act.max + 1)[:, None]
    form = requantize.regime.real_form(requantize.factor)
    scale = form.scale if form else np.asarray(requantize.factor, np.float64)
    lowest, highest = reach.lowest + offset, reach.highest + offset
    with np.errstate(divide="ignore", invalid="ignore"):
        guess = np.ceil((codes - requantize.zero_point - 0.5) / scale)
    guess = np.nan_to_num(guess, nan=0.0, posinf=2.0**53, neginf=-(2.0**53))
    first = np.clip(guess, lowest, highest + 1).astype(np.int64)
    for _ in range(16):
        short = (first <= highest) & (requantize(np.minimum(first, highest)) < codes)
        far = (first > lowest) & (requantize(np.maximum(first - 1, lowest)) >= codes)
        if not (short | far).any():
            return Steps(codes, first - offset, (first > lowest) & (first <= highest))
        first = first + short - far
    return None


@dataclass(frozen=True)
class Exceptions:
    """Raw sums at which a float form gives the wrong code, with the right one.

    Attributes
    ----------
    sums
        float32, shape ``(levels, channels)``: one raw sum a level and channel, NaN where there is none.
    codes
        Same shape: the right code.

    """

    sums: Float32Array
    codes: Array


@dataclass(frozen=True)
class FittedForm(StepForm):
    """A float chain for ``v = (raw + bias) * scale``, in the float type of its vectors, fitted and proven.

    Where no tie depends on a sign (``half`` is None), everything that is added sits in ``bias``, and codes are counted
    from the type's lowest one: ``clip(v)``, cut to an unsigned integer, which is a floor. Otherwise
    ``clip(trunc(v + copysign(half, v)) + zero_point)``.
    """

    requantize: Requantize
    bias: Array
    scale: Array
    half: Array | None
    exceptions: Exceptions | None = None
    _layouts: dict[tuple[int, ...], _Layout] = field(default_factory=dict, repr=False, compare=False)

    def __call__(self, raw: Array) -> Array:
        """Work in place on runs of folded rows."""
        layout = self._layouts.get(raw.shape) or self._lay_out(raw.shape)
        t = raw.reshape(layout.runs)
        wrong = self._find(t, layout) if self.exceptions else ()
        t = np.add(t, layout.bias, t if t.dtype == layout.bias.dtype else None)
        np.multiply(t, layout.scale, t)
        codes = self._round(t, layout) if layout.by_sign else self._cut(t, layout)
        for where, right in wrong:
            codes.reshape(-1)[where] = right
        return codes.reshape(raw.shape)

    def _cut(self, t: Array, layout: _Layout) -> Array:
        clip(t, layout.lowest, layout.highest, t)
        codes = t.astype(np.uint8)
        if layout.base is not None:
            np.bitwise_xor(codes, layout.base, codes)
        return codes.view(self.requantize.dtype.storage)

    def _round(self, t: Array, layout: _Layout) -> Array:
        signed_half = np.bitwise_and(t.view(layout.half.dtype), SIGN_BIT[t.dtype])
        np.bitwise_or(signed_half, layout.half, signed_half)
        np.add(t, signed_half.view(t.dtype), t)
        np.trunc(t, t)
        np.add(t, layout.zero_point, t)
        clip(t, layout.lowest, layout.highest, t)
        return t.astype(self.requantize.dtype.storage)

    def unclamped(self, raw: Int64Array) -> Array:
        """Return codes before the clamp, for raw sums of shape (any, channels): what is proven."""
        float_type = self.bias.dtype.type
        v: Array = (raw.astype(float_type) + self.bias) * self.scale
        if self.half is None:
            lowest: Array = np.floor(v) + float_type(self.requantize.dtype.min)
            return lowest
        rounded: Array = np.trunc(v + np.copysign(self.half, v)) + float_type(self.requantize.zero_point)
        return rounded

    def _lay_out(self, shape: tuple[int, ...]) -> _Layout:
        channels, float_type = shape[-1], self.bias.dtype.type
        fold = _fold(math.prod(shape) // channels, channels)
        run = fold * channels
        act, dtype = self.requantize.activation, self.requantize.dtype
        base = dtype.min if self.half is None else 0
        integers = np.int32 if float_type is np.float32 else np.int64
        layout = self._layouts[shape] = _Layout(
            runs=(run,) if math.prod(shape) == run else (math.prod(shape) // run, run),
            bias=np.tile(self.bias, fold),
            scale=np.tile(self.scale, fold),
            half=np.empty(0, integers) if self.half is None else np.tile(self.half, fold).view(integers),
            by_sign=self.half is not None,
            sums=None if self.exceptions is None else np.tile(self.exceptions.sums, (1, fold)),
            lowest=np.asarray(act.min - base, float_type),
            highest=np.asarray(act.max - base, float_type),
            zero_point=np.asarray(self.requantize.zero_point, float_type),
            base=None if base == 0 else np.asarray(-base, np.uint8),
        )
        return layout

    def _find(self, t: Array, layout: _Layout) -> list[tuple[Int64Array, Array]]:
        """Return where the known exceptions stand, before ``t`` is overwritten."""
        found: list[tuple[Int64Array, Array]] = []
        if layout.sums is not None and self.exceptions is not None:
            for values, codes in zip(layout.sums, self.exceptions.codes, strict=True):
                hit = np.equal(t, values)
                if hit.any():
                    where = np.flatnonzero(hit)
                    found.append((where, codes[where % len(codes)]))
        return found


@dataclass(frozen=True, slots=True)
class _Layout:
    """What a form needs for arrays of one shape: its vectors, repeated to fit runs of several rows of channels.

    Attributes
    ----------
    runs
        Shape: (length of a run,) or (runs, length of a run).
    bias, scale, half, sums
        As in the form, repeated; ``half`` as the integers of the same bits, ``sums`` those of the exceptions.
    by_sign
        Whether there is a ``half``.
    lowest, highest, zero_point
        Scalars in the form's float type; the first two counted from ``base``.
    base
        What turns unsigned codes into the type's, by exclusive or; None where nothing does.

    """

    runs: tuple[int, ...]
    bias: Array
    scale: Array
    half: Array
    by_sign: bool
    sums: Array | None
    lowest: Array
    highest: Array
    zero_point: Array
    base: Array | None


def proven_form(requantize: Requantize, offset: Int64Array, reach: Reach, elements: int) -> FittedForm | None:
    """Fit a float form and prove it at every step, or return None.

    Parameters
    ----------
    requantize, offset, reach
        What is to be computed: ``requantize(raw + offset)``.
    elements
        How many a call has: decides whether exceptions are looked for or avoided by a wider type.

    """
    if reach.dtype is None or requantize.dtype.bits > 8:
        return None
    steps = steps_of(requantize, offset, reach)
    if steps is None:
        return None
    narrow = _fitted(requantize, offset, reach, steps, np.dtype(np.float32)) if reach.dtype == np.float32 else None
    if narrow is not None and (narrow.exceptions is None or elements > SMALL):
        return narrow
    wide = _fitted(requantize, offset, reach, steps, np.dtype(np.float64))
    return wide if wide is not None and wide.exceptions is None else narrow


def _fitted(
    requantize: Requantize, offset: Int64Array, reach: Reach, steps: Steps, dtype: np.dtype[Any]
) -> FittedForm | None:
    form = requantize.regime.real_form(requantize.factor)
    sign_matters = requantize.activation.min < requantize.zero_point and (form is None or bool(form.away.any()))
    fit = _fit_by_sign if sign_matters else _fit
    fits = [fit(requantize, offset, steps, _scales(requantize, len(offset), dtype, trial)) for trial in SCALE_TRIALS]
    wrong = np.stack([_wrong_steps(fit, steps).sum(axis=0) for fit in fits])
    chosen = _settle_constants(_choose(fits, wrong.argmin(axis=0)), offset, reach, steps)
    return _with_exceptions(chosen, offset, reach, steps)


def _scales(requantize: Requantize, channels: int, dtype: np.dtype[Any], trial: int) -> Array:
    """Return the real multipliers in a float type, ``trial`` units in the last place away."""
    form = requantize.regime.real_form(requantize.factor)
    real = form.scale if form else np.asarray(requantize.factor, np.float64)
    scale = np.maximum(np.broadcast_to(real, (channels,)), 1e-30).astype(dtype)
    bits: Array = scale.view(np.int32 if dtype == np.float32 else np.int64)
    return (bits + trial).view(dtype)


def _fit(requantize: Requantize, offset: Int64Array, steps: Steps, scale: Array) -> FittedForm:
    """Place ``bias`` in the middle of what every step of a channel allows: ``first`` reaches its code, one less not."""
    targets = (steps.codes - requantize.dtype.min) / scale.astype(np.float64)
    lower, upper = _interval(targets - steps.first, np.ones(len(offset)), steps.inside, steps.inside)
    return FittedForm(requantize, _middle(lower, upper, 0.0).astype(scale.dtype), scale, None)


def _fit_by_sign(requantize: Requantize, offset: Int64Array, steps: Steps, scale: Array) -> FittedForm:
    """Add the offset exactly, and place ``half`` in the middle of what the steps on both sides of zero allow."""
    step, total = scale.astype(np.float64), steps.first + offset
    room = (steps.codes - requantize.zero_point) - total * step
    above = _interval(room, step, steps.inside & (total >= 0), steps.inside & (total > 0))
    below = _interval(room, step, steps.inside & (total < 0), steps.inside & (total <= 0))
    lower, upper = np.maximum(above[0], 1 - below[1]), np.minimum(above[1], 1 - below[0])
    half = _middle(lower, upper, 0.5).astype(scale.dtype)
    return FittedForm(requantize, offset.astype(scale.dtype), scale, half)


def _middle(lower: Float64Array, upper: Float64Array, otherwise: float) -> Float64Array:
    with np.errstate(invalid="ignore"):
        middle = (lower + upper) / 2
    return np.where(np.isfinite(middle), middle, otherwise)


def _interval(
    lower: Float64Array, step: Float64Array, bounds_below: BoolArray, bounds_above: BoolArray
) -> tuple[Float64Array, Float64Array]:
    """Intersect, per channel, the intervals ``[lower, lower + step)`` of the steps that bound either end."""
    return (
        np.where(bounds_below, lower, -np.inf).max(axis=0),
        np.where(bounds_above, lower + step, np.inf).min(axis=0),
    )


def _wrong_steps(form: FittedForm, steps: Steps) -> BoolArray:
    """Return for each step and channel whether the form is on the wrong side of it."""
    reached = form.unclamped(steps.first) >= steps.codes
    too_early = form.unclamped(steps.first - 1) >= steps.codes
    wrong: BoolArray = steps.inside & (~reached | too_early)
    return wrong


def _choose(fits: list[FittedForm], best: Int64Array) -> FittedForm:
    """Take each channel's vectors from its best fit."""

    def pick(name: str) -> Array | None:
        stacked = [getattr(fit, name) for fit in fits]
        return None if stacked[0] is None else np.stack(stacked)[best, np.arange(len(best))]

    bias, scale = pick("bias"), pick("scale")
    assert bias is not None and scale is not None  # noqa: S101, PT018 - every fit has both
    return FittedForm(fits[0].requantize, bias, scale, pick("half"))


def _settle_constants(form: FittedForm, offset: Int64Array, reach: Reach, steps: Steps) -> FittedForm:
    """Give channels without any reachable step their one code, whatever the sum."""
    constant = ~steps.inside.any(axis=0)
    if not constant.any():
        return form
    code = form.requantize(reach.lowest + offset).astype(np.float64)
    # The sum vanishes beside a bias this large, and the scale takes the bias back to the code.
    target = code - form.requantize.dtype.min + 0.5 if form.half is None else code - form.requantize.zero_point
    dtype = form.bias.dtype
    far = 2.0**40 if dtype == np.float32 else 2.0**80
    bias = np.where(constant, target * far, form.bias).astype(dtype)
    scale = np.where(constant, 1 / far, form.scale).astype(dtype)
    half = None if form.half is None else np.where(constant, 0.25, form.half).astype(dtype)
    return FittedForm(form.requantize, bias, scale, half)


def _with_exceptions(form: FittedForm, offset: Int64Array, reach: Reach, steps: Steps) -> FittedForm | None:
    """List the sums around each wrong step at which the form errs, or return None if they are too many."""
    step, channel = np.nonzero(_wrong_steps(form, steps))
    if not step.size:
        return form
    raw = steps.first[step, channel] + np.arange(-4, 4)[:, None]
    raw = np.clip(raw, reach.lowest[channel], reach.highest[channel])
    multiplier = np.broadcast_to(form.requantize.real_multiplier, offset.shape)[channel]
    definition = dataclasses.replace(form.requantize, real_multiplier=multiplier)
    few = FittedForm(
        definition,
        form.bias[channel],
        form.scale[channel],
        None if form.half is None else form.half[channel],
    )
    right, given = definition(raw + offset[channel]), few(raw.astype(form.bias.dtype))
    ends = (raw[[0, -1]] - steps.first[step, channel] != 0) & (right[[0, -1]] != given[[0, -1]])
    inner = (raw[[0, -1]] > reach.lowest[channel]) & (raw[[0, -1]] < reach.highest[channel])
    if (ends & inner).any():
        return None
    wrong = right != given
    listed = {
        (int(c), int(a)): code
        for c, a, code in zip(np.broadcast_to(channel, raw.shape)[wrong], raw[wrong], right[wrong], strict=True)
    }
    return _in_levels(form, listed)


def _in_levels(form: FittedForm, listed: dict[tuple[int, int], int]) -> FittedForm | None:
    """Arrange exceptions so that each level holds at most one a channel."""
    by_channel: dict[int, list[tuple[int, int]]] = {}
    for (channel, raw), code in listed.items():
        by_channel.setdefault(channel, []).append((raw, code))
    levels = max(map(len, by_channel.values()))
    if levels > MAX_EXCEPTIONS:
        return None
    sums = np.full((levels, len(form.bias)), np.nan, np.float32)
    codes = np.zeros((levels, len(form.bias)), form.requantize.dtype.storage)
    for channel, pairs in by_channel.items():
        for level, (raw, code) in enumerate(pairs):
            sums[level, channel], codes[level, channel] = raw, code
    return dataclasses.replace(form, exceptions=Exceptions(sums, codes))


def _fold(rows: int, channels: int) -> int:
    """Return how many rows make one run: the largest divisor of ``rows`` that keeps it near ``RUN`` elements."""
    most = max(1, min(rows, (2 * RUN if rows * channels <= 2 * RUN else RUN) // max(1, channels)))
    return next(fold for fold in range(most, 0, -1) if rows % fold == 0)
