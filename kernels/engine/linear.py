"""Linear maps over sliding windows: what convolutions sum, in any number type, without quantization.

Each map stands here tap by tap, as it is defined; :mod:`kernels.engine.plans` has them as matrix products or one pass
over the memory, for the types that BLAS and ``einsum`` are fast with. Integers have one sum, whatever the order.
Float32 sums depend on it: the functions *in order* add one product after the other, as plain loops over taps and then
channels do, which is what LiteRT's reference kernels are, to the last bit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt

from kernels.engine.contract import checked_shape
from kernels.engine.geometry import Span, Window
from qmath.types import Array

#: Window elements laid out as one matrix at once: enough to keep BLAS busy, bounded for large images.
LAID_OUT = 1 << 21
#: Float32 products an image that are cheap to add in the runtime's own order.
FEW_PRODUCTS = 1 << 18


# --- By definition, tap by tap ----------------------------------------------------------------------------------


def convolve(x: Array, filter_: Array, window: Window, groups: int = 1) -> Array:
    """Sum ``filter * x`` over each window and the channels of each group.

    Parameters
    ----------
    x
        Padded input, (batch, padded_h, padded_w, in_c).
    filter_
        (out_c, kernel_h, kernel_w, in_c / groups), the same number type.
    window
        Where windows lie.
    groups
        Output channels come in as many equal blocks as input channels; each block of outputs reads its own inputs.

    Returns
    -------
    Array
        (batch, out_h, out_w, out_c).

    """
    out = np.zeros(_output_shape(x, window, len(filter_)), x.dtype)
    each, wide = x.shape[3] // groups, len(filter_) // groups
    for i, j, view in _taps(x, window):
        for group in range(groups):
            reads, writes = slice(group * each, (group + 1) * each), slice(group * wide, (group + 1) * wide)
            out[..., writes] += view[..., reads] @ filter_[writes, i, j].T
    return out


def convolve_in_order(x: Array, filter_: Array, window: Window, groups: int = 1) -> Array:
    """Compute :func:`convolve` product after product: over taps, and for each over the channels of a group."""
    shape = _output_shape(x, window, len(filter_))
    out = np.zeros((*shape[:3], groups, shape[3] // groups), x.dtype)
    weights = filter_.reshape(groups, shape[3] // groups, *filter_.shape[1:])
    for i, j, view in _taps(x, window):
        blocks = view.reshape(*shape[:3], groups, filter_.shape[3])
        for channel in range(filter_.shape[3]):
            out += blocks[..., channel, None] * weights[:, :, i, j, channel]
    return out.reshape(shape)


def depthwise_convolve(x: Array, filter_: Array, window: Window) -> Array:
    """Sum ``filter * x`` over each window, each channel for itself, product after product.

    Parameters
    ----------
    x
        Padded input, (batch, padded_h, padded_w, in_c).
    filter_
        (kernel_h, kernel_w, in_c * multiplier): output channel ``c * multiplier + m`` reads input channel ``c``.
    window
        Where windows lie.

    Returns
    -------
    Array
        (batch, out_h, out_w, in_c * multiplier).

    """
    channels = filter_.shape[2]
    out = np.zeros(_output_shape(x, window, channels), x.dtype)
    for i, j, view in _taps(x, window):
        out += np.repeat(view, channels // x.shape[3], axis=3) * filter_[i, j]
    return out


def transpose_convolve(x: Array, filter_: Array, window: Window) -> Array:
    """Scatter ``filter * x``: what each input adds to the window that it would be the output of.

    Parameters
    ----------
    x
        Input, (batch, in_h, in_w, in_c): one pixel a window.
    filter_
        (out_c, kernel_h, kernel_w, in_c), the same number type.
    window
        Windows over the *output*: ``window.height.size`` is its height.

    Returns
    -------
    Array
        (batch, out_h, out_w, out_c).

    """
    canvas = _canvas(x, window, len(filter_), x.dtype)
    for i, j, view in _taps(canvas, window):
        np.add(view, x @ filter_[:, i, j].T, out=view)
    return _cropped(canvas, window)


def transpose_convolve_in_order(
    x: Array, filter_: Array, window: Window, product: Callable[[Array, Array], Array] = np.multiply
) -> Array:
    """Compute :func:`transpose_convolve` product after product, in the order of the input: rows, columns, channels.

    The earlier an input pixel, the later the tap with which it meets a given output; so taps go backward.

    Parameters
    ----------
    x, filter_, window
        As for :func:`transpose_convolve`.
    product
        Of inputs (batch, in_h, in_w, 1) and weights (out_c,); what it returns is what is added up.

    """
    canvas = _canvas(x, window, len(filter_), np.float32)
    for i, j, view in reversed(list(_taps(canvas, window))):
        for channel in range(x.shape[3]):
            np.add(view, product(x[..., channel, None], filter_[:, i, j, channel]), out=view)
    return _cropped(canvas, window)


def _taps(padded_image: Array, window: Window) -> Iterator[tuple[int, int, Array]]:
    """Yield each tap with the pixels that it meets: a writable view (batch, out_h, out_w, channels)."""
    for i in range(window.height.kernel):
        for j in range(window.width.kernel):
            yield i, j, padded_image[:, _met_by(i, window.height), _met_by(j, window.width)]


def _met_by(tap: int, span: Span) -> slice:
    first = tap * span.dilation
    return slice(first, first + max((span.output - 1) * span.stride + 1, 0), span.stride)


def _output_shape(x: Array, window: Window, channels: int) -> tuple[int, ...]:
    return checked_shape((x.shape[0], window.height.output, window.width.output, channels))


def _canvas(x: Array, window: Window, channels: int, dtype: npt.DTypeLike) -> Array:
    """Return zeros that hold the output with all that windows write around it."""
    return np.zeros(checked_shape((x.shape[0], window.height.padded, window.width.padded, channels)), dtype)


def _cropped(canvas: Array, window: Window) -> Array:
    high, wide = window.height, window.width
    return canvas[:, high.before : high.before + high.size, wide.before : wide.before + wide.size]


# --- Fast, for float types ---------------------------------------------------------------------------------------


def transpose_convolve_fast(x: Array, matrix: Array, window: Window) -> Array:
    """Compute :func:`transpose_convolve` as one product of BLAS and a scattered addition a tap.

    Parameters
    ----------
    x
        Input, (batch, in_h, in_w, in_c), float32 or float64.
    matrix
        (in_c, kernel_h * kernel_w * out_c), of the same type.
    window
        Windows over the output.

    """
    taps = window.height.kernel * window.width.kernel
    channels = matrix.shape[1] // taps
    canvas = _canvas(x, window, channels, x.dtype)
    rows = max(1, LAID_OUT // max(1, x.shape[2] * matrix.shape[1]))
    for image, into in zip(x, canvas, strict=True):
        for start in range(0, len(image), rows):
            part = image[start : start + rows]
            spread = (part.reshape(-1, part.shape[2]) @ matrix).reshape(*part.shape[:2], taps, channels)
            for number, (_, _, view) in enumerate(_taps(into[None], window)):
                view[0, start : start + rows] += spread[:, :, number]
    return _cropped(canvas, window)
