"""Cases of SVDF: several invocations each, since the op keeps state."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np

import fbs
from qmath.types import Array, DType
from quantref.vectors.cells import values
from quantref.vectors.cells.case import Case, Generator

STEPS = 6


@dataclass(frozen=True)
class Sizes:
    """Dimensions of the op."""

    batch: int
    features: int
    units: int
    rank: int
    memory: int

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Sizes:
        """Choose dimensions, some of them 1."""
        batch, rank = (int(rng.choice([1, 1, 2, 3])) for _ in range(2))
        features, units, memory = (int(rng.choice([1, int(rng.integers(1, 40))])) for _ in range(3))
        return cls(batch, features, units, rank, memory)

    @property
    def filters(self) -> int:
        """Number of filters."""
        return self.units * self.rank


def integer_cases(rng: np.random.Generator) -> Iterator[Case]:
    """Yield cases with an int16 state."""
    while True:
        size = Sizes.draw(rng)
        b = fbs.Builder()
        x_scale, f_scale, t_scale = (values.scale(rng, -8, 0) for _ in range(3))
        state_scale = _natural(rng, x_scale * f_scale * np.sqrt(size.features) * 2.0**13 / 2.0**13)
        y_scale = _natural(rng, state_scale * t_scale * np.sqrt(size.memory * size.rank) * 2.0**27 / 2.0**6)
        x_zero, y_zero = (values.zero_point(rng, DType.INT8) for _ in range(2))
        x = b.input("x", DType.INT8, (size.batch, size.features), scale=x_scale, zero_point=x_zero)
        features = values.codes(rng, DType.INT8, (size.filters, size.features))
        f = b.constant("f", features, scale=f_scale, zero_point=int(rng.integers(-3, 4)))
        t = b.constant("t", values.codes(rng, DType.INT16, (size.filters, size.memory)), scale=t_scale)
        bias = b.constant("b", rng.integers(-(2**24), 2**24, size.units).astype(np.int32)) if rng.integers(2) else None
        s = b.variable("s", DType.INT16, (size.batch, size.filters * size.memory), scale=state_scale)
        y = b.tensor("y", DType.INT8, (size.batch, size.units), scale=y_scale, zero_point=y_zero)
        b.op("SVDF", [x, f, t, bias, s], [y], version=3, rank=size.rank, fused_activation_function=1)
        samples = tuple({"x": values.codes(rng, DType.INT8, (size.batch, size.features))} for _ in range(STEPS))
        yield Case("SVDF int8", b.finish(outputs=[y]), samples)


def _natural(rng: np.random.Generator, scale: float) -> np.float32:
    kind = rng.integers(6)
    if kind == 0:
        return np.float32(scale * 2.0 ** float(rng.uniform(-12, 12)))
    return np.float32(2.0 ** round(np.log2(scale)) * rng.choice([1, 1, 3]) if kind < 4 else scale)


def float_cases(cell: str, weights: DType, asymmetric: bool, rng: np.random.Generator) -> Iterator[Case]:
    """Yield cases with float32 activations."""
    while True:
        size = Sizes.draw(rng)
        b = fbs.Builder()
        x = b.input("x", DType.FLOAT32, (size.batch, size.features))
        f = _weights(b, rng, "f", weights, (size.filters, size.features))
        t = _weights(b, rng, "t", weights, (size.filters, size.memory))
        bias = b.constant("b", values.floats(rng, (size.units,))) if rng.integers(2) else None
        s = b.variable("s", DType.FLOAT32, (size.batch, size.filters * size.memory))
        y = b.tensor("y", DType.FLOAT32, (size.batch, size.units))
        b.op(
            "SVDF",
            [x, f, t, bias, s],
            [y],
            version=3,
            rank=size.rank,
            fused_activation_function=int(rng.integers(6)),
            asymmetric_quantize_inputs=asymmetric,
        )
        samples = tuple({"x": _reals(rng, (size.batch, size.features))} for _ in range(STEPS))
        yield Case(cell, b.finish(outputs=[y]), samples)


def _weights(b: fbs.Builder, rng: np.random.Generator, name: str, dtype: DType, shape: tuple[int, ...]) -> int:
    if dtype is DType.FLOAT32:
        return b.constant(name, values.floats(rng, shape))
    codes = values.codes(rng, dtype, shape)
    return b.constant(name, codes, scale=values.scale(rng, -8, 0), zero_point=int(rng.integers(0, 3)))


def _reals(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    return np.zeros(shape, np.float32) if rng.integers(5) == 0 else values.floats(rng, shape)


CELLS: dict[str, Generator] = {
    "SVDF int8": integer_cases,
    "SVDF float32": partial(float_cases, "SVDF float32", DType.FLOAT32, False),  # noqa: FBT003
    **{
        cell: partial(float_cases, cell, weights, flag)
        for weights in (DType.INT8, DType.UINT8)
        for flag in (False, True)
        for cell in [f"SVDF hybrid {weights.name.lower()} {'asymmetric' if flag else 'symmetric'}"]
    },
}
