"""Profiles: which arithmetic a runtime uses.

"TensorFlow Lite rounding" is several arithmetics in one release. A :class:`Profile` names one runtime; each op's file
says, in a :class:`Rules` table, which definition and which regime that runtime uses for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from qmath.errors import InputError, UnsupportedError

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Profile:
    """One runtime's arithmetic.

    Attributes
    ----------
    name
        As on the command line.
    runtime
        The release that the rules were measured on.
    description
        One line for a person.
    base
        The profile that holds where an op has no rule for this one.

    """

    name: str
    runtime: str
    description: str
    base: Profile | None = None


LITERT_REFERENCE = Profile(
    "litert-reference",
    "ai-edge-litert 2.3.0",
    "LiteRT's reference kernels (op resolver BUILTIN_REF): gemmlowp's double rounding",
)

PROFILES: Mapping[str, Profile] = {profile.name: profile for profile in (LITERT_REFERENCE,)}


def profile_named(name: str | Profile) -> Profile:
    """Return the profile of that name.

    Raises
    ------
    InputError
        There is none.

    """
    if isinstance(name, Profile):
        return name
    if name not in PROFILES:
        raise InputError(f"expected a profile among {', '.join(PROFILES)}, found {name!r}")
    return PROFILES[name]


@dataclass(frozen=True, slots=True)
class Rules(Generic[T]):
    """What an op does under each profile; profiles without an entry follow their base."""

    op: str
    table: Mapping[Profile, T] = field(hash=False)

    def __getitem__(self, profile: Profile) -> T:
        """Return the rule for ``profile``.

        Raises
        ------
        UnsupportedError
            The runtime of the profile does not have the op.

        """
        candidate: Profile | None = profile
        while candidate is not None:
            if candidate in self.table:
                return self.table[candidate]
            candidate = candidate.base
        raise UnsupportedError(f"{self.op} is not covered under the profile {profile.name}")
