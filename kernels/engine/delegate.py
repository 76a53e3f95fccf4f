"""What the XNNPACK delegate leaves to other kernels, and why.

A delegate looks at every op of a graph and takes those that it has kernels for: by types of tensors, ranks, constant
operands and ratios of scales. Each check here returns a reason in words, or None where nothing stands in the way.

Source: ``tflite/delegates/xnnpack/xnnpack_delegate.cc`` (the ``Visit...Node`` functions and the checks they call).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable
from typing import Any, TypeAlias

import numpy as np

from kernels.engine.types import OpView, TensorView
from qmath.types import DType

#: Says what stands in the way of taking an op, or None.
Check: TypeAlias = Callable[[OpView], "str | None"]

#: Most dimensions of a tensor.
MAX_DIMS = 6

FLOATS = frozenset({DType.FLOAT32, DType.FLOAT16})
BYTES = frozenset({DType.INT8, DType.UINT8})
NUMBERS = FLOATS | BYTES


def all_of(*checks: Check) -> Check:
    """Return the check that gives the first reason of several."""

    def check(op: OpView) -> str | None:
        return next((reason for each in checks if (reason := each(op)) is not None), None)

    return check


def never(op: OpView) -> str:
    """Leave every such op."""
    return f"XNNPACK does not take {op.name}"


def counts(inputs: Collection[int], outputs: Collection[int] = (1,)) -> Check:
    """Expect one of some numbers of inputs, all there, and of outputs."""

    def check(op: OpView) -> str | None:
        found = len(op.inputs), len(op.outputs)
        if found[0] in inputs and found[1] in outputs and all(x is not None for x in op.inputs):
            return None
        return f"XNNPACK does not take {op.name} with {found[0]} inputs and {found[1]} outputs"

    return check


def types(inputs: Iterable[Collection[DType]], outputs: Collection[DType]) -> Check:
    """Expect types: of the leading inputs one by one, of every output; 8-bit tensors with one scale."""
    expected = tuple(inputs)

    def check(op: OpView) -> str | None:
        pairs = [*zip(op.inputs, expected, strict=False), *((y, outputs) for y in op.outputs)]
        return next((reason for tensor, kinds in pairs if tensor and (reason := _wrong_type(tensor, kinds))), None)

    return check


def all_inputs(kinds: Collection[DType]) -> Check:
    """Expect types of every input."""

    def check(op: OpView) -> str | None:
        return next((reason for x in op.inputs if x and (reason := _wrong_type(x, kinds))), None)

    return check


def _wrong_type(tensor: TensorView, kinds: Collection[DType]) -> str | None:
    if tensor.dtype not in kinds:
        return f"XNNPACK does not take {tensor.dtype.name} as {tensor.name!r}"
    if tensor.dtype in BYTES and (tensor.quant is None or tensor.quant.per_axis or tensor.quant.quantized_dimension):
        return f"XNNPACK expects one scale, and the quantized dimension 0, on {tensor.name!r}"
    return None


def one_type(op: OpView) -> str | None:
    """Expect all inputs and outputs to be of one type."""
    found = {tensor.dtype.name for tensor in (*op.inputs, *op.outputs) if tensor}
    return None if len(found) == 1 else f"XNNPACK expects one type in {op.name}, not {', '.join(sorted(found))}"


def dims(slots: Iterable[int], least: int = 0, most: int = MAX_DIMS) -> Check:
    """Expect inputs of a range of ranks, without empty dimensions."""
    chosen = tuple(slots)

    def check(op: OpView) -> str | None:
        for slot in chosen:
            shape = _input(op, slot).shape
            if not least <= len(shape) <= most or 0 in shape:
                return f"XNNPACK does not take the shape {shape} of input {slot}"
        return None

    return check


def output_dims(least: int, most: int = MAX_DIMS) -> Check:
    """Expect the output's shape, as it stands in the file, to have a range of ranks and no empty dimension."""

    def check(op: OpView) -> str | None:
        shape = op.outputs[0].shape
        fits = least <= len(shape) <= most and 0 not in shape
        return None if fits else f"XNNPACK does not take the shape {shape}, which the file gives the output"

    return check


def constants(*slots: int) -> Check:
    """Expect inputs that lie in the file, as int32."""
    return all_of(
        *(lambda op, slot=slot: None if _input(op, slot).data is not None else _not_constant(slot) for slot in slots)
    )


def _not_constant(slot: int) -> str:
    return f"XNNPACK expects a constant as input {slot}"


def options(name: str, fits: Callable[[Any], bool], what: str) -> Check:
    """Expect an option to fit; ``what`` says how."""

    def check(op: OpView) -> str | None:
        found = op.options.get(name)
        return None if found is None or fits(found) else f"XNNPACK expects {name} to be {what}, not {found}"

    return check


def constant_values(slot: int, fits: Callable[[int], bool], what: str) -> Check:
    """Expect every element of a constant to fit; ``what`` says how."""

    def check(op: OpView) -> str | None:
        values = _input(op, slot).data
        wrong = [] if values is None else [int(value) for value in values.ravel() if not fits(int(value))]
        return f"XNNPACK expects input {slot} to hold numbers {what}, not {wrong[0]}" if wrong else None

    return check


def scale_ratio(slot: int, low: float, high: float, *, inclusive: bool = False) -> Check:
    """Expect an 8-bit input's scale over the output's to be at least ``low`` and less than (or at most) ``high``."""

    def check(op: OpView) -> str | None:
        x, y = _input(op, slot), op.outputs[0]
        return None if x.dtype is not y.dtype else _outside(_ratio((x,), y), low, high, inclusive=inclusive)

    return check


def product_ratio(low: float, high: float) -> Check:
    """Expect the product of 8-bit inputs' scales over the output's: at least ``low`` and less than ``high``."""

    def check(op: OpView) -> str | None:
        return _outside(_ratio((_input(op, 0), _input(op, 1)), op.outputs[0]), low, high)

    return check


def outside(ratio: float, low: float, high: float) -> str | None:
    """Return why a ratio of scales between ``low`` and ``high``, both included, was expected, or None."""
    return _outside(ratio, low, high, inclusive=True)


def _outside(ratio: float | None, low: float, high: float, *, inclusive: bool = False) -> str | None:
    if ratio is None or low <= ratio < high or (inclusive and ratio == high):
        return None
    return f"XNNPACK expects input scales over output scales from {low:g} to {high:g}, not {ratio:g}"


def _ratio(inputs: Iterable[TensorView], output: TensorView) -> float | None:
    """Return the product of input scales over the output's in float32, or None where tensors are not of 8 bits."""
    tensors = (*inputs, output)
    if any(tensor.dtype not in BYTES or tensor.quant is None for tensor in tensors):
        return None
    scales = [np.float32(tensor.quant.scale[0]) for tensor in tensors if tensor.quant is not None]
    with np.errstate(all="ignore"):
        return float(np.float32(math.prod(scales[1:-1], start=scales[0])) / scales[-1])


def ratio_of(op: OpView) -> float | None:
    """Return input 0's scale over the output's in float32, or None where they are not of 8 bits."""
    return _ratio((_input(op, 0),), op.outputs[0])


def same_scale_and_zero_point(op: OpView) -> str | None:
    """Expect 8-bit inputs and outputs to share scale and zero point."""
    coded = [tensor for tensor in (*op.inputs, *op.outputs) if tensor is not None and tensor.dtype in BYTES]
    different = [tensor.name for tensor in coded if _parameters(tensor) != _parameters(coded[0])]
    if different:
        return f"XNNPACK expects {different[0]!r} to have the scale and the zero point of {coded[0].name!r}"
    return None


def _parameters(tensor: TensorView) -> tuple[float, int] | None:
    return None if tensor.quant is None else (float(tensor.quant.scale[0]), int(tensor.quant.zero_point[0]))


def fused_activation(op: OpView) -> str | None:
    """Expect no fused TANH or SIGN_BIT."""
    found = op.options.get("fused_activation_function", 0)
    return None if found in {0, 1, 2, 3} else f"XNNPACK does not take fused activation {found}"


def bias(tensor: TensorView | None) -> str | None:
    """Expect an int32 bias to have scales that are normal numbers, along dimension 0, and if it has one, zero point 0.

    Source: ``tflite/delegates/xnnpack/xnnpack_delegate.cc`` (CheckTensorFloat32OrFloat16OrQCInt32Type).
    """
    if tensor is None or tensor.dtype is not DType.INT32:
        return None
    quant = tensor.quant
    if quant is None or quant.quantized_dimension:
        return f"XNNPACK expects scales along dimension 0 on the bias {tensor.name!r}"
    if not (quant.scale >= np.finfo(np.float32).tiny).all() or not np.isfinite(quant.scale).all():
        return f"XNNPACK expects scales of the bias {tensor.name!r} to be normal numbers, not {quant.scale.min():g}"
    if not quant.per_axis and quant.zero_point[0]:
        return f"XNNPACK expects the zero point of the bias {tensor.name!r} to be 0, not {quant.zero_point[0]}"
    return None


def unary(inputs: Collection[DType], outputs: Collection[DType] | None = None) -> Check:
    """Check an op of one tensor."""
    return all_of(counts({1}), dims([0]), types([inputs], inputs if outputs is None else outputs))


def binary(kinds: Collection[DType]) -> Check:
    """Check an elementwise op of two tensors of one type."""
    return all_of(counts({2}), dims([0, 1]), types([kinds, kinds], kinds), one_type, fused_activation)


def pool(kinds: Collection[DType]) -> Check:
    """Check a pool: strides no longer than the window."""

    def check(op: OpView) -> str | None:
        windows = [(op.options.get(f"filter_{side}", 0), op.options.get(f"stride_{side[0]}", 0)) for side in _SIDES]
        if all(0 < stride <= size for size, stride in windows):
            return None
        return f"XNNPACK expects strides from 1 to the window's size, not (size, stride) of {windows}"

    return all_of(counts({1}), types([kinds], kinds), check, fused_activation)


_SIDES = ("height", "width")


def reduction(op: OpView) -> str | None:
    """Check a reduction: constant axes, at least one of them."""
    checks = all_of(counts({2}), types([NUMBERS, {DType.INT32}], NUMBERS), dims([1], 0, 1), constants(1))
    reason = checks(op)
    if reason is not None:
        return reason
    axes = _input(op, 1).data
    if axes is None or not 0 < axes.size <= MAX_DIMS or not _input(op, 0).shape:
        return "XNNPACK expects axes to reduce, at most 6"
    return None


def concatenation(op: OpView) -> str | None:
    """Check a concatenation: 2 to 5 inputs; of uint8 with the scale and zero point of the output."""
    reason = all_of(counts(range(2, 6)), all_inputs(NUMBERS), types([], NUMBERS))(op)
    if reason is not None:
        return reason
    axis = int(op.options.get("axis", 0))
    if any(axis >= len(_input(op, slot).shape) for slot in range(len(op.inputs))):
        return "XNNPACK does not concatenate along a new dimension"
    return same_scale_and_zero_point(op) if op.outputs[0].dtype is DType.UINT8 else None


depth_to_space = all_of(
    counts({1}), types([NUMBERS], NUMBERS), options("block_size", lambda size: size > 1, "greater than 1")
)


def space_to_depth(op: OpView) -> str | None:
    """Check SPACE_TO_DEPTH: rows and columns divisible by the block size."""
    block = options("block_size", lambda size: size > 1, "greater than 1")
    reason = all_of(counts({1}), types([NUMBERS - {DType.FLOAT16}], NUMBERS), dims([0], 4, 4), block)(op)
    if reason is not None:
        return reason
    shape, size = _input(op, 0).shape, op.options.get("block_size", 1)
    fits = shape[1] % size == 0 and shape[2] % size == 0
    return None if fits else f"XNNPACK expects rows and columns divisible by {size}, not {shape[1:3]}"


def padding(op: OpView) -> str | None:
    """Check PAD: constant paddings, none of them negative."""
    reason = all_of(
        counts({2}),
        types([NUMBERS, {DType.INT32}], NUMBERS),
        dims([0], 1),
        output_dims(1),
        constants(1),
        constant_values(1, lambda amount: amount >= 0, "from 0 up"),
    )(op)
    if reason is not None:
        return reason
    found, expected = _input(op, 1).shape, (len(_input(op, 0).shape), 2)
    return None if found == expected else f"XNNPACK expects paddings of shape {expected}, not {found}"


def reshaping(op: OpView) -> str | None:
    """Check RESHAPE: a constant shape, and the same quantization before and after."""
    reason = all_of(counts({1, 2}), types([NUMBERS, {DType.INT32}], NUMBERS), dims([0]), same_scale_and_zero_point)(op)
    if reason is None and len(op.inputs) == 2:
        reason = all_of(constants(1), dims([1], 1))(op)
    if reason is not None:
        return reason
    shape = _input(op, 1).data if len(op.inputs) == 2 else np.asarray(op.options.get("new_shape") or ())
    if shape is not None and shape.size == 1 and int(shape.ravel()[0]) in {0, -1}:
        return "XNNPACK does not take the old form of a scalar's shape"
    return output_dims(0)(op)


resizing = all_of(
    counts({2}),
    types([NUMBERS - {DType.FLOAT16}, {DType.INT32}], NUMBERS),
    dims([0], 4, 4),
    output_dims(4, 4),
    dims([1], 1, 1),
    constants(1),
    constant_values(1, lambda size: size > 0, "greater than 0"),
)


def slicing(op: OpView) -> str | None:
    """Check SLICE: constant begin and size, sizes given outright."""
    integers = {DType.INT32, DType.INT64}
    return all_of(
        counts({3}),
        types([NUMBERS, integers, integers], NUMBERS),
        dims([1, 2], 1, 1),
        constants(1, 2),
        constant_values(2, lambda size: size > 0, "greater than 0"),
    )(op)


splitting = all_of(counts({2}, range(2, 5)), types([{DType.INT32}, NUMBERS], NUMBERS), constants(0))

transposing = all_of(counts({2}), types([NUMBERS], NUMBERS), dims([0], 1), constants(1))


def strided_slicing(op: OpView) -> str | None:
    """Check STRIDED_SLICE: constants, strides of 1, no mask that adds or drops dimensions."""
    masks = ("ellipsis_mask", "new_axis_mask", "shrink_axis_mask")
    reason = all_of(
        *(options(name, lambda mask: mask == 0, "0") for name in masks),
        counts({4}),
        types([NUMBERS, *[{DType.INT32}] * 3], NUMBERS),
        dims([1, 2, 3], 1, 1),
        constants(1, 2, 3),
        constant_values(3, lambda stride: stride == 1, "equal to 1"),
    )(op)
    if reason is not None:
        return reason
    rank = len(_input(op, 0).shape)
    lengths = [_input(op, slot).shape[0] for slot in (1, 2, 3)]
    return None if lengths == [rank] * 3 else f"XNNPACK expects {rank} begins, ends and strides, not {lengths}"


def _input(op: OpView, slot: int) -> TensorView:
    """Return an input that :func:`counts` has seen."""
    tensor = op.inputs[slot]
    if tensor is None:
        raise LookupError(f"expected an input {slot}")
    return tensor
