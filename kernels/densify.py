"""DENSIFY: a sparse constant spread out to a dense tensor.

The op stands between pruned weights and an op that cannot read them sparse. Files are read with their sparse constants
spread out (:mod:`fbs.sparsity`), so that the kernel has only to hand them on.

Quirk: Ops other than DENSIFY and FULLY_CONNECTED take what is stored of a sparse constant for all of it and read on
past its end; quantref refuses them.

Source: ``tflite/kernels/densify.cc``.
"""

from __future__ import annotations

from dataclasses import dataclass

from kernels.engine.contract import expect, expect_count, expect_dtype, input_tensor, output_tensor, unsupported
from kernels.engine.registry import Kernel
from kernels.engine.types import Inputs, OpView, Outputs, Prepared, given
from kernels.profiles import Profile
from qmath.stages import Note
from qmath.types import DType


@dataclass(frozen=True, slots=True)
class Densify(Prepared):
    """A prepared DENSIFY."""

    runs_once = True

    def evaluate(self, inputs: Inputs, note: Note) -> Outputs:
        """Give the constant, with zeros where nothing is stored."""
        return (note("dense", given(inputs, 0).copy()),)


def prepare(op: OpView, profile: Profile) -> Densify:
    """Check the contract of DENSIFY.

    Raises
    ------
    ModelError
        The input is not a sparse constant, or the output of another type.
    UnsupportedError
        The element type is not covered.

    """
    del profile
    expect_count(op, {1})
    x = input_tensor(op, 0)
    expect(x.data is not None and x.sparsity is not None, f"{x.name!r} to be a sparse constant")
    expect_dtype(output_tensor(op), x.dtype)
    if x.dtype not in {DType.INT8, DType.FLOAT16, DType.FLOAT32}:
        raise unsupported(op, ", ".join(KERNELS[0].covers))
    return Densify()


KERNELS = (Kernel("DENSIFY", prepare, covers=("int8", "float16", "float32"), reads_sparse=True),)
