"""Requantization folded into the sum: the fast form of outputs of 16 bits.

The multiplier of a 64-bit accumulator has 16 bits. A weight of 8 bits times such a multiplier times a power of two is
a float64 without rounding, and so is every sum of such products with codes, as long as no sum has more than 53 bits
between its highest and its lowest: then BLAS gives the *scaled* accumulator exactly, in whatever order it adds. What
is left of the requantization is one addition, a clip and a floor. There is nothing to search or to compare: a bound,
known when the op is prepared, proves it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from kernels.engine.exact import EXACT_FLOAT64, LinearSum, Planner, Reach
from kernels.engine.geometry import Window
from kernels.engine.plans import Plan, Room, Scratch
from kernels.engine.program import Program, copy, finishing
from kernels.engine.runs import Runs
from kernels.engine.steps import StepForm
from kernels.engine.ufuncs import clip
from qmath.requantize import RealForm, Requantize
from qmath.types import Array, Float64Array, Int64Array


@dataclass(frozen=True)
class ScaledSum(LinearSum):
    """Raw sums times the real multiplier of their channel, in float64."""

    reach: Reach
    products: int
    sliding: Window | None
    planner: Planner
    room_of: Callable[[tuple[int, ...], np.dtype[Any]], Room | None]

    def plan(
        self, shape: tuple[int, ...], scratch: Scratch, window: Window | None = None, room: Room | None = None
    ) -> Plan:
        """Sum with scaled weights, or scale sums."""
        return self.planner(shape, scratch, window, room)

    def room(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Room | None:
        """Return what the raw sums take."""
        return self.room_of(shape, dtype)


@dataclass(frozen=True)
class FoldedForm(StepForm):
    """``floor(clip(scaled + constant, lowest, highest))``, where ``constant`` is everything else, scaled."""

    requantize: Requantize
    constant: Float64Array

    @property
    def words(self) -> str:
        """What the form is, in a few words."""
        return "the multiplier folded into float64 sums, exact by its bound"

    def bind(self, raw: Array, codes: Array, scratch: Scratch) -> Program:
        """Work in place, on long runs."""
        del scratch
        activation, channels = self.requantize.activation, raw.shape[-1]
        runs, flat = Runs(raw.size // channels, channels), raw.reshape(-1)
        add = runs.call(np.add, raw, runs.repeated(self.constant), raw)
        cut = clip, (flat, np.asarray(float(activation.min)), np.asarray(float(activation.max)), flat)
        if activation.min >= 0 and np.issubdtype(codes.dtype, np.integer):
            return [*add, cut, copy(raw, codes)]
        return [*add, cut, *finishing(np.floor, raw, codes)]


def folded(sums: LinearSum, offset: Int64Array, requantize: Requantize) -> tuple[ScaledSum, FoldedForm] | None:
    """Return exact scaled sums and the step that makes codes of them, or None where no bound proves them.

    Parameters
    ----------
    sums
        The raw sums; ``sums.reach`` bounds partial sums too, because no code range leaves out 0.
    offset
        int64, shape ``(channels,)``: added to the raw sums.
    requantize
        To 16 bits, by a regime that rounds once.

    """
    form = requantize.regime.real_form(requantize.factor)
    if form is None or form.away.any() or requantize.dtype.bits != 16 or sums.reach.dtype is None:
        return None
    scale = np.broadcast_to(form.scale, offset.shape)
    largest = np.maximum(np.abs(sums.reach.lowest), np.abs(sums.reach.highest))
    bound = largest + np.abs(offset)
    if not (bound <= requantize.regime.limit(requantize.factor)).all() or not _exact(form, bound, requantize):
        return None
    constant = offset.astype(np.float64) * scale + (form.up + requantize.zero_point)
    scaled = ScaledSum(sums.reach, sums.products, sums.sliding, sums.scaled(scale), sums.room)
    return scaled, FoldedForm(requantize, constant)


def _exact(form: RealForm, bound: Int64Array, requantize: Requantize) -> bool:
    """Whether every number that is added up is a multiple of one unit and below ``2**53`` such units."""
    unit = np.minimum(_lowest_bit(form.scale), _lowest_bit(form.up))
    added = form.up + abs(requantize.zero_point)
    return bool((bound * form.scale + added < EXACT_FLOAT64 * unit).all() and (bound < EXACT_FLOAT64).all())


def _lowest_bit(values: Float64Array) -> Float64Array:
    """Return the worth of the lowest set bit; infinity for 0, which is a multiple of everything."""
    fraction, exponent = np.frexp(values)
    significand = (fraction * 2.0**53).astype(np.int64)
    lowest = (significand & -significand).astype(np.float64)
    return np.where(values == 0, np.inf, np.ldexp(lowest, exponent - 53))
