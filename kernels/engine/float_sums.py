"""Float32 sums in the order in which a runtime adds them.

Float addition is not associative: BLAS, which adds in another order and fuses multiplications with additions, gives
other last bits, and more than that where large terms cancel. LiteRT's plain loops add one term after the other; its
vector code keeps four sums, each of every fourth term, and adds them up at the end.

Source: ``tflite/kernels/internal/reference/fully_connected.h``,
``tflite/kernels/internal/optimized/neon_tensor_utils.cc`` (which x86-64 builds run through an emulation header).
"""

from __future__ import annotations

from functools import cache

import numpy as np

from kernels.engine.ufuncs import einsum
from qmath.types import Float32Array

#: Products held at once.
BLOCK = 1 << 16
#: A result of more elements than this, with rows of so many or more, is computed in tiles of so many, which stay in
#: the inner caches while one slice of products after the other is added to them.
CACHED, WIDE, TILE = 1 << 18, 64, 1 << 15
#: Sums that the vector code keeps.
LANES = 4


def matmul_in_order(a: Float32Array, b: Float32Array, out: Float32Array | None = None) -> Float32Array:
    """Multiply matrices as plain loops do: for each element, add one float32 product after the other.

    Parameters
    ----------
    a
        float32, shape (rows, depth).
    b
        float32, shape (depth, columns); fastest if contiguous.
    out
        Where to put the product, or None.

    Returns
    -------
    Float32Array
        Shape (rows, columns).

    """
    rows, columns = len(a), b.shape[1]
    out = np.empty((rows, columns), np.float32) if out is None else out
    if max(rows, columns) == 1 or not einsum_adds_in_order():
        out[...] = _one_by_one(a, b)
    else:
        _by_einsum(a, b, out)
    return out


@cache
def einsum_adds_in_order() -> bool:
    """Whether ``einsum`` adds a sum's products one after the other, each rounded, if the sum's axis is not innermost.

    It has no reason to do otherwise, but a build whose loops fuse multiplication and addition would.
    """
    rng = np.random.default_rng(0)
    for rows, depth, columns in ((37, 50, 3), (3, 50, 37), (1, 50, 9), (9, 50, 1), (64, 300, 64), (4200, 3, 64)):
        a, b = (rng.normal(size=shape).astype(np.float32) for shape in ((rows, depth), (depth, columns)))
        found = np.empty((rows, columns), np.float32)
        _by_einsum(a, b, found)
        if not np.array_equal(found, _one_by_one(a, b)):
            return False
    return True


def _by_einsum(a: Float32Array, b: Float32Array, out: Float32Array) -> None:
    """Let the longer side of the result be the innermost loop; the depth is the outermost, having the widest steps."""
    columns_of_a, b = np.ascontiguousarray(a.T), np.ascontiguousarray(b)
    rows, columns = out.shape
    if rows < columns:
        einsum("kn,ko->no", columns_of_a, b, out=out)
    elif rows * columns <= CACHED or columns < WIDE:
        out[...] = einsum("kn,ko->on", columns_of_a, b).T
    else:
        many = max(1, TILE // columns)
        for start in range(0, rows, many):
            einsum("kn,ko->no", columns_of_a[:, start : start + many], b, out=out[start : start + many])


def _one_by_one(a: Float32Array, b: Float32Array) -> Float32Array:
    rows, depth = a.shape
    out = np.zeros((rows, b.shape[1]), np.float32)
    if depth == 0:
        return out
    many = max(1, BLOCK // max(1, b.size))
    for start in range(0, rows, many):
        products = np.multiply(a[start : start + many].T[:, :, None], b[:, None, :], order="C")
        out[start : start + many] = _add_slices(products)
    return out


def _add_slices(terms: Float32Array) -> Float32Array:
    """Add C-ordered terms along the first axis, one slice after the other.

    NumPy does so along an axis that is the outermost in memory, but adds in pairs along the innermost: which the first
    is where slices are single numbers.
    """
    if terms.size == len(terms):
        return np.asarray(np.add.accumulate(terms, axis=0)[-1])
    return np.asarray(np.add.reduce(terms, axis=0))


def matmul_in_lanes(start: Float32Array, a: Float32Array, b: Float32Array) -> Float32Array:
    """Add a matrix product to ``start`` as the vector code does.

    1. Four sums for each element, of the products 0, 4, 8 ..., of 1, 5, 9 ..., and so on, as far as fours go.
    2. Add the four in order, then that to ``start``.
    3. Add the products that are left one by one.

    Parameters
    ----------
    start
        float32, shape (rows, columns).
    a, b
        float32, shapes (rows, depth) and (depth, columns).

    Returns
    -------
    Float32Array
        Shape (rows, columns).

    """
    whole = a.shape[1] // LANES * LANES
    lanes = [matmul_in_order(a[:, lane:whole:LANES], b[lane:whole:LANES]) for lane in range(LANES)]
    total = start + (lanes[0] + lanes[1] + lanes[2] + lanes[3])
    for index in range(whole, a.shape[1]):
        total += a[:, index, None] * b[index]
    return total


def add_in_order(terms: Float32Array) -> Float32Array:
    """Add terms along the last axis, one after the other; 0 where there are none."""
    if terms.shape[-1] == 0:
        return np.zeros(terms.shape[:-1], np.float32)
    return _add_slices(np.ascontiguousarray(np.moveaxis(terms, -1, 0)))


def add_in_lanes(terms: Float32Array) -> Float32Array:
    """Add terms along the last axis as the vector code does: see :func:`matmul_in_lanes`."""
    whole = terms.shape[-1] // LANES * LANES
    lanes = [add_in_order(terms[..., lane:whole:LANES]) for lane in range(LANES)]
    total = lanes[0] + lanes[1] + lanes[2] + lanes[3]
    for index in range(whole, terms.shape[-1]):
        total += terms[..., index]
    return total
