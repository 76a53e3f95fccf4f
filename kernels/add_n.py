"""ADD_N: the sum of many tensors of one shape.

Source: ``tflite/kernels/add_n.cc``, ``tflite/kernels/internal/optimized/optimized_ops.h`` (AddN).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce

import numpy as np

from kernels.engine.activation import Activation
from kernels.engine.contract import expect, expect_dtype, input_tensor, output_tensor, unsupported
from kernels.engine.elementwise import clamp_plain
from kernels.engine.movement import expect_same_quant
from kernels.engine.registry import Kernel
from kernels.engine.types import Inputs, OpView, Outputs, Prepared, given
from kernels.profiles import LITERT_REFERENCE, TFLM, Profile, Rules
from kernels.scaled_sums import ScaledAddN, ScaledSum
from qmath.stages import Note
from qmath.types import Array, DType

#: Types of codes that runtimes add.
CODES: Rules[tuple[DType, ...]] = Rules("ADD_N", {LITERT_REFERENCE: (), TFLM: (DType.INT8,)})


@dataclass(frozen=True, slots=True)
class AddN(Prepared):
    """A prepared ADD_N."""

    count: int

    def evaluate(self, inputs: Inputs, note: Note) -> Outputs:
        """Add the inputs in order; int32 wraps, infinite sums become the largest numbers."""
        del note
        with np.errstate(all="ignore"):
            return (reduce(_add, (given(inputs, slot) for slot in range(self.count))),)


def _add(total: Array, x: Array) -> Array:
    return clamp_plain(total + x, Activation.NONE)


def prepare(op: OpView, profile: Profile) -> Prepared:
    """Check the contract of ADD_N.

    Raises
    ------
    ModelError
        The op breaks its contract.
    UnsupportedError
        The type is not covered.

    """
    expect(len(op.inputs) >= 2, f"at least 2 inputs, found {len(op.inputs)}")
    first = input_tensor(op, 0)
    for slot in range(1, len(op.inputs)):
        other = input_tensor(op, slot)
        expect(other.shape == first.shape, f"inputs of one shape, found {first.shape} and {other.shape}")
        expect_dtype(other, first.dtype)
    expect_dtype(output_tensor(op), first.dtype)
    if first.dtype in CODES[profile]:
        for slot in range(len(op.inputs)):
            expect_same_quant(input_tensor(op, slot), first)
        return ScaledAddN(ScaledSum.of(first, output_tensor(op)), len(op.inputs))
    if first.dtype not in {DType.FLOAT32, DType.INT32}:
        raise unsupported(op, "; ".join(KERNELS[0].covers))
    return AddN(len(op.inputs))


KERNELS = (Kernel("ADD_N", prepare, covers=("float32", "int32")),)
