"""What ops share that move elements or choose among them: axes, index tensors, equal quantization."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

from kernels.engine.contract import expect, unsupported
from kernels.engine.types import Inputs, OpView, Outputs, Prepared, TensorView
from qmath.stages import Note
from qmath.types import Array, DType

#: Elements of 8, 16, 32 and 64 bits that the runtime's copying kernels tell apart by width alone.
COPIED = (
    DType.INT8,
    DType.UINT8,
    DType.BOOL,
    DType.INT16,
    DType.UINT16,
    DType.FLOAT16,
    DType.BFLOAT16,
    DType.INT32,
    DType.UINT32,
    DType.FLOAT32,
    DType.INT64,
    DType.UINT64,
    DType.FLOAT64,
    DType.COMPLEX64,
)


@dataclass(frozen=True, slots=True)
class Movement(Prepared):
    """A prepared op that only moves elements: a function of its input arrays, without stages.

    Attributes
    ----------
    definition
        Takes the arrays of the input slots in order, None where one is absent; returns the output or a tuple of them.

    """

    definition: Callable[..., Array | Outputs]

    def evaluate(self, inputs: Inputs, note: Note) -> Outputs:
        """Evaluate the definition."""
        del note
        moved = self.definition(*inputs)
        return moved if isinstance(moved, tuple) else (moved,)


def expect_covered(op: OpView, tensor: TensorView, dtypes: Collection[DType]) -> None:
    """Raise UnsupportedError unless the tensor's element type is among those that the kernel covers."""
    if tensor.dtype not in dtypes:
        raise unsupported(op, ", ".join(in_words(dtypes)))


def in_words(dtypes: Collection[DType]) -> tuple[str, ...]:
    """Return the names of element types, for the table of what is covered."""
    return tuple(dtype.name.lower() for dtype in dtypes)


def resolve_axis(axis: int, rank: int) -> int:
    """Return an axis counted from the front; a negative one counts from the back.

    Raises
    ------
    ModelError
        A tensor of ``rank`` dimensions has no such axis.

    """
    expect(-rank <= axis < rank, f"an axis from {-rank} to {rank - 1}, found {axis}")
    return axis % rank


def integers(values: Array) -> tuple[int, ...]:
    """Return the elements of a small index tensor, such as a shape, as Python integers."""
    return tuple(int(value) for value in values.ravel())


def one_integer(values: Array) -> int:
    """Return the only element of an index tensor.

    Raises
    ------
    ModelError
        There are none or several.

    """
    expect(values.size == 1, f"one element, found shape {values.shape}")
    return int(values.ravel()[0])


def per_tensor_quant(tensor: TensorView) -> tuple[float, int]:
    """Return scale and zero point as kernels read them that know per-tensor quantization alone: else 0 and 0."""
    if tensor.quant is None or tensor.quant.per_axis:
        return 0.0, 0
    return float(tensor.quant.scale[0]), int(tensor.quant.zero_point[0])


def expect_same_quant(first: TensorView, second: TensorView) -> None:
    """Check that codes mean the same in two tensors, because an op copies them from one to the other."""
    ours, theirs = per_tensor_quant(first), per_tensor_quant(second)
    expect(
        ours == theirs, f"equal scale and zero point on {first.name!r} and {second.name!r}, found {ours} and {theirs}"
    )


def expect_zero_point_zero(*tensors: TensorView) -> None:
    """Check that zero points are 0, as int16 kernels demand."""
    for tensor in tensors:
        zero_point = per_tensor_quant(tensor)[1]
        expect(zero_point == 0, f"zero point 0 on {tensor.name!r} ({tensor.dtype.name}), found {zero_point}")
