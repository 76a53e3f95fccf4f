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
from qmath.requantize import Requantize
from qmath.types import Array, BoolArray, Float64Array, Int64Array

#: More exceptions than this in one channel, and a wider float is quicker.
MAX_EXCEPTIONS = 12
#: Units in the last place of the scale that the fit tries either side.
SCALE_TRIALS = (0, 1, -1, 2, -2, 3, -3)

#: Fits a form to steps, given its scale.
Fit: TypeAlias = Callable[[Requantize, Int64Array, "Steps", Array], FittedForm]


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


def proven_form(requantize: Requantize, offset: Int64Array, reach: Reach, elements: int) -> FittedForm | None:
    """Fit a float form and prove it at every step, or return None.

    Parameters
    ----------
    requantize, offset, reach
        What is to be computed: ``requantize(raw + offset)``.
    elements
        How many a call has: decides which of the forms costs least, one with exceptions to look for, one that asks for
        signs, or one in a wider type.

    """
    if reach.dtype is None or requantize.dtype.bits > 8:
        return None
    steps = steps_of(requantize, offset, reach)
    if steps is None or not steps.codes.size:  # a range of one code has no steps
        return None
    form = requantize.regime.real_form(requantize.factor)
    sign_matters = requantize.activation.min < requantize.zero_point and (form is None or bool(form.away.any()))
    fits = (_fit, _fit_by_sign) if sign_matters else (_fit,)
    found, raw, wide = [], reach.dtype, np.dtype(np.float64)
    for dtype in (raw,) if raw == wide else (raw, wide):
        for fit in fits:
            fitted = _fitted(requantize, offset, reach, steps, dtype, fit, elements)
            if fitted is not None:
                found.append(fitted)
                if dtype == raw and fitted.half is None and fitted.exceptions is None:
                    return fitted
    return min(found, key=lambda form: form.cost(elements, raw), default=None)


def _fitted(
    requantize: Requantize,
    offset: Int64Array,
    reach: Reach,
    steps: Steps,
    dtype: np.dtype[Any],
    fit: Fit,
    elements: int,
) -> FittedForm | None:
    fits = [fit(requantize, offset, steps, _scales(requantize, len(offset), dtype, trial)) for trial in SCALE_TRIALS]
    wrong = np.stack([_wrong_steps(fit, steps, reach).sum(axis=0) for fit in fits])
    chosen = _settle_constants(_choose(fits, wrong.argmin(axis=0)), offset, reach, steps)
    return _with_exceptions(chosen, offset, reach, steps, elements)


def _scales(requantize: Requantize, channels: int, dtype: np.dtype[Any], trial: int) -> Array:
    """Return the real multipliers in a float type, ``trial`` units in the last place away."""
    form = requantize.regime.real_form(requantize.factor)
    real = form.scale if form else np.asarray(requantize.factor, np.float64)
    scale = np.maximum(np.broadcast_to(real, (channels,)), 1e-30).astype(dtype)
    bits: Array = scale.view(np.int32 if dtype == np.float32 else np.int64)
    return (bits + trial).view(dtype)


def _fit(requantize: Requantize, offset: Int64Array, steps: Steps, scale: Array) -> FittedForm:
    """Place ``bias`` in the middle of what every step of a channel allows: ``first`` reaches its code, one less not."""
    targets = steps.codes / scale.astype(np.float64)
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


def _wrong_steps(form: FittedForm, steps: Steps, reach: Reach) -> BoolArray:
    """Return for each step and channel whether the form is on the wrong side of it, on either side.

    A step that the sums never come to counts too: the form must not reach its code at the highest sum, or must have
    reached it at the lowest.
    """
    lowest, highest = reach.lowest, reach.highest
    at_step = form.unclamped(np.clip(steps.first, lowest, highest)) >= steps.codes
    before = form.unclamped(np.clip(steps.first - 1, lowest, highest)) >= steps.codes
    wrong: BoolArray = (at_step != (steps.first <= highest)) | (before != (steps.first <= lowest))
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
    target = code + 0.5 if form.half is None else code - form.requantize.zero_point
    dtype = form.bias.dtype
    far = 2.0**40 if dtype == np.float32 else 2.0**80
    bias = np.where(constant, target * far, form.bias).astype(dtype)
    scale = np.where(constant, 1 / far, form.scale).astype(dtype)
    half = None if form.half is None else np.where(constant, 0.25, form.half).astype(dtype)
    return FittedForm(form.requantize, bias, scale, half)


def _with_exceptions(
    form: FittedForm, offset: Int64Array, reach: Reach, steps: Steps, elements: int
) -> FittedForm | None:
    """List the sums around each wrong step at which the form errs, or return None if they are too many."""
    step, channel = np.nonzero(_wrong_steps(form, steps, reach))
    if not step.size:
        return form
    raw = steps.first[step, channel] + np.arange(-4, 4)[:, None]
    raw = np.clip(raw, reach.lowest[channel], reach.highest[channel])
    multiplier = np.broadcast_to(form.requantize.real_multiplier, offset.shape)[channel]
    regime = form.requantize.regime.at(channel, len(offset))
    definition = dataclasses.replace(form.requantize, regime=regime, real_multiplier=multiplier)
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
