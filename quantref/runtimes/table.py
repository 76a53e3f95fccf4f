"""The runtimes that quantref knows how to start."""

from __future__ import annotations

import enum
from dataclasses import dataclass, replace

from qmath.errors import InputError


class Resolver(enum.Enum):
    """LiteRT's op resolvers; the value is the member of ``ai_edge_litert.interpreter.OpResolverType``."""

    REFERENCE = "BUILTIN_REF"
    OPTIMIZED = "BUILTIN_WITHOUT_DEFAULT_DELEGATES"
    XNNPACK = "AUTO"


@dataclass(frozen=True, slots=True)
class Runtime:
    """A runtime to compare with.

    Attributes
    ----------
    name
        What a user types.
    resolver
        Which of LiteRT's kernels it runs.
    profile
        Name of the quantref profile that it is expected to follow.
    description
        One line for people.
    launcher
        Command that starts a Python with ``ai_edge_litert`` in it, such as an emulator and its Python; empty for
        the Python that runs quantref.
    machine
        Processor that it is for, as :func:`platform.machine` names it; on another one it runs in an emulator (see
        :mod:`quantref.runtimes.arm64`). Empty for the processor that there is.

    """

    name: str
    resolver: Resolver
    profile: str
    description: str
    launcher: tuple[str, ...] = ()
    machine: str = ""


#: LiteRT as it is installed here.
RUNTIMES = {
    runtime.name: runtime
    for runtime in (
        Runtime("litert-reference", Resolver.REFERENCE, "litert-reference", "LiteRT's reference kernels"),
        Runtime("litert-optimized", Resolver.OPTIMIZED, "litert-optimized", "LiteRT's builtin kernels, no delegate"),
        Runtime("xnnpack", Resolver.XNNPACK, "xnnpack", "what a plain LiteRT Interpreter() runs: XNNPACK first"),
    )
}
#: LiteRT's wheel for 64-bit Arm: natively there, in an emulator elsewhere.
ARM64_RUNTIMES = {
    f"{runtime.name}-arm64": replace(
        runtime,
        name=f"{runtime.name}-arm64",
        profile=runtime.profile if runtime.resolver is Resolver.REFERENCE else f"{runtime.profile}-arm64",
        description=f"{runtime.description}, on 64-bit Arm",
        machine="aarch64",
    )
    for runtime in RUNTIMES.values()
}
ALL_RUNTIMES = {**RUNTIMES, **ARM64_RUNTIMES}


def find_runtime(name: str | Runtime) -> Runtime:
    """Return the runtime of that name.

    Raises
    ------
    InputError
        There is none.

    """
    if isinstance(name, Runtime):
        return name
    if not isinstance(name, str) or name not in ALL_RUNTIMES:
        raise InputError(f"expected a runtime among {', '.join(ALL_RUNTIMES)}, found {name!r}")
    return ALL_RUNTIMES[name]
