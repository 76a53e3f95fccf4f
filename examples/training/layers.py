"""The layers of a small network: each computes its output, and from its gradient those of its input and weights.

Everything is float32 and NHWC. A layer remembers what its backward pass needs from its last forward pass in training.
``x @ w`` stands for all arithmetic: a convolution is one small matrix product for each position of its filter.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from qmath.types import BoolArray, Float32Array

#: Weights and their gradients go by the same names.
Weights = dict[str, Float32Array]


class Layer:
    """A function of one array, with weights.

    Attributes
    ----------
    weights
        By name; an optimizer changes them in place.
    gradients
        Of the loss, for each of the weights, after :meth:`backward`.

    """

    def __init__(self, **weights: Float32Array) -> None:
        self.weights: Weights = weights
        self.gradients: Weights = {}

    def forward(self, x: Float32Array, *, training: bool = False) -> Float32Array:
        """Compute the output, shape ``(images, ...)``."""
        raise NotImplementedError

    def backward(self, gradient: Float32Array) -> Float32Array:
        """Turn the gradient for the output into that for the input, and keep those for the weights."""
        raise NotImplementedError


# --- Linear layers ----------------------------------------------------------------------------------------------------


class Linear(Layer):
    """What a convolution, a depthwise convolution and a dense layer share: a filter and perhaps a bias.

    The filter's last axis is the output channel.

    Attributes
    ----------
    stand_in
        Makes of the filter what the layer computes with. It is the filter itself, until something is to be learned
        about other weights than those stored: rounded ones, say. The gradient for the stand-in is taken for the
        filter's own: the *straight-through estimator*.

    """

    def __init__(self, filter_: Float32Array, bias: Float32Array | None = None) -> None:
        super().__init__(filter=filter_, **({} if bias is None else {"bias": bias}))
        self.stand_in: Callable[[Float32Array], Float32Array] = _itself

    def _with_bias(self, y: Float32Array) -> Float32Array:
        return y + self.weights["bias"] if "bias" in self.weights else y

    def _keep(self, filter_gradient: Float32Array, gradient: Float32Array) -> None:
        self.gradients["filter"] = filter_gradient
        if "bias" in self.weights:
            self.gradients["bias"] = gradient.sum(axis=tuple(range(gradient.ndim - 1)))


def _itself(filter_: Float32Array) -> Float32Array:
    return filter_


class Dense(Linear):
    """``y = x @ filter + bias``; the filter's shape is ``(inputs, outputs)``."""

    def forward(self, x: Float32Array, *, training: bool = False) -> Float32Array:
        """Multiply."""
        self._filter = self.stand_in(self.weights["filter"])
        self._x = x if training else None
        return self._with_bias(x @ self._filter)

    def backward(self, gradient: Float32Array) -> Float32Array:
        """Multiply with the transposed matrices."""
        self._keep(self._x.T @ gradient, gradient)
        return gradient @ self._filter.T


class Windowed(Linear):
    """What both convolutions share: SAME padding, and a walk over the filter's positions."""

    def __init__(self, filter_: Float32Array, bias: Float32Array | None = None, *, stride: int = 1) -> None:
        super().__init__(filter_, bias)
        self.stride = stride

    def forward(self, x: Float32Array, *, training: bool = False) -> Float32Array:
        """Add up, for each position of the filter, its weights times the pixels that lie under it."""
        self._filter = self.stand_in(self.weights["filter"])
        padded = np.pad(x, ((0, 0), *self._padding(x.shape), (0, 0)))
        self._padded, self._shape = (padded if training else None), x.shape
        y = sum(self._apply(padded[under], self._filter[at]) for at, under in self._positions(x.shape))
        return self._with_bias(y)

    def backward(self, gradient: Float32Array) -> Float32Array:
        """Walk the same way: each position gets the gradient of its weights, and gives one to the pixels."""
        to_filter, to_padded = np.zeros_like(self._filter), np.zeros_like(self._padded)
        for at, under in self._positions(self._shape):
            to_filter[at] = self._to_filter(self._padded[under], gradient)
            to_padded[under] += self._to_input(gradient, self._filter[at])
        self._keep(to_filter, gradient)
        (top, _), (left, _) = self._padding(self._shape)
        return to_padded[:, top : top + self._shape[1], left : left + self._shape[2]]

    def _padding(self, shape: tuple[int, ...]) -> tuple[tuple[int, int], tuple[int, int]]:
        """Return the rows and columns of zeros before and after the image; the larger half of an odd sum is after."""
        sums = [
            max(0, (math.ceil(size / self.stride) - 1) * self.stride + kernel - size)
            for size, kernel in zip(shape[1:3], self._filter.shape[:2], strict=True)
        ]
        return tuple((both // 2, both - both // 2) for both in sums)

    def _positions(self, shape: tuple[int, ...]) -> Iterator[tuple[tuple[int, int], tuple[slice, ...]]]:
        """Yield each position of the filter, and where in the padded image the pixels under it are."""
        height, width = (math.ceil(size / self.stride) for size in shape[1:3])
        for row in range(self._filter.shape[0]):
            for column in range(self._filter.shape[1]):
                rows = slice(row, row + (height - 1) * self.stride + 1, self.stride)
                columns = slice(column, column + (width - 1) * self.stride + 1, self.stride)
                yield (row, column), (slice(None), rows, columns)


class Convolution(Windowed):
    """A convolution; the filter's shape is ``(height, width, inputs, outputs)``."""

    @staticmethod
    def _apply(pixels: Float32Array, weights: Float32Array) -> Float32Array:
        return pixels @ weights

    @staticmethod
    def _to_filter(pixels: Float32Array, gradient: Float32Array) -> Float32Array:
        return np.tensordot(pixels, gradient, axes=((0, 1, 2), (0, 1, 2)))

    @staticmethod
    def _to_input(gradient: Float32Array, weights: Float32Array) -> Float32Array:
        return gradient @ weights.T


class Depthwise(Windowed):
    """A convolution of each channel by itself; the filter's shape is ``(height, width, channels)``."""

    @staticmethod
    def _apply(pixels: Float32Array, weights: Float32Array) -> Float32Array:
        return pixels * weights

    @staticmethod
    def _to_filter(pixels: Float32Array, gradient: Float32Array) -> Float32Array:
        return np.einsum("nhwc,nhwc->c", pixels, gradient)

    @staticmethod
    def _to_input(gradient: Float32Array, weights: Float32Array) -> Float32Array:
        return gradient * weights


# --- Other layers -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Normalized:
    """What batch normalization remembers: the normalized input, and by how much it was divided."""

    x: Float32Array
    deviation: Float32Array


class BatchNorm(Layer):
    """Subtract the mean of each channel, divide by its standard deviation, then scale and shift.

    In training mean and variance are the batch's own; they also move the averages that count afterwards.
    """

    EPSILON = np.float32(1e-3)
    MOMENTUM = np.float32(0.95)

    def __init__(self, channels: int) -> None:
        super().__init__(gamma=np.ones(channels, np.float32), beta=np.zeros(channels, np.float32))
        self.mean, self.variance = np.zeros(channels, np.float32), np.ones(channels, np.float32)

    def forward(self, x: Float32Array, *, training: bool = False) -> Float32Array:
        """Normalize."""
        mean, variance = self.mean, self.variance
        if training:
            mean, variance = x.mean(axis=(0, 1, 2)), x.var(axis=(0, 1, 2))
            self.mean = self.MOMENTUM * self.mean + (1 - self.MOMENTUM) * mean
            self.variance = self.MOMENTUM * self.variance + (1 - self.MOMENTUM) * variance
        deviation = np.sqrt(variance + self.EPSILON)
        normalized = (x - mean) / deviation
        self._kept = _Normalized(normalized, deviation) if training else None
        return self.weights["gamma"] * normalized + self.weights["beta"]

    def backward(self, gradient: Float32Array) -> Float32Array:
        """Take from the gradient what would move the mean or the variance: normalization undoes that anyway."""
        kept, pixels = self._kept, (0, 1, 2)
        self.gradients["beta"] = gradient.sum(axis=pixels)
        self.gradients["gamma"] = (gradient * kept.x).sum(axis=pixels)
        count = gradient.size // gradient.shape[-1]
        undone = (self.gradients["beta"] + kept.x * self.gradients["gamma"]) / np.float32(count)
        return self.weights["gamma"] / kept.deviation * (gradient - undone)


class Relu6(Layer):
    """``y = min(max(x, 0), 6)``."""

    def forward(self, x: Float32Array, *, training: bool = False) -> Float32Array:
        """Clamp."""
        self._inside: BoolArray | None = (x > 0) & (x < 6) if training else None
        return np.clip(x, np.float32(0), np.float32(6))

    def backward(self, gradient: Float32Array) -> Float32Array:
        """Let the gradient through where nothing was clamped."""
        return gradient * self._inside


class Flatten(Layer):
    """All pixels and channels of an image in one row: shape ``(images, height * width * channels)``."""

    def forward(self, x: Float32Array, *, training: bool = False) -> Float32Array:
        """Reshape."""
        del training
        self._shape = x.shape
        return x.reshape(len(x), -1)

    def backward(self, gradient: Float32Array) -> Float32Array:
        """Reshape back."""
        return gradient.reshape(self._shape)


class GlobalAveragePool(Layer):
    """The mean of each channel: shape ``(images, channels)``."""

    def forward(self, x: Float32Array, *, training: bool = False) -> Float32Array:
        """Average."""
        del training
        self._shape = x.shape
        return x.mean(axis=(1, 2))

    def backward(self, gradient: Float32Array) -> Float32Array:
        """Give every pixel its share."""
        shares = gradient[:, None, None, :] / np.float32(self._shape[1] * self._shape[2])
        return np.broadcast_to(shares, self._shape)
