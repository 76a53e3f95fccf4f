"""How many threads BLAS takes: one, because quantref shares work among threads of its own."""

from __future__ import annotations

from functools import cache
from typing import Any

import threadpoolctl


@cache
def _libraries() -> tuple[Any, ...]:
    return tuple(threadpoolctl.ThreadpoolController().select(user_api="blas").lib_controllers)


def one_blas_thread() -> OneBlasThread:
    """Return a context that keeps BLAS to one thread; it costs next to nothing where BLAS is at one already.

    The setting belongs to the process, so other threads' products are kept to one thread too.
    """
    return OneBlasThread()


class OneBlasThread:
    """A context: a class, because one made of a generator takes longer than a small model's op."""

    __slots__ = ("_changed",)

    def __enter__(self) -> None:
        """Set every library that is not at one thread."""
        self._changed: list[tuple[Any, int]] = []
        for library in _libraries():
            threads = library.get_num_threads()
            if threads != 1:
                self._changed.append((library, threads))
                library.set_num_threads(1)

    def __exit__(self, *raised: object) -> None:
        """Set them back."""
        for library, threads in self._changed:
            library.set_num_threads(threads)
