"""Cases of LSTM and UNIDIRECTIONAL_SEQUENCE_LSTM: several invocations each, since the ops keep state."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

import fbs
from qmath.types import Array, DType
from quantref.vectors.cells import values
from quantref.vectors.cells.case import Case, Generator

INVOCATIONS = 3
GATES = range(4)
#: Gates with peephole weights: all but the cell's update.
PEEPHOLES = (0, 1, 3)


@dataclass(frozen=True)
class Variant:
    """Dimensions of a cell and the parts that it has."""

    sequence: bool
    time_major: bool
    batch: int
    time: int
    features: int
    cells: int
    outputs: int
    cifg: bool
    peephole: bool
    projection: bool
    norm: bool

    @classmethod
    def draw(cls, rng: np.random.Generator, *, sequence: bool) -> Variant:
        """Choose dimensions, some of them 1, and parts."""
        batch, time = int(rng.choice([1, 2, 3])), int(rng.choice([1, 2, 7])) if sequence else 1
        features, cells, outputs = (int(size) for size in rng.integers(1, 24, 3))
        projection, peephole = (bool(rng.integers(2)) for _ in range(2))
        if not projection:
            outputs = cells
        elif peephole:
            outputs = min(outputs, cells)
        flags = (bool(rng.integers(2)) for _ in range(3))
        time_major, cifg, norm = flags
        return cls(sequence, time_major, batch, time, features, cells, outputs, cifg, peephole, projection, norm)

    @property
    def op(self) -> str:
        """Name of the op."""
        return "UNIDIRECTIONAL_SEQUENCE_LSTM" if self.sequence else "LSTM"

    @property
    def gates(self) -> tuple[int, ...]:
        """Gates that have weights."""
        return tuple(GATES)[1:] if self.cifg else tuple(GATES)

    def shape(self, size: int) -> tuple[int, ...]:
        """Return the shape of input or output, with ``size`` elements a vector."""
        if not self.sequence:
            return (self.batch, size)
        return (self.time, self.batch, size) if self.time_major else (self.batch, self.time, size)

    def options(self, rng: np.random.Generator, *, clips: tuple[float, float]) -> dict[str, Any]:
        """Return the op's options."""
        cell_clip, proj_clip = (clip if rng.integers(3) == 0 else 0.0 for clip in clips)
        common = {"cell_clip": cell_clip, "proj_clip": proj_clip}
        return {**common, "time_major": self.time_major} if self.sequence else common


def integer_cases(cell: str, sequence: bool, rng: np.random.Generator) -> Iterator[Case]:
    """Yield cases with 16-bit gates."""
    while True:
        v = Variant.draw(rng, sequence=sequence)
        b = fbs.Builder()
        zeros = [values.zero_point(rng, DType.INT8) for _ in range(3)]
        x_scale, h_scale = (np.float32(2.0 ** rng.integers(-8, -4) * rng.choice([1, 1, 3])) for _ in range(2))
        hidden_scale = values.scale(rng, -9, -6) if v.projection else h_scale
        gain = 2.0 ** float(rng.uniform(-2, 4))
        inputs: list[int | None] = [None] * 24
        inputs[0] = b.input("x", DType.INT8, v.shape(v.features), scale=x_scale, zero_point=zeros[0])
        inter = [values.scale(rng, -14, -10) if v.norm else np.float32(2.0**-12) for _ in GATES]
        c_log2 = int(rng.integers(-15, -8))
        for gate in v.gates:
            for first, depth, scale in ((1, v.features, x_scale), (5, v.outputs, h_scale)):
                codes = values.codes(rng, DType.INT8, (v.cells, depth))
                w_scale = np.float32(gain / np.sqrt(depth) / 74 / 74 / scale)
                if rng.integers(2):
                    w_scale = np.float32(2.0 ** np.round(np.log2(w_scale)))
                inputs[first + gate] = b.constant(f"w{first}{gate}", codes, scale=w_scale)
            if v.peephole and gate in PEEPHOLES:
                codes = values.codes(rng, DType.INT16, (v.cells,))
                slot = 9 + PEEPHOLES.index(gate)
                inputs[slot] = b.constant(f"p{gate}", codes, scale=values.scale(rng, -16, -12))
            bias = rng.normal(0, 2.0**11, v.cells) / (2.0**-10 if v.norm else 1)
            inputs[12 + gate] = b.constant(f"b{gate}", bias.astype(np.int32), scale=1.0)
            if v.norm:
                codes = values.codes(rng, DType.INT16, (v.cells,))
                inputs[20 + gate] = b.constant(f"n{gate}", codes, scale=values.scale(rng, -16, -12))
        if v.projection:
            codes = values.codes(rng, DType.INT8, (v.outputs, v.cells))
            scale = np.float32(h_scale / hidden_scale / np.sqrt(v.cells) / 32)
            inputs[16] = b.constant("proj", codes, scale=scale)
            if rng.integers(2):
                inputs[17] = b.constant("projb", rng.integers(-9999, 9999, v.outputs).astype(np.int32), scale=1.0)
        h: dict[str, Any] = {"scale": h_scale, "zero_point": zeros[1]}
        inputs[18] = b.variable("h", DType.INT8, (v.batch, v.outputs), **h)
        inputs[19] = b.variable("c", DType.INT16, (v.batch, v.cells), scale=np.float32(2.0**c_log2))
        hidden_zero = zeros[2] if v.projection else zeros[1]
        between = [b.tensor(f"i{gate}", DType.INT16, (1,), scale=inter[gate]) for gate in GATES]
        between.append(b.tensor("hidden", DType.INT8, (1,), scale=hidden_scale, zero_point=hidden_zero))
        y = b.tensor("y", DType.INT8, v.shape(v.outputs), **h)
        options = v.options(rng, clips=(float(2.0**c_log2 * rng.integers(0, 30000)), float(h_scale * 60)))
        used = inputs if v.norm or rng.integers(2) else inputs[:20]
        b.op(v.op, used, [y], version=3, intermediates=between, options=options)
        samples = tuple({"x": values.codes(rng, DType.INT8, v.shape(v.features))} for _ in range(INVOCATIONS))
        yield Case(cell, b.finish(outputs=[y]), samples)


@dataclass(frozen=True)
class FloatForm:
    """Types of a float or hybrid LSTM."""

    sequence: bool
    weights: DType
    asymmetric: bool = False

    @property
    def cell(self) -> str:
        """Line of the table of results."""
        op = "UNIDIRECTIONAL_SEQUENCE_LSTM" if self.sequence else "LSTM"
        if self.weights is DType.FLOAT32:
            return f"{op} float32"
        return f"{op} hybrid {self.weights.name.lower()} {'asymmetric' if self.asymmetric else 'symmetric'}"


FLOAT_FORMS = tuple(
    FloatForm(sequence, weights, asymmetric)
    for sequence in (False, True)
    for weights, asymmetric in (
        (DType.FLOAT32, False),
        (DType.INT8, False),
        (DType.INT8, True),
        (DType.UINT8, False),
    )
)


def float_weights(
    b: fbs.Builder, rng: np.random.Generator, name: str, dtype: DType, shape: tuple[int, ...], spread: float
) -> int:
    """Add weights whose real values are of the size of ``spread``."""
    if dtype is DType.FLOAT32:
        return b.constant(name, (rng.normal(size=shape) * spread).astype(np.float32))
    codes = values.codes(rng, DType.INT8, shape)
    return b.constant(name, codes.view(dtype.storage), dtype, scale=np.float32(spread / 74))


def float_cases(form: FloatForm, rng: np.random.Generator) -> Iterator[Case]:
    """Yield cases on float32 activations."""
    while True:
        v = Variant.draw(rng, sequence=form.sequence)
        hybrid = form.weights is not DType.FLOAT32
        if not hybrid:
            v = replace(v, outputs=min(v.outputs, v.cells))
        b = fbs.Builder()
        inputs: list[int | None] = [None] * 24
        inputs[0] = b.input("x", DType.FLOAT32, v.shape(v.features))
        weights = partial(float_weights, b, rng, dtype=form.weights)
        for gate in v.gates:
            inputs[1 + gate] = weights(f"w{gate}", shape=(v.cells, v.features), spread=1 / np.sqrt(v.features))
            inputs[5 + gate] = weights(f"r{gate}", shape=(v.cells, v.outputs), spread=2 / np.sqrt(v.outputs))
            if v.peephole and gate in PEEPHOLES:
                inputs[9 + PEEPHOLES.index(gate)] = weights(f"p{gate}", shape=(v.cells,), spread=0.5)
            inputs[12 + gate] = b.constant(f"b{gate}", values.floats(rng, (v.cells,), 1.0))
            if v.norm:
                inputs[20 + gate] = b.constant(f"n{gate}", values.floats(rng, (v.cells,), 1.0))
        if v.projection:
            inputs[16] = weights("proj", shape=(v.outputs, v.cells), spread=1 / np.sqrt(v.cells))
            if rng.integers(2):
                inputs[17] = b.constant("projb", values.floats(rng, (v.outputs,), 0.5))
        inputs[18] = b.variable("h", DType.FLOAT32, (v.batch, v.outputs))
        inputs[19] = b.variable("c", DType.FLOAT32, (v.batch, v.cells))
        y = b.tensor("y", DType.FLOAT32, v.shape(v.outputs))
        options = v.options(rng, clips=(float(rng.uniform(0.3, 2)), float(rng.uniform(0.3, 1))))
        activation = int(rng.choice([4, 4, 4, 1, 3, 0 if hybrid else 4]))
        used = inputs if v.norm or rng.integers(2) else inputs[:20]
        b.op(
            v.op,
            used,
            [y],
            version=3,
            options=options,
            fused_activation_function=activation,
            asymmetric_quantize_inputs=form.asymmetric,
        )
        samples = tuple({"x": _reals(rng, v.shape(v.features))} for _ in range(INVOCATIONS))
        yield Case(form.cell, b.finish(outputs=[y]), samples)


def _reals(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    return np.zeros(shape, np.float32) if rng.integers(8) == 0 else values.floats(rng, shape, 1.0)


CELLS: dict[str, Generator] = {
    "LSTM int8": partial(integer_cases, "LSTM int8", False),  # noqa: FBT003
    "UNIDIRECTIONAL_SEQUENCE_LSTM int8": partial(integer_cases, "UNIDIRECTIONAL_SEQUENCE_LSTM int8", True),  # noqa: FBT003
    **{form.cell: partial(float_cases, form) for form in FLOAT_FORMS},
}
