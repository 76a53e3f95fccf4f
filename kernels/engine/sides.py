"""The two sides of a matrix product whose leading dimensions broadcast against each other."""

from __future__ import annotations

from dataclasses import dataclass

from kernels.engine.contract import expect
from qmath.types import Array


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
