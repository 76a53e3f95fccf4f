"""Rows of channels folded into long runs of memory, which NumPy's loops like best."""

from __future__ import annotations

#: About as many elements as a run has.
RUN = 4096


def rows_in_run(rows: int, channels: int) -> int:
    """Return how many rows make one run: the largest divisor of ``rows`` that keeps it near ``RUN`` elements."""
    most = max(1, min(rows, (2 * RUN if rows * channels <= 2 * RUN else RUN) // max(1, channels)))
    return next(fold for fold in range(most, 0, -1) if rows % fold == 0)
