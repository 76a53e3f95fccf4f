"""The ``experimental_*`` arguments of ``tf.lite.Interpreter``, so that a script that uses them runs as it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypedDict

from kernels.profiles import LITERT_REFERENCE, Profile, profile_named
from qmath.errors import InputError, UnsupportedError

#: The arithmetic behind each member of ``OpResolverType``.
RESOLVERS = {
    "AUTO": "xnnpack",
    "BUILTIN": "xnnpack",
    "BUILTIN_REF": "litert-reference",
    "BUILTIN_WITHOUT_DEFAULT_DELEGATES": "litert-optimized",
}


class Experimental(TypedDict, total=False):
    """What an interpreter takes beside its own arguments.

    Attributes
    ----------
    experimental_op_resolver_type
        A member of ``OpResolverType``, or its name: picks the profile (:data:`RESOLVERS`).
    experimental_delegates
        None or empty: quantref runs no delegate.
    experimental_preserve_all_tensors
        No effect: every tensor can be read after ``invoke()``.
    experimental_disable_delegate_clustering, experimental_default_delegate_latest_features, \
experimental_compress_quantization_zero_points, experimental_disable_delegate_node_fusion, \
experimental_force_delegate_node_profiling
        No effect: they change how a runtime computes, not what.

    """

    experimental_op_resolver_type: Any
    experimental_delegates: Any
    experimental_preserve_all_tensors: bool
    experimental_disable_delegate_clustering: bool
    experimental_default_delegate_latest_features: bool
    experimental_compress_quantization_zero_points: bool
    experimental_disable_delegate_node_fusion: bool
    experimental_force_delegate_node_profiling: bool


def profile_for(profile: str | Profile, experimental: Mapping[str, Any]) -> Profile:
    """Return the profile that an interpreter's arguments ask for.

    Raises
    ------
    InputError
        An unknown argument, profile or resolver, or a profile and a resolver that contradict each other.
    UnsupportedError
        There are delegates.

    """
    chosen = profile_named(profile)
    unknown = [name for name in experimental if name not in Experimental.__annotations__]
    if unknown:
        known = ", ".join(Experimental.__annotations__)
        raise InputError(f"expected arguments of quantref's interpreter or among {known}, found {unknown[0]!r}")
    if experimental.get("experimental_delegates"):
        raise UnsupportedError(
            "experimental_delegates: expected none, since quantref runs no delegate; the profiles xnnpack and "
            "xnnpack-arm64 compute as that delegate does"
        )
    resolver = experimental.get("experimental_op_resolver_type")
    if resolver is None:
        return chosen
    name = resolver if isinstance(resolver, str) else getattr(resolver, "name", None)
    if name not in RESOLVERS:
        raise InputError(f"expected an op resolver among {', '.join(RESOLVERS)}, found {resolver!r}")
    asked = profile_named(RESOLVERS[name])
    if chosen is not asked and chosen is not profile_named(LITERT_REFERENCE):
        raise InputError(f"expected the profile {asked.name} of the op resolver {name}, found {chosen.name}")
    return asked
