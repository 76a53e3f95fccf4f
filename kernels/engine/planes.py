"""A binary op that is a plane over pairs of codes, rounded: one float32 chain, proven on every pair.

ADD and SUB of 8-bit codes scale both inputs, add and scale again, and each step rounds. What comes out is a plane
``first * a + second * b + c``, cut to integers, except where a rounding on the way tips the balance; and because there
are only 65,536 pairs, whether that ever happens is not argued but tried.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from kernels.engine.plans import Scratch
from kernels.engine.program import Program, finishing, run
from kernels.engine.types import Inputs, Outputs, Runner
from kernels.engine.ufuncs import clip
from qmath.types import Array, DType, Float32Array

#: Units in the last place that the fit tries either side of a slope.
SLOPE_TRIALS = (0, 1, -1)


@dataclass(frozen=True)
class Plane:
    """``floor(clip(first * a + second * b + constant, lowest, highest))`` in float32, each operation rounded.

    Attributes
    ----------
    a, b, constant, lowest, highest
        float32, shape ``(1,)``.

    """

    a: Float32Array
    b: Float32Array
    constant: Float32Array
    lowest: Float32Array
    highest: Float32Array

    def lay_out(self, first: Array, second: Array, codes: Array, scratch: Scratch) -> Program:
        """Lay out the way from two arrays of codes to a third; shapes are equal, types any that hold them."""
        v = scratch.take("first scaled", codes.shape, np.float32)
        w = scratch.take("second scaled", codes.shape, np.float32)
        flat, more = v.reshape(-1), w.reshape(-1)
        return [
            (np.multiply, (first, self.a, v)),
            (np.multiply, (second, self.b, w)),
            (np.add, (flat, more, flat)),
            (np.add, (flat, self.constant, flat)),
            (clip, (flat, self.lowest, self.highest, flat)),
            *finishing(np.floor, v, codes),
        ]


def fitted_plane(
    definition: Callable[[Array, Array], Array], codes: DType, slopes: tuple[float, float]
) -> Plane | None:
    """Fit a plane to a definition on all pairs of codes of an 8-bit type, or return None if none gives every code.

    Parameters
    ----------
    definition
        Of the op, on arrays that broadcast.
    codes
        Of both inputs.
    slopes
        About what a step of the first and of the second input adds to the output.

    """
    domain = np.arange(codes.min, codes.max + 1).astype(codes.storage)
    first, second = np.broadcast_arrays(domain[:, None], domain[None, :])
    table = definition(first, second).astype(np.float64)
    lowest, highest = table.min(), table.max()
    for near_a, near_b in itertools.product(_neighbours(slopes[0]), _neighbours(slopes[1])):
        real = first * np.float64(near_a) + second * np.float64(near_b)
        # The constant must lift every pair to its code, but for the lowest, and none to the next, but for the highest.
        least = (table - real)[table > lowest].max(initial=-np.inf)
        bound = (table + 1 - real)[table < highest].min(initial=np.inf)
        if not (math.isfinite(least) and math.isfinite(bound) and least < bound):
            continue
        numbers = (near_a, near_b, (least + bound) / 2, lowest, highest)
        plane = Plane(*(np.array([number], np.float32) for number in numbers))
        found = np.empty(table.shape, np.float32)
        run(plane.lay_out(first, second, found, Scratch()))
        if np.array_equal(found, table):
            return plane
    return None


def _neighbours(slope: float) -> list[np.float32]:
    bits = np.array(slope, np.float32).view(np.int32)
    return [np.float32((bits + trial).view(np.float32)) for trial in SLOPE_TRIALS]


class PlaneSum:
    """A runner for ADD and SUB of 8-bit codes, which can also be laid out.

    Parameters
    ----------
    runner
        What runs on arrays as they come.
    definition, codes, slopes
        As for :func:`fitted_plane`.

    """

    def __init__(
        self, runner: Runner, definition: Callable[[Array, Array], Array], codes: DType, slopes: tuple[float, float]
    ) -> None:
        self._runner = runner
        self._definition = definition
        self._codes = codes
        self._slopes = slopes
        self._plane: Plane | None = None
        self._is_fitted = False

    def __call__(self, inputs: Inputs) -> Outputs:
        """Run the op."""
        return self._runner(inputs)

    @property
    def plane(self) -> Plane | None:
        """The proven float32 chain, or None; searched for when it is first asked for."""
        if not self._is_fitted:
            self._plane = fitted_plane(self._definition, self._codes, self._slopes)
            self._is_fitted = True
        return self._plane
