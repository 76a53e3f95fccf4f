"""The regimes that a device may follow: those of the profiles' runtimes, and those that no profile has.

A device whose runtime nobody has named may still round in one of a few ways. An op's requantization is taken from a
profile and given another regime, and what comes out is compared like a profile's.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from kernels.engine.types import Prepared
from kernels.profiles import Profile
from qmath import requantize_vector
from qmath.requantize import (
    Factor,
    FixedPointRegime,
    Float32HalfEven,
    Regime,
    Requantize,
    fixed_point,
)
from qmath.rounding import round_half_away_from_zero, shift_right_half_away, shift_right_half_up
from qmath.stages import Note, silent
from qmath.types import Array, Int64Array
from quantref.explain.alternatives import REGIMES as KNOWN
from quantref.parameters import parameters, words

#: Products farther out than this are far outside any code.
_FAR = 2.0**30


@dataclass(frozen=True, slots=True)
class SingleRoundingHalfAway(FixedPointRegime):
    """One 64-bit product and one shift, ties away from zero."""

    def apply(self, accumulator: Array, factor: Factor, note: Note = silent) -> Int64Array:
        """Multiply by the fixed-point ``factor`` and round once."""
        product, right = _product(accumulator, factor)
        rule = "half_away(product / 2**right)"
        return note("shifted right", shift_right_half_away(product, right), rule, product=product, right=right)


@dataclass(frozen=True, slots=True)
class SingleRoundingHalfEven(FixedPointRegime):
    """One 64-bit product and one shift, ties to even."""

    def apply(self, accumulator: Array, factor: Factor, note: Note = silent) -> Int64Array:
        """Multiply by the fixed-point ``factor`` and round once."""
        product, right = _product(accumulator, factor)
        rounded = shift_right_half_up(product, right)
        tie = (product & ((np.int64(1) << right) - 1)) << 1 == np.int64(1) << right
        even = rounded - (tie & (rounded & 1 == 1))
        return note("shifted right", even, "half_even(product / 2**right)", product=product, right=right)


@dataclass(frozen=True, slots=True)
class SingleRoundingFloor(FixedPointRegime):
    """One 64-bit product and one shift that drops the fraction: no rounding at all."""

    def apply(self, accumulator: Array, factor: Factor, note: Note = silent) -> Int64Array:
        """Multiply by the fixed-point ``factor`` and cut off."""
        product, right = _product(accumulator, factor)
        return note("shifted right", product >> right, "floor(product / 2**right)", product=product, right=right)


@dataclass(frozen=True, slots=True)
class Float32HalfAway(Float32HalfEven):
    """A float32 product, rounded half away from zero, as C's ``roundf`` does."""

    def apply(self, accumulator: Array, factor: Factor, note: Note = silent) -> Int64Array:
        """Multiply in float32 and round once."""
        product = np.asarray(accumulator, np.int64).astype(np.float32) * np.asarray(factor)
        rounded = np.clip(round_half_away_from_zero(product), -_FAR, _FAR).astype(np.int64)
        return note("rounded", rounded, "half_away(product)", product=product)


def _product(accumulator: Array, factor: Factor) -> tuple[Int64Array, Int64Array]:
    fixed = fixed_point(factor)
    return np.asarray(accumulator, np.int64) * fixed.multiplier, 31 - fixed.shift


#: Regimes that are tried, and how each rounds.
CANDIDATES: Mapping[Regime, str] = {
    **KNOWN,
    requantize_vector.FLOOR_THEN_HALF_UP: "fixed point: cut off, then ties up",
    requantize_vector.FLOOR_THEN_HALF_UP_FLOAT32: "fixed point with a multiplier of 24 bits: cut off, then ties up",
    requantize_vector.FLOOR_THEN_HALF_UP_SATURATING: "the same, saturating before it is multiplied",
    requantize_vector.SINGLE_ROUNDING_FLOAT32: "fixed point with a multiplier of 24 bits, rounds once: ties up",
    requantize_vector.EIGHT_BIT_MULTIPLIER: "a multiplier in steps of 1/256, rounds once: ties up",
    SingleRoundingHalfAway(): "fixed point, rounds once: ties away from zero",
    SingleRoundingHalfEven(): "fixed point, rounds once: ties to even",
    SingleRoundingFloor(): "fixed point, drops the fraction",
    Float32HalfAway(): "float32, rounds once: ties away from zero",
}


def name_of(regime: Regime) -> str:
    """Return a regime's name in words: ``"single rounding"``."""
    return words(type(regime).__name__)


def with_regime(prepared: Prepared, regime: Regime) -> Prepared | None:
    """Return an op that requantizes by another regime wherever it requantizes; None if it nowhere does.

    Raises
    ------
    SpecError
        The regime cannot encode one of the multipliers.

    """
    changed = _swapped(prepared, regime)
    return None if changed is prepared else changed


def variants(by_profile: Mapping[Profile, Prepared], regime: Regime) -> Iterator[tuple[Profile, Prepared]]:
    """Yield an op under a regime with the multipliers of each profile, those that are the same once.

    Raises
    ------
    SpecError
        The regime cannot encode one of the multipliers.

    """
    seen = set()
    for profile, prepared in by_profile.items():
        changed = with_regime(prepared, regime)
        if changed is None:
            continue
        held = parameters(changed).items()
        key = tuple((name, value.tobytes() if isinstance(value, np.ndarray) else value) for name, value in held)
        if (type(changed), key) not in seen:
            seen.add((type(changed), key))
            yield profile, changed


def _swapped(value: Any, regime: Regime) -> Any:
    """Return a value with every regime in it replaced; the value itself if it holds none."""
    if isinstance(value, Requantize):
        return dataclasses.replace(value, regime=regime)
    if isinstance(value, Regime):
        return regime
    if isinstance(value, Mapping):
        items = {key: _swapped(item, regime) for key, item in value.items()}
        return items if any(items[key] is not value[key] for key in value) else value
    if type(value) in {tuple, list}:
        inside = [_swapped(item, regime) for item in value]
        return type(value)(inside) if any(new is not old for new, old in zip(inside, value, strict=True)) else value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        held = {field.name: getattr(value, field.name) for field in dataclasses.fields(value) if field.init}
        new = {name: _swapped(item, regime) for name, item in held.items()}
        changes = {name: item for name, item in new.items() if item is not held[name]}
        return dataclasses.replace(value, **changes) if changes else value
    return value
