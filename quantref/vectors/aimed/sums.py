"""Convolutions and fully connected layers with chosen accumulators: by the bias, where the input is its zero point.

A pixel that is the input's zero point adds nothing, so its accumulator is the bias alone; with a real multiplier of
``2**-k`` an odd multiple of ``2**(k - 1)`` is exactly halfway, whatever the regime. For ``k`` = 1 gemmlowp's first
rounding meets the tie (the multiplier is 2**30, the shift 0), for larger ones its second.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, TypeAlias

import numpy as np

import fbs
from qmath.types import Array, DType
from quantref.vectors.aimed.aim import Aim
from quantref.vectors.cells.case import Case

#: Scales whose product is so little below one that the significand is the largest there is; 2**-15.5, squared.
_NEARLY_ONE = np.float32(1 + 181 * 2.0**-23), np.float32(1 - 181 * 2.0**-23)
_FAR_SHIFT = 2.0**-26


@dataclass(frozen=True, slots=True)
class Family:
    """An op with its types; ``bias`` is int32 or int64."""

    op: str
    x: DType
    bias: DType = DType.INT32

    @property
    def name(self) -> str:
        """As a cell is called."""
        return f"{self.op} {self.x.name.lower()}" + (" int64 bias" if self.bias is DType.INT64 else "")

    @property
    def filter(self) -> DType:
        """Type of the weights."""
        return DType.UINT8 if self.x is DType.UINT8 else DType.INT8

    @property
    def rounding(self) -> str:
        """Stage of the reference's last rounding."""
        return "rounded" if self.op == "FULLY_CONNECTED" else "shifted right"

    def zero_point(self, rng: np.random.Generator) -> int:
        """Choose a zero point inside of the range."""
        return 0 if self.x is DType.INT16 else int(rng.integers(self.x.min + 40, self.x.max - 40))


@dataclass(frozen=True, slots=True)
class Setting:
    """What one case is made from; scales of the input, of the filter by channel, and of the output."""

    x_zero: int
    y_zero: int
    y_scale: float
    bias: Array
    x_scale: float = 0.5
    filter_scale: tuple[float, ...] = (0.25,)
    filter_zero: int = 0
    size: tuple[int, int] = (3, 4)
    kernel: tuple[int, int] = (1, 1)
    depth: int = 3
    groups: int = 1
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def channels(self) -> int:
        """Output channels."""
        return len(self.bias)


def build(rng: np.random.Generator, family: Family, s: Setting) -> Case:
    """Build a case; about a third of the input's elements, whole pixels, are its zero point."""
    b = fbs.Builder()
    shape = (6, s.depth) if family.op == "FULLY_CONNECTED" else (1, *s.size, s.depth)
    x = b.input("x", family.x, shape, scale=s.x_scale, zero_point=s.x_zero)
    axis = 3 if family.op == "DEPTHWISE_CONV_2D" else 0
    weights = {"scale": s.filter_scale, "zero_point": s.filter_zero}
    weights["quantized_dimension"] = axis if len(s.filter_scale) > 1 else 0
    filter_ = b.constant("filter", _filter(rng, family, s), family.filter, **weights)
    bias_scale = np.float32(s.x_scale) * np.array(s.filter_scale, np.float32)
    bias = b.constant("bias", s.bias.astype(family.bias.storage), family.bias, scale=bias_scale)
    y = b.tensor("y", family.x, (), scale=s.y_scale, zero_point=s.y_zero)
    options: dict[str, Any] = {} if family.op == "FULLY_CONNECTED" else {"padding": 1, "stride_h": 1, "stride_w": 1}
    options |= s.options
    if family.op == "DEPTHWISE_CONV_2D":
        options["depth_multiplier"] = s.channels // s.depth
    slots: list[int | None] = [x, filter_, bias]
    if family.op == "TRANSPOSE_CONV":
        sizes = [size + kernel - 1 for size, kernel in zip(s.size, s.kernel, strict=True)]
        slots = [b.constant("shape", np.array((1, *sizes, s.channels), np.int32)), filter_, x, bias]
    if family.x is DType.INT16 and family.bias is DType.INT32 and family.op != "DEPTHWISE_CONV_2D":
        options["quantized_bias_type"] = DType.INT32.value
    b.op(family.op, slots, [y], version=_version(family), options=options)
    codes = rng.integers(family.x.min, family.x.max + 1, shape)
    quiet = rng.random((*shape[:-1], 1)) < 0.34
    quiet.flat[0] = True
    return Case("", b.finish([y]), ({"x": np.where(quiet, s.x_zero, codes).astype(family.x.storage)},))


def _filter(rng: np.random.Generator, family: Family, s: Setting) -> Array:
    shape: tuple[int, ...] = (s.channels, *s.kernel, s.depth)
    if family.op == "FULLY_CONNECTED":
        shape = (s.channels, s.depth)
    elif family.op == "DEPTHWISE_CONV_2D":
        shape = (1, *s.kernel, s.channels)
    elif family.op == "CONV_2D":
        shape = (s.channels, *s.kernel, s.depth // s.groups)
    return (rng.integers(-127, 128, shape) + s.filter_zero).clip(family.filter.min, family.filter.max)


def _version(family: Family) -> int:
    if family.op == "FULLY_CONNECTED":
        return 7 if family.x is DType.INT16 else 4
    return 3


Choose: TypeAlias = Callable[[np.random.Generator, Family], Setting]

# --- The aims -----------------------------------------------------------------------------------------------------


def _halves(rng: np.random.Generator, family: Family, k: int, channels: int = 12) -> Setting:
    """Return accumulators halfway between two codes, of both signs, for a real multiplier of ``2**-k``."""
    odd = 2 * rng.integers(0, 20, channels) + 1
    bias = odd * (1 << (k - 1)) * np.where(np.arange(channels) % 2, -1, 1)
    return Setting(family.zero_point(rng), family.zero_point(rng), 0.125 * 2.0**k, bias)


def shift_ties(rng: np.random.Generator, family: Family) -> Setting:
    """Ties of the last rounding."""
    return _halves(rng, family, int(rng.integers(2, 10)))


def multiply_ties(rng: np.random.Generator, family: Family) -> Setting:
    """Ties of the rounding in the high multiply."""
    return _halves(rng, family, 1)


def ends(rng: np.random.Generator, family: Family) -> Setting:
    """Sums far beyond both ends of the codes."""
    s = _halves(rng, family, 3)
    return replace(s, bias=s.bias + np.where(np.arange(s.channels) % 2, -1, 1) * (1 << 21))


def zero_points(rng: np.random.Generator, family: Family) -> Setting:
    """Zero points at the two ends of the range."""
    low, high = rng.permutation([family.x.min, family.x.max])
    s = _halves(rng, family, 9)
    filter_zero = int(rng.choice([0, 255])) if family.filter is DType.UINT8 else 0
    return replace(s, x_zero=int(low), y_zero=int(high), filter_zero=filter_zero)


def multipliers(rng: np.random.Generator, family: Family) -> Setting:
    """One channel with the smallest significand, one with the largest, one of each size in between."""
    x_scale, largest = _NEARLY_ONE
    bias = rng.integers(-(1 << 20), 1 << 20, 12)
    smallest = np.nextafter(np.float32(1 / np.float64(x_scale)), np.float32(2))
    scales = (float(smallest), float(largest), *(float(x) for x in rng.uniform(0.5, 1, 10)))
    s = Setting(family.zero_point(rng), family.zero_point(rng), 1.0, bias, float(x_scale), scales)
    return replace(s, y_scale=2.0**14)


def shifts(rng: np.random.Generator, family: Family) -> Setting:
    """Multipliers from far below the last bit to above one, channel by channel."""
    exponents = np.array([-30, -26, -22, -18, -14, -10, -6, -3, 1, 3, 6, 10])
    bias = rng.integers(-(1 << 24), 1 << 24, 12)
    scales = tuple(float(x) for x in np.exp2(exponents) * rng.choice([1, 1.25, 1.5, 1.75], 12))
    bias[8:] = rng.integers(-60, 60, 4)
    return Setting(family.zero_point(rng), family.zero_point(rng), 1.0, bias, 1.0, scales)


def corners(rng: np.random.Generator, family: Family) -> Setting:
    """A window larger than the picture, so that every place meets the border, under a zero point far from zero."""
    s = _halves(rng, family, 9)
    far = 0 if family.x is DType.INT16 else int(rng.choice([family.x.min + 1, family.x.max - 1]))
    size, kernel = (int(rng.integers(1, 4)), int(rng.integers(2, 5))), (int(rng.integers(3, 6)), 4)
    return replace(s, x_zero=far, size=size, kernel=kernel, options={"padding": 0})


def dilated(rng: np.random.Generator, family: Family) -> Setting:
    """Taps that lie apart."""
    s = _halves(rng, family, 9)
    steps = {"dilation_h_factor": int(rng.integers(2, 4)), "dilation_w_factor": int(rng.integers(1, 4))}
    return replace(s, size=(7, 8), kernel=(3, 2), options=steps)


def strided(rng: np.random.Generator, family: Family) -> Setting:
    """Strides that differ, and the border on one side only."""
    s = _halves(rng, family, 9)
    return replace(s, size=(6, 7), kernel=(3, 3), options={"padding": 0, "stride_h": 2, "stride_w": 3})


def single(rng: np.random.Generator, family: Family) -> Setting:
    """One pixel of one channel, and one filter."""
    s = _halves(rng, family, int(rng.integers(2, 6)), 1)
    return replace(s, size=(1, 1), depth=1)


def grouped(rng: np.random.Generator, family: Family) -> Setting:
    """Two groups of channels."""
    return replace(_halves(rng, family, 9), depth=4, groups=2)


def headroom(rng: np.random.Generator, family: Family) -> Setting:
    """Biases at the ends of 32 bits: sums wrap around."""
    s = _halves(rng, family, 20)
    signs = np.where(np.arange(s.channels) % 2, -1, 1)
    return replace(s, bias=signs * ((1 << 31) - 1 - rng.integers(0, 200, s.channels)), depth=3, y_scale=0.125 * 2.0**25)


def _generate(cell: str, family: Family, choose: Choose, rng: np.random.Generator) -> Iterator[Case]:
    while True:
        yield replace(build(rng, family, choose(rng, family)), cell=cell)


def _aims(family: Family) -> Iterator[Aim]:
    both = ("tie negative", "tie positive")
    convolves = family.op != "FULLY_CONNECTED"
    wide = family.bias is DType.INT64
    table: dict[str, tuple[Choose, tuple[str, ...]]] = {
        "ties of the last rounding": (shift_ties, tuple(f"{tie}: {family.rounding}" for tie in both)),
        "both ends": (ends, ("saturated above: clamped", "saturated below: clamped")),
    }
    if family.rounding == "shifted right" and not wide:
        table["ties of the high multiply"] = multiply_ties, tuple(f"{tie}: high multiply" for tie in both)
    if family.x is not DType.INT16:
        table["zero points at the ends"] = zero_points, ("zero point highest", "zero point lowest")
    if family.x is not DType.UINT8 and convolves:
        table["multipliers"] = multipliers, ("multiplier largest", "multiplier smallest")
        table["shifts"] = shifts, ("shift left", "shift right far")
    if convolves and family.op != "TRANSPOSE_CONV":
        table["padding corners"] = corners, ("padding", "uneven padding")
        table["dilation"] = dilated, ("dilation",)
        table["strides"] = strided, ("stride",)
    if family.op == "DEPTHWISE_CONV_2D":
        table["channel multiplier"] = shift_ties, ("channel multiplier",)
    if family.op == "CONV_2D" and family.x is not DType.UINT8:
        table["groups"] = grouped, ("groups",)
    if not wide:
        table["32 bits"] = headroom, ("accumulator near the end", "wrapped: accumulator")
    table["size 1"] = single, ("size 1",)
    for name, (choose, hits) in table.items():
        cell = f"{family.name} aimed at {name}"
        yield Aim(cell, partial(_generate, cell, family, choose), hits)


_OPS = ("CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV", "FULLY_CONNECTED")
_FAMILIES = (
    *(Family(op, x) for op in _OPS for x in (DType.INT8, DType.UINT8)),
    *(Family(op, DType.INT16, DType.INT64) for op in _OPS),
    *(Family(op, DType.INT16) for op in ("CONV_2D", "TRANSPOSE_CONV")),
)
AIMS = tuple(aim for family in _FAMILIES for aim in _aims(family))
