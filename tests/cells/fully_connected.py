"""Cases of FULLY_CONNECTED."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np

import fbs
from qmath.types import Array, DType
from tests.cells import values
from tests.cells.case import Case, Generator

ACTIVATIONS = (0, 0, 1, 2, 3)


@dataclass(frozen=True)
class Form:
    """A combination of types; ``bias`` may be absent, ``attribute`` is the option ``quantized_bias_type``."""

    x: DType
    weights: DType
    y: DType
    per_axis: bool
    bias: DType | None = DType.INT32
    attribute: DType = DType.FLOAT32

    @property
    def cell(self) -> str:
        to = "" if self.x is self.y else f" to {self.y.name.lower()}"
        axis = "per-axis" if self.per_axis else "per-tensor"
        bias = "no bias" if self.bias is None else f"{self.bias.name.lower()} bias"
        return f"FULLY_CONNECTED {self.x.name.lower()} x {self.weights.name.lower()}{to} {axis} {bias}"


FORMS = (
    *(
        Form(DType.INT8, weights, DType.INT8, per_axis, bias)
        for weights in (DType.INT8, DType.INT4, DType.INT2)
        for per_axis in (False, True)
        for bias in (DType.INT32, None)
    ),
    *(
        Form(DType.INT16, weights, DType.INT16, per_axis, bias, bias)
        for weights in (DType.INT8, DType.INT4, DType.INT2, DType.INT16)
        for per_axis in (False, True)
        for bias in (DType.INT32, DType.INT64)
    ),
    Form(DType.INT16, DType.INT8, DType.INT16, False, DType.INT64),
    Form(DType.INT16, DType.INT8, DType.INT16, True, None),
    Form(DType.INT16, DType.INT16, DType.INT16, False, None),
    Form(DType.INT8, DType.INT8, DType.INT8, False, DType.INT64),
    Form(DType.UINT8, DType.UINT8, DType.UINT8, False),
    Form(DType.UINT8, DType.UINT8, DType.UINT8, False, None),
    Form(DType.UINT8, DType.UINT8, DType.INT16, False),
)


def cases(form: Form, rng: np.random.Generator) -> Iterator[Case]:
    """Yield cases of a combination of integer types."""
    while True:
        depth, units, batch = (int(size) for size in rng.integers(1, 40, 3))
        keep = bool(rng.integers(2))
        yield Case(
            form.cell,
            _model(form, rng, depth, units, keep),
            tuple({"x": values.codes(rng, form.x, _shape(rng, batch, depth, keep))} for _ in range(3)),
        )


def _shape(rng: np.random.Generator, batch: int, depth: int, keep: bool) -> tuple[int, ...]:
    if keep:
        return tuple(rng.permutation([batch, 1, 2])) + (depth,)
    left_over = int(rng.integers(depth))
    return (batch * depth + left_over,) if rng.integers(2) else (batch, 2, depth)


def _model(form: Form, rng: np.random.Generator, depth: int, units: int, keep: bool) -> fbs.Model:
    signed = form.weights is not DType.UINT8
    x_zero = 0 if form.x is DType.INT16 else values.zero_point(rng, form.x)
    y_zero = 0 if form.y is DType.INT16 else values.zero_point(rng, form.y)
    w_zero = 0 if (signed and rng.integers(2)) or form.weights.bits < 8 else values.zero_point(rng, form.weights)
    x_scale = values.scale(rng, -8, 2)
    w_scales = [values.scale(rng, -8, 0) for _ in range(units if form.per_axis and units > 1 else 1)]
    spread = np.sqrt(depth) * 2.0 ** (form.x.bits + form.weights.bits - 4)
    y_scale = _output_scale(rng, x_scale * w_scales[0] * spread / 2.0 ** (form.y.bits - 2))
    b = fbs.Builder()
    x = b.input("x", form.x, (1, depth), scale=x_scale, zero_point=x_zero)
    weights = values.codes(rng, form.weights, (units, depth))
    w = b.constant("w", weights, form.weights, scale=w_scales, zero_point=w_zero)
    y = b.tensor("y", form.y, (1, units), scale=y_scale, zero_point=y_zero)
    inputs = [x, w]
    if form.bias is not None:
        bias_scales = np.float32(x_scale) * np.asarray(w_scales, np.float32)
        inputs.append(b.constant("b", _bias(rng, form.bias, units, spread), form.bias, scale=bias_scales))
    b.op(
        "FULLY_CONNECTED",
        inputs,
        [y],
        version=11,
        keep_num_dims=keep,
        fused_activation_function=int(rng.choice(ACTIVATIONS)),
        quantized_bias_type=form.attribute.value,
    )
    return b.finish(outputs=[y])


def _output_scale(rng: np.random.Generator, natural: float) -> np.float32:
    """Choose a scale near the natural one: a power of two as a rule, sometimes far off."""
    kind = rng.integers(8)
    if kind == 0:
        return np.float32(natural * 2.0 ** float(rng.uniform(-20, 20)))
    power = 2.0 ** round(np.log2(natural))
    return np.float32(power * rng.choice([1, 1, 3, 5]) if kind < 6 else natural)


def _bias(rng: np.random.Generator, dtype: DType, units: int, spread: float) -> Array:
    kind = rng.integers(6)
    if kind == 0:
        lowest, highest = max(dtype.min, -(2**50)), min(dtype.max, 2**50)
        return rng.choice([lowest, highest, 0], units).astype(dtype.storage)
    return rng.normal(0, spread, units).clip(-(2**31), 2**31 - 1).astype(dtype.storage)


def float_cases(
    weights: DType, per_axis: bool, asymmetric: bool, cell: str, rng: np.random.Generator
) -> Iterator[Case]:
    """Yield cases with float32 activations and float32 or integer weights."""
    while True:
        depth, units, batch = (int(size) for size in rng.integers(1, 70, 3))
        keep = bool(rng.integers(2))
        b = fbs.Builder()
        x = b.input("x", DType.FLOAT32, (1, depth))
        if weights is DType.FLOAT32:
            w = b.constant("w", values.floats(rng, (units, depth)))
        else:
            scales = [values.scale(rng, -8, 0) for _ in range(units if per_axis and units > 1 else 1)]
            codes = values.codes(rng, weights, (units, depth))
            w = b.constant("w", codes, weights, scale=scales, zero_point=3 if weights.bits == 8 else 0)
        y = b.tensor("y", DType.FLOAT32, (1, units))
        bias = [b.constant("b", values.floats(rng, (units,)))] if rng.integers(4) else []
        b.op(
            "FULLY_CONNECTED",
            [x, w, *bias],
            [y],
            version=11,
            keep_num_dims=keep,
            fused_activation_function=int(rng.choice(ACTIVATIONS if weights is DType.FLOAT32 else range(6))),
            asymmetric_quantize_inputs=asymmetric,
        )
        samples = tuple({"x": _reals(rng, _shape(rng, batch, depth, keep))} for _ in range(3))
        yield Case(cell, b.finish(outputs=[y]), samples)


def _reals(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Choose float32 values whose ends are often such that codes are ties; some rows or all of it zeros."""
    kind = rng.integers(8)
    if kind == 0:
        return np.zeros(shape, np.float32)
    if kind < 4:
        halves = rng.integers(-254, 255, shape) / 2
        halves.flat[0] = rng.choice([-127, 127, 127.5])
        return (halves * 2.0 ** float(rng.integers(-4, 4))).astype(np.float32)
    return values.floats(rng, shape)


def _float_cells() -> dict[str, Generator]:
    cells: dict[str, Generator] = {"FULLY_CONNECTED float32": partial(float_cases, DType.FLOAT32, False, False, "")}
    for weights in (DType.INT8, DType.UINT8, DType.INT4, DType.INT2):
        for per_axis in (False, True):
            for asymmetric in (False, True):
                axis = "per-axis" if per_axis else "per-tensor"
                flag = "asymmetric" if asymmetric else "symmetric"
                cell = f"FULLY_CONNECTED hybrid {weights.name.lower()} {axis} {flag}"
                cells[cell] = partial(float_cases, weights, per_axis, asymmetric, cell)
    return cells


CELLS: dict[str, Generator] = {form.cell: partial(cases, form) for form in FORMS} | _float_cells()
