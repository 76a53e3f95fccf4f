"""The two sides of a matrix product whose leading dimensions broadcast against each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kernels.engine.contract import expect
from kernels.engine.taps import indices
from qmath.types import Array, Int64Array


@dataclass(frozen=True, slots=True)
class Sides:
    """Which sides have their last two dimensions swapped."""

    swap_left: bool
    swap_right: bool

    def left(self, array: Array) -> Array:
        """Return the left side as (..., rows, depth)."""
        return array.swapaxes(-1, -2) if self.swap_left else array

    def right(self, array: Array) -> Array:
        """Return the right side as (..., depth, columns)."""
        return array.swapaxes(-1, -2) if self.swap_right else array

    def of(self, left: Array, right: Array) -> tuple[Array, Array]:
        """Return both sides as they are multiplied."""
        return self.left(left), self.right(right)

    def products(
        self, left: tuple[int, ...], right: tuple[int, ...], index: tuple[int, ...]
    ) -> tuple[Int64Array, Int64Array]:
        """Return which elements of either side, as they are given, are multiplied for one element of the product."""
        *batch, row, column = index
        depth = np.arange(left[-2 if self.swap_left else -1])
        of_left = (depth, row) if self.swap_left else (row, depth)
        of_right = (column, depth) if self.swap_right else (depth, column)
        return indices(*_leading(batch, left), *of_left), indices(*_leading(batch, right), *of_right)

    def expect_fit(self, left: tuple[int, ...], right: tuple[int, ...]) -> None:
        """Check that matrices of these shapes, at least two dimensions each, can be multiplied.

        Raises
        ------
        ModelError
            They cannot.

        """
        depths = left[-2 if self.swap_left else -1], right[-1 if self.swap_right else -2]
        expect(depths[0] == depths[1], f"matrices of matching depth, found shapes {left} and {right}")
        pairs = zip(reversed(left[:-2]), reversed(right[:-2]), strict=False)
        fit = all(a == b or 1 in {a, b} for a, b in pairs)
        expect(fit, f"leading dimensions that are equal or 1, found shapes {left} and {right}")


def _leading(batch: Sequence[int], shape: tuple[int, ...]) -> list[int]:
    """Return which matrix of a stack is multiplied: its leading dimensions broadcast to those of the product."""
    last = batch[len(batch) - (len(shape) - 2) :]
    return [0 if size == 1 else at for at, size in zip(last, shape[:-2], strict=True)]
