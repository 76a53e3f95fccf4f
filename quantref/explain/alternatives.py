"""What other arithmetics give: the same accumulator under every regime, the same op under every profile."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from kernels.engine import registry
from kernels.engine.types import Inputs, OpView
from kernels.profiles import PROFILES, Profile
from qmath import requantize
from qmath.errors import QuantrefError, SpecError
from qmath.requantize import Regime, Requantize
from qmath.stages import silent
from qmath.types import ActivationRange, Array, DType
from quantref.explain.explanation import Alternative, Scalar
from quantref.explain.steps import scalar
from quantref.parameters import holders, words

#: The regimes, and how each rounds.
REGIMES: Mapping[Regime, str] = {
    requantize.DOUBLE_ROUNDING: "fixed point, rounds twice: ties up, then ties away from zero",
    requantize.DOUBLE_ROUNDING_HALF_UP: "fixed point, rounds twice: ties up, then ties up",
    requantize.SINGLE_ROUNDING: "fixed point, rounds once: ties up",
    requantize.REDUCED_64: "fixed point with a multiplier of 16 bits, rounds once: ties up",
    requantize.FLOAT64_HALF_AWAY: "float64, rounds once: ties away from zero",
    requantize.FLOAT32_HALF_EVEN: "float32, rounds once: ties to even",
}


@dataclasses.dataclass(frozen=True, slots=True)
class Requantized:
    """One requantization of one element, as the definition noted it.

    Attributes
    ----------
    accumulator
        What was multiplied.
    real_multiplier, zero_point, low, high
        By what, and what followed.

    """

    accumulator: int
    real_multiplier: float
    zero_point: int
    low: int
    high: int

    def under(self, regime: Regime) -> int | None:
        """Return the code that a regime gives; None if it cannot take the numbers."""
        wide = abs(self.accumulator) >= 1 << 31
        if wide and not isinstance(regime, requantize.Reduced64 | requantize.Float64HalfAway):
            return None
        bounds = ActivationRange(self.low, self.high)
        try:
            with np.errstate(all="ignore"):
                how = Requantize(regime, np.asarray(self.real_multiplier), self.zero_point, bounds, DType.INT64)
                return int(how(np.asarray(self.accumulator)))
        except SpecError:
            return None


def regimes(done: Requantized, used: Regime, value: Scalar) -> tuple[Alternative, ...]:
    """Return what each regime gives for the same accumulator; ``value`` is what the one used has given."""
    found = []
    if type(used) not in {type(regime) for regime in REGIMES}:
        first = (type(used).__doc__ or "").partition(".")[0].strip()
        found.append(Alternative(words(type(used).__name__), value, first[:1].lower() + first[1:], used=True))
    for regime, how in REGIMES.items():
        same = type(regime) is type(used)
        found.append(Alternative(words(type(regime).__name__), value if same else done.under(regime), how, used=same))
    return tuple(found)


def profiles(
    op: OpView, inputs: Inputs, output: int, index: tuple[int, ...], explained: Profile, value: Scalar
) -> tuple[Alternative, ...]:
    """Return what the kernels of each profile give for the same inputs of the op."""
    found = []
    for profile in dict.fromkeys((explained, *PROFILES.values())):
        if profile is explained:
            found.append(Alternative(profile.name, value, _how(op, profile), used=True))
            continue
        try:
            with np.errstate(all="ignore"):
                outputs = registry.prepare(op, profile).evaluate(inputs, silent)
            found.append(Alternative(profile.name, _element(outputs, output, index), _how(op, profile)))
        except (QuantrefError, ArithmeticError, LookupError, TypeError, ValueError) as error:
            found.append(Alternative(profile.name, None, str(error)))
    return tuple(found)


def _element(outputs: Sequence[Array], output: int, index: tuple[int, ...]) -> Scalar:
    return scalar(outputs[output][index])


def _how(op: OpView, profile: Profile) -> str:
    """Say which kernels run the op, and how they requantize."""
    running = registry.profile_running(op, profile)
    regimes_used = holders(registry.prepare(op, profile), Requantize).values()
    names = dict.fromkeys(words(type(regime.regime).__name__) for regime in regimes_used)
    parts = [] if running is profile else [f"runs the kernel of {running.name}"]
    return "; ".join([*parts, *([", ".join(names)] if names else [])])
