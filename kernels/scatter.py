"""SCATTER_ND, SPARSE_TO_DENSE: values put into a tensor at given indices.

Source: ``tflite/kernels/scatter_nd.cc``, ``sparse_to_dense.cc``, ``internal/reference/reference_ops.h``.
"""

from __future__ import annotations

import numpy as np

from kernels.engine.contract import (
    checked_shape,
    expect,
    expect_count,
    expect_dtype,
    expect_rank,
    input_tensor,
)
from kernels.engine.movement import Movement, expect_covered, in_words, integers
from kernels.engine.registry import Kernel
from kernels.engine.types import OpView, Prepared
from kernels.profiles import Profile
from qmath.types import Array, DType

#: Most dimensions that SPARSE_TO_DENSE writes to.
MAX_DENSE_RANK = 4


def scatter_nd(indices: Array, updates: Array, shape: Array) -> Array:
    """Add the slices ``updates[k]`` into zeros at ``indices[k]``; slices for the same place add up, wrapping.

    Raises
    ------
    ModelError
        The shapes do not fit each other, or an index lies outside.

    """
    wanted = checked_shape(integers(shape))
    depth = indices.shape[-1]
    expect(depth <= len(wanted), f"vectors of at most {len(wanted)} indices, found shape {indices.shape}")
    slices = (*indices.shape[:-1], *wanted[depth:])
    expect(updates.shape == slices, f"updates of shape {slices}, found {updates.shape}")
    limits = np.array(wanted[:depth], np.int64)
    expect(not ((indices < 0) | (indices >= limits)).any(), f"indices within {wanted[:depth]}, found others")
    result = np.zeros(wanted, updates.dtype)
    np.add.at(result, tuple(np.moveaxis(indices, -1, 0)), updates)
    return result


def prepare_scatter_nd(op: OpView, profile: Profile) -> Prepared:
    """Check the contract of SCATTER_ND.

    Quirk: SCATTER_ND fills untouched places with code 0, not with the zero point.

    Raises
    ------
    ModelError
        The op breaks its contract.
    UnsupportedError
        The element type is not covered.

    """
    del profile
    expect_count(op, {3})
    indices, updates, shape = (input_tensor(op, slot) for slot in range(3))
    expect_covered(op, updates, SCATTERED)
    expect_dtype(indices, DType.INT32)
    expect_dtype(shape, DType.INT32)
    expect_rank(shape, 1)
    expect(len(indices.shape) > 0 and len(updates.shape) > 0, "indices and updates with dimensions, found scalars")
    return Movement(scatter_nd)


def sparse_to_dense(indices: Array, shape: Array, values: Array, default: Array) -> Array:
    """Put values at indices, a default elsewhere; the last of several values for one place stays.

    Parameters
    ----------
    indices
        int32 or int64: a scalar or vector of places in a vector, or a matrix with one place a row.
    shape
        Of the result.
    values
        One for each place, or a scalar for all.
    default
        One element.

    Raises
    ------
    ModelError
        The shapes do not fit each other, or an index lies outside.

    """
    wanted = checked_shape(integers(shape))
    places = indices if indices.ndim == 2 else indices.reshape(-1, 1)
    expect(places.shape[1] == len(wanted), f"{len(wanted)} indices a place, found shape {indices.shape}")
    expect(len(wanted) <= MAX_DENSE_RANK, f"at most {MAX_DENSE_RANK} dimensions, found {wanted}")
    expect(values.shape in {(), (len(places),)}, f"one value or {len(places)}, found shape {values.shape}")
    inside = not ((places < 0) | (places >= np.array(wanted, np.int64))).any()
    expect(inside, f"indices within {wanted}, found others")
    dense = np.full(wanted, default.reshape(()), values.dtype)
    dense[tuple(places.T)] = values
    return dense


def prepare_sparse_to_dense(op: OpView, profile: Profile) -> Prepared:
    """Check the contract of SPARSE_TO_DENSE.

    Raises
    ------
    ModelError
        The op breaks its contract.
    UnsupportedError
        The element type is not covered.

    """
    del profile
    expect_count(op, {4})
    indices, shape, values, default = (input_tensor(op, slot) for slot in range(4))
    expect_covered(op, values, DENSE)
    expect_dtype(default, values.dtype)
    expect(all(size == 1 for size in default.shape), f"one default value, found shape {default.shape}")
    for tensor in (indices, shape):
        expect_dtype(tensor, DType.INT32, DType.INT64)
    expect_rank(shape, 1)
    expect(len(indices.shape) <= 2, f"indices of at most 2 dimensions, found shape {indices.shape}")
    return Movement(sparse_to_dense)


SCATTERED = (DType.INT8, DType.UINT8, DType.INT32, DType.INT64, DType.FLOAT32, DType.BOOL)
DENSE = (DType.INT8, DType.UINT8, DType.INT32, DType.INT64, DType.FLOAT32)

KERNELS = (
    Kernel("SCATTER_ND", prepare_scatter_nd, covers=in_words(SCATTERED)),
    Kernel("SPARSE_TO_DENSE", prepare_sparse_to_dense, covers=in_words(DENSE)),
)
