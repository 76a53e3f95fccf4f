"""SOFTMAX of float32 and float16, for ``softmax.py``.

Source: ``tflite/kernels/internal/reference/softmax.h``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kernels.engine.taps import Products, Reads, row
from kernels.engine.types import Inputs, Outputs, Prepared, given
from kernels.profiles import LITERT_OPTIMIZED, LITERT_REFERENCE, XNNPACK, Rules
from qmath.stages import Note, silent
from qmath.types import Array

#: Whether float powers are added one after the other.
IN_ORDER: Rules[bool] = Rules("SOFTMAX of float32", {LITERT_REFERENCE: True, LITERT_OPTIMIZED: False, XNNPACK: False})


@dataclass(frozen=True, slots=True)
class FloatSoftmax(Prepared):
    """A prepared SOFTMAX of float32 or float16.

    Attributes
    ----------
    beta
        Factor of the differences.
    in_order
        Whether powers are added one after the other, which errs more and more over many classes.

    """

    beta: float
    in_order: bool

    def evaluate(self, inputs: Inputs, note: Note) -> Outputs:
        """Evaluate :func:`float_softmax`."""
        return (float_softmax(given(inputs, 0), self, note),)

    def products(self, inputs: Inputs, index: tuple[int, ...]) -> Products:
        """Return the terms of the sum of powers."""
        return Products((Reads("power", row(index, given(inputs, 0).shape[-1])),), stage="sum of powers")


def float_softmax(x: Array, op: FloatSoftmax, note: Note = silent) -> Array:
    """Compute SOFTMAX in float32.

    Notes
    -----
    1. difference: each element less the largest of its row.
    2. power: e**(beta * difference), stored in the type of ``x``.
    3. sum of powers: in float32, one after the other or in parts.
    4. Divide.

    """
    largest = np.fmax.reduce(x, axis=-1, keepdims=True, initial=np.finfo(x.dtype).min)
    with np.errstate(all="ignore"):
        difference = x.astype(np.float32) - largest.astype(np.float32)
        note("difference", difference, "float32(x - largest)", x=x, largest=largest)
        powers = np.exp(difference * np.float32(op.beta))
        note("power", powers, "~ exp(difference * beta)", difference=difference, beta=np.float32(op.beta))
        total = np.add.accumulate(powers, axis=-1)[..., -1:] if op.in_order else powers.sum(axis=-1, keepdims=True)
        note("sum of powers", total)
        stored = powers.astype(x.dtype).astype(np.float32)
        share = np.asarray(stored / total)
        return note("share", share, "float32(power / total)", power=stored, total=total).astype(x.dtype)
