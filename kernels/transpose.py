"""TRANSPOSE, REVERSE_V2, REVERSE_SEQUENCE: elements in another order along their axes.

Source: ``tflite/kernels/transpose.cc``, ``reverse.cc``, ``reverse_sequence.cc``.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from kernels.engine.contract import (
    expect,
    expect_count,
    expect_dtype,
    expect_rank,
    input_tensor,
    option,
    output_tensor,
)
from kernels.engine.movement import COPIED, Movement, expect_covered, in_words, integers, resolve_axis
from kernels.engine.registry import Kernel
from kernels.engine.types import OpView, Prepared
from kernels.profiles import Profile
from qmath.types import Array, DType

#: Most dimensions that the runtime's kernels take.
MAX_TRANSPOSED_RANK = 8
MAX_REVERSED_RANK = 8


def transpose(x: Array, permutation: Array) -> Array:
    """Put axis ``permutation[i]`` of the input at place ``i``; negative axes count from the back.

    Raises
    ------
    ModelError
        The second input is no permutation of the axes.

    """
    axes = [resolve_axis(axis, x.ndim) for axis in integers(permutation)]
    expect(sorted(axes) == list(range(x.ndim)), f"a permutation of {x.ndim} axes, found {axes}")
    return np.asarray(x.transpose(axes), order="C")


def prepare_transpose(op: OpView, profile: Profile) -> Prepared:
    """Check the contract of TRANSPOSE.

    Raises
    ------
    ModelError
        The op breaks its contract.
    UnsupportedError
        The element type is not covered.

    """
    del profile
    expect_count(op, {2})
    x, permutation = input_tensor(op, 0), input_tensor(op, 1)
    expect_covered(op, x, TRANSPOSED)
    expect_dtype(output_tensor(op), x.dtype)
    expect_dtype(permutation, DType.INT32)
    expect(len(x.shape) <= MAX_TRANSPOSED_RANK, f"at most {MAX_TRANSPOSED_RANK} dimensions, found {x.shape}")
    return Movement(transpose)


def reverse(x: Array, axes: Array) -> Array:
    """Reverse the order along the given axes, which lie side by side.

    Raises
    ------
    ModelError
        An axis does not exist, or there is a gap between two of them.

    """
    places = sorted(resolve_axis(axis, x.ndim) for axis in integers(axes))
    expect(bool(places), "axes to reverse, found none")
    side_by_side = places == list(range(places[0], places[0] + len(places)))
    expect(side_by_side, f"axes side by side, each once, found {places}")
    return np.asarray(np.flip(x, tuple(places)), order="C")


def prepare_reverse(op: OpView, profile: Profile) -> Prepared:
    """Check the contract of REVERSE_V2.

    Quirk: REVERSE_V2 takes several axes only if they lie side by side.

    Raises
    ------
    ModelError
        The op breaks its contract.
    UnsupportedError
        The element type is not covered.

    """
    del profile
    expect_count(op, {2})
    x, axes = input_tensor(op, 0), input_tensor(op, 1)
    expect_covered(op, x, REVERSED)
    expect_dtype(output_tensor(op), x.dtype)
    expect_dtype(axes, DType.INT32)
    expect_rank(axes, 1)
    expect(len(x.shape) <= MAX_REVERSED_RANK, f"at most {MAX_REVERSED_RANK} dimensions, found {x.shape}")
    return Movement(reverse)


def reverse_sequence(x: Array, lengths: Array, *, sequence_axis: int, batch_axis: int) -> Array:
    """Reverse the first ``lengths[b]`` elements along one axis, for each index ``b`` of another; keep the rest.

    Raises
    ------
    ModelError
        A length is negative or exceeds the axis.

    """
    longest = x.shape[sequence_axis]
    expect(lengths.shape == (x.shape[batch_axis],), f"{x.shape[batch_axis]} lengths, found shape {lengths.shape}")
    inside = not ((lengths < 0) | (lengths > longest)).any()
    expect(inside, f"lengths from 0 to {longest}, found {lengths.tolist()}")
    place = np.arange(longest)
    mirrored = lengths.astype(np.int64)[:, None] - 1 - place
    source = np.where(mirrored >= 0, mirrored, place)
    front = np.moveaxis(x, (batch_axis, sequence_axis), (0, 1))
    reversed_ = front[np.arange(len(source))[:, None], source]
    return np.asarray(np.moveaxis(reversed_, (0, 1), (batch_axis, sequence_axis)), order="C")


def prepare_reverse_sequence(op: OpView, profile: Profile) -> Prepared:
    """Check the contract of REVERSE_SEQUENCE.

    Raises
    ------
    ModelError
        The op breaks its contract.
    UnsupportedError
        The element type is not covered.

    """
    del profile
    expect_count(op, {2})
    x, lengths = input_tensor(op, 0), input_tensor(op, 1)
    expect_covered(op, x, SEQUENCES)
    expect_dtype(output_tensor(op), x.dtype)
    expect_dtype(lengths, DType.INT32, DType.INT64)
    sequence_axis, batch_axis = option(op, "seq_dim"), option(op, "batch_dim")
    for axis in (sequence_axis, batch_axis):
        expect(0 <= axis < len(x.shape), f"axes from 0 to {len(x.shape) - 1}, found {axis}")
    expect(sequence_axis != batch_axis, f"two different axes, found {batch_axis} twice")
    return Movement(partial(reverse_sequence, sequence_axis=sequence_axis, batch_axis=batch_axis))


TRANSPOSED = (*COPIED, DType.INT4, DType.UINT4)
SEQUENCES = (DType.UINT8, DType.INT16, DType.INT32, DType.INT64, DType.FLOAT32)
REVERSED = (*SEQUENCES, DType.INT8, DType.BOOL, DType.FLOAT16, DType.BFLOAT16)

KERNELS = (
    Kernel("TRANSPOSE", prepare_transpose, covers=in_words(TRANSPOSED)),
    Kernel("REVERSE_V2", prepare_reverse, covers=in_words(REVERSED)),
    Kernel("REVERSE_SEQUENCE", prepare_reverse_sequence, covers=in_words(SEQUENCES)),
)
