"""Vectors of one number a channel against rows of channels, in the long runs of memory that NumPy's loops like best."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from kernels.engine import memory
from kernels.engine.program import Program
from qmath.types import Array

#: An operand that is repeated along an axis is first copied to a buffer of 8,192 elements if two of its runs fit there,
#: which takes as long as the operation. So a run has more elements than this, and not many more, to stay in the caches.
RUN = 1 << 12
#: Elements that make one run anyway.
ONE_RUN = 2 * RUN
#: Elements of a block of rows.
BLOCK = 1 << 16


class Runs:
    """Rows of channels, seen as runs of several rows, and the rows that are left over.

    Parameters
    ----------
    rows, channels
        How many there are.

    """

    def __init__(self, rows: int, channels: int) -> None:
        self._elements, self._channels = rows * channels, channels
        rows_in_run = rows if self._elements <= ONE_RUN else RUN // max(1, channels) + 1
        self._length = min(max(1, rows_in_run), max(1, rows)) * channels
        self._folded = self._elements - self._elements % max(1, self._length)

    def repeated(self, vector: Array) -> Array:
        """Return a vector of one number a channel as often as makes a run: an operand for :meth:`call`."""
        return memory.tiled(vector, self._length // max(1, self._channels))

    def call(self, function: Callable[..., object], values: Array, run: Array, out: Array) -> Program:
        """Lay out an elementwise function of all rows and a repeated vector.

        Parameters
        ----------
        function
            Takes rows, the vector and where to write.
        values, out
            Contiguous, of any shape that the rows make.
        run
            From :meth:`repeated`.

        """
        # NumPy need not ask whether input and output overlap if they are one and the same array.
        read = self._pieces(values)
        written = read if out is values else self._pieces(out)
        return [(function, (x, run[: x.shape[-1]], y)) for x, y in zip(read, written, strict=True)]

    def _pieces(self, array: Array) -> list[Array]:
        flat, end = array.reshape(-1), self._folded
        folded = flat[:end] if end <= self._length else flat[:end].reshape(-1, self._length)
        return [folded, flat[end:]] if end < self._elements else [folded]


def blocks_of_rows(rows: int, length: int) -> Iterator[slice]:
    """Cut rows of so many elements into blocks that stay in the inner caches while several steps go over them."""
    step = max(1, BLOCK // max(1, length))
    return (slice(start, min(start + step, rows)) for start in range(0, rows, step))
