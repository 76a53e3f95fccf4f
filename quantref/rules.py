"""The rules in force under a profile: for each op, which definition, regime or quirk its runtime has.

They are read off the :class:`kernels.profiles.Rules` tables that the kernels themselves look into, so this can tell
nothing that does not hold.
"""

from __future__ import annotations

import dataclasses
import enum
import importlib
import pkgutil
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from types import ModuleType
from typing import Any

import kernels
from kernels import engine
from kernels.engine.registry import Kernel, registry
from kernels.profiles import Profile, Rules
from qmath.errors import UnsupportedError
from quantref.parameters import words

_QUIRK = re.compile(r"^\s*Quirk: (.+?)(?=\n\s*\n|\Z)", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Rule:
    """What an op, or a family of ops, does under a profile.

    Attributes
    ----------
    of
        What it is about, such as ``"CONV_2D"`` or ``"ADD and SUB of int16"``.
    name
        What it decides, such as ``"arithmetic"``.
    value
        What holds, in words.
    origin
        The profile that says so: this one, or the one whose rules hold where this one has none.
    module
        Where it lies.

    """

    of: str
    name: str
    value: str
    origin: str
    module: str

    def __str__(self) -> str:
        """Say what holds."""
        again = f"{self.name} ("
        value = self.value[len(again) : -1] if self.value.startswith(again) else self.value
        return f"{self.name}: {value}"

    def to_json(self) -> dict[str, str]:
        """Return plain values."""
        return dataclasses.asdict(self)


def rules_of(profile: Profile) -> tuple[Rule, ...]:
    """Return every rule in force under a profile; a delegate's rules hold for the ops that it takes."""
    found = []
    for module, name, rules in _tables():
        origin = next((candidate for candidate in profile.lineage if candidate in rules.table), None)
        if origin is None:
            continue
        try:
            value = in_words(rules[profile])
        except UnsupportedError as error:
            value = error.message
        found.append(Rule(rules.op, name.lower().replace("_", " "), value, origin.name, module.__name__))
    return tuple(found)


def rules_by_op(profile: Profile) -> dict[str, tuple[Rule, ...]]:
    """Return the rules that concern each op: those about it, and those of its file that are about several."""
    rules = rules_of(profile)
    families = {op: _family(kernel) for op, kernel in registry().items()}
    return {
        op: tuple(
            rule
            for rule in rules
            if rule.of == op or (rule.of not in families and f"{rule.module}_".startswith(f"{family}_"))
        )
        for op, family in families.items()
    }


def quirks_by_op() -> dict[str, tuple[str, ...]]:
    """Return what each op does that its documentation would not lead one to expect, as its docstrings tell it."""
    quirks = {module.__name__: tuple(_quirks(module)) for module in _modules()}
    return {
        op: tuple(quirk for quirk in quirks.get(_family(kernel), ()) if op in quirk.split())
        for op, kernel in registry().items()
    }


def standing(kernel: Kernel, profile: Profile) -> str:
    """Say in a few words whether a profile runs an op, as far as that does not depend on the op's operands."""
    if any(candidate.ops is not None and kernel.op not in candidate.ops for candidate in profile.lineage):
        return "the runtime has no such op"
    known = any(candidate in kernel.refusal for candidate in profile.lineage)
    if profile.fallback is not None:
        return "taken where it fits" if known else f"left to {profile.fallback.name}"
    return "run where it fits" if known else "run"


def in_words(value: Any) -> str:
    """Return a rule's value in words."""
    if value is None or isinstance(value, bool):
        return {None: "none", True: "yes", False: "no"}[value]
    if isinstance(value, enum.Enum):
        return value.name.lower().replace("_", " ")
    if isinstance(value, Mapping | tuple | list | frozenset | set):
        return _collection_in_words(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _dataclass_in_words(value)
    return _function_in_words(value) if callable(value) else str(value)


def _collection_in_words(value: Any) -> str:
    if isinstance(value, Mapping):
        return "; ".join(f"{in_words(key)}: {in_words(item)}" for key, item in value.items()) or "none"
    items = [in_words(item) for item in value]
    return ", ".join(sorted(items) if isinstance(value, frozenset | set) else items) or "none"


def _function_in_words(value: Any) -> str:
    name = getattr(value, "__name__", "") or getattr(getattr(value, "func", None), "__name__", "")
    return words(name.strip("_")).replace("_", " ")


def _dataclass_in_words(value: Any) -> str:
    """Name a dataclass and those of its fields that say something: not None, not false, not its defaults."""
    rule = getattr(value, "rule", None)
    if isinstance(rule, str):  # a function that says in symbols what it does
        return rule
    parts = []
    for field in dataclasses.fields(value):
        held = getattr(value, field.name)
        if getattr(held, "__name__", "") == "<lambda>":
            continue
        if held is None or held is False or (field.default is not dataclasses.MISSING and held == field.default):
            continue
        label = field.name.replace("_", " ")
        parts.append(label if held is True else f"{label}: {in_words(held)}")
    name = words(type(value).__name__)
    return f"{name} ({'; '.join(parts)})" if parts else name


@cache
def _tables() -> tuple[tuple[ModuleType, str, Rules[Any]], ...]:
    """Return every table of rules with its module and its name there; an annotation says whose it is."""
    found = [
        (module, name, value)
        for module in (*_modules(), *_engine())
        for name in vars(module).get("__annotations__", {})
        if isinstance(value := getattr(module, name, None), Rules)
    ]
    return tuple(sorted(found, key=lambda entry: (entry[2].op, entry[1])))


def _modules() -> Iterator[ModuleType]:
    """Yield the modules that hold ops."""
    for found in pkgutil.iter_modules(kernels.__path__):
        if not found.ispkg:
            yield importlib.import_module(f"kernels.{found.name}")


def _engine() -> Iterator[ModuleType]:
    """Yield the modules that serve every op."""
    for found in pkgutil.iter_modules(engine.__path__):
        yield importlib.import_module(f"kernels.engine.{found.name}")


def _family(kernel: Kernel) -> str:
    """Return the module that lists a kernel."""
    return next(module.__name__ for module in _modules() if kernel in getattr(module, "KERNELS", ()))


def _quirks(module: ModuleType) -> Iterator[str]:
    """Yield the quirks that the docstrings of a module tell, each as one paragraph."""
    own = [value for value in vars(module).values() if getattr(value, "__module__", "") == module.__name__]
    for text in [module.__doc__ or "", *(getattr(value, "__doc__", None) or "" for value in own)]:
        yield from (" ".join(quirk.split()).replace("``", "`") for quirk in _QUIRK.findall(text))
