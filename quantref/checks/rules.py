"""Every rule, in the order of their ids."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from qmath.errors import InputError
from quantref.checks import (
    biases,
    dead,
    headroom,
    multipliers,
    operands,
    relations,
    runtimes,
    scales,
    structure,
    versions,
)
from quantref.checks.rule import Rule

#: Families of rules: what they are about, and the module that holds them.
FAMILIES = (
    ("The structure of the file", structure),
    ("Scales", scales),
    ("Operands", operands),
    ("Biases", biases),
    ("Relations between parameters", relations),
    ("Multipliers", multipliers),
    ("Accumulators", headroom),
    ("Channels that do nothing", dead),
    ("Versions of ops", versions),
    ("Single runtimes", runtimes),
)
RULES: Mapping[str, Rule] = MappingProxyType(
    {rule.id: rule for rule in sorted((rule for _, module in FAMILIES for rule in module.RULES), key=lambda r: r.id)}
)


def rule_named(name: str) -> Rule:
    """Return a rule by its id or its slug.

    Raises
    ------
    InputError
        There is none.

    """
    for rule in RULES.values():
        if name in {rule.id, rule.slug}:
            return rule
    raise InputError(f"expected the id or the name of a rule, such as QR101 or scale-not-finite; found {name!r}")
