"""How many threads BLAS takes: one, because quantref shares work among threads of its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import threadpoolctl


@cache
def _libraries() -> tuple[Any, ...]:
    return tuple(threadpoolctl.ThreadpoolController().select(user_api="blas").lib_controllers)


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Keep BLAS to one thread for a while; costs next to nothing where it is at one already.

    The setting belongs to the process, so other threads' products are kept to one thread too.
    """
    changed = [(library, threads) for library in _libraries() if (threads := library.get_num_threads()) != 1]
    for library, _ in changed:
        library.set_num_threads(1)
    try:
        yield
    finally:
        for library, threads in changed:
            library.set_num_threads(threads)
