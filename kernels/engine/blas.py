"""Products of matrices by BLAS, and whether this machine's may be trusted with exact sums.

The bound in :mod:`kernels.engine.exact` holds for any BLAS that adds products in any order. It would not hold for one
that multiplies in a narrower type, or by a fast matrix multiplication that subtracts what it added. A few adversarial
products tell; a BLAS that fails them is not used.
"""

from __future__ import annotations

import warnings
from functools import cache

import numpy as np

from kernels.engine.program import Program, run
from qmath.types import Array

#: OpenBLAS multiplies matrices of up to so many products as they lie, without copying them first, which is quicker as
#: long as they have rows: best a multiple of so many.
AT_ONCE, ROWS = 1_000_000, 8


def product(a: Array, b: Array, out: Array) -> Program:
    """Lay out the product of two matrices of one float type, ``out = a @ b``, some rows at a time."""
    rows = AT_ONCE // max(1, b.size) // ROWS * ROWS or max(1, len(a))
    program: Program = []
    for start in range(0, len(a), rows):
        part, into = a[start : start + rows], out[start : start + rows]
        if into.flags.c_contiguous:
            program.append((part.dot, (b, into)))  # takes half a microsecond less to start than the same by np.matmul
        else:
            program.append((np.matmul, (part, b, into)))
    return program


def multiply(a: Array, b: Array, out: Array) -> None:
    """Multiply two matrices of one float type: ``out = a @ b``."""
    run(product(a, b, out))


@cache
def is_exact() -> bool:
    """Whether BLAS multiplies matrices of integers exactly, in float32 and in float64.

    Warns
    -----
    RuntimeWarning
        Once, if it does not: then all sums are integer sums, which are slow.

    """
    exact = all(_agrees(*case) for case in _cases())
    if not exact:
        warnings.warn(
            "NumPy's BLAS does not add integers exactly; quantref computes sums in integers, which is slow",
            RuntimeWarning,
            stacklevel=2,
        )
    return exact


def _agrees(a: Array, b: Array, dtype: type[np.floating]) -> bool:
    expected = a @ b
    return bool((np.matmul(a.astype(dtype), b.astype(dtype)) == expected).all())


def _cases() -> list[tuple[Array, Array, type[np.floating]]]:
    """Return products whose sums just fit the float type, and cancel to odd numbers along the way."""
    rng = np.random.default_rng(0)
    cases: list[tuple[Array, Array, type[np.floating]]] = []
    for dtype, bits in ((np.float32, 24), (np.float64, 53)):
        for depth, rows, columns in ((520, 33, 17), (1032, 1, 33), (1032, 32, 33), (5, 3, 2)):
            largest = (1 << (bits - 7)) // depth
            a = rng.integers(-128, 128, (rows, depth))
            b = rng.integers(-largest, largest + 1, (depth, columns))
            same_sign = np.abs(a)
            cases += [(a, b, dtype), (same_sign | 1, np.abs(b) | 1, dtype)]
            # A large sum that the last product turns odd.
            a[:, :-1], a[:, -1], b[-1] = 127, 1, 1
            cases.append((a, b, dtype))
    return cases
