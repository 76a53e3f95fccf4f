"""Cases of BIDIRECTIONAL_SEQUENCE_LSTM: several invocations each, since the op keeps state."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np

import fbs
from qmath.types import Array, DType
from quantref.vectors.cells import values
from quantref.vectors.cells.case import Case, Generator
from quantref.vectors.cells.lstm import GATES, INVOCATIONS, PEEPHOLES, float_weights

#: The first weights, recurrent weights, peephole weights, biases, projection, state, auxiliary weights of a direction.
FORWARD = (1, 5, 9, 12, 16, 35, 40)
BACKWARD = (18, 22, 26, 29, 33, 37, 44)


@dataclass(frozen=True)
class Sizes:
    """Dimensions, and the size of the second input, 0 for none."""

    batch: int
    features: int
    cells: int
    outputs: int
    second: int


def cases(cell: str, weights: DType, asymmetric: bool, rng: np.random.Generator) -> Iterator[Case]:
    """Yield cases; the second input, with weights of its own or instead of the first, is there or not."""
    while True:
        batch, time = int(rng.choice([1, 2, 3])), int(rng.choice([1, 2, 5]))
        features, cells = (int(size) for size in rng.integers(1, 20, 2))
        projection, merge, time_major = (bool(rng.integers(2)) for _ in range(3))
        batch = 1 if merge and not time_major else batch
        outputs = int(rng.integers(1, cells + 1)) if projection else cells
        second = int(rng.choice([0, 0, features, 7]))
        own = second != features or bool(rng.integers(2))
        lead = (time, batch) if time_major else (batch, time)
        sizes = Sizes(batch, features, cells, outputs, second if own else 0)
        b = fbs.Builder()
        inputs: list[int | None] = [None] * 48
        inputs[0] = b.input("x", DType.FLOAT32, (*lead, features))
        if second:
            inputs[39] = b.input("second", DType.FLOAT32, (*lead, second))
        for name, slots in (("fw", FORWARD), ("bw", BACKWARD)):
            _direction(b, rng, inputs, name, slots, sizes, weights, projection=projection)
        widths = [2 * outputs] if merge else [outputs, outputs]
        ys = [b.tensor(f"y{place}", DType.FLOAT32, (*lead, width)) for place, width in enumerate(widths)]
        options = {
            "cell_clip": float(rng.uniform(0.3, 2)) if rng.integers(3) == 0 else 0.0,
            "proj_clip": float(rng.uniform(0.3, 1)) if rng.integers(3) == 0 else 0.0,
            "merge_outputs": merge,
            "time_major": time_major,
            "fused_activation_function": int(rng.choice([4, 4, 1])),
            "asymmetric_quantize_inputs": asymmetric,
        }
        b.op("BIDIRECTIONAL_SEQUENCE_LSTM", inputs, ys, version=3, options=options)
        yield Case(cell, b.finish(outputs=ys), tuple(_sample(rng, lead, features, second) for _ in range(INVOCATIONS)))


def _sample(rng: np.random.Generator, lead: tuple[int, int], features: int, second: int) -> dict[str, Array]:
    sizes = {"x": features, "second": second} if second else {"x": features}
    return {
        name: np.zeros((*lead, size), np.float32) if rng.integers(8) == 0 else values.floats(rng, (*lead, size), 1.0)
        for name, size in sizes.items()
    }


def _direction(
    b: fbs.Builder,
    rng: np.random.Generator,
    inputs: list[int | None],
    name: str,
    slots: tuple[int, ...],
    sizes: Sizes,
    dtype: DType,
    *,
    projection: bool,
) -> None:
    first, recurrent, peephole, bias, project, state, auxiliary = slots
    cifg, peepholes = (bool(rng.integers(2)) for _ in range(2))
    weights = partial(float_weights, b, rng, dtype=dtype)
    matrices = ((first, sizes.features), (recurrent, sizes.outputs), (auxiliary, sizes.second))
    for gate in GATES[1:] if cifg else GATES:
        for start, depth in matrices:
            if depth:
                slot = start + gate
                inputs[slot] = weights(f"{name}{slot}", shape=(sizes.cells, depth), spread=1 / np.sqrt(depth))
        if peepholes and gate in PEEPHOLES:
            slot = peephole + PEEPHOLES.index(gate)
            inputs[slot] = weights(f"{name}{slot}", shape=(sizes.cells,), spread=0.5)
        inputs[bias + gate] = b.constant(f"{name}b{gate}", values.floats(rng, (sizes.cells,), 1.0))
    if projection:
        shape = (sizes.outputs, sizes.cells)
        inputs[project] = weights(f"{name}proj", shape=shape, spread=1 / np.sqrt(sizes.cells))
        if rng.integers(2):
            inputs[project + 1] = b.constant(f"{name}projb", values.floats(rng, (sizes.outputs,), 0.5))
    inputs[state] = b.variable(f"{name}h", DType.FLOAT32, (sizes.batch, sizes.outputs))
    inputs[state + 1] = b.variable(f"{name}c", DType.FLOAT32, (sizes.batch, sizes.cells))


FORMS = {
    "BIDIRECTIONAL_SEQUENCE_LSTM float32": (DType.FLOAT32, False),
    "BIDIRECTIONAL_SEQUENCE_LSTM hybrid int8 symmetric": (DType.INT8, False),
    "BIDIRECTIONAL_SEQUENCE_LSTM hybrid int8 asymmetric": (DType.INT8, True),
    "BIDIRECTIONAL_SEQUENCE_LSTM hybrid uint8 symmetric": (DType.UINT8, False),
}
CELLS: dict[str, Generator] = {cell: partial(cases, cell, *form) for cell, form in FORMS.items()}
