"""Hypothesis strategies for tests of quantized kernels: the ones that quantref's own tests use.

They are aimed: ordinary random numbers almost never meet a tie, an end of a range or an extreme multiplier, and that is
where implementations differ. ``docs/testing.md`` shows how to use them. They need Hypothesis, which comes with
``quantref[testing]``.
"""

from __future__ import annotations

import fnmatch
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from qmath.errors import InputError
from qmath.types import DType, FixedPointMultiplier, QuantParams
from quantref.vectors.aimed.sums import Family, Setting, build
from quantref.vectors.catalogue import all_cells
from quantref.vectors.cells.case import Case

try:
    from hypothesis import strategies as st
except ImportError as error:
    raise ImportError("quantref.testing needs Hypothesis: pip install 'quantref[testing]'") from error

if TYPE_CHECKING:
    from hypothesis.strategies import DrawFn, SearchStrategy

INT32_MIN, INT32_MAX = -(1 << 31), (1 << 31) - 1
#: Convolutions that :func:`convolutions` makes.
CONVOLUTIONS = ("CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV", "FULLY_CONNECTED")
_T = TypeVar("_T")
_SEEDS = st.integers(0, (1 << 32) - 1)


def scales(low: int = -20, high: int = 10) -> SearchStrategy[np.float32]:
    """Return scales from ``2**low`` to ``2**high``: powers of two, small multiples of them, and any float32."""
    powers = st.integers(low, high).map(lambda exponent: 2.0**exponent)
    if high - low > 3:
        odd = st.tuples(st.sampled_from([3, 5, 7]), st.integers(low, high - 3))
        powers |= odd.map(lambda pair: pair[0] * 2.0 ** pair[1])
    return (powers | st.floats(2.0**low, 2.0**high, width=32)).map(np.float32)


def zero_points(dtype: DType) -> SearchStrategy[int]:
    """Return zero points of a type: the ends of its range, the middle, and any; for int16 and wider 0 alone."""
    if dtype.bits > 8:
        return st.just(0)
    return st.sampled_from([dtype.min, dtype.max, (dtype.min + dtype.max + 1) // 2]) | st.integers(dtype.min, dtype.max)


@st.composite
def quantization_params(
    draw: DrawFn, dtype: DType = DType.INT8, channels: int | None = None, *, symmetric: bool = False
) -> QuantParams:
    """Draw scale and zero point of a tensor, or one of each a channel, along the first dimension.

    Parameters
    ----------
    draw
        Given by Hypothesis.
    dtype
        Of the codes.
    channels
        How many; by default the tensor has one scale.
    symmetric
        Whether zero points are 0.

    """
    count = channels or 1
    scale = [draw(scales()) for _ in range(count)]
    zero_point = [0 if symmetric else draw(zero_points(dtype)) for _ in range(count)]
    return QuantParams(np.array(scale, np.float32), np.array(zero_point, np.int64), dtype)


def codes(dtype: DType) -> SearchStrategy[int]:
    """Return codes of a type, its ends more often than chance."""
    return st.sampled_from([dtype.min, dtype.min + 1, dtype.max - 1, dtype.max]) | st.integers(dtype.min, dtype.max)


def _mostly(first: SearchStrategy[_T], other: SearchStrategy[_T]) -> SearchStrategy[_T]:
    """Draw from the first three times of four."""
    return st.integers(0, 3).flatmap(lambda number: other if number == 3 else first)


# --- Requantization -----------------------------------------------------------------------------------------------


def int32s() -> SearchStrategy[int]:
    """Return 32-bit integers: small ones, powers of two and their neighbours, the ends, and any."""
    powers = st.tuples(st.integers(0, 31), st.sampled_from([-1, 0, 1]), st.sampled_from([-1, 1]))
    edges = powers.map(lambda drawn: max(INT32_MIN, min(INT32_MAX, drawn[2] * (1 << drawn[0]) + drawn[1])))
    return st.integers(-(1 << 12), 1 << 12) | edges | st.integers(INT32_MIN, INT32_MAX)


def real_multipliers(low: int = -20, high: int = 6) -> SearchStrategy[float]:
    """Return real multipliers from ``2**low`` to ``2**high``.

    Powers of two and small multiples of them, whose products with integers are ties; numbers a hair below a power of
    two, whose significand rounds up to it; and any.
    """
    ties = st.tuples(st.sampled_from([1.0, 1.25, 1.5]), st.integers(low, high - 1)).map(
        lambda pair: pair[0] * 2.0 ** pair[1]
    )
    below = st.tuples(st.integers(low + 1, high), st.integers(28, 50)).map(
        lambda pair: 2.0 ** pair[0] * (1 - 2.0 ** -pair[1])
    )
    return _mostly(ties, below | st.floats(2.0**low, 2.0**high))


def fixed_point_multipliers(low: int = -31, high: int = 30) -> SearchStrategy[FixedPointMultiplier]:
    """Return Q0.31 significands with shifts from ``low`` to ``high``: 0, the smallest, the largest, ones with ties."""
    significands = st.sampled_from([0, 1 << 30, (1 << 30) + 1, 3 << 29, (1 << 31) - (1 << 16), (1 << 31) - 1])
    significands |= st.integers(1 << 30, (1 << 31) - 1)
    pairs = st.tuples(significands, st.integers(low, high))
    return pairs.map(lambda pair: FixedPointMultiplier(np.array(pair[0], np.int64), np.array(pair[1], np.int64)))


def accumulators(real_multiplier: float, reach: int = 300) -> SearchStrategy[int]:
    """Return 32-bit accumulators for a real multiplier, most of them at or beside a tie between two codes.

    Parameters
    ----------
    real_multiplier
        Positive.
    reach
        How many codes from zero ties are looked for.

    """
    if real_multiplier <= 0:
        raise InputError(f"expected a positive real multiplier, found {real_multiplier}")
    most = max(0, min(reach, int(INT32_MAX * real_multiplier) - 1))
    beside = st.tuples(st.integers(-most - 1, most), st.sampled_from([-1, 0, 0, 0, 1]))

    def at_tie(drawn: tuple[int, int]) -> int:
        code, step = drawn
        return max(INT32_MIN, min(INT32_MAX, round((code + 0.5) / real_multiplier) + step))

    return _mostly(beside.map(at_tie), int32s())


@st.composite
def requantizations(draw: DrawFn, low: int = -20, high: int = -1) -> tuple[int, float]:
    """Draw an accumulator and a real multiplier that meet at or beside a tie as a rule."""
    real = draw(real_multipliers(low, high))
    return draw(accumulators(real)), real


# --- Models -------------------------------------------------------------------------------------------------------


@st.composite
def convolutions(draw: DrawFn, op: str = "CONV_2D", dtype: DType = DType.INT8) -> Case:
    """Draw a model of one convolution, and an input.

    Real multipliers are powers of two, and biases such that where the input is its zero point, the sum is a tie. Sizes,
    strides, dilation, padding, zero points and channel multipliers are drawn; codes follow from a seed.

    Parameters
    ----------
    draw
        Given by Hypothesis.
    op
        One of :data:`CONVOLUTIONS`.
    dtype
        ``INT8``, ``UINT8`` or ``INT16`` (with a bias of 64 bits).

    """
    if op not in CONVOLUTIONS:
        raise InputError(f"expected one of {', '.join(CONVOLUTIONS)}, found {op!r}")
    rng, family = np.random.default_rng(draw(_SEEDS)), Family(op, dtype, _bias_of(dtype))
    k, channels = draw(st.integers(1, 10)), draw(st.integers(1, 6))
    odd = draw(st.lists(st.integers(-20, 20), min_size=channels, max_size=channels))
    bias = (2 * np.array(odd, np.int64) + 1) << (k - 1)
    s = Setting(draw(zero_points(dtype)), draw(zero_points(dtype)), 0.125 * 2.0**k, bias)
    if op == "FULLY_CONNECTED":
        return build(rng, family, replace(s, depth=draw(st.integers(1, 9))))
    kernel, stride = draw(st.tuples(*[st.integers(1, 3)] * 2)), draw(st.tuples(*[st.integers(1, 3)] * 2))
    options = {"padding": draw(st.integers(0, 1)), "stride_h": stride[0], "stride_w": stride[1]}
    steps = (1, 1) if op == "TRANSPOSE_CONV" else draw(st.tuples(*[st.integers(1, 2)] * 2))
    if op != "TRANSPOSE_CONV":
        options |= {"dilation_h_factor": steps[0], "dilation_w_factor": steps[1]}
    else:
        options |= {"padding": 1, "stride_h": 1, "stride_w": 1}
    reach = [(size - 1) * step + 1 for size, step in zip(kernel, steps, strict=True)]
    size = tuple(draw(st.integers(least, least + 3)) for least in (reach if options["padding"] else (1, 1)))
    depth = draw(st.sampled_from([n for n in range(1, channels + 1) if op != "DEPTHWISE_CONV_2D" or channels % n == 0]))
    return build(rng, family, replace(s, kernel=kernel, size=(size[0], size[1]), depth=depth, options=options))


def _bias_of(dtype: DType) -> DType:
    return DType.INT64 if dtype is DType.INT16 else DType.INT32


@st.composite
def one_op_models(draw: DrawFn, cells: str = "*") -> Case:
    """Draw a model of one op with its inputs, from the cells whose names fit a shell pattern, such as ``"ADD int8*"``.

    Raises
    ------
    InputError
        No cell fits.

    """
    names = [name for name in all_cells() if fnmatch.fnmatchcase(name, cells)]
    if not names:
        raise InputError(f"expected a pattern of some of {len(all_cells())} cells, found {cells!r}")
    return next(all_cells()[draw(st.sampled_from(names))](np.random.default_rng(draw(_SEEDS))))
