"""Requantization as a chain of few float operations, with the accumulators where it errs listed and put right.

:mod:`kernels.engine.fitting` makes these forms and proves them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from kernels.engine.plans import Scratch
from kernels.engine.program import Program, finishing
from kernels.engine.runs import Runs
from kernels.engine.steps import StepForm
from kernels.engine.ufuncs import clip
from qmath.requantize import Requantize
from qmath.types import Array, Int64Array

#: Bytes that a pass runs over in the time that it takes to start, and elements of one channel, which lie apart.
BYTES_TO_START, APART_TO_START = 1 << 14, 1 << 9
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
    def of(cls, listed: dict[tuple[int, int], int], channels: int, dtype: np.dtype[Any], elements: int) -> Exceptions:
        """Arrange right codes by (channel, raw sum), for calls on so many elements."""
        by_channel: dict[int, list[tuple[int, int]]] = {}
        for (channel, raw), code in listed.items():
            by_channel.setdefault(channel, []).append((raw, code))
        depth = max(map(len, by_channel.values()))
        levels = [
            {channel: pairs[level] for channel, pairs in by_channel.items() if len(pairs) > level}
            for level in range(depth)
        ]
        # One pass finds a whole level; or one a channel, each over what that channel has.
        whole, single = _starts(elements, dtype), 1 + elements / channels / APART_TO_START
        dense = [level for level in levels if len(level) * single > whole]
        apart = [(channel, *pair) for level in levels[len(dense) :] for channel, pair in level.items()]
        sums = np.full((len(dense), channels), np.nan, dtype)
        codes = np.zeros((len(dense), channels), np.int64)
        for row, level in enumerate(dense):
            for channel, (raw, code) in level.items():
                sums[row, channel], codes[row, channel] = raw, code
        table = np.array(apart, np.int64).reshape(-1, 3)
        return cls(sums, codes, table[:, 0], table[:, 1].astype(dtype), table[:, 2])


def _starts(elements: int, dtype: np.dtype[Any]) -> float:
    """Return what a pass over all elements takes."""
    return 1 + elements * dtype.itemsize / BYTES_TO_START


class Mending:
    """Exceptions that are looked for in raw sums before a form overwrites them, and put right when it is done.

    Parameters
    ----------
    exceptions
        What to look for.
    raw
        The raw sums, channels last.
    runs
        How they are seen in long runs.
    codes
        Where the form leaves its codes.
    scratch
        Memory for what is found.

    """

    def __init__(self, exceptions: Exceptions, raw: Array, runs: Runs, codes: Array, scratch: Scratch) -> None:
        self._exceptions = exceptions
        self._codes = codes
        self._hit = scratch.take("hit", (len(exceptions.sums), raw.size), np.bool_)
        #: Compares the raw sums with all exceptions.
        self.look: Program = []
        for sums, found in zip(exceptions.sums, self._hit, strict=True):
            self.look += runs.call(np.equal, raw, runs.repeated(sums), found)
        columns = raw.reshape(-1, raw.shape[-1])
        self._hit_single = scratch.take("hit single", (len(exceptions.channels), len(columns)), np.bool_)
        for channel, value, hit in zip(
            exceptions.channels, exceptions.single_sums[:, None], self._hit_single, strict=True
        ):
            self.look.append((np.equal, (columns[:, channel], value, hit)))

    def mend(self) -> None:
        """Write the right codes where one was found."""
        exceptions = self._exceptions
        if np.count_nonzero(self._hit):
            level, where = np.nonzero(self._hit)
            self._write(where, exceptions.codes[level, where % exceptions.codes.shape[1]])
        if exceptions.channels.size and np.count_nonzero(self._hit_single):
            which, row = np.nonzero(self._hit_single)
            channels = exceptions.codes.shape[1]
            self._write(row * channels + exceptions.channels[which], exceptions.single_codes[which])

    def _write(self, where: Int64Array, right: Int64Array) -> None:
        self._codes[np.unravel_index(where, self._codes.shape)] = right


@dataclass(frozen=True)
class FittedForm(StepForm):
    """A float chain for ``v = (raw + bias) * scale``, in the float type of its vectors, fitted and proven.

    Where no tie depends on a sign (``half`` is None), everything that is added sits in ``bias``: ``floor(clip(v))``.
    Otherwise ``clip(trunc(v + copysign(half, v)) + zero_point)``.
    """

    requantize: Requantize
    bias: Array
    scale: Array
    half: Array | None
    exceptions: Exceptions | None = None

    @property
    def words(self) -> str:
        """What the form is, in a few words."""
        return f"{self.bias.dtype}, proven at every step{self._exceptions_in_words}"

    def bind(self, raw: Array, codes: Array, scratch: Scratch) -> Program:
        """Work in place, on long runs."""
        channels = raw.shape[-1]
        runs = Runs(raw.size // channels, channels)
        v = raw if raw.dtype == self.bias.dtype else scratch.take("wide", raw.shape, self.bias.dtype)
        program = runs.call(np.add, raw, runs.repeated(self.bias), v)
        program += runs.call(np.multiply, v, runs.repeated(self.scale), v)
        program += self._cut(v, codes) if self.half is None else self._round(v, codes, runs, self.half, scratch)
        if self.exceptions is None:
            return program
        mending = Mending(self.exceptions, raw, runs, codes, scratch)
        return [*mending.look, *program, (mending.mend, ())]

    def _cut(self, v: Array, codes: Array) -> Program:
        flat = v.reshape(-1)
        return [(clip, (flat, *self._ends(v.dtype), flat)), *finishing(np.floor, v, codes)]

    def _round(self, v: Array, codes: Array, runs: Runs, half: Array, scratch: Scratch) -> Program:
        flat, zero_point = v.reshape(-1), np.asarray(self.requantize.zero_point, v.dtype)
        bits, sign_bit = flat.view(SIGN_BIT[v.dtype].dtype), np.asarray(SIGN_BIT[v.dtype])
        signed_half = scratch.take("signed half", bits.shape, bits.dtype)
        return [
            (np.bitwise_and, (bits, sign_bit, signed_half)),
            *runs.call(np.bitwise_or, signed_half, runs.repeated(half).view(bits.dtype), signed_half),
            (np.add, (flat, signed_half.view(v.dtype), flat)),
            (np.trunc, (flat, flat)),
            (np.add, (flat, zero_point, flat)),
            *finishing(clip, v, codes, *self._ends(v.dtype)),
        ]

    def _ends(self, dtype: np.dtype[Any]) -> tuple[Array, Array]:
        act = self.requantize.activation
        return np.asarray(act.min, dtype), np.asarray(act.max, dtype)

    @property
    def _exceptions_in_words(self) -> str:
        if self.exceptions is None:
            return ""
        listed = int(np.count_nonzero(~np.isnan(self.exceptions.sums))) + len(self.exceptions.channels)
        return f" but for {listed} sums that are looked for"

    def cost(self, elements: int, raw: np.dtype[Any]) -> float:
        """Estimate the time of a call on so many elements of ``raw`` type, in starts of a pass over all of them."""
        passes = 5.0 if self.half is None else 8.0
        passes += 1.5 if raw != self.bias.dtype else 0  # a pass that converts takes so much longer
        starts = 0.0
        if self.exceptions is not None:
            passes += len(self.exceptions.sums)
            rows = elements / len(self.bias)
            starts = 1.5 + len(self.exceptions.channels) * (1 + rows / APART_TO_START)
        return starts + passes * _starts(elements, self.bias.dtype)

    def unclamped(self, raw: Int64Array) -> Array:
        """Return codes before the clamp, for raw sums of shape (any, channels): what is proven."""
        float_type = self.bias.dtype.type
        v: Array = (raw.astype(float_type) + self.bias) * self.scale
        if self.half is None:
            floor: Array = np.floor(v)
            return floor
        rounded: Array = np.trunc(v + np.copysign(self.half, v)) + float_type(self.requantize.zero_point)
        return rounded
