"""Float32 sums in the order in which a runtime adds them."""

from __future__ import annotations

import numpy as np

from qmath.types import Array, Float32Array

#: Products held at once.
BLOCK = 1 << 16


def matmul_in_order(a: Float32Array, b: Float32Array) -> Float32Array:
    """Multiply matrices as plain loops do: for each element, add one float32 product after the other.

    BLAS adds in another order, and may fuse multiplication and addition: its results differ in the last bits, and by
    more where large terms cancel.

    Parameters
    ----------
    a
        float32, shape (rows, depth).
    b
        float32, shape (depth, columns).

    Returns
    -------
    Float32Array
        Shape (rows, columns).

    """
    rows, depth = a.shape
    out = np.zeros((rows, b.shape[1]), np.float32)
    if depth == 0:
        return out
    many = max(1, BLOCK // max(1, b.size))
    for start in range(0, rows, many):
        # NumPy adds slice after slice along an axis that is the outermost in memory: so the layout matters here.
        products = np.multiply(a[start : start + many].T[:, :, None], b[:, None, :], order="C")
        np.add.reduce(products, axis=0, out=out[start : start + many])
    return out


def add_in_order(terms: Array) -> Array:
    """Add float32 terms along the last axis, one after the other; 0 where there are none."""
    first = np.ascontiguousarray(np.moveaxis(terms, -1, 0))
    return np.asarray(np.add.reduce(first, axis=0, initial=np.float32(0)))
