"""A binary op that is a plane over pairs of codes, rounded: one float32 chain, proven on every pair.

ADD and SUB of 8-bit codes scale both inputs, add and scale again, and each step rounds. What comes out is a plane
``first * a + second * b + c``, cut to integers, except where a rounding on the way tips the balance; and because there
are only 65,536 pairs, whether that ever happens is not argued but tried. Of 16-bit codes there are too many pairs, but
few codes: how far each input's scaling is from a straight line is tried on all of them, and pairs that lie closer to a
step than that are left to the definition.
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
from qmath.requantize import Requantize
from qmath.types import Array, DType, Float32Array, Float64Array, Int64Array

#: More than float64 rounds off a sum of three numbers of up to ``LARGEST``.
FLOAT64_ERROR = 2.0**-24
LARGEST = 2.0**26
#: A margin from which on too many pairs would be in doubt.
MOST_DOUBT = 2.0**-6
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
        first, second, codes = _with_an_axis(first, second, codes)
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


def _with_an_axis(*arrays: Array) -> list[Array]:
    """Return views with at least one axis, as the numbers of a plane have."""
    return [array.reshape(1) if array.ndim == 0 else array for array in arrays]


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


@dataclass(frozen=True)
class UncertainPlane:
    """``floor(first * a + second * b + constant)`` in float64, clamped, wherever that is one code within the margin.

    Attributes
    ----------
    a, b, constant, lowest, highest
        float64, shape ``(1,)``.
    margin
        What the plane differs by from what the definition rounds, at most.
    definition
        Gives the code of all other pairs, from two arrays of ``dtype``.
    dtype
        Of inputs and output.

    """

    a: Float64Array
    b: Float64Array
    constant: Float64Array
    lowest: Float64Array
    highest: Float64Array
    margin: Float64Array
    definition: Callable[[Array, Array], Array]
    dtype: DType

    def lay_out(self, first: Array, second: Array, codes: Array, scratch: Scratch) -> Program:
        """Lay out the way from two arrays of codes to a third; shapes are equal, types any that hold them."""
        first, second, codes = _with_an_axis(first, second, codes)
        v = scratch.take("first scaled", codes.shape, np.float64)
        w = scratch.take("second scaled", codes.shape, np.float64)
        doubt = scratch.take("doubt", codes.shape, np.bool_)
        flat, more = v.reshape(-1), w.reshape(-1)

        def mend() -> None:
            if np.count_nonzero(doubt):
                x, y = (operand[doubt].astype(self.dtype.storage) for operand in (first, second))
                codes[doubt] = self.definition(x, y)

        return [
            (np.multiply, (first, self.a, v)),
            (np.multiply, (second, self.b, w)),
            (np.add, (flat, more, flat)),
            (np.add, (flat, self.constant - self.margin, flat)),
            (np.add, (flat, 2 * self.margin, more)),
            (np.floor, (flat, flat)),
            (np.floor, (more, more)),
            (np.not_equal, (flat, more, doubt.reshape(-1))),
            *finishing(clip, v, codes, self.lowest, self.highest),
            (mend, ()),
        ]


def uncertain_plane(
    definition: Callable[[Array, Array], Array],
    codes: DType,
    scalings: tuple[Callable[[Array], Int64Array], Callable[[Array], Int64Array]],
    requantize: Requantize,
) -> UncertainPlane | None:
    """Make a plane of ``requantize(scalings[0](first) + scalings[1](second))``, or return None if that has none.

    The margin is what the scalings of all codes differ by from a straight line, at most, plus what the requantization
    moves ties by, plus more than float64 rounds off.
    """
    form = requantize.regime.real_form(requantize.factor)
    if form is None:
        return None
    domain = np.arange(codes.min, codes.max + 1)
    scale, margin, slopes, constant = float(form.scale), float(form.away) + FLOAT64_ERROR, [], 0.0
    magnitude = 0
    for scaling in scalings:
        scaled = scaling(domain.astype(codes.storage))
        slope = float(scaled[-1] - scaled[0]) / (len(domain) - 1)
        distance = scaled - domain * slope
        middle = (distance.max() + distance.min()) / 2
        margin += float(np.abs(distance - middle).max()) * scale
        constant += middle * scale
        slopes.append(slope * scale)
        magnitude += int(np.abs(scaled).max())
    in_domain = (magnitude <= requantize.regime.limit(requantize.factor)).all() and magnitude * scale <= LARGEST
    if not in_domain or margin >= MOST_DOUBT:
        return None
    constant += requantize.zero_point + float(form.up)
    lowest, highest = requantize.activation.min, requantize.activation.max
    a, b, c, low, high, off = (np.array([float(n)]) for n in (*slopes, constant, lowest, highest, margin))
    return UncertainPlane(a, b, c, low, high, off, definition, codes)


class PlaneSum:
    """A runner for ADD and SUB, which can also be laid out.

    Parameters
    ----------
    runner
        What runs on arrays as they come.
    plane
        Makes the plane, or returns None; called when it is first asked for.

    """

    def __init__(self, runner: Runner, plane: Callable[[], Plane | UncertainPlane | None]) -> None:
        self._runner = runner
        self._make = plane
        self._plane: Plane | UncertainPlane | None = None
        self._is_made = False

    def __call__(self, inputs: Inputs) -> Outputs:
        """Run the op."""
        return self._runner(inputs)

    @property
    def words(self) -> str | None:
        """How it is laid out, in a few words, or None."""
        if isinstance(self._plane, Plane):
            return "a plane in float32, proven on all pairs of codes"
        if isinstance(self._plane, UncertainPlane):
            return "a plane in float64; the definition where a pair is too close to a step"
        return None

    @property
    def plane(self) -> Plane | UncertainPlane | None:
        """The plane that is proven, or proven to a margin, or None."""
        if not self._is_made:
            self._plane = self._make()
            self._is_made = True
        return self._plane
