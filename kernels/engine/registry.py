"""Which kernel runs which op. Every file of ``kernels`` lists what it covers in a tuple ``KERNELS``."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType

import kernels
from kernels.engine.types import OpView, Prepared
from kernels.profiles import Profile
from qmath.errors import UnsupportedError


@dataclass(frozen=True, slots=True)
class Kernel:
    """An op that quantref runs.

    Attributes
    ----------
    op
        Name in the schema's spelling, or the code of a custom op.
    prepare
        Checks the op's contract and derives everything that does not depend on the data.
    covers
        The combinations of types, in words: ``"int8"``, ``"int16 x int8"``, ``"float32"`` ...

    """

    op: str
    prepare: Callable[[OpView, Profile], Prepared]
    covers: tuple[str, ...]


@cache
def registry() -> Mapping[str, Kernel]:
    """Return every kernel by the name of its op."""
    found: dict[str, Kernel] = {}
    for module in pkgutil.iter_modules(kernels.__path__):
        if not module.ispkg:
            for kernel in getattr(importlib.import_module(f"kernels.{module.name}"), "KERNELS", ()):
                found[kernel.op] = kernel
    return MappingProxyType(found)


def prepare(op: OpView, profile: Profile) -> Prepared:
    """Prepare an op under a profile.

    Raises
    ------
    UnsupportedError
        No kernel covers the op, its types or its options.
    ModelError
        The op breaks its contract.

    """
    kernel = registry().get(op.name)
    if kernel is None:
        raise UnsupportedError(f"no kernel for {op.name}; covered: {', '.join(sorted(registry()))}")
    return kernel.prepare(op, profile)
