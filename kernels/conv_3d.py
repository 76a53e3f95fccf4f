"""CONV_3D, CONV_3D_TRANSPOSE: float32 convolutions over depth, height and width.

Source: ``tflite/kernels/conv3d.cc``, ``internal/reference/conv3d.h``, ``conv3d_transpose.cc``,
``internal/reference/conv3d_transpose.h``.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np

from kernels.engine.activation import Activation, clamp_float
from kernels.engine.contract import (
    checked_shape,
    choice,
    expect,
    expect_count,
    expect_dtype,
    expect_rank,
    input_tensor,
    option,
    optional_input,
    output_tensor,
    unsupported,
)
from kernels.engine.float_sums import matmul_in_order
from kernels.engine.geometry import Padding, Span, span
from kernels.engine.movement import integers
from kernels.engine.registry import Kernel
from kernels.engine.types import Inputs, OpView, Outputs, Prepared, TensorView, given
from kernels.profiles import Profile
from qmath.stages import Note
from qmath.types import Array, DType, Float32Array

AXES = ("d", "h", "w")


@dataclass(frozen=True, slots=True)
class Steps:
    """How windows lie along depth, height and width: strides, dilations and padding."""

    strides: tuple[int, int, int]
    dilations: tuple[int, int, int]
    padding: Padding

    def spans(self, sizes: tuple[int, ...], kernel: tuple[int, ...]) -> tuple[Span, ...]:
        """Lay windows of a kernel over an image.

        Raises
        ------
        ModelError
            A size is not positive, or no window fits.

        """
        along = zip(sizes, kernel, self.strides, self.dilations, strict=True)
        return tuple(span(size, taps, stride, self.padding, dilation) for size, taps, stride, dilation in along)


@dataclass(frozen=True, slots=True)
class Conv3D(Prepared):
    """A prepared CONV_3D."""

    steps: Steps
    activation: Activation

    def evaluate(self, inputs: Inputs, note: Note) -> Outputs:
        """Convolve (:func:`conv_3d`), add the bias, clamp."""
        bias = inputs[2] if len(inputs) > 2 else None
        sums = note("accumulator", conv_3d(given(inputs, 0), given(inputs, 1), self.steps))
        return (_finish(sums, bias, self.activation),)


def conv_3d(x: Float32Array, filter_: Float32Array, steps: Steps) -> Float32Array:
    """Sum the products of a filter with every window of an image: tap after tap, channel after channel.

    Parameters
    ----------
    x
        float32, shape (batch, depth, height, width, in_c).
    filter_
        float32, shape (kernel_d, kernel_h, kernel_w, in_c, out_c).
    steps
        How windows lie.

    """
    spans = steps.spans(x.shape[1:4], filter_.shape[:3])
    checked_shape((len(x), *(along.padded for along in spans), x.shape[4]))
    padded = np.pad(x, [(0, 0), *((along.before, along.after) for along in spans), (0, 0)])
    depth, height, width = (along.output for along in spans)
    in_c, out_c = filter_.shape[3:]
    total = np.empty((len(x), depth, height * width, out_c), np.float32)
    matrix = filter_.reshape(-1, out_c)
    windows = np.empty((height, width, *filter_.shape[:3], in_c), np.float32)
    for image, slab in np.ndindex(len(x), depth):
        for tap, (planes, rows, columns) in _taps(spans):
            plane = padded[image, planes.start + slab * planes.step]
            of_tap: tuple[slice | int, ...] = (slice(None), slice(None), *tap)
            windows[of_tap] = plane[rows, columns]
        matmul_in_order(windows.reshape(height * width, len(matrix)), matrix, total[image, slab])
    return total.reshape(len(x), depth, height, width, out_c)


@dataclass(frozen=True, slots=True)
class Conv3DTranspose(Prepared):
    """A prepared CONV_3D_TRANSPOSE."""

    steps: Steps
    activation: Activation

    def evaluate(self, inputs: Inputs, note: Note) -> Outputs:
        """Spread (:func:`conv_3d_transpose`), add the bias, clamp."""
        bias = inputs[3] if len(inputs) > 3 else None
        shape, filter_, x = (given(inputs, slot) for slot in range(3))
        sums = note("accumulator", conv_3d_transpose(x, filter_, integers(shape), self.steps))
        return (_finish(sums, bias, self.activation),)


def conv_3d_transpose(x: Float32Array, filter_: Float32Array, shape: tuple[int, ...], steps: Steps) -> Float32Array:
    """Spread every pixel over a window of the output and sum where windows overlap: pixel after pixel.

    Parameters
    ----------
    x
        float32, shape (batch, depth, height, width, in_c).
    filter_
        float32, shape (kernel_d, kernel_h, kernel_w, out_c, in_c).
    shape
        Of the output: what a convolution with the same filter turns into the shape of ``x``.
    steps
        How windows lie on the output.

    Raises
    ------
    ModelError
        The shape is not such.

    """
    out_c = filter_.shape[3]
    expect(
        len(shape) == 5 and shape[0] == len(x) and shape[4] == out_c, f"a shape ({len(x)}, ..., {out_c}), found {shape}"
    )
    spans = steps.spans(checked_shape(shape)[1:4], filter_.shape[:3])
    windows = tuple(along.output for along in spans)
    expect(windows == x.shape[1:4], f"a shape with {x.shape[1:4]} windows, found {shape} with {windows}")
    whole = np.zeros(checked_shape((len(x), *(along.padded for along in spans), out_c)), np.float32)
    # A pixel that comes later meets a place of the output with an earlier tap.
    for tap, lanes in reversed(list(_taps(spans))):
        for channel, weights in enumerate(filter_[tap].T):
            whole[(slice(None), *lanes)] += x[..., channel, None] * weights
    inside = tuple(slice(along.before, along.before + along.size) for along in spans)
    return whole[(slice(None), *inside)]


def _taps(spans: tuple[Span, ...]) -> Iterator[tuple[tuple[int, ...], tuple[slice, ...]]]:
    """Yield each tap of a kernel, and where it lies in the padded image for all windows at once."""
    for tap in itertools.product(*(range(along.kernel) for along in spans)):
        starts = (place * along.dilation for place, along in zip(tap, spans, strict=True))
        lanes = (
            slice(start, start + (along.output - 1) * along.stride + 1, along.stride)
            for start, along in zip(starts, spans, strict=True)
        )
        yield tap, tuple(lanes)


def _finish(sums: Float32Array, bias: Array | None, activation: Activation) -> Float32Array:
    return np.asarray(clamp_float(sums if bias is None else sums + bias, activation))


def prepare(op: OpView, profile: Profile, *, transposed: bool) -> Prepared:
    """Check the contract of CONV_3D and CONV_3D_TRANSPOSE.

    Raises
    ------
    ModelError
        The op breaks its contract.
    UnsupportedError
        The element types are not float32.

    """
    del profile
    first = 1 if transposed else 0
    expect_count(op, {2 + first, 3 + first})
    filter_, x = (input_tensor(op, slot) for slot in ((1, 2) if transposed else (1, 0)))
    bias = optional_input(op, 2 + first)
    if (x.dtype, filter_.dtype) != (DType.FLOAT32, DType.FLOAT32):
        raise unsupported(op, "float32")
    expect_dtype(output_tensor(op), DType.FLOAT32)
    _check_shapes(x, filter_, bias, transposed=transposed)
    if transposed:
        expect_dtype(input_tensor(op, 0), DType.INT32)
        expect_rank(input_tensor(op, 0), 1)
    strides, dilations = (
        tuple(option(op, name.format(axis)) for axis in AXES) for name in ("stride_{}", "dilation_{}_factor")
    )
    steps = Steps(strides, dilations, choice(op, "padding", Padding))
    return (Conv3DTranspose if transposed else Conv3D)(steps, choice(op, "fused_activation_function", Activation))


def _check_shapes(x: TensorView, filter_: TensorView, bias: TensorView | None, *, transposed: bool) -> None:
    for tensor in (x, filter_):
        expect_rank(tensor, 5)
    in_c, out_c = (filter_.shape[axis] for axis in ((4, 3) if transposed else (3, 4)))
    expect(x.shape[4] == in_c, f"{in_c} input channels, found shape {x.shape}")
    if bias is not None:
        expect_dtype(bias, DType.FLOAT32)
        expect(bias.shape == (out_c,), f"one bias an output channel ({out_c}), found shape {bias.shape}")


KERNELS = (
    Kernel("CONV_3D", partial(prepare, transposed=False), covers=("float32",)),
    Kernel("CONV_3D_TRANSPOSE", partial(prepare, transposed=True), covers=("float32",)),
)
