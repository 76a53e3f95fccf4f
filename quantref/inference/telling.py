"""The fewest elements that tell one candidate from the others: a smallest hitting set."""

from __future__ import annotations

from collections.abc import Collection, Sequence

#: Up to so many rivals the smallest set is found by trying every one; beyond, a greedy one is taken.
EXACT = 12


def smallest(rules_out: Sequence[int], rivals: int) -> list[int]:
    """Return positions of as few entries as possible that together rule out every rival that any of them does.

    Parameters
    ----------
    rules_out
        For each element a mask: bit ``j`` is set if the element rules out rival ``j``.
    rivals
        The mask of the rivals that matter.

    """
    useful = {mask & rivals: position for position, mask in reversed(list(enumerate(rules_out))) if mask & rivals}
    # An element that rules out part of what another does is of no use.
    masks = [mask for mask in useful if not any(mask != other and mask | other == other for other in useful)]
    goal = 0
    for mask in masks:
        goal |= mask
    chosen = _exact(masks, goal) if rivals.bit_count() <= EXACT else _greedy(masks, goal)
    return sorted(useful[mask] for mask in chosen)


def _exact(masks: Collection[int], goal: int) -> list[int]:
    """Widen, element by element, the sets of rivals that can be ruled out, until one of them is all."""
    reached: dict[int, list[int]] = {0: []}
    frontier = [0]
    while goal not in reached:
        wider = []
        for before in frontier:
            for mask in masks:
                after = before | mask
                if after not in reached:
                    reached[after] = [*reached[before], mask]
                    wider.append(after)
        frontier = wider
    return reached[goal]


def _greedy(masks: Collection[int], goal: int) -> list[int]:
    """Take, again and again, the element that rules out the most rivals that are left."""
    chosen, left = [], goal
    while left:
        best = max(masks, key=lambda mask: (mask & left).bit_count())
        chosen.append(best)
        left &= ~best
    return chosen
