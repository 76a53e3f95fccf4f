"""MATRIX_DIAG, MATRIX_SET_DIAG: vectors put on the diagonals of matrices.

Source: ``tflite/kernels/matrix_diag.cc``, ``matrix_set_diag.cc``.
"""

from __future__ import annotations

import numpy as np

from kernels.engine.contract import checked_shape, expect, expect_count, expect_dtype, input_tensor
from kernels.engine.movement import Movement, expect_covered, in_words
from kernels.engine.registry import Kernel
from kernels.engine.types import OpView, Prepared
from kernels.profiles import Profile
from qmath.types import Array, DType


def matrix_diag(diagonal: Array) -> Array:
    """Put each vector along the last axis on the diagonal of a square matrix of code 0."""
    size = diagonal.shape[-1]
    matrix = np.zeros(checked_shape((*diagonal.shape, size)), diagonal.dtype)
    matrix[..., np.arange(size), np.arange(size)] = diagonal
    return matrix


def prepare_matrix_diag(op: OpView, profile: Profile) -> Prepared:
    """Check the contract of MATRIX_DIAG.

    Quirk: MATRIX_DIAG fills with code 0, not with the zero point.

    Raises
    ------
    ModelError
        The op breaks its contract.
    UnsupportedError
        The element type is not covered.

    """
    del profile
    expect_count(op, {1})
    x = input_tensor(op, 0)
    expect_covered(op, x, DIAGONALS)
    expect(len(x.shape) > 0, "a tensor with axes, found a scalar")
    return Movement(matrix_diag)


def matrix_set_diag(x: Array, diagonal: Array) -> Array:
    """Replace the diagonal of each matrix along the last two axes."""
    size = min(x.shape[-2:])
    result = x.copy()
    result[..., np.arange(size), np.arange(size)] = diagonal
    return result


def prepare_matrix_set_diag(op: OpView, profile: Profile) -> Prepared:
    """Check the contract of MATRIX_SET_DIAG.

    Raises
    ------
    ModelError
        The op breaks its contract.
    UnsupportedError
        The element type is not covered.

    """
    del profile
    expect_count(op, {2})
    x, diagonal = input_tensor(op, 0), input_tensor(op, 1)
    expect_covered(op, x, DIAGONALS)
    expect_dtype(diagonal, x.dtype)
    expect(len(x.shape) >= 2, f"matrices, found shape {x.shape}")
    wanted = (*x.shape[:-2], min(x.shape[-2:]))
    expect(diagonal.shape == wanted, f"diagonals of shape {wanted}, found {diagonal.shape}")
    return Movement(matrix_set_diag)


DIAGONALS = (DType.INT8, DType.UINT8, DType.INT16, DType.INT32, DType.INT64, DType.FLOAT32)

KERNELS = (
    Kernel("MATRIX_DIAG", prepare_matrix_diag, covers=in_words(DIAGONALS)),
    Kernel("MATRIX_SET_DIAG", prepare_matrix_set_diag, covers=in_words(DIAGONALS)),
)
