"""Cases of BATCH_MATMUL."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

import fbs
from qmath.types import Array, DType
from quantref.vectors.cells import values
from quantref.vectors.cells.case import Case, Generator


@dataclass(frozen=True)
class Form:
    """Types of left side, right side and output."""

    left: DType
    right: DType
    y: DType
    per_axis: bool = False
    asymmetric: bool = False

    @property
    def cell(self) -> str:
        """Line of the table of results."""
        name = f"BATCH_MATMUL {self.left.name.lower()} x {self.right.name.lower()} to {self.y.name.lower()}"
        if self.left is DType.FLOAT32 and self.right is DType.INT8:
            axis = "per-axis" if self.per_axis else "per-tensor"
            return f"{name} {axis} {'asymmetric' if self.asymmetric else 'symmetric'}"
        return name


FORMS = (
    Form(DType.INT8, DType.INT8, DType.INT8),
    Form(DType.INT8, DType.INT8, DType.INT32),
    Form(DType.INT16, DType.INT16, DType.INT16),
    Form(DType.INT16, DType.INT8, DType.INT16),
    Form(DType.FLOAT32, DType.FLOAT32, DType.FLOAT32),
    *(
        Form(DType.FLOAT32, DType.INT8, DType.FLOAT32, per_axis, asymmetric)
        for per_axis in (False, True)
        for asymmetric in (False, True)
    ),
)


def cases(form: Form, rng: np.random.Generator) -> Iterator[Case]:
    """Yield cases of a combination of types."""
    while True:
        depth, rows, columns = (int(size) for size in rng.integers(1, 30, 3))
        swap_left, swap_right = (bool(rng.integers(2)) for _ in range(2))
        leading = _leading(rng, most=2 if form.asymmetric else 3)
        left = (*leading[0], *((depth, rows) if swap_left else (rows, depth)))
        right = (*leading[1], *((columns, depth) if swap_right else (depth, columns)))
        b = fbs.Builder()
        scales = [values.scale(rng, -8, 0) for _ in range(2)]
        wide = form.left is DType.INT16
        zeros = [0 if wide else values.zero_point(rng, DType.INT8) for _ in range(3)]
        spread = np.sqrt(depth) * 2.0 ** (form.left.bits + form.right.bits - 4)
        y_scale = _natural(rng, scales[0] * scales[1] * spread / 2.0 ** (min(form.y.bits, 16) - 2))
        x = b.input("x", form.left, left, **_params(form.left, scales[0], zeros[0]))
        slots = [x]
        constant = bool(rng.integers(2))
        if form.left is DType.FLOAT32 and form.right is DType.INT8:
            axis = len(right) - (2 if swap_right else 1)
            scale = [values.scale(rng, -8, 0) for _ in range(columns if form.per_axis else 1)]
            quantized = {"scale": scale, "zero_point": 0, "quantized_dimension": axis if form.per_axis else 0}
            constant = constant or form.asymmetric
        else:
            quantized = _params(form.right, scales[1], zeros[1])
        if constant:
            slots.append(b.constant("w", _values(rng, form.right, right), form.right, **quantized))
        else:
            slots.append(b.input("w", form.right, right, **quantized))
        y = b.tensor("y", form.y, (), **_params(form.y, y_scale, zeros[2]))
        options: dict[str, Any] = {"adj_x": swap_left, "adj_y": swap_right}
        options["asymmetric_quantize_inputs"] = form.asymmetric
        b.op("BATCH_MATMUL", slots, [y], version=4, **options)
        samples = []
        for _ in range(2):
            sample = {"x": _values(rng, form.left, left)}
            samples.append(sample if constant else {**sample, "w": _values(rng, form.right, right)})
        yield Case(form.cell, b.finish(outputs=[y]), tuple(samples))


def _leading(rng: np.random.Generator, most: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Choose leading dimensions that broadcast."""
    full = tuple(int(size) for size in rng.integers(1, 4, rng.integers(0, most + 1)))
    sides = []
    for _ in range(2):
        kept = tuple(1 if rng.integers(4) == 0 else size for size in full)
        sides.append(kept[int(rng.integers(0, len(full) + 1)) :] if rng.integers(3) == 0 else kept)
    return sides[0], sides[1]


def _params(dtype: DType, scale: np.float32, zero_point: int) -> dict[str, Any]:
    return {"scale": scale, "zero_point": zero_point} if dtype in {DType.INT8, DType.INT16} else {}


def _values(rng: np.random.Generator, dtype: DType, shape: tuple[int, ...]) -> Array:
    return values.floats(rng, shape) if dtype is DType.FLOAT32 else values.codes(rng, dtype, shape)


def _natural(rng: np.random.Generator, scale: float) -> np.float32:
    kind = rng.integers(6)
    if kind == 0:
        return np.float32(scale * 2.0 ** float(rng.uniform(-10, 14)))
    power = 2.0 ** np.round(np.log2(scale))
    return np.float32(power * rng.choice([1, 1, 3]) if kind < 5 else scale)


CELLS: dict[str, Generator] = {form.cell: partial(cases, form) for form in FORMS}
