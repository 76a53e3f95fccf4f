"""Models of one elementwise op."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np

import fbs
from qmath.types import Array, DType

#: Scale, zero point and quantized dimension of a tensor, as the builder's keywords; empty without quantization.
Params: TypeAlias = Mapping[str, Any]
NONE: Params = {}


def one_input(
    op: str,
    x: Array,
    source: DType,
    target: DType,
    source_params: Params = NONE,
    target_params: Params = NONE,
    *,
    version: int = 1,
    **options: Any,
) -> fbs.Model:
    """Build a model of one op with one input, called ``x``, of the shape of an array."""
    builder = fbs.Builder()
    first = builder.input("x", source, x.shape, **source_params)
    output = builder.tensor("y", target, x.shape, **target_params)
    builder.op(op, [first], [output], version=version, options=options)
    return builder.finish([output])


def two_inputs(
    op: str,
    arrays: tuple[Array, Array],
    sources: tuple[DType, DType],
    target: DType,
    params: tuple[Params, Params, Params] = (NONE, NONE, NONE),
    *,
    constant: int | None = None,
    **options: Any,
) -> tuple[fbs.Model, dict[str, Array]]:
    """Build a model of one op with inputs ``x1`` and ``x2``, one of which may be a constant; return the sample too."""
    builder = fbs.Builder()
    slots, sample = [], {}
    for slot, (array, dtype) in enumerate(zip(arrays, sources, strict=True)):
        name = f"x{slot + 1}"
        if slot == constant:
            slots.append(builder.constant(name, array, dtype, **params[slot]))
        else:
            slots.append(builder.input(name, dtype, array.shape, **params[slot]))
            sample[name] = array
    shape = np.broadcast_shapes(arrays[0].shape, arrays[1].shape)
    output = builder.tensor("y", target, shape, **params[2])
    builder.op(op, slots, [output], options=options)
    return builder.finish([output]), sample
