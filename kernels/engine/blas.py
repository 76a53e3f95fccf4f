"""Whether this machine's BLAS may be trusted with exact sums.

The bound in :mod:`kernels.engine.exact` holds for any BLAS that adds products in any order. It would not hold for one
that multiplies in a narrower type, or by a fast matrix multiplication that subtracts what it added. A few adversarial
products tell; a BLAS that fails them is not used.
"""

from __future__ import annotations

import warnings
from functools import cache

import numpy as np

from qmath.types import Array


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
        for depth, rows, columns in ((520, 33, 17), (1032, 1, 33), (5, 3, 2)):
            largest = (1 << (bits - 7)) // depth
            a = rng.integers(-128, 128, (rows, depth))
            b = rng.integers(-largest, largest + 1, (depth, columns))
            same_sign = np.abs(a)
            cases += [(a, b, dtype), (same_sign | 1, np.abs(b) | 1, dtype)]
            # A large sum that the last product turns odd.
            a[:, :-1], a[:, -1], b[-1] = 127, 1, 1
            cases.append((a, b, dtype))
    return cases
