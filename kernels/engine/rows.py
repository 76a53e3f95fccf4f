"""An array of any rank, cut into the rows of a matrix."""

from __future__ import annotations

import math
from dataclasses import dataclass

from kernels.engine.contract import checked_shape
from qmath.types import Array


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

    def output_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of the output."""
        if self.keep_num_dims:
            return checked_shape((*input_shape[:-1], self.units))
        rows = math.prod(input_shape) // self.depth if self.depth else math.prod(input_shape[:-1])
        return checked_shape((rows, self.units))
