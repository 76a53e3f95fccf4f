"""Sparse constants: how they are described, and how they are spread out to dense ones.

The format follows ``tflite/kernels/internal/utils/sparsity_format_converter.cc``: a tree of dimensions in
traversal order, each dense (all positions) or sparse (positions listed, in segments by parent).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fbs import constants
from fbs.constants import MAX_RANK
from fbs.exact import Exact
from qmath.errors import ModelError
from qmath.types import Array, DType, Int64Array, UInt8Array

_MAX_DENSE = 1 << 28  # elements that a sparse constant may spread out to


@dataclass(frozen=True, slots=True, eq=False)
class DimensionMetadata(Exact):
    """How one dimension of a sparse tensor is stored.

    Attributes
    ----------
    format
        0: dense, 1: sparse, indices in compressed-sparse-row form.
    dense_size
        Size of a dense dimension.
    array_segments, array_indices
        int32, uint16 or uint8 (each a table of its own in the file), shape ``(n,)``, or None.

    """

    format: int = 0
    dense_size: int = 0
    array_segments: Array | None = None
    array_indices: Array | None = None


@dataclass(frozen=True, slots=True)
class Sparsity:
    """How a sparse constant is stored: the TACO format.

    Attributes
    ----------
    traversal_order
        Order of the dimensions, those of blocks last; None if absent.
    block_map
        Dimension that each block dimension divides, or None.
    dim_metadata
        One entry a dimension, in traversal order.

    """

    traversal_order: tuple[int, ...] | None = None
    block_map: tuple[int, ...] | None = None
    dim_metadata: tuple[DimensionMetadata, ...] | None = None


def densify(raw: UInt8Array, dtype: DType, shape: Sequence[int], sparsity: Sparsity) -> Array:
    """Return the dense value of a sparse constant.

    Parameters
    ----------
    raw
        uint8, shape ``(n,)``: the stored elements, in traversal order.
    dtype, shape
        Of the dense tensor.
    sparsity
        How it is stored.

    Returns
    -------
    Array
        ``dtype.storage``, shape ``shape``; zero where nothing is stored.

    Raises
    ------
    ModelError
        The description contradicts itself, the shape or the number of stored elements.

    """
    place = locate(raw.size * 8 // max(dtype.bits, 1), shape, sparsity)
    dense = np.zeros(tuple(shape), dtype.storage)
    dense[tuple(place.T)] = constants.decode(raw, dtype, (len(place),))
    return dense


def locate(stored: int, shape: Sequence[int], sparsity: Sparsity) -> Int64Array:
    """Return where the elements of a sparse constant belong.

    Parameters
    ----------
    stored
        How many elements the buffer has room for.
    shape
        Of the dense tensor.
    sparsity
        How it is stored.

    Returns
    -------
    Int64Array
        Shape ``(elements, rank)``: the place of each stored element in the dense tensor.

    Raises
    ------
    ModelError
        The description contradicts itself, the shape or the number of stored elements.

    """
    order, blocks = _dimensions(shape, sparsity)
    levels = sparsity.dim_metadata or ()
    sizes = _sizes(shape, levels, order, blocks)
    # Every branch of the tree ends in stored elements or is a segment of a sparse dimension.
    limit = max([stored, *(level.array_segments.size for level in levels if level.array_segments is not None)])
    coordinates = np.zeros((1, 0), np.int64)
    for dimension, level in zip(order, levels, strict=True):
        coordinates = _descend(coordinates, level, sizes[dimension], limit)
    if len(coordinates) > stored:
        msg = f"expected {len(coordinates)} stored elements of a sparse tensor, found {stored}"
        raise ModelError(msg)
    by_dimension = np.empty_like(coordinates)
    by_dimension[:, list(order)] = coordinates
    rank = len(shape)
    place = by_dimension[:, :rank].copy()
    for block, dimension in enumerate(blocks):
        place[:, dimension] = place[:, dimension] * sizes[rank + block] + by_dimension[:, rank + block]
    return place


def _dimensions(shape: Sequence[int], sparsity: Sparsity) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the traversal order and the block map, checked against the rank."""
    order, blocks = sparsity.traversal_order or (), sparsity.block_map or ()
    levels = sparsity.dim_metadata or ()
    whole = sorted(order) == list(range(len(shape) + len(blocks)))
    if not whole or len(levels) != len(order) or not all(0 <= dimension < len(shape) for dimension in blocks):
        msg = f"expected sparsity that traverses {len(shape)} dimensions and {len(blocks)} of blocks once each"
        found = f"order {order[:MAX_RANK]}, block map {blocks[:MAX_RANK]} and {len(levels)} dimensions described"
        raise ModelError(f"{msg}, found {found}")
    if len(order) > MAX_RANK or min(shape, default=0) < 0 or math.prod(shape) > _MAX_DENSE:
        msg = f"expected a dense shape of up to {_MAX_DENSE} elements, found {list(shape)}"
        raise ModelError(msg)
    return order, blocks


def _sizes(
    shape: Sequence[int], levels: Sequence[DimensionMetadata], order: Sequence[int], blocks: Sequence[int]
) -> list[int]:
    """Return the size of each dimension of the blocked tensor, by dimension."""
    rank = len(shape)
    sizes = list(shape) + [0] * len(blocks)
    for dimension, level in zip(order, levels, strict=True):
        if dimension >= rank:
            sizes[dimension] = level.dense_size
    for block, dimension in enumerate(blocks):
        size = sizes[rank + block]
        if size <= 0 or sizes[dimension] % size:
            msg = f"expected blocks that divide dimension {dimension} of {sizes[dimension]}, found blocks of {size}"
            raise ModelError(msg)
        sizes[dimension] //= size
    return sizes


def _descend(parents: Int64Array, level: DimensionMetadata, size: int, limit: int) -> Int64Array:
    """Return the coordinates of all children, one dimension deeper, in storage order."""
    if level.format == 0:
        if level.dense_size != size or len(parents) * size > limit:
            msg = f"expected a dense dimension of {size} below {len(parents)} nodes"
            raise ModelError(f"{msg}, found one of {level.dense_size} and at most {limit} elements")
        children = np.tile(np.arange(size, dtype=np.int64), len(parents))
        return np.column_stack([np.repeat(parents, size, axis=0), children])
    if level.format != 1:
        msg = f"expected a dense (0) or sparse (1) dimension, found format {level.format}"
        raise ModelError(msg)
    segments = np.asarray([] if level.array_segments is None else level.array_segments, np.int64)
    indices = np.asarray([] if level.array_indices is None else level.array_indices, np.int64)
    counts = np.diff(segments)
    whole = segments.size == len(parents) + 1 and segments[0] == 0 and segments[-1] == indices.size
    if not whole or (counts < 0).any() or (indices < 0).any() or (indices >= size).any():
        msg = f"expected {len(parents)} segments of indices below {size}"
        raise ModelError(f"{msg}, found {segments.size - 1} segments and {indices.size} indices that do not fit")
    return np.column_stack([np.repeat(parents, counts, axis=0), indices])


def sparsify(values: Array, block: int = 1) -> tuple[Array, Sparsity]:
    """Describe a matrix by its rows' blocks that hold anything but zeros: compressed sparse rows.

    Parameters
    ----------
    values
        Shape (rows, columns).
    block
        Columns that make a block; must divide the columns.

    Returns
    -------
    Array
        The elements of the blocks that are kept, in order.
    Sparsity
        How they are stored.

    Raises
    ------
    ModelError
        No matrix, or blocks that do not fit.

    """
    if values.ndim != 2 or block < 1 or values.shape[1] % block:
        msg = f"expected a matrix of whole blocks of {block} columns, found shape {list(values.shape)}"
        raise ModelError(msg)
    rows, columns = values.shape
    blocks = values.reshape(rows, columns // block, block)
    kept = np.asarray(blocks.any(axis=2))
    levels = [
        DimensionMetadata(0, rows),
        DimensionMetadata(
            1, 0, np.append(0, kept.sum(axis=1).cumsum()).astype(np.int32), np.nonzero(kept)[1].astype(np.int32)
        ),
    ]
    if block == 1:
        return blocks[kept].reshape(-1), Sparsity((0, 1), (), tuple(levels))
    return blocks[kept].reshape(-1), Sparsity((0, 1, 2), (1,), (*levels, DimensionMetadata(0, block)))
