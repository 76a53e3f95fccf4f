"""Tensors as ``tf.lite.Interpreter`` describes them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

import fbs
from qmath.types import Array, DType, Int32Array

#: What stands for types without a NumPy form of their own.
_OTHERS = {DType.STRING: np.bytes_, DType.RESOURCE: np.object_, DType.VARIANT: np.object_}


def tensor_details(tensor: fbs.Tensor, index: int, shape: Sequence[int]) -> dict[str, Any]:
    """Return the dictionary that ``get_tensor_details`` gives for a tensor.

    Parameters
    ----------
    tensor
        As in the file.
    index
        Its number in the subgraph.
    shape
        What it has come to; the file's may be stale.

    """
    params = tensor.quant
    scales = np.array([], np.float32) if params is None else params.scale
    zero_points = np.array([], np.int32) if params is None else params.zero_point.astype(np.int32)
    single = params is not None and not params.per_axis
    return {
        "name": tensor.name,
        "index": index,
        "shape": np.array(shape, np.int32),
        "shape_signature": np.array(tensor.shape_signature or shape, np.int32),
        "dtype": _OTHERS.get(tensor.dtype) or tensor.dtype.storage.type,
        "quantization": (float(scales[0]), int(zero_points[0])) if single else (0.0, 0),
        "quantization_parameters": {
            "scales": scales,
            "zero_points": zero_points,
            "quantized_dimension": 0 if params is None else params.quantized_dimension,
            "block_size": 0,  # block-wise quantization is refused when a file is read
        },
        "sparsity_parameters": {} if tensor.sparsity is None else _sparsity(tensor.sparsity),
    }


def _sparsity(sparsity: fbs.Sparsity) -> dict[str, Any]:
    """Describe how a sparse constant is stored."""
    return {
        "traversal_order": np.array(sparsity.traversal_order or (), np.int32),
        "block_map": np.array(sparsity.block_map or (), np.int32),
        "dim_metadata": [
            {"format": 1, "array_segments": _int32(level.array_segments), "array_indices": _int32(level.array_indices)}
            if level.format
            else {"format": 0, "dense_size": level.dense_size}
            for level in sparsity.dim_metadata or ()
        ],
    }


def _int32(values: Array | None) -> Int32Array:
    return np.array(() if values is None else values, np.int32)
