"""Cases of RNN and its sequence forms: several invocations each, since the ops keep state."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np

import fbs
from qmath.types import Array, DType
from quantref.vectors.cells import values
from quantref.vectors.cells.case import Case, Generator
from quantref.vectors.cells.lstm import INVOCATIONS, float_weights

#: Weights types and whether inputs are quantized asymmetrically.
FORMS = {
    "float32": (DType.FLOAT32, False),
    "hybrid int8 symmetric": (DType.INT8, False),
    "hybrid int8 asymmetric": (DType.INT8, True),
    "hybrid uint8 symmetric": (DType.UINT8, False),
}


def cases(op: str, cell: str, weights: DType, asymmetric: bool, rng: np.random.Generator) -> Iterator[Case]:
    """Yield cases of an op of one direction."""
    while True:
        batch, features, units = (int(size) for size in (rng.integers(1, 4), *rng.integers(1, 40, 2)))
        time, time_major = int(rng.integers(1, 6)), bool(rng.integers(2))
        lead = (batch,) if op == "RNN" else (time, batch) if time_major else (batch, time)
        b = fbs.Builder()
        inputs = [b.input("x", DType.FLOAT32, (*lead, features))]
        inputs += _direction(b, rng, "", weights, (batch, features, units))
        y = b.tensor("y", DType.FLOAT32, (*lead, units))
        b.op(op, inputs, [y], version=3, options=_options(rng, {"time_major": time_major}, op, asymmetric=asymmetric))
        samples = tuple({"x": _reals(rng, (*lead, features))} for _ in range(INVOCATIONS))
        yield Case(cell, b.finish(outputs=[y]), samples)


def bidirectional_cases(cell: str, weights: DType, asymmetric: bool, rng: np.random.Generator) -> Iterator[Case]:
    """Yield cases of both directions; the second input, with weights of its own or without, is there or not."""
    while True:
        batch, features, fw, bw = (int(size) for size in (rng.integers(1, 4), *rng.integers(1, 24, 3)))
        time, time_major, merge = int(rng.integers(1, 6)), bool(rng.integers(2)), bool(rng.integers(2))
        own, second = bool(rng.integers(2)), bool(rng.integers(3))
        if merge and time_major and weights is not DType.FLOAT32 and not asymmetric:
            batch = 1
        lead = (time, batch) if time_major else (batch, time)
        b = fbs.Builder()
        inputs: list[int | None] = [b.input("x", DType.FLOAT32, (*lead, features))]
        inputs += _direction(b, rng, "fw", weights, (batch, features, fw))
        inputs += _direction(b, rng, "bw", weights, (batch, features, bw))
        names = ["x"]
        if second:
            inputs.append(b.input("second", DType.FLOAT32, (*lead, features)))
            names.append("second")
        spread = 1 / np.sqrt(features)
        if second and own:
            shapes = {"fw2": (fw, features), "bw2": (bw, features)}
            inputs += [float_weights(b, rng, name, weights, shape, spread) for name, shape in shapes.items()]
        inputs += [None] * (12 - len(inputs))
        widths = [fw + bw] if merge else [fw, bw]
        ys = [b.tensor(f"y{place}", DType.FLOAT32, (*lead, width)) for place, width in enumerate(widths)]
        given = {"time_major": time_major, "merge_outputs": merge}
        options = _options(rng, given, "BIDIRECTIONAL_SEQUENCE_RNN", asymmetric=asymmetric)
        b.op("BIDIRECTIONAL_SEQUENCE_RNN", inputs, ys, version=3, options=options)
        samples = tuple({name: _reals(rng, (*lead, features)) for name in names} for _ in range(INVOCATIONS))
        yield Case(cell, b.finish(outputs=ys), samples)


def _options(rng: np.random.Generator, given: dict[str, bool], op: str, *, asymmetric: bool) -> dict[str, Any]:
    common = {
        "fused_activation_function": int(rng.choice([4, 4, 1, 2, 3, 5, 0])),
        "asymmetric_quantize_inputs": asymmetric,
    }
    return common if op == "RNN" else {**common, **given}


def _direction(
    b: fbs.Builder, rng: np.random.Generator, name: str, weights: DType, sizes: tuple[int, int, int]
) -> list[int]:
    batch, features, units = sizes
    return [
        float_weights(b, rng, f"{name}w", weights, (units, features), 1 / np.sqrt(features)),
        float_weights(b, rng, f"{name}r", weights, (units, units), 1 / np.sqrt(units)),
        b.constant(f"{name}b", values.floats(rng, (units,), 1.0)),
        b.variable(f"{name}h", DType.FLOAT32, (batch, units)),
    ]


def _reals(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    return np.zeros(shape, np.float32) if rng.integers(8) == 0 else values.floats(rng, shape, 1.0)


CELLS: dict[str, Generator] = {
    f"{op} {form}": partial(cases, op, f"{op} {form}", *types)
    for op in ("RNN", "UNIDIRECTIONAL_SEQUENCE_RNN")
    for form, types in FORMS.items()
}
CELLS |= {
    f"BIDIRECTIONAL_SEQUENCE_RNN {form}": partial(bidirectional_cases, f"BIDIRECTIONAL_SEQUENCE_RNN {form}", *types)
    for form, types in FORMS.items()
}
