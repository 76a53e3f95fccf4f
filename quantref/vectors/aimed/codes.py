"""Ops of codes without weights, at scales whose ratios are powers of two: ADD, SUB, MUL, pooling, rescaling."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

import numpy as np

import fbs
from qmath.types import Array, DType
from quantref.vectors.aimed.aim import Aim
from quantref.vectors.cells.case import Case
from quantref.vectors.cells.models import one_input, two_inputs

_TIES = ("tie negative", "tie positive")
_TYPES = (DType.INT8, DType.UINT8, DType.INT16)


@dataclass(frozen=True, slots=True)
class Choice:
    """Scales and zero points of inputs and output, one each."""

    scales: tuple[float, ...]
    zero_points: tuple[int, ...]

    def params(self) -> tuple[dict[str, Any], ...]:
        """Return them as the builder's keywords."""
        pairs = zip(self.scales, self.zero_points, strict=True)
        return tuple({"scale": scale, "zero_point": zero_point} for scale, zero_point in pairs)


Chooser: TypeAlias = Callable[[np.random.Generator, DType], Choice]


def _zero_point(rng: np.random.Generator, dtype: DType) -> int:
    return 0 if dtype.bits > 8 else int(rng.integers(dtype.min + 40, dtype.max - 40))


def _grid(rng: np.random.Generator, dtype: DType) -> tuple[Array, Array]:
    """Return two arrays with the ends of the range, the codes around zero, and any others."""
    some = [dtype.min, dtype.min + 1, dtype.max - 1, dtype.max, *rng.integers(dtype.min, dtype.max + 1, 12)]
    codes = np.array(some).astype(dtype.storage)
    return codes[:, None].repeat(16, 1)[None], codes[None, :].repeat(16, 0)[None]


# --- Two operands -------------------------------------------------------------------------------------------------


def _sum_ties(rng: np.random.Generator, dtype: DType) -> Choice:
    scale = 2.0 ** int(rng.integers(-6, 0))
    return Choice((scale, 2 * scale, 4 * scale), tuple(_zero_point(rng, dtype) for _ in range(3)))


def _sum_ends(rng: np.random.Generator, dtype: DType) -> Choice:
    scale = 2.0 ** int(rng.integers(-6, 0))
    return Choice((scale, scale, scale / 8), tuple(_zero_point(rng, dtype) for _ in range(3)))


def _sum_far(rng: np.random.Generator, dtype: DType) -> Choice:
    """One operand weighs little: its own scaling is where ties are."""
    scale = 2.0 ** int(rng.integers(-6, 0))
    return Choice((scale * 2.0**-21, scale, scale), tuple(_zero_point(rng, dtype) for _ in range(3)))


def _product_ties(rng: np.random.Generator, dtype: DType) -> Choice:
    scale = 2.0 ** int(rng.integers(-6, 0))
    return Choice((scale, 0.5, scale * 2.0**5), tuple(_zero_point(rng, dtype) for _ in range(3)))


def _product_ends(rng: np.random.Generator, dtype: DType) -> Choice:
    return Choice((0.5, 0.5, 0.25), tuple(_zero_point(rng, dtype) for _ in range(3)))


def _at_the_ends(rng: np.random.Generator, dtype: DType) -> Choice:
    low, high, other = (*rng.permutation([dtype.min, dtype.max]), int(rng.choice([dtype.min, dtype.max])))
    return Choice((0.5, 0.25, 2.0), (int(low), int(high), other))


def _pairs(cell: str, op: str, dtype: DType, choose: Chooser, rng: np.random.Generator) -> Iterator[Case]:
    options: dict[str, Any] = {} if op == "MUL" else {"pot_scale_int16": False}
    while True:
        first, second, target = choose(rng, dtype).params()
        types = (dtype, dtype)
        params = first, second, target
        model, sample = two_inputs(op, _grid(rng, dtype), types, dtype, params, **options)
        yield Case(cell, model, (sample,))


def _pair_aims() -> Iterator[Aim]:
    last = tuple(f"{tie}: shifted right" for tie in _TIES)
    ends = ("saturated above: clamped", "saturated below: clamped")
    zero_points = ("zero point highest", "zero point lowest")
    for dtype in _TYPES:
        table: dict[str, list[tuple[str, Chooser, tuple[str, ...]]]] = {
            "MUL": [("ties", _product_ties, last), ("both ends", _product_ends, ends)]
        }
        far = tuple(f"{tie}: input 1: shifted right" for tie in _TIES)
        for op in ("ADD", "SUB"):
            table[op] = [("ties", _sum_ties, last), ("both ends", _sum_ends, ends)]
            table[op] += [("ties of an operand", _sum_far, far)] if dtype is not DType.INT16 else []
        for op, aims in table.items():
            if dtype is not DType.INT16:
                aims.append(("zero points at the ends", _at_the_ends, zero_points))
            for name, choose, hits in aims:
                cell = f"{op} {dtype.name.lower()} aimed at {name}"
                yield Aim(cell, partial(_pairs, cell, op, dtype, choose), hits)


# --- One operand --------------------------------------------------------------------------------------------------


def _rescaled(cell: str, source: DType, target: DType, ratio: int, rng: np.random.Generator) -> Iterator[Case]:
    """Requantize codes to a scale larger by a power of two."""
    while True:
        x = rng.integers(source.min, source.max + 1, (1, 400)).astype(source.storage)
        scale = 2.0 ** int(rng.integers(-6, 0))
        params = (
            {"scale": s, "zero_point": _zero_point(rng, d)} for s, d in ((scale, source), (scale * ratio, target))
        )
        yield Case(cell, one_input("QUANTIZE", x, source, target, *params), ({"x": x},))


def _pooled(cell: str, op: str, dtype: DType, options: dict[str, Any], rng: np.random.Generator) -> Iterator[Case]:
    while True:
        zero_point = _zero_point(rng, dtype)
        shape = (2, int(rng.integers(4, 8)), int(rng.integers(4, 8)), 3)
        x = rng.integers(dtype.min, dtype.max + 1, shape).astype(dtype.storage)
        b = fbs.Builder()
        place = b.input("x", dtype, shape, scale=0.5, zero_point=zero_point)
        y = b.tensor("y", dtype, (), scale=0.5, zero_point=zero_point)
        window = {"filter_height": 2, "filter_width": 2, "stride_h": 1, "stride_w": 1, "padding": 1}
        b.op(op, [place], [y], version=3 if dtype is DType.INT16 else 2, options=window | options)
        yield Case(cell, b.finish([y]), ({"x": x},))


def _one_class(cell: str, dtype: DType, rng: np.random.Generator) -> Iterator[Case]:
    """Take the softmax of rows of one element, which is 1."""
    output = {"scale": 1 / 256, "zero_point": dtype.min}
    while True:
        x = rng.integers(dtype.min, dtype.max + 1, (8, 1)).astype(dtype.storage)
        params = {"scale": float(rng.choice([0.01, 0.1, 2.0])), "zero_point": _zero_point(rng, dtype)}
        yield Case(cell, one_input("SOFTMAX", x, dtype, dtype, params, output, beta=1.0), ({"x": x},))


def _single_aims() -> Iterator[Aim]:
    last = tuple(f"{tie}: shifted right" for tie in _TIES)
    for source, target, ratio in (
        (DType.INT8, DType.INT8, 4),
        (DType.UINT8, DType.UINT8, 8),
        (DType.INT8, DType.UINT8, 4),
        (DType.INT16, DType.INT8, 1024),
        (DType.INT16, DType.INT16, 4),
    ):
        cell = f"QUANTIZE {source.name.lower()} to {target.name.lower()} aimed at ties"
        yield Aim(cell, partial(_rescaled, cell, source, target, ratio), last)
    signs = {DType.UINT8: ("tie positive: divided",)}
    for dtype in _TYPES:
        hits = signs.get(dtype, tuple(f"{tie}: divided" for tie in _TIES))
        cell = f"AVERAGE_POOL_2D {dtype.name.lower()} aimed at ties"
        yield Aim(cell, partial(_pooled, cell, "AVERAGE_POOL_2D", dtype, {}), hits)
        for op in ("AVERAGE_POOL_2D", "MAX_POOL_2D"):
            corner = {"padding": 0, "filter_height": 3, "filter_width": 4, "stride_w": 2}
            cell = f"{op} {dtype.name.lower()} aimed at padding corners"
            yield Aim(cell, partial(_pooled, cell, op, dtype, corner), ("padding", "uneven padding"))
    for dtype in (DType.INT8, DType.UINT8):
        cell = f"SOFTMAX {dtype.name.lower()} aimed at size 1"
        yield Aim(cell, partial(_one_class, cell, dtype), ("size 1",))


AIMS = (*_pair_aims(), *_single_aims())
