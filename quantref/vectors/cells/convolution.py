"""What cases of CONV_2D, DEPTHWISE_CONV_2D and TRANSPOSE_CONV share: types, scales, biases, windows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

import fbs
from qmath.types import Array, DType
from quantref.vectors.cells import values

ACTIVATIONS = (0, 0, 1, 2, 3)
#: Extreme real multipliers stay below two to this power, by the accumulator's type: kernels take no larger ones.
LARGEST_EXPONENT = {DType.INT32: 17, DType.INT64: 13}


@dataclass(frozen=True)
class Form:
    """A combination of types; ``bias`` may be absent, ``attribute`` is the option ``quantized_bias_type``."""

    op: str
    x: DType
    filter: DType
    per_axis: bool = False
    bias: DType | None = DType.INT32
    attribute: DType = DType.FLOAT32

    @property
    def cell(self) -> str:
        """Name of the cell in the table of results."""
        scales = "" if self.filter is DType.FLOAT32 else " per-axis" if self.per_axis else " per-tensor"
        bias = "no bias" if self.bias is None else f"{self.bias.name.lower()} bias"
        attribute = f" ({self.attribute.name})" if self.attribute is not DType.FLOAT32 else ""
        return f"{self.op} {self.x.name.lower()} x {self.filter.name.lower()}{scales} {bias}{attribute}"

    @property
    def is_integer(self) -> bool:
        """Whether activations are integers."""
        return self.x is not DType.FLOAT32

    @property
    def accumulator(self) -> DType:
        """Type of the accumulator of an integer form."""
        return DType.INT32 if self.x is not DType.INT16 or self.attribute is DType.INT32 else DType.INT64


@dataclass(frozen=True)
class Layout:
    """Shapes of one convolution: filter in the op's own layout, its channel axis, how many taps an output sums."""

    x: tuple[int, ...]
    filter: tuple[int, ...]
    axis: int
    taps: int
    options: dict[str, Any]

    @property
    def channels(self) -> int:
        """Output channels."""
        return self.filter[self.axis]

    @property
    def output(self) -> tuple[int, ...]:
        """Shape of the output of a convolution that is not transposed."""
        kernel = self.filter[1:3]
        sides = [self._side(self.x[1 + i], kernel[i], "hw"[i]) for i in range(2)]
        return (self.x[0], *sides, self.channels)

    def _side(self, size: int, kernel: int, side: str) -> int:
        reach = (kernel - 1) * int(self.options.get(f"dilation_{side}_factor", 1)) + 1
        covered = size if self.options["padding"] == 0 else size - reach + 1
        return -(-covered // int(self.options[f"stride_{side}"]))


def build(rng: np.random.Generator, form: Form, layout: Layout, *, output_shape: tuple[int, ...] = ()) -> fbs.Model:
    """Build a one-op model; ``output_shape`` is TRANSPOSE_CONV's first input. The activation is called ``x``."""
    b = fbs.Builder()
    scales = Scales.choose(rng, form, layout)
    x = b.input("x", form.x, layout.x, **scales.x)
    filter_ = b.constant("filter", filter_codes(rng, form.filter, layout.filter), form.filter, **scales.filter)
    slots: list[int | None] = [x, filter_]
    if output_shape:
        slots = [b.constant("shape", np.array(output_shape, np.int32)), filter_, x]
    if form.bias is not None:
        slots.append(b.constant("bias", bias_codes(rng, form.bias, layout), form.bias, **scales.bias))
    # A delegate takes a convolution only if the file gives its output a shape of four dimensions.
    y = b.tensor("y", form.x, output_shape or layout.output, **scales.y)
    # An activation's bound must fit 32 bits in steps of the output.
    activation = int(rng.choice(ACTIVATIONS)) if scales.y.get("scale", 1) > 2.0**-28 else 0
    options = {"fused_activation_function": activation, **layout.options}
    if form.attribute is not DType.FLOAT32:
        options["quantized_bias_type"] = form.attribute.value
    b.op(form.op, slots, [y], options=options)
    return b.finish([y])


@dataclass(frozen=True)
class Scales:
    """Quantization of the four tensors, as the builder's keywords."""

    x: dict[str, Any]
    filter: dict[str, Any]
    bias: dict[str, Any]
    y: dict[str, Any]

    @classmethod
    def choose(cls, rng: np.random.Generator, form: Form, layout: Layout) -> Scales:
        """Choose scales whose ratio often is a power of two, so that exact ties occur; now and then an extreme one."""
        count = layout.channels if form.per_axis else 1
        filter_scale = np.array([values.scale(rng, -8, 0) for _ in range(count)], np.float32)
        if rng.integers(6) == 0:
            filter_scale[:] = filter_scale[0]
        zero_point = values.zero_point(rng, form.filter) if form.filter is DType.UINT8 else 0
        weights = {
            "scale": filter_scale,
            "zero_point": zero_point,
            "quantized_dimension": layout.axis if count > 1 else 0,
        }
        if not form.is_integer:
            return cls({}, {} if form.filter is DType.FLOAT32 else weights, {}, {})
        x_scale = values.scale(rng, -8, 2)
        product = (x_scale * filter_scale).astype(np.float32)
        y_scale = np.float32(x_scale * filter_scale.max() / _multiplier(rng, form, layout))
        symmetric = form.x is DType.INT16
        zero_points = [0 if symmetric else values.zero_point(rng, form.x) for _ in range(2)]
        return cls(
            {"scale": x_scale, "zero_point": zero_points[0]},
            weights,
            {"scale": product},
            {"scale": y_scale, "zero_point": zero_points[1]},
        )


def _multiplier(rng: np.random.Generator, form: Form, layout: Layout) -> float:
    """Choose a real multiplier: one that spreads accumulators over the output's codes, or an extreme one."""
    filter_bits = form.filter.bits
    spread = 2.0 ** (form.x.bits + filter_bits - 4) * layout.taps**0.5
    fitting = 2.0 ** (form.x.bits - 2) / spread * 2.0 ** rng.uniform(-2, 3)
    kind = rng.integers(8)
    if kind == 0:
        return float(2.0 ** -rng.uniform(25, 33))
    if kind == 1:
        return float(2.0 ** rng.uniform(-1, LARGEST_EXPONENT[form.accumulator]))
    if kind <= 4:
        return float(2.0 ** np.round(np.log2(fitting)))
    return float(fitting if kind == 5 else 2.0 ** np.round(np.log2(fitting)) * rng.choice([0.75, 1.25, 1.5]))


def filter_codes(rng: np.random.Generator, dtype: DType, shape: tuple[int, ...]) -> Array:
    """Choose a filter: codes, sometimes all at one end; or floats."""
    if dtype is DType.FLOAT32:
        spread = values.floats(rng, shape) / np.sqrt(np.prod(shape))
        return np.asarray(spread, np.float32)
    if rng.integers(10) == 0:
        return np.full(shape, rng.choice([dtype.min, dtype.max]), dtype.storage)
    return values.codes(rng, dtype, shape)


def bias_codes(rng: np.random.Generator, dtype: DType, layout: Layout) -> Array:
    """Choose a bias: small, of the size of the sums, or at the ends of its type."""
    if dtype is DType.FLOAT32:
        return values.floats(rng, (layout.channels,))
    kind = rng.integers(10)
    bits = 40 if dtype is DType.INT64 else 31
    most = 1 << int(rng.integers(1, 22 if kind > 1 else bits))
    bias = rng.integers(-most, most, layout.channels)
    if kind == 0:
        ends = [dtype.min, dtype.max] if dtype is DType.INT32 else [-(1 << 46), 1 << 46]
        bias = np.where(rng.random(layout.channels) < 0.5, bias, rng.choice(ends, layout.channels))
    return bias.astype(dtype.storage)


def activations(rng: np.random.Generator, form: Form, shape: tuple[int, ...]) -> Array:
    """Choose an input: codes, or floats of one of several sizes; now and then constant."""
    if form.is_integer:
        if rng.integers(10) == 0:
            return np.full(shape, rng.choice([form.x.min, form.x.max]), form.x.storage)
        return values.codes(rng, form.x, shape)
    # Float sums of another order differ by more than their size warrants where large terms cancel: keep them small.
    x = values.floats(rng, shape, 2.0 ** rng.uniform(-6, 1 if form.filter is DType.FLOAT32 else 6))
    kind = rng.integers(10)
    return np.abs(x) if kind == 0 else -np.abs(x) if kind == 1 else np.zeros_like(x) if kind == 2 else x


def window(
    rng: np.random.Generator, *, dilation: bool = True
) -> tuple[tuple[int, int], tuple[int, int], dict[str, int]]:
    """Choose input size, kernel size, and the options of the window; at least one window fits."""
    kernel = [int(size) for size in rng.choice([1, 1, 2, 3, 3, 5], 2)]
    stride = [int(size) for size in rng.choice([1, 1, 2, 3], 2)]
    steps = [int(size) for size in rng.choice([1, 1, 2, 3], 2)] if dilation else [1, 1]
    padding = int(rng.integers(2))
    if dilation and padding == 0 and rng.integers(8) == 0:
        steps[int(rng.integers(2))] = int(rng.choice([5, 9, 30]))  # some taps meet padding only
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, steps, strict=True)]
    size = [int(rng.integers(1, min(r, 12) + 8) if padding == 0 else rng.integers(r, r + 12)) for r in reach]
    options = {"stride_h": stride[0], "stride_w": stride[1], "padding": padding}
    if dilation:
        options |= {"dilation_h_factor": steps[0], "dilation_w_factor": steps[1]}
    return (size[0], size[1]), (kernel[0], kernel[1]), options
