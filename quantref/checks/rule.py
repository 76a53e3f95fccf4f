"""What a rule is; the rules themselves are listed in :mod:`quantref.checks.rules`."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Any

from kernels.profiles import PROFILES
from quantref.checks.finding import Severity

#: Names of the profiles, by family of runtimes.
LITERT = tuple(name for name in PROFILES if name.startswith(("litert", "xnnpack")))
XNNPACK = tuple(name for name in PROFILES if name.startswith("xnnpack"))
MICRO = ("tflm", "cmsis-nn")
ALL = (*LITERT, *MICRO)


class Effect(enum.Enum):
    """What becomes of a model that breaks a rule, in the runtimes that mind."""

    #: Each of them says so; what only some of them notice is undefined.
    REFUSES = "the model does not load or prepare"
    UNDEFINED = "the model does not load or prepare, or what it computes has no meaning"
    WRONG = "other values than the parameters say"
    WASTE = "part of the model does nothing"
    DIFFERS = "runs, with other roundings or on other kernels"


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule that a model may break.

    Attributes
    ----------
    id, slug
        Such as ``"QR108"`` and ``"asymmetric-weights"``.
    severity
        How bad it is to break it, unless a finding says otherwise.
    effect
        What becomes of the model, in the runtimes that mind.
    title
        What is wrong, in a few words.
    reason
        Why that is a rule.
    source
        The section of the spec, or the files of a runtime's sources, that it comes from.
    mend
        How to mend a model that breaks it.
    runtimes
        Names of the profiles whose runtimes mind.

    """

    id: str
    slug: str
    severity: Severity
    effect: Effect
    title: str
    reason: str
    source: str
    mend: str
    runtimes: tuple[str, ...] = ALL

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "id": self.id,
            "slug": self.slug,
            "severity": self.severity.word,
            "effect": self.effect.value,
            "title": self.title,
            "reason": self.reason,
            "source": self.source,
            "mend": self.mend,
            "runtimes": list(self.runtimes),
        }
