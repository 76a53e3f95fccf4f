"""Tensors that a runtime gives away without writing them."""

from __future__ import annotations

import fbs
from kernels.engine import registry
from kernels.profiles import Profile
from qmath.errors import UnsupportedError


def expect_written(subgraph: fbs.Subgraph, op: int, profile: Profile) -> None:
    """Check that the runtime writes the output of a DENSIFY.

    A delegate spreads a sparse constant out for itself if no other kernel reads it, and then fills no tensor.

    Raises
    ------
    UnsupportedError
        Only the delegate reads the output, and the graph gives it away.

    """
    operator = subgraph.operators[op]
    if profile.fallback is None or operator.name != "DENSIFY" or not set(operator.outputs) & set(subgraph.outputs):
        return
    readers = [other for other in subgraph.operators if set(operator.outputs) & set(other.inputs)]
    if all(_is_delegated(subgraph, reader, profile) for reader in readers):
        raise UnsupportedError(
            f"under the profile {profile.name} the runtime fails, or gives memory that nobody wrote: XNNPACK spreads"
            " out for itself the sparse constant that the graph gives as an output; have an op read it that XNNPACK"
            " leaves"
        )


def _is_delegated(subgraph: fbs.Subgraph, operator: fbs.Operator, profile: Profile) -> bool:
    known = operator.name in registry.registry()
    return known and registry.profile_running(fbs.view(subgraph, operator), profile) is profile
