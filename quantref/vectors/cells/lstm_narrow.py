"""Cases of LSTM with 8-bit sums: several invocations each, since the op keeps state."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

import fbs
from qmath.types import DType
from quantref.vectors.cells import values
from quantref.vectors.cells.case import Case, Generator
from quantref.vectors.cells.lstm import GATES, INVOCATIONS, PEEPHOLES


def cases(rng: np.random.Generator) -> Iterator[Case]:
    """Yield cases; input gate and peephole weights are there or not, and make no difference."""
    while True:
        features, cells, outputs = (int(size) for size in rng.integers(1, 20, 3))
        batch = int(rng.choice([1, 2, 3]))
        unused_gate, peephole = bool(rng.integers(2)), bool(rng.integers(2))
        b = fbs.Builder()
        x_scale, h_scale = (np.float32(2.0 ** rng.integers(-8, -4) * rng.choice([1, 1, 3])) for _ in range(2))
        h: dict[str, Any] = {"scale": h_scale, "zero_point": values.zero_point(rng, DType.INT8)}
        inputs: list[int | None] = [None] * 24
        x_zero = values.zero_point(rng, DType.INT8)
        inputs[0] = b.input("x", DType.INT8, (batch, features), scale=x_scale, zero_point=x_zero)
        between = []
        for gate in GATES:
            between.append(b.tensor(f"sum{gate}", DType.INT16, (1,), scale=values.scale(rng, -10, -6)))
            used = gate > 0 or unused_gate
            for first, depth, scale in ((1, features, x_scale), (5, outputs, h_scale)):
                to_scale, zero = values.scale(rng, -6, -3), values.zero_point(rng, DType.INT8)
                between.append(b.tensor(f"p{first}{gate}", DType.INT8, (1,), scale=to_scale, zero_point=zero))
                if used:
                    codes = values.codes(rng, DType.INT8, (cells, depth))
                    w_scale = np.float32(to_scale / np.sqrt(depth) / 137 / scale)
                    w_scale = np.float32(2.0 ** np.round(np.log2(w_scale))) if rng.integers(2) else w_scale
                    inputs[first + gate] = b.constant(f"w{first}{gate}", codes, scale=w_scale)
            if used:
                inputs[12 + gate] = b.constant(f"b{gate}", rng.normal(0, 2.0**21, cells).astype(np.int32), scale=1.0)
                codes = values.codes(rng, DType.INT16, (cells,))
                inputs[20 + gate] = b.constant(f"n{gate}", codes, scale=values.scale(rng, -16, -12))
            if used and peephole and gate in PEEPHOLES:
                slot = 9 + PEEPHOLES.index(gate)
                codes = values.codes(rng, DType.INT16, (cells,))
                inputs[slot] = b.constant(f"peep{gate}", codes, scale=values.scale(rng, -16, -12))
        scale = np.float32(h_scale / np.sqrt(cells) * rng.choice([1, 2, 0.5]))
        inputs[16] = b.constant("proj", values.codes(rng, DType.INT8, (outputs, cells)), scale=scale)
        inputs[17] = b.constant("projb", rng.integers(-99999, 99999, outputs).astype(np.int32), scale=1.0)
        inputs[18] = b.variable("h", DType.INT8, (batch, outputs), **h)
        inputs[19] = b.variable("c", DType.INT16, (batch, cells), scale=2.0**-15)
        y = b.tensor("y", DType.INT8, (batch, outputs), **h)
        options = {"cell_clip": rng.choice([0, 0, 0.3, 1.5]), "proj_clip": rng.choice([0, 0, float(h_scale) * 60])}
        clips = {name: float(clip) for name, clip in options.items()}
        b.op("LSTM", inputs, [y], version=4, intermediates=between, options=clips)
        samples = tuple({"x": values.codes(rng, DType.INT8, (batch, features))} for _ in range(INVOCATIONS))
        yield Case("LSTM int8 with int8 sums", b.finish(outputs=[y]), samples)


CELLS: dict[str, Generator] = {"LSTM int8 with int8 sums": cases}
