"""An array of any rank, cut into the rows of a matrix."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from kernels.engine.contract import checked_shape
from kernels.engine.taps import indices, unravelled
from qmath.types import Array, Int64Array


@dataclass(frozen=True, slots=True)
class Rows:
    """How an input is cut into rows, each of which gives ``units`` outputs.

    Attributes
    ----------
    depth
        Elements of a row.
    units
        Outputs of a row.
    keep_num_dims
        Whether the output has the input's shape but for the last dimension; it is (rows, units) otherwise.

    """

    depth: int
    units: int
    keep_num_dims: bool

    def of(self, x: Array) -> Array:
        """Return ``x`` as (rows, depth); what does not fill a row is dropped."""
        rows = x.size // self.depth
        return x.reshape(-1)[: rows * self.depth].reshape(rows, self.depth)

    def shape_of(self, input_shape: tuple[int, ...]) -> tuple[int, int] | None:
        """Return the shape of :meth:`of` for an input's, or None where something is dropped."""
        rows, rest = divmod(math.prod(input_shape), self.depth) if self.depth else (0, 1)
        return None if rest else (rows, self.depth)

    def products(self, input_shape: tuple[int, ...], index: tuple[int, ...]) -> tuple[int, Int64Array, Int64Array]:
        """Return the row of one output, where its elements are in the input, and where those of the weights are."""
        leading = self.output_shape(input_shape)[:-1]
        row = int(np.ravel_multi_index(index[:-1], leading)) if leading else 0
        depth = np.arange(self.depth)
        return row, unravelled(row * self.depth + depth, input_shape), indices(index[-1], depth)

    def output_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of the output."""
        if self.keep_num_dims:
            return checked_shape((*input_shape[:-1], self.units))
        rows = math.prod(input_shape) // self.depth if self.depth else math.prod(input_shape[:-1])
        return checked_shape((rows, self.units))
