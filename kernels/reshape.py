"""RESHAPE, SQUEEZE, EXPAND_DIMS: the same elements in another shape; SHAPE, RANK: the shape itself; BITCAST.

Source: ``tflite/kernels/reshape.cc``, ``internal/reshape_utils.h``, ``squeeze.cc``, ``expand_dims.cc``, ``shape.cc``,
``rank.cc``, ``bitcast.cc``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache, partial

import numpy as np

from kernels.engine import delegate
from kernels.engine.contract import (
    checked_shape,
    expect,
    expect_count,
    expect_dtype,
    input_tensor,
    option,
    optional_input,
    output_tensor,
)
from kernels.engine.movement import (
    COPIED,
    Movement,
    expect_covered,
    expect_same_quant,
    expect_zero_point_zero,
    in_words,
    integers,
    one_integer,
)
from kernels.engine.registry import Kernel
from kernels.engine.types import Inputs, OpView, Outputs, Prepared, Runner, given
from kernels.profiles import XNNPACK, Profile
from qmath.stages import Note, silent
from qmath.types import Array, DType

#: Element types that keep their bytes: sub-byte ones too.
KEPT = (*COPIED, DType.INT4, DType.UINT4, DType.INT2)
#: Most dimensions that SQUEEZE takes.
MAX_SQUEEZED_RANK = 8


def resolve_shape(elements: tuple[int, ...], wanted: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape that RESHAPE gives.

    1. At most one wanted size is -1. It becomes the number of elements divided by the other sizes, where sizes
       that are 0, on either side, are left out of the product.
    2. An empty tensor leaves 0 for it if no other wanted size is 0.
    3. The number of elements stays the same.

    Parameters
    ----------
    elements
        Shape of the input.
    wanted
        Shape asked for.

    Raises
    ------
    ModelError
        The shape is impossible.

    """
    stretched = wanted.count(-1)
    expect(stretched <= 1, f"at most one size of -1, found {wanted}")
    others = [size for size in wanted if size != -1]
    expect(min(others, default=0) >= 0, f"sizes of at least 0, or -1, found {wanted}")
    if math.prod(elements) == 0 and math.prod(others) != 0:
        inferred = 0
    else:
        inferred = math.prod(filter(None, elements)) // math.prod(filter(None, others))
    shape = tuple(inferred if size == -1 else size for size in wanted)
    expect(math.prod(shape) == math.prod(elements), f"a shape of as many elements as {elements}, found {wanted}")
    return shape


def reshape(x: Array, wanted: tuple[int, ...]) -> Array:
    """Give the elements, in their order, another shape; see :func:`resolve_shape`."""
    return x.reshape(resolve_shape(x.shape, wanted))


@dataclass(frozen=True, slots=True)
class Reshape(Prepared):
    """A prepared RESHAPE.

    Attributes
    ----------
    wanted
        The shape asked for, or None if the second input tells.

    """

    wanted: tuple[int, ...] | None

    def evaluate(self, inputs: Inputs, note: Note) -> Outputs:
        """Evaluate :func:`reshape`."""
        del note
        wanted = integers(given(inputs, 1)) if self.wanted is None else self.wanted
        return (reshape(given(inputs, 0), wanted),)

    def compile(self, constants: Inputs) -> Runner:
        """Work the shape out once for each shape of the input."""
        if self.wanted is None and constants[1] is None:
            return partial(self.evaluate, note=silent)
        wanted = integers(given(constants, 1)) if self.wanted is None else self.wanted
        resolved = lru_cache(partial(resolve_shape, wanted=wanted))

        def run(inputs: Inputs) -> Outputs:
            x = given(inputs, 0)
            return (x.reshape(resolved(x.shape)),)

        return run


def prepare_reshape(op: OpView, profile: Profile) -> Prepared:
    """Take the shape from an int32 vector as second input, else from the option ``new_shape``.

    Quirk: RESHAPE reads the option new_shape = [0] as the shape of a scalar.

    Raises
    ------
    ModelError
        The op breaks its contract.
    UnsupportedError
        The element type is not covered.

    """
    del profile
    expect_count(op, {1, 2})
    x, y, shape = input_tensor(op, 0), output_tensor(op), optional_input(op, 1)
    expect_covered(op, x, KEPT)
    expect_dtype(y, x.dtype)
    if shape is not None and shape.dtype is DType.INT32 and len(shape.shape) == 1:
        return Reshape(None)
    new_shape = tuple(op.options.get("new_shape") or ())
    return Reshape(() if new_shape == (0,) else new_shape)


def squeeze(x: Array, axes: tuple[int, ...]) -> Array:
    """Drop the given axes, each of size 1; all axes of size 1 if none is given."""
    rank = x.ndim
    expect(all(-rank <= axis < rank and x.shape[axis] == 1 for axis in axes), f"axes of size 1, found {axes}")
    dropped = {axis % rank for axis in axes} if axes else {i for i, size in enumerate(x.shape) if size == 1}
    return x.reshape([size for i, size in enumerate(x.shape) if i not in dropped])


def prepare_squeeze(op: OpView, profile: Profile) -> Prepared:
    """Check the contract of SQUEEZE.

    Raises
    ------
    ModelError
        The op breaks its contract.
    UnsupportedError
        The element type is not covered.

    """
    del profile
    expect_count(op, {1})
    x, y = input_tensor(op, 0), output_tensor(op)
    expect_covered(op, x, KEPT)
    expect_dtype(y, x.dtype)
    expect(len(x.shape) <= MAX_SQUEEZED_RANK, f"at most {MAX_SQUEEZED_RANK} dimensions, found {x.shape}")
    return Movement(partial(squeeze, axes=tuple(op.options.get("squeeze_dims") or ())))


def expand_dims(x: Array, axis: Array) -> Array:
    """Insert an axis of size 1; a negative position counts from behind the last axis."""
    position = one_integer(axis)
    expect(-x.ndim - 1 <= position <= x.ndim, f"a position from {-x.ndim - 1} to {x.ndim}, found {position}")
    return np.expand_dims(x, position)


def prepare_expand_dims(op: OpView, profile: Profile) -> Prepared:
    """Check the contract of EXPAND_DIMS.

    Raises
    ------
    ModelError
        The op breaks its contract.
    UnsupportedError
        The element type is not covered.

    """
    del profile
    expect_count(op, {2})
    x, axis, y = input_tensor(op, 0), input_tensor(op, 1), output_tensor(op)
    expect_covered(op, x, KEPT)
    expect_dtype(axis, DType.INT32, DType.INT64)
    expect_same_quant(x, y)
    if x.dtype is DType.INT16:
        expect_zero_point_zero(x)
    return Movement(expand_dims)


def shape_of(x: Array, dtype: DType) -> Array:
    """Return the shape as a vector of integers."""
    return np.array(x.shape, dtype.storage)


def prepare_shape(op: OpView, profile: Profile) -> Prepared:
    """Check the contract of SHAPE.

    Raises
    ------
    ModelError
        The op breaks its contract.

    """
    del profile
    expect_count(op, {1})
    input_tensor(op, 0)
    out_type = option(op, "out_type")
    expect(out_type in {DType.INT32.value, DType.INT64.value}, f"out_type INT32 or INT64, found {out_type}")
    return Movement(partial(shape_of, dtype=DType(out_type)))


def rank_of(x: Array) -> Array:
    """Return the number of dimensions as an int32 scalar."""
    return np.array(x.ndim, np.int32)


def prepare_rank(op: OpView, profile: Profile) -> Prepared:
    """Check the contract of RANK.

    Raises
    ------
    ModelError
        The op breaks its contract.

    """
    del profile
    expect_count(op, {1})
    input_tensor(op, 0)
    return Movement(rank_of)


def bitcast(x: Array, dtype: DType) -> Array:
    """Read the same bytes, little-endian, as elements of another type.

    A narrower type adds a last axis that counts its elements in one of ``x``; a wider one needs that axis and
    takes it away.
    """
    ours, theirs = x.dtype.itemsize, dtype.storage.itemsize
    if ours < theirs:
        together = x.shape[-1] if x.ndim else 1
        expect(together * ours == theirs, f"a last axis of {theirs // ours} elements, found shape {x.shape}")
        return np.ascontiguousarray(x).view(dtype.storage)[..., 0]
    if ours == theirs:
        return np.ascontiguousarray(x).view(dtype.storage)
    parts = checked_shape((*x.shape, ours // theirs))
    return np.ascontiguousarray(x)[..., None].view(dtype.storage).reshape(parts)


def prepare_bitcast(op: OpView, profile: Profile) -> Prepared:
    """Check the contract of BITCAST.

    Raises
    ------
    ModelError
        The op breaks its contract.
    UnsupportedError
        An element type is not covered.

    """
    del profile
    expect_count(op, {1})
    x, y = input_tensor(op, 0), output_tensor(op)
    expect_covered(op, x, COPIED)
    expect_covered(op, y, COPIED)
    return Movement(partial(bitcast, dtype=y.dtype))


KERNELS = (
    Kernel("RESHAPE", prepare_reshape, covers=in_words(KEPT), refusal={XNNPACK: delegate.reshaping}),
    Kernel("SQUEEZE", prepare_squeeze, covers=in_words(KEPT)),
    Kernel("EXPAND_DIMS", prepare_expand_dims, covers=in_words(KEPT)),
    Kernel("SHAPE", prepare_shape, covers=("int32", "int64")),
    Kernel("RANK", prepare_rank, covers=("int32",)),
    Kernel("BITCAST", prepare_bitcast, covers=in_words(COPIED)),
)
