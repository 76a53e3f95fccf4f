"""Tensors that are needed at the same time never share memory."""

from __future__ import annotations

from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st

from quantref.lifetimes import Lifetime, lifetimes_placed

LIFETIMES = st.lists(
    st.builds(
        lambda first, more, size: Lifetime(first, first + more, size),
        st.integers(0, 9),
        st.integers(0, 4),
        st.integers(0, 1000),
    ),
    max_size=12,
)


@given(LIFETIMES)
def test_what_lives_at_the_same_time_lies_apart(lifetimes: list[Lifetime]) -> None:
    starts, size = lifetimes_placed(lifetimes)
    placed = [(start, start + lifetime.size, lifetime) for start, lifetime in zip(starts, lifetimes, strict=True)]
    for (first, first_end, one), (second, second_end, other) in combinations(placed, 2):
        assert not one.meets(other) or first_end <= second or second_end <= first
    assert all(start >= 0 and end <= size and start % 64 == 0 for start, end, _ in placed)


def test_memory_is_used_again() -> None:
    chain = [Lifetime(step, step + 1, 640) for step in range(20)]
    _, size = lifetimes_placed(chain)
    assert size == 2 * 640


def test_nothing_takes_no_memory() -> None:
    assert lifetimes_placed([]) == ([], 0)
