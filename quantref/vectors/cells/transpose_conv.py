"""Cases of TRANSPOSE_CONV."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np

from qmath.types import DType
from quantref.vectors.cells.case import Case, Generator
from quantref.vectors.cells.convolution import Form, Layout, activations, build, window

OP = "TRANSPOSE_CONV"
FORMS = (
    *(Form(OP, DType.INT8, DType.INT8, per_axis, bias) for per_axis in (False, True) for bias in (DType.INT32, None)),
    *(
        Form(OP, DType.INT16, DType.INT8, per_axis, bias, attribute)
        for per_axis in (False, True)
        for bias, attribute in (
            (DType.INT32, DType.INT32),
            (DType.INT64, DType.INT64),
            (DType.INT64, DType.FLOAT32),
            (None, DType.INT32),
            (None, DType.FLOAT32),
        )
    ),
    Form(OP, DType.UINT8, DType.UINT8),
    Form(OP, DType.UINT8, DType.UINT8, bias=None),
    *(
        Form(OP, DType.FLOAT32, DType.INT8, per_axis, bias)
        for per_axis in (False, True)
        for bias in (DType.FLOAT32, None)
    ),
    *(Form(OP, DType.FLOAT32, DType.FLOAT32, bias=bias) for bias in (DType.FLOAT32, None)),
)


def cases(form: Form, rng: np.random.Generator) -> Iterator[Case]:
    """Yield cases of a combination of types: a convolution run backward."""
    while True:
        size, kernel, options = window(rng, dilation=False)
        stride = (options["stride_h"], options["stride_w"])
        same = options["padding"] == 0
        made = [-(-s // t) if same else (s - k) // t + 1 for s, k, t in zip(size, kernel, stride, strict=True)]
        inner, wide, batch = int(rng.integers(1, 8)), int(rng.integers(1, 14)), int(rng.integers(1, 4))
        x = (batch, *made, inner)
        layout = Layout(x, (wide, *kernel, inner), 0, inner * kernel[0] * kernel[1], options)
        model = build(rng, form, layout, output_shape=(batch, *size, wide))
        yield Case(form.cell, model, tuple({"x": activations(rng, form, x)} for _ in range(2)))


CELLS: dict[str, Generator] = {form.cell: partial(cases, form) for form in FORMS}
