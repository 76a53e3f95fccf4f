"""Requantization as a chain of few float operations, with the accumulators where it errs listed and put right.

:mod:`kernels.engine.fitting` makes these forms and proves them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from kernels.engine.runs import rows_in_run
from kernels.engine.steps import StepForm
from kernels.engine.ufuncs import clip
from qmath.requantize import Requantize
from qmath.types import Array, Int64Array

#: A pass that compares everything is worth it from this share of channels on; below, their columns are taken out.
DENSE = 1 / 20
#: The sign of a float, as the integer of the same bits.
SIGN_BIT: dict[np.dtype[Any], np.signedinteger[Any]] = {
    np.dtype(np.float32): np.int32(-(1 << 31)),
    np.dtype(np.float64): np.int64(-(1 << 63)),
}


@dataclass(frozen=True)
class Exceptions:
    """Raw sums at which a float form gives the wrong code, with the right one.

    Attributes
    ----------
    sums
        float32, shape ``(levels, channels)``: one raw sum a level and channel, NaN where there is none. The levels
        are those that hold many channels; each costs a pass that compares every element.
    codes
        Same shape: the right code.
    channels, single_sums, single_codes
        Shape ``(n,)``: all other exceptions, one by one.

    """

    sums: Array
    codes: Array
    channels: Int64Array
    single_sums: Array
    single_codes: Array

    @classmethod
    def of(cls, listed: dict[tuple[int, int], int], channels: int, dtype: np.dtype[Any]) -> Exceptions:
        """Arrange right codes by (channel, raw sum)."""
        by_channel: dict[int, list[tuple[int, int]]] = {}
        for (channel, raw), code in listed.items():
            by_channel.setdefault(channel, []).append((raw, code))
        depth = max(map(len, by_channel.values()))
        levels = [
            {channel: pairs[level] for channel, pairs in by_channel.items() if len(pairs) > level}
            for level in range(depth)
        ]
        dense = [level for level in levels if len(level) > DENSE * channels]
        single = [(channel, *pair) for level in levels[len(dense) :] for channel, pair in level.items()]
        sums = np.full((len(dense), channels), np.nan, dtype)
        codes = np.zeros((len(dense), channels), np.int64)
        for row, level in enumerate(dense):
            for channel, (raw, code) in level.items():
                sums[row, channel], codes[row, channel] = raw, code
        table = np.array(single, np.int64).reshape(-1, 3)
        return cls(sums, codes, table[:, 0], table[:, 1].astype(dtype), table[:, 2])

    @property
    def depth(self) -> int:
        """How many passes the dense levels cost."""
        return len(self.sums)

    def find(self, t: Array, sums: Array, channels: int) -> list[tuple[Int64Array, Array]]:
        """Return where exceptions stand in raw sums ``t``, as flat indices, and their right codes.

        Parameters
        ----------
        t
            Raw sums in runs.
        sums
            ``self.sums`` as long as a run.
        channels
            How many there are.

        """
        found: list[tuple[Int64Array, Array]] = []
        for values, codes in zip(sums, self.codes, strict=True):
            hit = np.equal(t, values)
            if hit.any():
                where = np.flatnonzero(hit)
                found.append((where, codes[where % channels]))
        if self.channels.size:
            hit = np.equal(t.reshape(-1, channels).take(self.channels, axis=1), self.single_sums)
            if hit.any():
                row, which = np.nonzero(hit)
                found.append((row * channels + self.channels[which], self.single_codes[which]))
        return found


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
    _layouts: dict[tuple[int, ...], _Layout] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __call__(self, raw: Array) -> Array:
        """Work in place on runs of folded rows."""
        layout = self._layouts.get(raw.shape) or self._lay_out(raw.shape)
        t = raw.reshape(layout.runs)
        wrong = self.exceptions.find(t, layout.sums, raw.shape[-1]) if self.exceptions else ()
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
        fold = rows_in_run(math.prod(shape) // channels, channels)
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
            sums=np.empty(0) if self.exceptions is None else np.tile(self.exceptions.sums, (1, fold)),
            lowest=np.asarray(act.min - base, float_type),
            highest=np.asarray(act.max - base, float_type),
            zero_point=np.asarray(self.requantize.zero_point, float_type),
            base=None if base == 0 else np.asarray(-base, np.uint8),
        )
        return layout


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
    sums: Array
    lowest: Array
    highest: Array
    zero_point: Array
    base: Array | None
