"""Storing pruned weights sparsely: zeros are left out of the file.

LiteRT's kernels take float32 weights of FULLY_CONNECTED so, element by element or in blocks of 1x4; other ops would
spread them out or refuse them, and are left as they are.
"""

from __future__ import annotations

import dataclasses

import numpy as np

import fbs
from fbs import constants, sparsity
from qmath.types import DType
from quantref.optimize.layers import with_subgraphs

#: Columns of the blocks that LiteRT's float32 kernels take.
BLOCKS = (4, 1)
#: Version of FULLY_CONNECTED from which on weights may be sparse.
SPARSE_VERSION = 8


def store_sparsely(model: fbs.Model) -> tuple[fbs.Model, tuple[str, ...]]:
    """Return a model whose sparse FULLY_CONNECTED weights are stored without zeros, where that takes fewer bytes.

    Returns
    -------
    Model
        Its values are the same.
    tuple of str
        Names of the weights that are stored sparsely.

    """
    names: list[str] = []
    subgraphs = []
    for subgraph in model.subgraphs:
        tensors, operators = list(subgraph.tensors), list(subgraph.operators)
        readers = [index for operator in operators for index in operator.inputs]
        for number, operator in enumerate(operators):
            index = operator.inputs[1] if operator.name == "FULLY_CONNECTED" else -1
            if index < 0 or readers.count(index) != 1:
                continue
            smaller = _stored(tensors[index])
            if smaller is not None:
                tensors[index] = smaller
                names.append(smaller.name)
                code = operator.code
                version = max(code.version, SPARSE_VERSION)
                operators[number] = dataclasses.replace(operator, code=dataclasses.replace(code, version=version))
        subgraphs.append(dataclasses.replace(subgraph, tensors=tuple(tensors), operators=tuple(operators)))
    return with_subgraphs(model, subgraphs), tuple(names)


def _stored(tensor: fbs.Tensor) -> fbs.Tensor | None:
    if tensor.dtype is not DType.FLOAT32 or tensor.sparsity is not None or not tensor.is_constant:
        return None
    values = tensor.data
    if values is None or values.ndim != 2 or not values.any():
        return None
    best, fewest = None, values.nbytes
    for block in BLOCKS:
        if values.shape[1] % block == 0:
            stored, layout = sparsity.sparsify(values, block)
            levels = layout.dim_metadata or ()
            size = stored.nbytes + sum(np.asarray(part).nbytes for level in levels for part in _parts(level))
            if size < fewest:
                best, fewest = (stored, layout), size
    if best is None:
        return None
    return dataclasses.replace(tensor, buffer=fbs.Buffer(constants.encode(best[0], tensor.dtype)), sparsity=best[1])


def _parts(level: sparsity.DimensionMetadata) -> list[object]:
    return [part for part in (level.array_segments, level.array_indices) if part is not None]
