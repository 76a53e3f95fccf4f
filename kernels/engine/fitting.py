"""Fits float forms of a requantization, and proves them.

A requantization is a monotone step function of the integer accumulator, and so is a chain of float additions,
multiplications and clips, because each of them is monotone under rounding to nearest. Two monotone step functions are
equal if they agree on both sides of every step that the accumulator can reach; 8-bit codes have at most 255 steps. So a
form is fitted a channel at a time, then compared with the definition at every step. The few accumulators where 24 bits
are not enough are listed, looked for at run time, and given the right code.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from kernels.engine.exact import Reach
from kernels.engine.fitted import Exceptions, FittedForm
from kernels.engine.steps import stays_in_domain
from qmath.requantize import Requantize
from qmath.types import Array, BoolArray, Float64Array, Int64Array

#: More exceptions than this in one channel, and a wider float is quicker.
MAX_EXCEPTIONS = 12
#: Units in the last place of the scale that the fit tries either side.
SCALE_TRIALS = (0, 1, -1, 2, -2, 3, -3)

#: The same for channels that still have a step on its wrong side, and where in what is left to it the fit places its
#: constant: a channel that passes spares every run a look for its exceptions.
MORE_SCALE_TRIALS = tuple(sorted(range(-40, 41), key=abs))
PLACES = (0.5, 0.25, 0.75, 0.1, 0.9)
#: The share of channels up to which that is tried: if many are left, then because the type has too few bits for them.
FEW_CHANNELS = 1 / 10

#: Fits a form to steps, given its scale and the place of its constant.
Fit: TypeAlias = Callable[["Wanted", Array, float], FittedForm]


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

    def of(self, channels: Int64Array) -> Steps:
        """Return the steps of some channels."""
        return Steps(self.codes, self.first[:, channels], self.inside[:, channels])


@dataclass(frozen=True)
class Wanted:
    """What a form must give: ``requantize(raw + offset)`` on both sides of every step.

    Attributes
    ----------
    requantize, offset, reach, steps
        The definition, what is added to raw sums, what those can be, and where the output changes.

    """

    requantize: Requantize
    offset: Int64Array
    reach: Reach
    steps: Steps

    def of(self, channels: Int64Array) -> Wanted:
        """Return what is wanted of some channels."""
        definition = _channels_of(self.requantize, channels, len(self.offset))
        return Wanted(definition, self.offset[channels], self.reach.of_channels(channels), self.steps.of(channels))


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


def proven_form(requantize: Requantize, offset: Int64Array, reach: Reach, elements: int) -> FittedForm | None:
    """Fit a float form and prove it at every step, or return None.

    Beyond the domain of its regime a requantization may wrap around: it is no step function there, and has no form.

    Parameters
    ----------
    requantize, offset, reach
        What is to be computed: ``requantize(raw + offset)``.
    elements
        How many a call has: decides which of the forms costs least, one with exceptions to look for, one that asks for
        signs, or one in a wider type.

    """
    if reach.dtype is None or requantize.dtype.bits > 8 or not stays_in_domain(requantize, offset, reach):
        return None
    steps = steps_of(requantize, offset, reach)
    if steps is None or not steps.codes.size:  # a range of one code has no steps
        return None
    wanted = Wanted(requantize, offset, reach, steps)
    form = requantize.regime.real_form(requantize.factor)
    sign_matters = requantize.activation.min < requantize.zero_point and (form is None or bool(form.away.any()))
    fits = (_fit, _fit_by_sign) if sign_matters else (_fit,)
    found, raw, wide = [], reach.dtype, np.dtype(np.float64)
    for dtype in (raw,) if raw == wide else (raw, wide):
        for fit in fits:
            fitted = _fitted(wanted, dtype, fit, elements)
            if fitted is not None:
                found.append(fitted)
                if dtype == raw and fitted.half is None and fitted.exceptions is None:
                    return fitted
    return min(found, key=lambda form: form.cost(elements, raw), default=None)


def _fitted(wanted: Wanted, dtype: np.dtype[Any], fit: Fit, elements: int) -> FittedForm | None:
    chosen = _settle_constants(_best(wanted, dtype, fit, SCALE_TRIALS, PLACES[:1]), wanted)
    left = np.flatnonzero(_wrong_steps(chosen, wanted).any(axis=0))
    if 0 < len(left) <= FEW_CHANNELS * len(wanted.offset):
        part = wanted.of(left)
        better = _settle_constants(_best(part, dtype, fit, MORE_SCALE_TRIALS, PLACES), part)
        chosen = _replaced(chosen, left, better)
    return _with_exceptions(chosen, wanted, elements)


def _best(
    wanted: Wanted, dtype: np.dtype[Any], fit: Fit, trials: tuple[int, ...], places: tuple[float, ...]
) -> FittedForm:
    """Return the form that has the fewest steps on their wrong side, channel by channel."""
    best: FittedForm | None = None
    fewest = np.full(len(wanted.offset), len(wanted.steps.codes) + 1)
    for trial in trials:
        scale = _scales(wanted.requantize, len(wanted.offset), dtype, trial)
        for place in places:
            form = fit(wanted, scale, place)
            wrong = _wrong_steps(form, wanted).sum(axis=0)
            better = np.flatnonzero(wrong < fewest)
            best = form if best is None else _replaced(best, better, form, better)
            fewest[better] = wrong[better]
            if not fewest.any():
                return best
    assert best is not None  # noqa: S101 - there is a trial
    return best


def _channels_of(requantize: Requantize, channels: Int64Array, count: int) -> Requantize:
    """Return the requantization of some of ``count`` channels."""
    multiplier = np.broadcast_to(requantize.real_multiplier, (count,))[channels]
    return dataclasses.replace(requantize, regime=requantize.regime.at(channels, count), real_multiplier=multiplier)


def _replaced(form: FittedForm, channels: Int64Array, by: FittedForm, of: Int64Array | None = None) -> FittedForm:
    """Return a form whose ``channels`` are replaced by those of another."""
    vectors = {}
    for name in ("bias", "scale", "half"):
        vector, other = getattr(form, name), getattr(by, name)
        if vector is not None:
            vectors[name] = vector.copy()
            vectors[name][channels] = other if of is None else other[of]
    return dataclasses.replace(form, **vectors)


def _scales(requantize: Requantize, channels: int, dtype: np.dtype[Any], trial: int) -> Array:
    """Return the real multipliers in a float type, ``trial`` units in the last place away."""
    form = requantize.regime.real_form(requantize.factor)
    real = form.scale if form else np.asarray(requantize.factor, np.float64)
    scale = np.maximum(np.broadcast_to(real, (channels,)), 1e-30).astype(dtype)
    bits: Array = scale.view(np.int32 if dtype == np.float32 else np.int64)
    return (bits + trial).view(dtype)


def _fit(wanted: Wanted, scale: Array, place: float) -> FittedForm:
    """Place ``bias`` within what every step of a channel allows: ``first`` reaches its code, one less not."""
    steps = wanted.steps
    targets = steps.codes / scale.astype(np.float64)
    lower, upper = _interval(targets - steps.first, np.ones(len(scale)), steps.inside, steps.inside)
    return FittedForm(wanted.requantize, _within(lower, upper, place, 0.0).astype(scale.dtype), scale, None)


def _fit_by_sign(wanted: Wanted, scale: Array, place: float) -> FittedForm:
    """Add the offset exactly, and place ``half`` within what the steps on both sides of zero allow."""
    steps, offset = wanted.steps, wanted.offset
    step, total = scale.astype(np.float64), steps.first + offset
    room = (steps.codes - wanted.requantize.zero_point) - total * step
    above = _interval(room, step, steps.inside & (total >= 0), steps.inside & (total > 0))
    below = _interval(room, step, steps.inside & (total < 0), steps.inside & (total <= 0))
    lower, upper = np.maximum(above[0], 1 - below[1]), np.minimum(above[1], 1 - below[0])
    half = _within(lower, upper, place, 0.5).astype(scale.dtype)
    return FittedForm(wanted.requantize, offset.astype(scale.dtype), scale, half)


def _within(lower: Float64Array, upper: Float64Array, place: float, otherwise: float) -> Float64Array:
    with np.errstate(invalid="ignore"):
        found = lower + (upper - lower) * place
    return np.where(np.isfinite(found), found, otherwise)


def _interval(
    lower: Float64Array, step: Float64Array, bounds_below: BoolArray, bounds_above: BoolArray
) -> tuple[Float64Array, Float64Array]:
    """Intersect, per channel, the intervals ``[lower, lower + step)`` of the steps that bound either end."""
    return (
        np.where(bounds_below, lower, -np.inf).max(axis=0),
        np.where(bounds_above, lower + step, np.inf).min(axis=0),
    )


def _wrong_steps(form: FittedForm, wanted: Wanted) -> BoolArray:
    """Return for each step and channel whether the form is on the wrong side of it, on either side.

    A step that the sums never come to counts too: the form must not reach its code at the highest sum, or must have
    reached it at the lowest.
    """
    steps, lowest, highest = wanted.steps, wanted.reach.lowest, wanted.reach.highest
    at_step = form.unclamped(np.clip(steps.first, lowest, highest)) >= steps.codes
    before = form.unclamped(np.clip(steps.first - 1, lowest, highest)) >= steps.codes
    wrong: BoolArray = (at_step != (steps.first <= highest)) | (before != (steps.first <= lowest))
    return wrong


def _settle_constants(form: FittedForm, wanted: Wanted) -> FittedForm:
    """Give channels without any reachable step their one code, whatever the sum."""
    constant = ~wanted.steps.inside.any(axis=0)
    if not constant.any():
        return form
    code = form.requantize(wanted.reach.lowest + wanted.offset).astype(np.float64)
    # The sum vanishes beside a bias this large, and the scale takes the bias back to the code.
    target = code + 0.5 if form.half is None else code - form.requantize.zero_point
    dtype = form.bias.dtype
    far = 2.0**40 if dtype == np.float32 else 2.0**80
    bias = np.where(constant, target * far, form.bias).astype(dtype)
    scale = np.where(constant, 1 / far, form.scale).astype(dtype)
    half = None if form.half is None else np.where(constant, 0.25, form.half).astype(dtype)
    return FittedForm(form.requantize, bias, scale, half)


def _with_exceptions(form: FittedForm, wanted: Wanted, elements: int) -> FittedForm | None:
    """List the sums around each wrong step at which the form errs, or return None if they are too many."""
    steps, offset, reach = wanted.steps, wanted.offset, wanted.reach
    step, channel = np.nonzero(_wrong_steps(form, wanted))
    if not step.size:
        return form
    raw = steps.first[step, channel] + np.arange(-4, 4)[:, None]
    raw = np.clip(raw, reach.lowest[channel], reach.highest[channel])
    definition = _channels_of(form.requantize, channel, len(offset))
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
    if not listed:
        return form
    if max(Counter(channel for channel, _ in listed).values()) > MAX_EXCEPTIONS:
        return None
    return dataclasses.replace(form, exceptions=Exceptions.of(listed, len(offset), form.bias.dtype, elements))
