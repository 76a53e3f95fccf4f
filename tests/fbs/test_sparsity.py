"""Sparse constants against a plain walk through the stored tree."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fbs import DimensionMetadata, Sparsity
from fbs.sparsity import densify
from qmath.errors import ModelError
from qmath.types import DType
from tests.fbs.models import sparse


@given(st.data())
def test_dense_values_come_back(data: st.DataObject) -> None:
    blocks = data.draw(st.lists(st.integers(1, 3), min_size=2, max_size=2))
    grid = data.draw(st.lists(st.integers(1, 3), min_size=2, max_size=2))
    shape = (grid[0] * blocks[0], grid[1] * blocks[1])
    order = (*data.draw(st.permutations([0, 1])), *data.draw(st.permutations([2, 3])))
    formats = [data.draw(st.integers(0, 1)) for _ in range(2)] + [0, 0]
    values = data.draw(st.lists(st.sampled_from([0, 0, 0, 5, -7]), min_size=shape[0] * shape[1], max_size=81))
    dense = np.array(values[: shape[0] * shape[1]], np.int8).reshape(shape)
    blocked = dense.reshape(grid[0], blocks[0], grid[1], blocks[1]).transpose(0, 2, 1, 3)
    stored, levels = _encode(blocked.transpose(order), formats)
    sparsity = Sparsity(order, (0, 1), tuple(levels))
    assert np.array_equal(densify(np.array(stored, np.int8).view(np.uint8), DType.INT8, shape, sparsity), dense)


def _encode(tree: np.ndarray, formats: Sequence[int]) -> tuple[list[int], list[DimensionMetadata]]:
    """Store a tensor level by level, keeping at sparse levels the branches that are not all zero."""
    nodes, levels = [tree], []
    for size, kind in zip(tree.shape, formats, strict=True):
        kept = [[(i, node[i]) for i in range(size) if kind == 0 or node[i].any()] for node in nodes]
        segments = np.cumsum([0, *(len(children) for children in kept)]).astype(np.int32)
        indices = np.array([i for children in kept for i, _ in children], np.uint8)
        levels.append(DimensionMetadata(0, size) if kind == 0 else DimensionMetadata(1, 0, segments, indices))
        nodes = [child for children in kept for _, child in children]
    return [int(node) for node in nodes], levels


def test_a_matrix_of_blocks() -> None:
    dense = sparse().subgraphs[0].tensors[2].data
    assert dense is not None
    assert dense.tolist() == [[0, 0, 1, 2], [0, 0, 3, 4], [5, 6, 0, 0], [7, 8, 0, 0]]


def _contradictions() -> Iterator[Sparsity]:
    sparsity = sparse().subgraphs[0].tensors[2].sparsity
    assert sparsity is not None
    assert sparsity.dim_metadata is not None
    rows, columns, *inner = sparsity.dim_metadata
    yield dataclasses.replace(sparsity, traversal_order=(0, 1, 2, 2))
    yield dataclasses.replace(sparsity, traversal_order=None)
    yield dataclasses.replace(sparsity, block_map=(0, 7))
    yield dataclasses.replace(sparsity, dim_metadata=(rows, columns))
    for level in (
        DimensionMetadata(2, 2),
        DimensionMetadata(1, 0),
        DimensionMetadata(0, 1 << 30),
        DimensionMetadata(1, 0, np.array([0, 1, 1], np.uint8), np.array([1, 0], np.uint8)),
        DimensionMetadata(1, 0, np.array([0, 3, 2], np.int32), np.array([1, 0], np.uint8)),
        DimensionMetadata(1, 0, np.array([0, 1, 2], np.int32), np.array([1, -1], np.int32)),
        DimensionMetadata(1, 0, np.array([0, 2, 3], np.int32), np.array([0, 1, 0], np.uint8)),
    ):
        yield dataclasses.replace(sparsity, dim_metadata=(rows, level, *inner))
    yield dataclasses.replace(sparsity, dim_metadata=(rows, columns, DimensionMetadata(0, 3), inner[1]))


@pytest.mark.parametrize("sparsity", list(_contradictions()))
def test_contradictions_are_named(sparsity: Sparsity) -> None:
    raw = np.arange(8, dtype=np.float32).view(np.uint8)
    with pytest.raises(ModelError, match="expected"):
        densify(raw, DType.FLOAT32, (4, 4), sparsity)
