"""Rows of channels folded into long runs of memory, which NumPy's loops like best."""

from __future__ import annotations

from collections.abc import Iterator

#: About as many elements as a run has, and a block of rows.
RUN, BLOCK = 1 << 12, 1 << 16


def rows_in_run(rows: int, channels: int) -> int:
    """Return how many rows make one run: the largest divisor of ``rows`` that keeps it near ``RUN`` elements."""
    most = max(1, min(rows, (2 * RUN if rows * channels <= 2 * RUN else RUN) // max(1, channels)))
    return next(fold for fold in range(most, 0, -1) if rows % fold == 0)


def blocks_of_rows(rows: int, length: int) -> Iterator[slice]:
    """Cut rows of so many elements into blocks that stay in the inner caches while several steps go over them."""
    step = max(1, BLOCK // max(1, length))
    return (slice(start, min(start + step, rows)) for start in range(0, rows, step))
