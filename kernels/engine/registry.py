"""Which kernel runs which op. Every file of ``kernels`` lists what it covers in a tuple ``KERNELS``."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from types import MappingProxyType
from typing import TypeAlias

import kernels
from kernels.engine import micro
from kernels.engine.types import OpView, Prepared
from kernels.profiles import Profile
from qmath.errors import ModelError, UnsupportedError

#: Says why an op is not run, or None.
Refusal: TypeAlias = Callable[[OpView], "str | None"]


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
    refusal
        By profile, why it does not run an op, or None if it does. For a delegate that means that the op falls to
        another profile's kernels; for a runtime, that it refuses the model. A delegate takes no op without an entry.
    demands
        By profile, which part of the op's contract an op breaks that the profile has taken, or None; the runtime then
        fails to allocate.
    reads_sparse
        Whether the runtime's kernel knows sparse constants; others take what is stored of them for all there is.

    """

    op: str
    prepare: Callable[[OpView, Profile], Prepared]
    covers: tuple[str, ...]
    refusal: Mapping[Profile, Refusal] = field(default_factory=dict, hash=False)
    demands: Mapping[Profile, Refusal] = field(default_factory=dict, hash=False)
    reads_sparse: bool = False

    def refused_by(self, op: OpView, profile: Profile) -> str | None:
        """Return why ``profile`` does not run ``op``, or None if it does."""
        for candidate in profile.lineage:
            if candidate.ops is not None and op.name not in candidate.ops:
                return f"{candidate.runtime} has no {op.name}"
            # Only TFLite Micro has ops of its own choice.
            why = micro.refused_type(op) if candidate.ops is not None else None
            if why is not None:
                return why
        for candidate in profile.lineage:
            if candidate in self.refusal:
                return self.refusal[candidate](op)
        return f"{profile.name} does not take {op.name}" if profile.fallback else None


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
    kernel = kernel_of(op)
    sparse = [tensor.name for tensor in op.inputs if tensor is not None and tensor.sparsity is not None]
    if sparse and not kernel.reads_sparse:
        raise UnsupportedError(
            f"{op.name} with the sparse constant {sparse[0]!r}: the runtime would read past the end of what is stored; "
            "put a DENSIFY before it"
        )
    running = profile_running(op, profile)
    refusal = kernel.refused_by(op, running)
    if refusal is not None:
        raise UnsupportedError(f"under the profile {running.name}: {refusal}")
    for candidate in running.lineage:
        broken = kernel.demands[candidate](op) if candidate in kernel.demands else None
        if broken is not None:
            raise ModelError(f"under the profile {running.name} the runtime fails to allocate: {broken}")
    return kernel.prepare(op, running)


def kernel_of(op: OpView) -> Kernel:
    """Return the kernel for an op.

    Raises
    ------
    UnsupportedError
        There is none.

    """
    kernel = registry().get(op.name)
    if kernel is None:
        raise UnsupportedError(f"no kernel for {op.name}; covered: {', '.join(sorted(registry()))}")
    return kernel


def profile_running(op: OpView, profile: Profile) -> Profile:
    """Return the profile whose kernels run an op: a delegate leaves what it does not take to its fallback."""
    if profile.fallback is not None and kernel_of(op).refused_by(op, profile) is not None:
        return profile.fallback
    return profile
