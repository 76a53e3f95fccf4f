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

import numpy as np

from kernels.engine.exact import Reach
from kernels.engine.ufuncs import clip
from qmath.requantize import Float32HalfEven, RealForm, Requantize
from qmath.types import Array, BoolArray, FixedPointMultiplier, Float32Array, Float64Array, Int64Array

#: Rows of channels are folded into runs of about this many elements, which the vector loops like best.
RUN = 4096
#: More exceptions than this in one channel, and the float32 form is not worth its compare passes.
MAX_EXCEPTIONS = 8
#: The sign of a float32, as the integer of the same bits.
SIGN_BIT = np.int32(-(1 << 31))
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
class Float32Form(StepForm):
    """Two float32 chains for ``v = (raw + bias) * scale``.

    Where no tie depends on a sign (``half`` is None), everything that is added sits in ``bias``, and codes are counted
    from the type's lowest one: ``clip(v)``, cut to an unsigned integer, which is a floor. Otherwise
    ``clip(trunc(v + copysign(half, v)) + zero_point)``.
    """

    requantize: Requantize
    bias: Float32Array
    scale: Float32Array
    half: Float32Array | None
    exceptions: Exceptions | None = None
    _layouts: dict[tuple[int, ...], _Layout] = field(default_factory=dict, repr=False, compare=False)

    def __call__(self, raw: Array) -> Array:
        """Work in place on runs of folded rows."""
        layout = self._layouts.get(raw.shape) or self._lay_out(raw.shape)
        t = raw.reshape(layout.runs)
        wrong = self._find(t, layout) if self.exceptions else ()
        np.add(t, layout.bias, t)
        np.multiply(t, layout.scale, t)
        codes = self._cut(t) if layout.half is None else self._round(t, layout.half)
        for where, right in wrong:
            codes.reshape(-1)[where] = right
        return codes.reshape(raw.shape)

    def _cut(self, t: Array) -> Array:
        act, dtype = self.requantize.activation, self.requantize.dtype
        clip(t, np.float32(act.min - dtype.min), np.float32(act.max - dtype.min), t)
        codes = t.astype(np.uint8)
        if dtype.min:
            np.bitwise_xor(codes, np.uint8(-dtype.min), codes)
        return codes.view(dtype.storage)

    def _round(self, t: Array, half: Array) -> Array:
        act, dtype = self.requantize.activation, self.requantize.dtype
        signed_half = np.bitwise_and(t.view(np.int32), SIGN_BIT)
        np.bitwise_or(signed_half, half, signed_half)
        np.add(t, signed_half.view(np.float32), t)
        np.trunc(t, t)
        np.add(t, np.float32(self.requantize.zero_point), t)
        clip(t, np.float32(act.min), np.float32(act.max), t)
        return t.astype(dtype.storage)

    def unclamped(self, raw: Float32Array) -> Float32Array:
        """Return codes before the clamp, for raw sums of shape (any, channels): what is proven."""
        v: Float32Array = (raw + self.bias) * self.scale
        if self.half is None:
            return np.floor(v) + np.float32(self.requantize.dtype.min)
        return np.trunc(v + np.copysign(self.half, v)) + np.float32(self.requantize.zero_point)

    def _lay_out(self, shape: tuple[int, ...]) -> _Layout:
        channels = shape[-1]
        fold = _fold(math.prod(shape) // channels, channels)
        half = None if self.half is None else np.tile(self.half, fold).view(np.int32)
        sums = None if self.exceptions is None else np.tile(self.exceptions.sums, (1, fold))
        layout = _Layout(
            (math.prod(shape) // (fold * channels), fold * channels),
            np.tile(self.bias, fold),
            np.tile(self.scale, fold),
            half,
            sums,
        )
        self._layouts[shape] = layout
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
    """Vectors of a float32 form, repeated so that they fit runs of several rows of channels.

    Attributes
    ----------
    runs
        Shape (runs, length of a run).
    bias, scale, half, sums
        As in the form, repeated; ``half`` as the integers of the same bits, ``sums`` of the exceptions.

    """

    runs: tuple[int, int]
    bias: Float32Array
    scale: Float32Array
    half: Array | None
    sums: Array | None


def proven_form(requantize: Requantize, offset: Int64Array, reach: Reach) -> Float32Form | None:
    """Fit a float32 form and prove it at every step, or return None."""
    if reach.dtype != np.float32 or requantize.dtype.bits > 8:
        return None
    steps = steps_of(requantize, offset, reach)
    if steps is None:
        return None
    form = requantize.regime.real_form(requantize.factor)
    sign_matters = requantize.activation.min < requantize.zero_point and (form is None or bool(form.away.any()))
    fit = _fit_by_sign if sign_matters else _fit
    fits = [fit(requantize, offset, steps, trial) for trial in SCALE_TRIALS]
    wrong = np.stack([_wrong_steps(fit, steps).sum(axis=0) for fit in fits])
    chosen = _settle_constants(_choose(fits, wrong.argmin(axis=0)), offset, reach, steps)
    return _with_exceptions(chosen, offset, reach, steps)


def _scales(requantize: Requantize, channels: int, trial: int) -> Float32Array:
    """Return the real multipliers in float32, ``trial`` units in the last place away."""
    form = requantize.regime.real_form(requantize.factor)
    real = form.scale if form else np.asarray(requantize.factor, np.float64)
    scale = np.broadcast_to(real, (channels,)).astype(np.float32)
    positive = np.maximum(scale, np.float32(1e-30))
    return (positive.view(np.int32) + np.int32(trial)).view(np.float32)


def _fit(requantize: Requantize, offset: Int64Array, steps: Steps, trial: int) -> Float32Form:
    """Place ``bias`` in the middle of what every step of a channel allows: ``first`` reaches its code, one less not."""
    scale = _scales(requantize, len(offset), trial)
    targets = (steps.codes - requantize.dtype.min) / scale.astype(np.float64)
    lower, upper = _interval(targets - steps.first, np.ones(len(offset)), steps.inside, steps.inside)
    return Float32Form(requantize, _middle(lower, upper, 0.0), scale, None)


def _fit_by_sign(requantize: Requantize, offset: Int64Array, steps: Steps, trial: int) -> Float32Form:
    """Add the offset exactly, and place ``half`` in the middle of what the steps on both sides of zero allow."""
    scale = _scales(requantize, len(offset), trial)
    step, total = scale.astype(np.float64), steps.first + offset
    room = (steps.codes - requantize.zero_point) - total * step
    above = _interval(room, step, steps.inside & (total >= 0), steps.inside & (total > 0))
    below = _interval(room, step, steps.inside & (total < 0), steps.inside & (total <= 0))
    lower, upper = np.maximum(above[0], 1 - below[1]), np.minimum(above[1], 1 - below[0])
    return Float32Form(requantize, offset.astype(np.float32), scale, _middle(lower, upper, 0.5))


def _middle(lower: Float64Array, upper: Float64Array, otherwise: float) -> Float32Array:
    with np.errstate(invalid="ignore"):
        middle = (lower + upper) / 2
    return np.where(np.isfinite(middle), middle, otherwise).astype(np.float32)


def _interval(
    lower: Float64Array, step: Float64Array, bounds_below: BoolArray, bounds_above: BoolArray
) -> tuple[Float64Array, Float64Array]:
    """Intersect, per channel, the intervals ``[lower, lower + step)`` of the steps that bound either end."""
    return (
        np.where(bounds_below, lower, -np.inf).max(axis=0),
        np.where(bounds_above, lower + step, np.inf).min(axis=0),
    )


def _wrong_steps(form: Float32Form, steps: Steps) -> BoolArray:
    """Return for each step and channel whether the form is on the wrong side of it."""
    reached = form.unclamped(steps.first.astype(np.float32)) >= steps.codes
    too_early = form.unclamped((steps.first - 1).astype(np.float32)) >= steps.codes
    wrong: BoolArray = steps.inside & (~reached | too_early)
    return wrong


def _choose(fits: list[Float32Form], best: Int64Array) -> Float32Form:
    """Take each channel's vectors from its best fit."""

    def pick(name: str) -> Float32Array | None:
        stacked = [getattr(fit, name) for fit in fits]
        return None if stacked[0] is None else np.stack(stacked)[best, np.arange(len(best))]

    bias, scale = pick("bias"), pick("scale")
    assert bias is not None and scale is not None  # noqa: S101, PT018 - every fit has both
    return Float32Form(fits[0].requantize, bias, scale, pick("half"))


def _settle_constants(form: Float32Form, offset: Int64Array, reach: Reach, steps: Steps) -> Float32Form:
    """Give channels without any reachable step their one code, whatever the sum."""
    constant = ~steps.inside.any(axis=0)
    if not constant.any():
        return form
    code = form.requantize(reach.lowest + offset).astype(np.float64)
    # The sum vanishes beside a bias this large, and the scale takes the bias back to the code.
    target = code - form.requantize.dtype.min + 0.5 if form.half is None else code - form.requantize.zero_point
    bias = np.where(constant, target * 2.0**40, form.bias).astype(np.float32)
    scale = np.where(constant, np.float32(2.0**-40), form.scale)
    half = None if form.half is None else np.where(constant, np.float32(0.25), form.half)
    return Float32Form(form.requantize, bias, scale, half)


def _with_exceptions(form: Float32Form, offset: Int64Array, reach: Reach, steps: Steps) -> Float32Form | None:
    """List the sums around each wrong step at which the form errs, or return None if they are too many."""
    step, channel = np.nonzero(_wrong_steps(form, steps))
    if not step.size:
        return form
    raw = steps.first[step, channel] + np.arange(-4, 4)[:, None]
    raw = np.clip(raw, reach.lowest[channel], reach.highest[channel])
    multiplier = np.broadcast_to(form.requantize.real_multiplier, offset.shape)[channel]
    definition = dataclasses.replace(form.requantize, real_multiplier=multiplier)
    few = Float32Form(
        definition,
        form.bias[channel],
        form.scale[channel],
        None if form.half is None else form.half[channel],
    )
    right, given = definition(raw + offset[channel]), few(raw.astype(np.float32))
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


def _in_levels(form: Float32Form, listed: dict[tuple[int, int], int]) -> Float32Form | None:
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
