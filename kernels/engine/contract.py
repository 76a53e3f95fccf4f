"""Checks that preparing an op makes: short to write, and one clear sentence when they fail."""

from __future__ import annotations

import enum
import math
from collections.abc import Collection, Iterable
from typing import Any, TypeVar

from kernels.engine.types import OpView, TensorView
from qmath.errors import ModelError, UnsupportedError
from qmath.fixed_point import wrap_int32
from qmath.types import DType, QuantParams

#: No array that a kernel makes is larger, whatever the options of a damaged model say.
MAX_ELEMENTS = 1 << 28

E = TypeVar("E", bound=enum.Enum)


def expect(condition: bool, expectation: str) -> None:  # noqa: FBT001 - the condition is the point
    """Raise ModelError unless ``condition`` holds; ``expectation`` says what was expected and what was found."""
    if not condition:
        raise ModelError(f"expected {expectation}")


def expect_count(op: OpView, inputs: Collection[int], outputs: int = 1) -> None:
    """Check how many inputs and outputs an op has; ``inputs`` lists the counts that are fine."""
    expect(len(op.inputs) in inputs, f"{' or '.join(map(str, sorted(inputs)))} inputs, found {len(op.inputs)}")
    expect(len(op.outputs) == outputs, f"{outputs} outputs, found {len(op.outputs)}")


def input_tensor(op: OpView, slot: int) -> TensorView:
    """Return the tensor in an input slot that must be there."""
    tensor = op.inputs[slot] if slot < len(op.inputs) else None
    if tensor is None:
        raise ModelError(f"expected a tensor as input {slot}, found none")
    return tensor


def optional_input(op: OpView, slot: int) -> TensorView | None:
    """Return the tensor in an input slot, or None where it is absent."""
    return op.inputs[slot] if slot < len(op.inputs) else None


def output_tensor(op: OpView, slot: int = 0) -> TensorView:
    """Return the tensor in an output slot."""
    expect(slot < len(op.outputs), f"an output {slot}, found {len(op.outputs)} outputs")
    return op.outputs[slot]


def quant_of(tensor: TensorView) -> QuantParams:
    """Return the quantization parameters of a tensor that must have them."""
    if tensor.quant is None:
        raise ModelError(f"expected quantization parameters on {tensor.name!r} ({tensor.dtype.name}), found none")
    return tensor.quant


def scale_of(tensor: TensorView) -> float:
    """Return the one scale of a per-tensor quantized tensor (its first, as the runtime reads it)."""
    return float(quant_of(tensor).scale[0])


def zero_point_of(tensor: TensorView) -> int:
    """Return the one zero point of a per-tensor quantized tensor (its first, as the runtime reads it: in 32 bits)."""
    return int(wrap_int32(quant_of(tensor).zero_point[0]))


def expect_rank(tensor: TensorView, rank: int) -> None:
    """Check the number of dimensions of a tensor."""
    expect(len(tensor.shape) == rank, f"tensor {tensor.name!r} to have {rank} dimensions, found shape {tensor.shape}")


def unsupported(op: OpView, covered: str) -> UnsupportedError:
    """Return the error for a combination of types that is not covered.

    Parameters
    ----------
    op
        The op.
    covered
        What is, in words.

    """
    found = ", ".join("none" if tensor is None else tensor.dtype.name for tensor in op.inputs)
    gives = ", ".join(tensor.dtype.name for tensor in op.outputs)
    return UnsupportedError(f"{op.name} from ({found}) to ({gives}) is not covered; covered: {covered}")


def expect_dtype(tensor: TensorView, *dtypes: DType) -> None:
    """Check the element type of a tensor."""
    names = " or ".join(dtype.name for dtype in dtypes)
    expect(tensor.dtype in dtypes, f"tensor {tensor.name!r} to be {names}, found {tensor.dtype.name}")


def option(op: OpView, name: str) -> Any:
    """Return a builtin option by the schema's field name.

    Raises
    ------
    ModelError
        The op has no options, or options of another op.

    """
    if name not in op.options:
        raise ModelError(f"expected the option {name} of {op.name}, found {', '.join(op.options) or 'no options'}")
    return op.options[name]


def choice(op: OpView, name: str, kind: type[E]) -> E:
    """Return a builtin option as a member of an enum.

    Raises
    ------
    ModelError
        The option is missing or is none of the enum's values.

    """
    value = option(op, name)
    try:
        return kind(value)
    except ValueError:
        known = ", ".join(f"{member.value} ({member.name})" for member in kind)
        raise ModelError(f"expected {name} to be one of {known}, found {value}") from None


def checked_shape(shape: Iterable[int]) -> tuple[int, ...]:
    """Return a shape that came from options or data as a tuple, if it is one that may be allocated.

    Raises
    ------
    ModelError
        A dimension is negative.
    UnsupportedError
        There are more than ``MAX_ELEMENTS`` elements, or would be if no dimension were 0.

    """
    dims = tuple(int(size) for size in shape)
    expect(all(size >= 0 for size in dims), f"dimensions that are not negative, found {dims}")
    if math.prod(filter(None, dims)) > MAX_ELEMENTS:
        raise UnsupportedError(f"expected at most {MAX_ELEMENTS} elements in a tensor, found shape {dims}")
    return dims
