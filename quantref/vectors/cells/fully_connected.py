"""Cases of FULLY_CONNECTED."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

import fbs
from fbs import sparsity
from qmath.types import Array, DType
from quantref.vectors.cells import values
from quantref.vectors.cells.case import Case, Generator

ACTIVATIONS = (0, 0, 1, 2, 3)


@dataclass(frozen=True)
class Form:
    """A combination of types; ``bias`` may be absent, ``attribute`` is the option ``quantized_bias_type``."""

    x: DType
    weights: DType
    y: DType
    per_axis: bool = False
    bias: DType | None = DType.INT32
    attribute: DType = DType.FLOAT32

    @property
    def cell(self) -> str:
        """Line of the table of results."""
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
    Form(DType.INT16, DType.INT8, DType.INT16, bias=DType.INT64),
    Form(DType.INT16, DType.INT8, DType.INT16, per_axis=True, bias=None),
    Form(DType.INT16, DType.INT16, DType.INT16, bias=None),
    Form(DType.INT8, DType.INT8, DType.INT8, bias=DType.INT64),
    Form(DType.UINT8, DType.UINT8, DType.UINT8),
    Form(DType.UINT8, DType.UINT8, DType.UINT8, bias=None),
    Form(DType.UINT8, DType.UINT8, DType.INT16),
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
        return (*rng.permutation([batch, 1, 2]), depth)
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
        return np.float32(max(natural * 2.0 ** float(rng.uniform(-20, 20)), 2.0**-27))
    power = 2.0 ** round(np.log2(natural))
    return np.float32(power * rng.choice([1, 1, 3, 5]) if kind < 6 else natural)


def _bias(rng: np.random.Generator, dtype: DType, units: int, spread: float) -> Array:
    kind = rng.integers(6)
    if kind == 0:
        lowest, highest = max(dtype.min, -(2**46)), min(dtype.max, 2**46)  # 64-bit rounding is defined below 2**47
        return rng.choice([lowest, highest, 0], units).astype(dtype.storage)
    return rng.normal(0, spread, units).clip(-(2**31), 2**31 - 1).astype(dtype.storage)


def float_cases(
    weights: DType,
    rng: np.random.Generator,
    *,
    per_axis: bool = False,
    asymmetric: bool = False,
    cell: str = "FULLY_CONNECTED float32",
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
        return np.asarray(halves * 2.0 ** float(rng.integers(-4, 4)), np.float32)
    return values.floats(rng, shape)


def stored_model(
    weights: Array,
    block: int,
    dtype: DType,
    *,
    float_input: bool,
    bias: Array | None,
    rng: np.random.Generator,
    **given: Any,
) -> fbs.Model:
    """Build a model whose weights (units, depth) are stored in blocks of 1 x ``block``, all-zero ones left out."""
    units, depth = weights.shape
    elements, layout = sparsity.sparsify(weights, block)
    scales = [] if dtype is DType.FLOAT32 else [values.scale(rng, -8, 0) for _ in range(given["scales"])]
    x_scale = values.scale(rng, -8, 2)
    b = fbs.Builder()
    quantized = {} if float_input else {"scale": x_scale, "zero_point": values.zero_point(rng, DType.INT8)}
    x = b.input("x", DType.FLOAT32 if float_input else DType.INT8, (1, depth), **quantized)
    w_params = {"scale": scales} if scales else {}
    w = b.constant("w", elements, dtype, shape=weights.shape, sparsity=layout, **w_params)
    slots = [x, w]
    if bias is not None:
        b_scale = {} if float_input else {"scale": np.float32(x_scale) * np.asarray(scales, np.float32)}
        slots.append(b.constant("b", bias, DType.FLOAT32 if float_input else DType.INT32, **b_scale))
    out: dict[str, Any] = {}
    if not float_input:
        natural = x_scale * scales[0] * np.sqrt(depth) * 2.0**7
        out = {"scale": _output_scale(rng, natural), "zero_point": values.zero_point(rng, DType.INT8)}
    y = b.tensor("y", DType.FLOAT32 if float_input else DType.INT8, (1, units), **out)
    b.op("FULLY_CONNECTED", slots, [y], version=8, **given["options"])
    return b.finish(outputs=[y])


def sparse_cases(
    cell: str, dtype: DType, float_input: bool, per_axis: bool, asymmetric: bool, rng: np.random.Generator
) -> Iterator[Case]:
    """Yield cases with sparse weights."""
    while True:
        block = int(rng.choice([1, 4])) if dtype is DType.FLOAT32 else 16
        depth, units, batch = block * int(rng.integers(1, 6)), int(rng.integers(1, 20)), int(rng.integers(1, 9))
        zeros = rng.random((units, depth // block)).repeat(block, axis=1) < 0.5
        zeros[0, :block] = False
        random = values.floats(rng, zeros.shape) if dtype is DType.FLOAT32 else values.codes(rng, dtype, zeros.shape)
        random.flat[0] = 1  # a file holds no constants without values
        weights = np.where(zeros, 0, random).astype(dtype.storage)
        bias = None
        if rng.integers(2):
            bias = values.floats(rng, (units,)) if float_input else _bias(rng, DType.INT32, units, 2.0**14)
        options = {
            "fused_activation_function": int(rng.choice(ACTIVATIONS)),
            "asymmetric_quantize_inputs": asymmetric,
        }
        model = stored_model(
            weights,
            block,
            dtype,
            float_input=float_input,
            bias=bias,
            rng=rng,
            scales=units if per_axis else 1,
            options=options,
        )
        shape = (batch, depth)
        samples = [_reals(rng, shape) if float_input else values.codes(rng, DType.INT8, shape) for _ in range(3)]
        yield Case(cell, model, tuple({"x": sample} for sample in samples))


def shuffled_cases(rng: np.random.Generator) -> Iterator[Case]:
    """Yield cases with weights in blocks of 4x16."""
    while True:
        units, depth, batch = 4 * int(rng.integers(1, 6)), 16 * int(rng.integers(1, 6)), int(rng.choice([1, 4]))
        scales = [values.scale(rng, -8, 0) for _ in range(2)]
        b = fbs.Builder()
        x = b.input("x", DType.UINT8, (batch, depth), scale=scales[0], zero_point=128)
        weights = values.codes(rng, DType.UINT8, (units, depth))
        w = b.constant("w", weights, scale=scales[1], zero_point=128)
        product = np.float32(scales[0]) * np.float32(scales[1])
        bias = b.constant("b", _bias(rng, DType.INT32, units, 2.0**14), scale=product)
        scale = _output_scale(rng, product * np.sqrt(depth))
        y = b.tensor("y", DType.INT16, (batch, units), scale=scale)
        workspace = b.tensor("workspace", DType.UINT8, (batch, depth), scale=1.0)
        options = {"fused_activation_function": int(rng.choice(ACTIVATIONS)), "weights_format": 1}
        b.op("FULLY_CONNECTED", [x, w, bias], [y, workspace], version=2, options=options)
        samples = tuple({"x": values.codes(rng, DType.UINT8, (batch, depth))} for _ in range(3))
        yield Case("FULLY_CONNECTED uint8 shuffled to int16", b.finish(outputs=[y, workspace]), samples)


def _stored_cells() -> dict[str, Generator]:
    forms = {
        "FULLY_CONNECTED float32 sparse": (DType.FLOAT32, True, False, False),
        "FULLY_CONNECTED int8 sparse per-tensor": (DType.INT8, False, False, False),
        "FULLY_CONNECTED int8 sparse per-axis": (DType.INT8, False, True, False),
        "FULLY_CONNECTED hybrid int8 sparse per-tensor symmetric": (DType.INT8, True, False, False),
        "FULLY_CONNECTED hybrid int8 sparse per-tensor asymmetric": (DType.INT8, True, False, True),
        "FULLY_CONNECTED hybrid int8 sparse per-axis symmetric": (DType.INT8, True, True, False),
        "FULLY_CONNECTED hybrid int8 sparse per-axis asymmetric": (DType.INT8, True, True, True),
    }
    cells: dict[str, Generator] = {cell: partial(sparse_cases, cell, *form) for cell, form in forms.items()}
    return {**cells, "FULLY_CONNECTED uint8 shuffled to int16": shuffled_cases}


def _float_cells() -> dict[str, Generator]:
    cells: dict[str, Generator] = {"FULLY_CONNECTED float32": partial(float_cases, DType.FLOAT32)}
    for weights in (DType.INT8, DType.UINT8, DType.INT4, DType.INT2):
        for per_axis in (False, True):
            for asymmetric in (False, True):
                axis = "per-axis" if per_axis else "per-tensor"
                flag = "asymmetric" if asymmetric else "symmetric"
                cell = f"FULLY_CONNECTED hybrid {weights.name.lower()} {axis} {flag}"
                cells[cell] = partial(float_cases, weights, per_axis=per_axis, asymmetric=asymmetric, cell=cell)
    return cells


CELLS: dict[str, Generator] = {form.cell: partial(cases, form) for form in FORMS} | _float_cells() | _stored_cells()
