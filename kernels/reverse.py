"""REVERSE_V2, REVERSE_SEQUENCE: elements in the opposite order along an axis, all of them or the first ones.

Source: ``tflite/kernels/reverse.cc``, ``reverse_sequence.cc``.
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
from kernels.engine.movement import Movement, expect_covered, in_words, integers, resolve_axis
from kernels.engine.registry import Kernel
from kernels.engine.types import OpView, Prepared
from kernels.profiles import Profile
from qmath.types import Array, DType

#: Most dimensions that REVERSE_V2 takes.
MAX_REVERSED_RANK = 8


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

    A negative length reverses nothing.

    Raises
    ------
    ModelError
        There is not one length for each index, or one exceeds the axis.

    """
    longest = x.shape[sequence_axis]
    expect(lengths.shape == (x.shape[batch_axis],), f"{x.shape[batch_axis]} lengths, found shape {lengths.shape}")
    expect(bool((lengths <= longest).all()), f"lengths of at most {longest}, found {lengths.tolist()}")
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


SEQUENCES = (DType.UINT8, DType.INT16, DType.INT32, DType.INT64, DType.FLOAT32)
REVERSED = (*SEQUENCES, DType.INT8, DType.BOOL, DType.FLOAT16, DType.BFLOAT16)

KERNELS = (
    Kernel("REVERSE_V2", prepare_reverse, covers=in_words(REVERSED)),
    Kernel("REVERSE_SEQUENCE", prepare_reverse_sequence, covers=in_words(SEQUENCES)),
)
