"""What reductions share: which axes are reduced, and a tensor laid out so that reducing is folding rows."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from kernels.engine.contract import expect_count, expect_dtype, input_tensor, option, output_tensor
from kernels.engine.movement import integers, resolve_axis
from kernels.engine.taps import Fold, Products, Reads, unravelled
from kernels.engine.types import OpView, TensorView
from qmath.types import Array, DType


@dataclass(frozen=True, slots=True)
class Reduction:
    """Which axes of a tensor are reduced.

    Attributes
    ----------
    shape
        Of the input.
    axes
        Reduced axes in ascending order, each once.
    keep_dims
        Whether reduced axes stay, with size 1.

    """

    shape: tuple[int, ...]
    axes: tuple[int, ...]
    keep_dims: bool

    @classmethod
    def of(cls, shape: tuple[int, ...], axes: Array, *, keep_dims: bool) -> Reduction:
        """Resolve the axes of a reduction: negative ones count from the back, repeated ones count once.

        A scalar has no axes and ignores those asked for.

        Raises
        ------
        ModelError
            There is no such axis.

        """
        resolved = {resolve_axis(axis, len(shape)) for axis in integers(axes)} if shape else ()
        return cls(shape, tuple(sorted(resolved)), keep_dims)

    @property
    def count(self) -> int:
        """Number of elements that make one output."""
        return math.prod(self.shape[axis] for axis in self.axes)

    @property
    def output_shape(self) -> tuple[int, ...]:
        """Shape of the output."""
        if self.keep_dims:
            return tuple(1 if axis in self.axes else size for axis, size in enumerate(self.shape))
        return tuple(size for axis, size in enumerate(self.shape) if axis not in self.axes)

    @property
    def reduces_all(self) -> bool:
        """Whether every axis is reduced."""
        return len(self.axes) == len(self.shape)

    def rows(self, x: Array) -> Array:
        """Return shape (count, outputs): row ``i`` holds the ``i``-th element of every output, in memory order."""
        front = np.moveaxis(x, self.axes, range(len(self.axes)))
        return front.reshape(self.count, math.prod(self.output_shape))


def folded(
    x: Array,
    axes: Array,
    index: tuple[int, ...],
    *,
    keep_dims: bool,
    source: int | str = 0,
    stage: str = "sum",
    fold: Fold = Fold.SUM,
) -> Products:
    """Return the elements, of an input slot or an earlier stage, that a reduction makes one output of."""
    reduction = Reduction.of(x.shape, axes, keep_dims=keep_dims)
    output = int(np.ravel_multi_index(index, reduction.output_shape)) if index else 0
    positions = reduction.rows(np.arange(x.size).reshape(x.shape))[:, output]
    return Products((Reads(source, unravelled(positions, x.shape)),), stage=stage, fold=fold)


def reduction_operands(op: OpView) -> tuple[TensorView, TensorView, bool]:
    """Check what all reductions demand and return input, output and whether axes stay.

    Raises
    ------
    ModelError
        The op breaks its contract.

    """
    expect_count(op, {2})
    x, y = input_tensor(op, 0), output_tensor(op)
    expect_dtype(input_tensor(op, 1), DType.INT32)
    expect_dtype(y, x.dtype)
    return x, y, bool(option(op, "keep_dims"))
