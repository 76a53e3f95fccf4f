"""Cases of the elementwise ops of one input, and of normalizations along the last axis."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np

from qmath.types import Array, DType
from quantref.vectors.cells import values
from quantref.vectors.cells.activation import unary_params
from quantref.vectors.cells.case import Case, Generator
from quantref.vectors.cells.models import Params, one_input, two_inputs
from quantref.vectors.cells.softmax import rows

#: Ops, or versions of them, that only the optimized resolver has.
_OPTIMIZED_ONLY = {
    "ELU int8",
    "ELU float32",
    "GELU int16",
    "CEIL float32",
    "ROUND float32",
    "ROUND float16",
}


def _case(cell: str, op: str, x: Array, dtype: DType, params: tuple[Params, Params], **options: Any) -> Case:
    model = one_input(op, x, dtype, dtype, *params, version=3 if cell == "GELU int16" else 1, **options)
    runtime = "litert-optimized" if cell in _OPTIMIZED_ONLY else "litert-reference"
    return Case(cell, model, ({"x": x},), runtime)


def rescaled(rng: np.random.Generator, op: str, dtype: DType) -> Iterator[Case]:
    """Take LEAKY_RELU, HARD_SWISH or ABS of every code, at any ratio of scales."""
    while True:
        source = unary_params(rng, dtype, -10, 2)
        target = dict(unary_params(rng, dtype, -10, 2))
        same = rng.integers(4) == 0
        low = -6 if op == "HARD_SWISH" else -5
        target["scale"] = source["scale"] if same else np.float32(source["scale"] * values.scale(rng, low, 5))
        options: dict[str, Any] = {}
        if op == "LEAKY_RELU":
            options["alpha"] = float(rng.choice([0.1, 0.25, 0.5, 1.0, 2.0, -0.3, 0.0, rng.uniform(-2, 2)]))
        x = values.many_codes(rng, dtype)
        yield _case(f"{op} {dtype.name.lower()}", op, x, dtype, (source, target), **options)


def tabulated(rng: np.random.Generator, op: str, dtype: DType) -> Iterator[Case]:
    """Take ELU, GELU, EXP or LOG of every code."""
    low = -18.0 if dtype is DType.INT16 else -10.0
    while True:
        source, target = unary_params(rng, dtype, low, low + 12), unary_params(rng, dtype, low, low + 12)
        if op == "LOG" and dtype is DType.INT8 and rng.integers(2):
            source = {**source, "zero_point": -128}
        options = {"approximate": bool(rng.integers(2))} if op == "GELU" else {}
        x = values.many_codes(rng, dtype)
        yield _case(f"{op} {dtype.name.lower()}", op, x, dtype, (source, target), **options)


def roots(rng: np.random.Generator, op: str, dtype: DType) -> Iterator[Case]:
    """Take SQRT or RSQRT of every code that is not negative."""
    while True:
        source, target = unary_params(rng, dtype, -12, 2), dict(unary_params(rng, dtype, -12, 2))
        largest = np.sqrt(source["scale"] * (255 if dtype is DType.INT8 else 32767))
        typical = largest if op == "SQRT" else 1 / np.sqrt(source["scale"])
        target["scale"] = np.float32(typical / (200 if dtype is DType.INT8 else 32767) * values.scale(rng, -2, 2))
        x = values.many_codes(rng, dtype)
        x = x[x >= source["zero_point"]]
        yield _case(f"{op} {dtype.name.lower()}", op, x, dtype, (source, target))


def negated(rng: np.random.Generator, dtype: DType) -> Iterator[Case]:
    """Negate every code, whatever scales and zero points."""
    while True:
        params = unary_params(rng, dtype, -10, 2), unary_params(rng, dtype, -10, 2)
        yield _case(f"NEG {dtype.name.lower()}", "NEG", values.many_codes(rng, dtype), dtype, params)


def plain(rng: np.random.Generator, op: str, dtype: DType) -> Iterator[Case]:
    """Take an op of plain numbers."""
    while True:
        x = values.plain(rng, dtype, (*values.shape(rng), 20))
        if op in {"SQRT", "RSQRT", "LOG"} and rng.integers(3):
            x = np.abs(x)
        options: dict[str, Any] = {}
        if op == "GELU":
            options["approximate"] = bool(rng.integers(2))
        if op == "LEAKY_RELU":
            options["alpha"] = float(rng.uniform(-1, 1))
        if op == "LOGICAL_NOT":
            x = rng.random(x.shape) < 0.5
        yield _case(f"{op} {dtype.name.lower()}", op, x, dtype, ({}, {}), **options)


def prelu(rng: np.random.Generator, dtype: DType) -> Iterator[Case]:
    """Take PRELU with slopes that broadcast, constant as a rule."""
    slopes = {DType.INT16: DType.INT8, DType.FLOAT32: DType.FLOAT32}.get(dtype, dtype)
    while True:
        shape = (*values.shape(rng), 20)
        kept = tuple(1 if rng.integers(2) else size for size in shape)[int(rng.integers(len(shape))) :]
        params: tuple[Params, Params, Params] = ({}, {}, {})
        if dtype is DType.FLOAT32:
            arrays = values.plain(rng, dtype, shape), values.plain(rng, dtype, kept)
        else:
            arrays = values.codes(rng, dtype, shape), values.codes(rng, slopes, kept)
            source, alpha = unary_params(rng, dtype, -8, 2), unary_params(rng, slopes, -9, -4)
            target = {**unary_params(rng, dtype, 0, 1), "scale": values.related_scale(rng, source["scale"], -4, 4)}
            params = source, alpha, target
        constant = 1 if rng.integers(4) else None
        model, sample = two_inputs("PRELU", arrays, (dtype, slopes), dtype, params, constant=constant)
        yield Case(f"PRELU {dtype.name.lower()}", model, (sample,))


def l2_normalization(rng: np.random.Generator, dtype: DType) -> Iterator[Case]:
    """Normalize rows of codes or floats; some are all zero."""
    output = {"scale": 1 / 128, "zero_point": 128 if dtype is DType.UINT8 else 0}
    while True:
        if dtype is DType.FLOAT32:
            x = values.plain(rng, dtype, (*values.shape(rng, 2), int(rng.choice([1, 7, 50]))))
            yield _case("L2_NORMALIZATION float32", "L2_NORMALIZATION", x, dtype, ({}, {}))
            continue
        x, params = rows(rng, dtype), unary_params(rng, dtype, -8, 2)
        if rng.integers(3) == 0:
            x = np.full_like(x, params["zero_point"])
        yield _case(f"L2_NORMALIZATION {dtype.name.lower()}", "L2_NORMALIZATION", x, dtype, (params, output))


def local_response(rng: np.random.Generator) -> Iterator[Case]:
    """Normalize over neighbouring channels."""
    while True:
        x = values.floats(rng, (*values.shape(rng, 3), int(rng.integers(1, 20))))
        options = {"radius": int(rng.integers(-1, 12)), "bias": float(rng.uniform(0.5, 2))}
        options |= {"alpha": float(rng.uniform(0, 1)), "beta": float(rng.choice([0.5, 0.75, 1.0, -0.5]))}
        op = "LOCAL_RESPONSE_NORMALIZATION"
        yield _case(f"{op} float32", op, x, DType.FLOAT32, ({}, {}), **options)


def fake_quant(rng: np.random.Generator) -> Iterator[Case]:
    """Round floats, many of them half-way between two values."""
    while True:
        bits, span = int(rng.choice([2, 4, 8, 8, 16])), float(values.scale(rng, -4, 6))
        low = -span * float(rng.choice([0, 0.25, 0.5, rng.random()]))
        high = low + span
        steps = rng.integers(-4, 2 * 2**bits + 4, (*values.shape(rng), 50)) / 2
        x = (low + steps * (span / (2**bits - 1))).astype(np.float32)
        options = {"min": low, "max": high, "num_bits": bits, "narrow_range": False}
        yield _case("FAKE_QUANT float32", "FAKE_QUANT", x, DType.FLOAT32, ({}, {}), **options)


_CODES = (DType.INT8, DType.UINT8, DType.INT16)
_RESCALED = {"LEAKY_RELU": _CODES, "HARD_SWISH": _CODES[:2], "ABS": (DType.INT8, DType.INT16)}
_SIGNED = (DType.INT8, DType.INT16)
_TABULATED = {"ELU": (DType.INT8,), "GELU": _CODES, "EXP": _SIGNED, "LOG": _SIGNED}
_FLOATS = (
    "LEAKY_RELU",
    "HARD_SWISH",
    "ELU",
    "GELU",
    "EXP",
    "LOG",
    "SQRT",
    "RSQRT",
    "ABS",
    "NEG",
    "SIN",
    "COS",
    "SQUARE",
)
_PLAIN = {
    "ABS": (DType.INT32, DType.INT16),
    "NEG": (DType.INT32, DType.INT64, DType.FLOAT16),
    "SIGN": (DType.FLOAT32, DType.FLOAT64, DType.INT32),
    "SIN": (DType.FLOAT16,),
    "COS": (DType.FLOAT16,),
    "FLOOR": (DType.FLOAT32, DType.FLOAT16),
    "CEIL": (DType.FLOAT32,),
    "ROUND": (DType.FLOAT32, DType.FLOAT16),
    "LOGICAL_NOT": (DType.BOOL,),
}


def _cells() -> dict[str, Generator]:
    cells: dict[str, Generator] = {}

    def add(maker: Generator, op: str, dtype: DType, kind: str = "") -> None:
        cells[f"{op}{kind} {dtype.name.lower()}"] = maker

    for op, types in _RESCALED.items():
        for dtype in types:
            add(partial(rescaled, op=op, dtype=dtype), op, dtype)
    for op, types in _TABULATED.items():
        for dtype in types:
            add(partial(tabulated, op=op, dtype=dtype), op, dtype)
    for dtype in _SIGNED:
        add(partial(negated, dtype=dtype), "NEG", dtype)
        for op in ("SQRT", "RSQRT"):
            add(partial(roots, op=op, dtype=dtype), op, dtype)
    for op in _FLOATS:
        add(partial(plain, op=op, dtype=DType.FLOAT32), op, DType.FLOAT32)
    for op, types in _PLAIN.items():
        for dtype in types:
            add(partial(plain, op=op, dtype=dtype), op, dtype, " plain" if dtype is DType.INT16 else "")
    for dtype in (*_CODES, DType.FLOAT32):
        add(partial(prelu, dtype=dtype), "PRELU", dtype)
    for dtype in (DType.INT8, DType.UINT8, DType.FLOAT32):
        add(partial(l2_normalization, dtype=dtype), "L2_NORMALIZATION", dtype)
    cells["LOCAL_RESPONSE_NORMALIZATION float32"] = local_response
    cells["FAKE_QUANT float32"] = fake_quant
    return cells


CELLS = _cells()
