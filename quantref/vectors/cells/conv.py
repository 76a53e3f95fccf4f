"""Cases of CONV_2D."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np

from qmath.types import DType
from quantref.vectors.cells.case import Case, Generator
from quantref.vectors.cells.convolution import Form, Layout, activations, build, window

FORMS = (
    *(
        Form("CONV_2D", DType.INT8, filter_, per_axis, DType.INT32)
        for filter_ in (DType.INT8, DType.INT4)
        for per_axis in (False, True)
    ),
    *(
        Form("CONV_2D", DType.INT16, filter_, per_axis, bias, bias)
        for filter_ in (DType.INT8, DType.INT4)
        for per_axis in (False, True)
        for bias in (DType.INT32, DType.INT64)
    ),
    Form("CONV_2D", DType.INT16, DType.INT8, per_axis=True, bias=DType.INT64),
    Form("CONV_2D", DType.UINT8, DType.UINT8),
    *(
        Form("CONV_2D", DType.FLOAT32, filter_, per_axis, DType.FLOAT32)
        for filter_ in (DType.INT8, DType.INT4)
        for per_axis in (False, True)
    ),
    Form("CONV_2D", DType.FLOAT32, DType.UINT8, bias=DType.FLOAT32),
    Form("CONV_2D", DType.FLOAT32, DType.FLOAT32, bias=DType.FLOAT32),
)


def cases(form: Form, rng: np.random.Generator) -> Iterator[Case]:
    """Yield cases of a combination of types."""
    may_group = form.is_integer or form.filter is DType.FLOAT32 or (form.per_axis and form.filter is not DType.UINT8)
    while True:
        size, kernel, options = window(rng)
        groups = int(rng.choice([1, 1, 1, 2, 3])) if may_group else 1
        inner, wide, batch = int(rng.integers(1, 8)), int(rng.integers(1, 14)), int(rng.integers(1, 4))
        x = (batch, *size, inner * groups)
        layout = Layout(x, (wide * groups, *kernel, inner), 0, inner * kernel[0] * kernel[1], options)
        model = build(rng, form, layout)
        yield Case(form.cell, model, tuple({"x": activations(rng, form, x)} for _ in range(2)))


CELLS: dict[str, Generator] = {form.cell: partial(cases, form) for form in FORMS}
