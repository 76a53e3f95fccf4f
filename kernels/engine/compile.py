"""Fast forms derived from literal definitions by exhausting their finite domain.

Elementwise ops on 8- and 16-bit codes become tables; sums of products become exact BLAS sums followed by a step
function (:mod:`kernels.engine.steps`), or, for outputs of 16 bits, with the multiplier folded into the sum
(:mod:`kernels.engine.folded`).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from kernels.engine.exact import LinearSum
from kernels.engine.folded import folded
from kernels.engine.requantized import RequantizedSum
from kernels.engine.steps import quick_form
from kernels.engine.types import Inputs, Outputs, Runner, given
from qmath.requantize import Requantize
from qmath.types import Array, DType, Int64Array


def table_of(definition: Callable[[Array], Array], codes: DType) -> Callable[[Array], Array]:
    """Evaluate an elementwise definition on every code of an 8- or 16-bit type and return the lookup."""
    domain = np.arange(codes.min, codes.max + 1).astype(codes.storage)
    table = definition(domain)
    index = np.uint8 if codes.bits == 8 else np.uint16
    # Seen as unsigned, negative codes index the upper half: rotate the table once instead of every input.
    table = np.ascontiguousarray(np.roll(table, codes.min))

    def look_up(x: Array) -> Array:
        return table.take(np.ascontiguousarray(x).view(index))

    return look_up


def table_of_pairs(
    definition: Callable[[Array, Array], Array], first: DType, second: DType
) -> Callable[[Array, Array], Array]:
    """Evaluate a binary elementwise definition on all pairs of 8-bit codes and return the broadcasting lookup."""
    a = np.arange(first.min, first.max + 1).astype(first.storage)
    b = np.arange(second.min, second.max + 1).astype(second.storage)
    table = definition(a[:, None], b[None, :])
    table = np.ascontiguousarray(np.roll(table, (first.min, second.min), (0, 1))).reshape(-1)

    def look_up(x: Array, y: Array) -> Array:
        high = np.ascontiguousarray(x).view(np.uint8).astype(np.uint16) << 8
        return table.take(high | np.ascontiguousarray(y).view(np.uint8))

    return look_up


def requantized_sum(sums: LinearSum, offset: Int64Array, requantize: Requantize, definition: Runner) -> Runner:
    """Compile "sum exactly, add a constant per channel, requantize" for input slot 0, batch first.

    Parameters
    ----------
    sums
        The raw sums.
    offset
        int64, shape ``(channels,)``: bias and zero-point terms, added to the raw sums.
    requantize
        Of the accumulator.
    definition
        The literal form: what runs where no fast form is proven, and on empty inputs.

    """
    form = folded(sums, offset, requantize)
    computed, quick = form or (sums, quick_form(requantize, offset, sums.reach))
    if quick is None:
        return definition
    return RequantizedSum(computed, offset, requantize, definition, quick)


def unary(definition: Callable[[Array], Array], codes: DType) -> Runner:
    """Compile an elementwise op of one input by its table."""
    look_up = table_of(definition, codes)

    def run(inputs: Inputs) -> Outputs:
        return (look_up(given(inputs, 0)),)

    return run
