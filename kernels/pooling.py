"""AVERAGE_POOL_2D, MAX_POOL_2D, L2_POOL_2D: one number for each window and channel.

Windows reach over the edge (SAME padding) but only the elements inside count. Integer pools work on raw codes: a mean
or a maximum of codes is the code of the mean or maximum only if input and output have the same quantization, which
the runtime takes for granted.

Quirk: AVERAGE_POOL_2D and MAX_POOL_2D never rescale: output quantization that differs from the input's is ignored.
XNNPACK alone, and only where windows have one element and an activation follows, converts the codes.
Quirk: AVERAGE_POOL_2D rounds ties away from code 0, not away from the real value 0.

Source: ``tflite/kernels/pooling.cc``, ``internal/reference/integer_ops/pooling.h``, ``internal/reference/pooling.h``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial, reduce
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from kernels.engine import delegate, micro
from kernels.engine.activation import Activation, clamp_float, float_range, quantized_range
from kernels.engine.contract import (
    choice,
    expect,
    expect_count,
    expect_dtype,
    expect_rank,
    input_tensor,
    option,
    output_tensor,
    unsupported,
)
from kernels.engine.elementwise import FINITE
from kernels.engine.float_sums import einsum_adds_in_order
from kernels.engine.geometry import Padding, Span, Window, padded, patches, span
from kernels.engine.lookup import TO_CODES, eight_bit
from kernels.engine.movement import Movement
from kernels.engine.plans import DepthwisePlan, Scratch
from kernels.engine.registry import Kernel
from kernels.engine.taps import Fold, Products, Reads, indices
from kernels.engine.threads import per_thread
from kernels.engine.types import Inputs, OpView, Outputs, Prepared, Runner, given
from kernels.engine.ufuncs import clip
from kernels.profiles import LITERT_REFERENCE, TFLM, XNNPACK, Profile, Rules
from qmath.errors import UnsupportedError
from qmath.fixed_point import wrap_int32
from qmath.rounding import divide_half_away
from qmath.stages import Note, Ruled, ruled, silent
from qmath.types import ActivationRange, Array, DType, Float32Array, Float64Array, Int64Array

#: How an integer sum is divided by the number of elements.
Division: TypeAlias = Ruled[[npt.ArrayLike, npt.ArrayLike], Int64Array]

DIVISION: Rules[Division] = Rules(
    "AVERAGE_POOL_2D", {LITERT_REFERENCE: Ruled("half_away(accumulator / count)", divide_half_away)}
)

#: Whether a maximum over windows of one element with a fused activation is the activation alone, from a table.
ACTIVATION_ALONE: Rules[bool] = Rules("MAX_POOL_2D", {LITERT_REFERENCE: False, XNNPACK: True})

#: Quotients that a table may hold.
MAX_TABLE = 1 << 15


@dataclass(frozen=True, slots=True)
class AveragePool2D(Prepared):
    """A prepared integer AVERAGE_POOL_2D."""

    window: Window
    divide: Division
    activation: ActivationRange
    dtype: DType

    def evaluate(self, inputs: Inputs, note: Note) -> Outputs:
        """Evaluate :func:`average_pool_2d`."""
        return (average_pool_2d(given(inputs, 0), self, note),)

    def products(self, inputs: Inputs, index: tuple[int, ...]) -> Products:
        """Return the codes under one window."""
        return Products((Reads(0, under_window(given(inputs, 0), self.window, index)),))

    def compile(self, constants: Inputs) -> Runner:
        """Sum along one axis after the other in narrow integers; look quotients up where a table is small."""
        del constants
        window, counts = self.window, counts_inside(self.window)
        taps = int(counts.max())
        reach = max(self.dtype.max, -self.dtype.min) * taps
        wide = np.int16 if reach <= np.iinfo(np.int16).max else np.int32
        if reach > np.iinfo(np.int32).max:
            return partial(self.evaluate, note=silent)
        divide = self._quotients(counts)

        def run(inputs: Inputs) -> Outputs:
            x = padded(given(inputs, 0), window, 0, wide)
            return (divide(reduce_windows(np.add, x, window)),)

        return run

    def _quotients(self, counts: Int64Array) -> Callable[[Array], Array]:
        """Return the division of sums by ``counts``, as a table: one run of all sums for each number of elements."""
        sizes = np.unique(counts)
        starts = np.cumsum([0, *((self.dtype.max - self.dtype.min) * sizes + 1)])
        if starts[-1] > MAX_TABLE:
            return lambda sums: divide_sums(sums, counts, self)
        runs = [np.arange(self.dtype.min * size, self.dtype.max * size + 1) for size in sizes]
        table = np.concatenate([divide_sums(run, size, self) for run, size in zip(runs, sizes, strict=True)])
        base = starts[np.searchsorted(sizes, counts)] - self.dtype.min * counts
        return lambda sums: table.take(sums + base)


def average_pool_2d(x: Array, pool: AveragePool2D, note: Note = silent) -> Array:
    """Average the codes of each window.

    Parameters
    ----------
    x
        int8, uint8 or int16, shape (batch, in_h, in_w, channels): quantized.
    pool
        The prepared op.
    note
        Receives the stages.

    Returns
    -------
    Codes of the type of ``x``, shape (batch, out_h, out_w, channels).

    Notes
    -----
    1. sum: of the raw codes inside the window.
    2. accumulator: the sum in int32, wrapping.
    3. divided: by the number of elements inside, ties away from code 0.
    4. clamped: to the fused activation.

    """
    real = patches(padded(x, pool.window, 0, np.int64), pool.window)
    sums = note("sum", real.sum(axis=(3, 4)))
    accumulator = note("accumulator", wrap_int32(sums), "wrap(sum)", sum=sums)
    return divide_sums(accumulator, counts_inside(pool.window), pool, note)


def divide_sums(sums: Array, counts: npt.ArrayLike, pool: AveragePool2D, note: Note = silent) -> Array:
    """Divide sums of codes by the number of elements and clamp."""
    divided = note("divided", pool.divide(sums, counts), pool.divide.rule, accumulator=sums, count=counts)
    return _clamped(divided, pool.activation, note).astype(pool.dtype.storage)


def _clamped(codes: Array, activation: ActivationRange, note: Note) -> Array:
    low, high = activation.min, activation.max
    return note("clamped", np.clip(codes, low, high), "clamp(code, low, high)", code=codes, low=low, high=high)


def under_window(x: Array, window: Window, index: tuple[int, ...]) -> Int64Array:
    """Return the indices of the elements of ``x`` inside one window, for one channel."""
    image, row, column, channel = index
    positions = np.arange(x[0, ..., 0].size).reshape(1, *x.shape[1:3], 1)
    pixels = patches(padded(positions, window, -1, np.int64), window)[0, row, column, ..., 0].ravel()
    rows, columns = np.divmod(pixels[pixels >= 0], x.shape[2])
    return indices(image, rows, columns, channel)


@dataclass(frozen=True, slots=True)
class MaxPool2D(Prepared):
    """A prepared integer MAX_POOL_2D."""

    window: Window
    activation: ActivationRange
    dtype: DType

    def evaluate(self, inputs: Inputs, note: Note) -> Outputs:
        """Evaluate :func:`max_pool_2d`."""
        return (max_pool_2d(given(inputs, 0), self, note),)

    def products(self, inputs: Inputs, index: tuple[int, ...]) -> Products:
        """Return the codes under one window."""
        reads = Reads(0, under_window(given(inputs, 0), self.window, index))
        return Products((reads,), stage="largest", fold=Fold.LARGEST)

    def compile(self, constants: Inputs) -> Runner:
        """Take maxima along one axis after the other."""
        del constants

        def run(inputs: Inputs) -> Outputs:
            x = padded(given(inputs, 0), self.window, self.dtype.min)
            return (np.clip(reduce_windows(np.maximum, x, self.window), self.activation.min, self.activation.max),)

        return run


def max_pool_2d(x: Array, pool: MaxPool2D, note: Note = silent) -> Array:
    """Take the largest code of each window.

    1. largest: the largest raw code inside the window.
    2. clamped: to the fused activation.
    """
    codes = patches(padded(x, pool.window, pool.dtype.min), pool.window)
    largest = note("largest", codes.max(axis=(3, 4), initial=pool.dtype.min))
    return _clamped(largest, pool.activation, note)


@dataclass(frozen=True, slots=True)
class FloatPool2D(Prepared):
    """A prepared float32 pool.

    Attributes
    ----------
    window
        Where the windows lie.
    pool
        What is computed for each window, before the activation.
    activation
        Fused activation.
    finite
        Whether infinities are clamped even without an activation.

    """

    window: Window
    pool: Callable[[Float32Array, Window], Float32Array]
    activation: Activation
    finite: bool

    def evaluate(self, inputs: Inputs, note: Note) -> Outputs:
        """Pool, then clamp."""
        pooled = note("pooled", self.pool(given(inputs, 0), self.window))
        return (clamp_float(pooled.copy(), self.activation, finite=self.finite),)

    def compile(self, constants: Inputs) -> Runner:
        """Sum an average as a depthwise convolution with ones, in the same order; other pools are as defined."""
        definition = Prepared.compile(self, constants)
        if self.pool is not float_average_pool_2d or not einsum_adds_in_order():
            return definition
        low, high = float_range(self.activation, finite=self.finite)
        counts = counts_inside(self.window).astype(np.float32)

        def planner(shape: tuple[int, ...], scratch: Scratch) -> DepthwisePlan:
            ones = np.ones((self.window.height.kernel, self.window.width.kernel, shape[3]), np.float32)
            return DepthwisePlan(shape, ones, self.window, 0, scratch, in_order=True)

        plan = per_thread(planner)

        def run(inputs: Inputs) -> Outputs:
            x = given(inputs, 0)
            if x.shape[3] == 1:  # a single channel would be summed along the innermost loop, in pairs
                return definition(inputs)
            average = np.divide(plan(x.shape)(x), counts)
            clip(average, low, high, average)
            return (average,)

        return run


def float_average_pool_2d(x: Float32Array, window: Window) -> Float32Array:
    """Average each window in float32, adding row by row as the runtime does, so that the last bits agree."""
    total = np.zeros((len(x), window.height.output, window.width.output, x.shape[3]), np.float32)
    for tap in _taps(padded(x, window, 0), window):
        total += tap
    return np.divide(total, counts_inside(window), dtype=np.float32)


def float_max_pool_2d(x: Float32Array, window: Window) -> Float32Array:
    """Take the largest number of each window; NaN never wins, and nothing is below the lowest finite float32."""
    lowest = float(np.finfo(np.float32).min)
    largest: Float32Array = np.fmax(reduce_windows(np.fmax, padded(x, window, lowest), window), np.float32(lowest))
    return largest


def l2_pool_2d(x: Float32Array, window: Window) -> Float32Array:
    """Take the root of the mean square of each window."""
    return np.sqrt(float_average_pool_2d(x * x, window))


def counts_inside(window: Window) -> Int64Array:
    """Count the elements inside the input, for each window: shape (out_h, out_w, 1)."""
    high, wide = (_count_along(along) for along in (window.height, window.width))
    return high[:, None, None] * wide[None, :, None]


def _count_along(along: Span) -> Int64Array:
    first = np.arange(along.output) * along.stride - along.before
    inside: Int64Array = np.minimum(first + along.kernel, along.size) - np.maximum(first, 0)
    return inside


def reduce_windows(combine: np.ufunc, x: Array, window: Window) -> Array:
    """Combine the elements of each window of padded NHWC ``x``: down the columns first, then along the rows."""
    columns = _reduce_along(combine, x, 1, window.height)
    return _reduce_along(combine, columns, 2, window.width)


def _reduce_along(combine: np.ufunc, x: Array, axis: int, along: Span) -> Array:
    before = (slice(None),) * axis
    if along.output == 1:
        return np.asarray(combine.reduce(x[(*before, slice(along.kernel))], axis=axis, keepdims=True, dtype=x.dtype))
    combined: Array = reduce(combine, [x[(*before, _lane(along, tap))] for tap in range(along.kernel)])
    return combined


def _taps(x: Array, window: Window) -> list[Array]:
    """Return, tap after tap in row-major order, the element of every window of padded ``x`` under that tap."""
    high, wide = window.height, window.width
    return [x[:, _lane(high, i), _lane(wide, j)] for i in range(high.kernel) for j in range(wide.kernel)]


def _lane(along: Span, tap: int) -> slice:
    return slice(tap, tap + (along.output - 1) * along.stride + 1, along.stride)


def _count(size: int, kernel: int, stride: int, padding: Padding) -> int | None:
    """Count the windows along one axis; None if the kernel is empty or larger than the input by two strides or more.

    Raises
    ------
    ModelError
        The stride is not positive.

    """
    expect(stride > 0, f"a positive stride, found {stride}")
    room = size + stride - (1 if padding is Padding.SAME else kernel)
    return None if kernel <= 0 or room <= -stride else max(room, 0) // stride


def _span(size: int, kernel: int, stride: int, padding: Padding) -> Span:
    """Lay windows along one axis that has some.

    Taps that meet nothing but padding in every window are dropped, so that a huge kernel costs no more than its input.
    """
    along = span(size, kernel, stride, padding)
    first = max(0, along.before - (along.output - 1) * along.stride)
    last = min(along.kernel, along.before + along.size)
    before = along.before - first
    used = (along.output - 1) * along.stride + last - first
    return replace(along, kernel=last - first, before=before, after=max(0, used - before - along.size))


def prepare(op: OpView, profile: Profile) -> Prepared:
    """Check the contract of a pool and lay its windows.

    Raises
    ------
    ModelError
        The op breaks its contract.
    UnsupportedError
        The element type is not covered.

    """
    expect_count(op, {1})
    x, y = input_tensor(op, 0), output_tensor(op)
    expect_rank(x, 4)
    expect_dtype(y, x.dtype)
    activation = choice(op, "fused_activation_function", Activation)
    padding = choice(op, "padding", Padding)
    if x.dtype is not DType.FLOAT32 and (x.dtype not in INTEGERS or op.name == "L2_POOL_2D"):
        raise unsupported(op, "float32" if op.name == "L2_POOL_2D" else ", ".join(COVERS))
    height, width = option(op, "filter_height"), option(op, "filter_width")
    if XNNPACK in profile.lineage and padding is Padding.VALID:
        height, width = _inside(op, profile, (height, width), x.shape[1:3])
    down = x.shape[1], height, option(op, "stride_h"), padding
    across = x.shape[2], width, option(op, "stride_w"), padding
    rows, columns = _count(*down), _count(*across)
    if not rows or not columns:
        # The runtime looks along the width first, and at nothing more where that fails.
        counts = (0, 0) if columns is None else (rows or 0, columns)
        return Movement(lambda x: np.zeros((len(x), *counts, x.shape[3]), x.dtype))
    high, wide = _span(*down), _span(*across)
    window = Window(high, wide)
    if x.dtype is DType.FLOAT32:
        if XNNPACK in profile.lineage and op.name == "AVERAGE_POOL_2D" and _is_unknown(op, high):
            raise UnsupportedError(
                f"under the profile {profile.name}: averages of windows taller than the input, in three rows of outputs"
                " a stride of 3 or more apart, are not sums over counts in some rows, which is not worked out"
            )
        return FloatPool2D(window, _FLOAT_POOLS[op.name], activation, FINITE[profile])
    if op.name == "MAX_POOL_2D":
        written = quantized_range(activation, y, profile)
        if ACTIVATION_ALONE[profile] and _is_activation(op):
            return eight_bit(unchanged, x, y, TO_CODES[profile], written)
        return MaxPool2D(window, written, x.dtype)
    return AveragePool2D(window, DIVISION[profile], quantized_range(activation, y), x.dtype)


def _inside(op: OpView, profile: Profile, kernel: tuple[int, int], image: tuple[int, ...]) -> tuple[int, int]:
    """Cut a window to the image, as XNNPACK does where there is no padding.

    Quirk: XNNPACK's MAX_POOL_2D gives a row for a VALID window taller than the input, where LiteRT gives none.
    """
    cut = min(kernel[0], image[0]), min(kernel[1], image[1])
    if cut != kernel and op.name == "AVERAGE_POOL_2D":
        msg = f"under the profile {profile.name}: averages of VALID windows larger than the input, {kernel} and {image}"
        raise UnsupportedError(f"{msg}, for which XNNPACK divides by the whole window")
    return cut


@ruled("x")
def unchanged(x: Float64Array) -> Float64Array:
    """Give the number itself."""
    return x


def _is_activation(op: OpView) -> bool:
    """Whether windows have one element each, side by side, and an activation follows."""
    names = ("filter_height", "filter_width", "stride_h", "stride_w")
    activation = choice(op, "fused_activation_function", Activation)
    return all(option(op, name) == 1 for name in names) and activation is not Activation.NONE


def _broken_by_max_pool(op: OpView) -> str | None:
    return None if _is_activation(op) else delegate.same_scale_and_zero_point(op)


def _is_unknown(op: OpView, high: Span) -> bool:
    """Whether XNNPACK's averages were measured to be others, and are not explained."""
    stride = option(op, "stride_h")
    return option(op, "filter_height") > high.size and high.output == UNKNOWN_ROWS and stride >= UNKNOWN_ROWS


INTEGERS = (DType.INT8, DType.UINT8, DType.INT16)
#: Rows of outputs, and least stride, with which XNNPACK gives other averages of windows over both edges.
UNKNOWN_ROWS = 3

_FLOAT_POOLS = {
    "AVERAGE_POOL_2D": float_average_pool_2d,
    "MAX_POOL_2D": float_max_pool_2d,
    "L2_POOL_2D": l2_pool_2d,
}

COVERS = ("int8", "uint8", "int16", "float32")

KERNELS = (
    Kernel(
        "AVERAGE_POOL_2D",
        prepare,
        covers=COVERS,
        refusal={TFLM: micro.no_uint8, XNNPACK: delegate.pool(delegate.FLOATS)},
    ),
    Kernel(
        "MAX_POOL_2D",
        prepare,
        covers=COVERS,
        refusal={TFLM: micro.no_uint8, XNNPACK: delegate.pool(delegate.NUMBERS - {DType.FLOAT16})},
        demands={XNNPACK: _broken_by_max_pool},
    ),
    Kernel("L2_POOL_2D", prepare, covers=("float32",)),
)
