"""Cases of DEPTHWISE_CONV_2D."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np

from qmath.types import DType
from quantref.vectors.cells.case import Case, Generator
from quantref.vectors.cells.convolution import Form, Layout, activations, build, window

OP = "DEPTHWISE_CONV_2D"
FORMS = (
    *(
        Form(OP, DType.INT8, filter_, per_axis, bias)
        for filter_ in (DType.INT8, DType.INT4)
        for per_axis in (False, True)
        for bias in (DType.INT32, None)
    ),
    *(Form(OP, DType.INT16, DType.INT8, per_axis, bias) for per_axis in (False, True) for bias in (DType.INT64, None)),
    Form(OP, DType.UINT8, DType.UINT8),
    Form(OP, DType.UINT8, DType.UINT8, bias=None),
    *(Form(OP, DType.FLOAT32, DType.INT8, per_axis=True, bias=bias) for bias in (DType.FLOAT32, None)),
    *(Form(OP, DType.FLOAT32, DType.FLOAT32, bias=bias) for bias in (DType.FLOAT32, None)),
)


def cases(form: Form, rng: np.random.Generator) -> Iterator[Case]:
    """Yield cases of a combination of types."""
    while True:
        size, kernel, options = window(rng)
        channels, multiplier, batch = int(rng.integers(1, 20)), int(rng.choice([1, 1, 2, 3])), int(rng.integers(1, 4))
        if rng.integers(8) == 0:
            channels, multiplier = 1, int(rng.integers(1, 12))
        x = (batch, *size, channels)
        options["depth_multiplier"] = multiplier
        layout = Layout(x, (1, *kernel, channels * multiplier), 3, kernel[0] * kernel[1], options)
        model = build(rng, form, layout)
        yield Case(form.cell, model, tuple({"x": activations(rng, form, x)} for _ in range(2)))


CELLS: dict[str, Generator] = {form.cell: partial(cases, form) for form in FORMS}
