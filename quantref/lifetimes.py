"""Memory that tensors share: what nobody reads any more makes room for what is written next.

Memory that was just in use lies in the caches, and memory of a tensor's own does not: to write to it can take longer
than to calculate what is written.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kernels.engine.memory import LINE


@dataclass(frozen=True, slots=True)
class Lifetime:
    """What needs memory, and when.

    Attributes
    ----------
    first, last
        The ops from which on and up to which it is needed, both included.
    size
        Bytes.

    """

    first: int
    last: int
    size: int

    def meets(self, other: Lifetime) -> bool:
        """Whether there is an op during which both are needed."""
        return self.first <= other.last and other.first <= self.last


def lifetimes_placed(lifetimes: Sequence[Lifetime]) -> tuple[list[int], int]:
    """Place all in one block of memory: the largest first, each as low as it can be.

    Returns
    -------
    list[int]
        Where each begins, in bytes: a multiple of a cache line.
    int
        Bytes of the block.

    """
    starts = [0] * len(lifetimes)
    placed: list[int] = []
    for number in sorted(range(len(lifetimes)), key=lambda number: -lifetimes[number].size):
        lifetime = lifetimes[number]
        taken = sorted((starts[other], lifetimes[other].size) for other in placed if lifetime.meets(lifetimes[other]))
        start = 0
        for other, size in taken:
            if other - start >= lifetime.size:
                break
            start = max(start, -(-(other + size) // LINE) * LINE)
        starts[number] = start
        placed.append(number)
    return starts, max((start + lifetime.size for start, lifetime in zip(starts, lifetimes, strict=True)), default=0)
