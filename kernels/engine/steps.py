"""Requantization as a step function of the accumulator: forms that cost nothing to derive.

A requantization is a monotone step function of the integer accumulator. Where a product of accumulator and multiplier
fits 53 bits, float64 computes the regime's real form (:class:`qmath.requantize.RealForm`) without any rounding, and
beyond that the output has long saturated. :mod:`kernels.engine.fitting` finds faster forms and proves them.
"""

from __future__ import annotations

import abc
from dataclasses import dataclass

import numpy as np

from kernels.engine.exact import Reach
from kernels.engine.plans import Scratch
from kernels.engine.program import Program, finishing, run
from kernels.engine.runs import Runs
from kernels.engine.ufuncs import clip
from qmath.requantize import Float32HalfEven, RealForm, Requantize
from qmath.types import Array, FixedPointMultiplier, Float32Array, Float64Array, Int64Array


class StepForm(abc.ABC):
    """Raw sums to output codes, channels last. The sums may be overwritten."""

    requantize: Requantize

    @property
    @abc.abstractmethod
    def words(self) -> str:
        """What the form is, in a few words."""

    @abc.abstractmethod
    def bind(self, raw: Array, codes: Array, scratch: Scratch) -> Program:
        """Lay out the way from whatever ``raw`` holds by then to ``codes``: an array of its shape.

        ``codes`` may be of any type that holds them, with any strides. ``scratch`` is for what is needed on the way.
        """

    def __call__(self, raw: Array) -> Array:
        """Return codes of the output's type, in the shape of ``raw``."""
        codes = np.empty(raw.shape, self.requantize.dtype.storage)
        run(self.bind(raw, codes, Scratch()))
        return codes


class WholeForm(StepForm):
    """A form that makes codes in memory of their own: it costs nothing to derive, and more to run."""

    @abc.abstractmethod
    def __call__(self, raw: Array) -> Array:
        """Return codes of the output's type, in the shape of ``raw``."""

    def bind(self, raw: Array, codes: Array, scratch: Scratch) -> Program:
        """Make them and copy."""
        del scratch
        return [(lambda: codes.__setitem__(..., self(raw)), ())]


@dataclass(frozen=True)
class Definition(WholeForm):
    """The regime itself, on exact sums."""

    requantize: Requantize
    offset: Int64Array

    @property
    def words(self) -> str:
        """What the form is, in a few words."""
        return "the definition, in int64: no float form is proven"

    def __call__(self, raw: Array) -> Array:
        """Requantize integers."""
        return self.requantize(raw.astype(np.int64) + self.offset)


@dataclass(frozen=True)
class Float64Form(WholeForm):
    """The regime's real form in float64: exact by :func:`exact_in_float64`."""

    requantize: Requantize
    offset: Float64Array
    form: RealForm

    @property
    def words(self) -> str:
        """What the form is, in a few words."""
        return "float64, exact by its bound"

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

    @property
    def words(self) -> str:
        """What the form is, in a few words."""
        return "float32, as the regime itself computes"

    def bind(self, raw: Array, codes: Array, scratch: Scratch) -> Program:
        """Add, multiply, round half to even, add the zero point, clamp."""
        del scratch
        act, channels = self.requantize.activation, raw.shape[-1]
        runs, flat = Runs(raw.size // channels, channels), raw.reshape(-1)
        offset, factor = (
            runs.repeated(np.broadcast_to(np.asarray(vector, np.float32), channels))
            for vector in (self.offset, self.requantize.factor)
        )
        lowest, highest = np.asarray(act.min, np.float32), np.asarray(act.max, np.float32)
        zero_point = np.asarray(self.requantize.zero_point, np.float32)
        return [
            *runs.call(np.add, raw, offset, raw),
            *runs.call(np.multiply, raw, factor, raw),
            (np.rint, (flat, flat)),
            (np.add, (flat, zero_point, flat)),
            *finishing(clip, raw, codes, lowest, highest),
        ]


def quick_form(requantize: Requantize, offset: Int64Array, reach: Reach) -> StepForm | None:
    """Return a form that costs nothing to derive, or None where the accumulator may leave the regime's domain."""
    if reach.dtype is None or not stays_in_domain(requantize, offset, reach):
        return None
    form = requantize.regime.real_form(requantize.factor)
    if isinstance(requantize.regime, Float32HalfEven) and reach.dtype == np.float32:
        rounded = offset.astype(np.float32)
        if (rounded == offset).all():
            return Float32RintForm(requantize, rounded)
    if form is not None and exact_in_float64(requantize, offset, reach):
        return Float64Form(requantize, offset.astype(np.float64), form)
    return Definition(requantize, offset)


def stays_in_domain(requantize: Requantize, offset: Int64Array, reach: Reach) -> bool:
    """Whether no accumulator leaves the domain of its regime, beyond which it may wrap around."""
    return bool((_largest(offset, reach) <= requantize.regime.limit(requantize.factor)).all())


def exact_in_float64(requantize: Requantize, offset: Int64Array, reach: Reach) -> bool:
    """Whether float64 computes the regime's real form without any rounding that matters.

    A product, and whatever is added to it, is a multiple of ``2**(shift - 31)``. So all is exact as long as the result
    is less than ``2**53`` such units; or, for outputs of 8 bits with ``shift >= -12``, up to 2**10, beyond which every
    output has saturated and stays so because rounding is monotone. And a result far below one half is zero, whatever
    the rounding.
    """
    factor = requantize.factor
    if not isinstance(factor, FixedPointMultiplier):
        return False
    product = np.ldexp(_largest(offset, reach).astype(np.float64) * factor.multiplier, factor.shift - 31)
    added = 1 + abs(requantize.zero_point)
    exact = product + added < np.ldexp(2.0**53, factor.shift - 31)
    saturates = (factor.shift >= -12) & (requantize.dtype.bits <= 8)
    return bool((exact | saturates | (product < 0.25)).all())


def _largest(offset: Int64Array, reach: Reach) -> Int64Array:
    largest: Int64Array = np.maximum(np.abs(reach.lowest + offset), np.abs(reach.highest + offset))
    return largest
