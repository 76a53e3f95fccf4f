"""Quantization-aware training: the network computes with what quantization will leave of its numbers, and learns to.

- **Weights** are rounded to the multiples of a scale a channel. The scale follows the channel's largest weight, so
  nothing is clipped, and rounding counts as the identity in the backward pass.
- **Activations** are rounded within a range. It is *tracked*, as a moving average of what comes by, or *learned*, by
  the gradient that clipped values hand over to the end of the range that clipped them.

Both are TensorFlow's fake quantization, from :mod:`qmath.fake_quant`.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Iterator

import numpy as np

from examples.training.layers import Layer, Relu6
from examples.training.network import Network
from qmath.fake_quant import fake_quant_args_gradient, fake_quant_per_channel, fake_quant_vars, fake_quant_vars_gradient
from qmath.moving_average import TrackedRange
from qmath.types import Float32Array

#: Tracked ranges forget slowly, but there are only some hundred steps.
DECAY = 0.99
#: Of activations.
BITS = 8


def round_weights(filter_: Float32Array, bits: int) -> Float32Array:
    """Round each channel, the last axis, to the codes ``-(2**(bits-1) - 1)`` to ``2**(bits-1) - 1`` times a scale.

    This is what symmetric weights will be: a narrow range whose middle is 0.
    """
    largest = np.abs(filter_).max(axis=tuple(range(filter_.ndim - 1)))
    return fake_quant_per_channel(filter_, -largest, largest, bits, narrow_range=True)


class FakeQuant(Layer):
    """Rounds activations to the 256 values of a range, tracked or learned."""

    def __init__(self, *, learned: bool = False) -> None:
        super().__init__()
        self.learned = learned
        self.tracked = TrackedRange()

    @property
    def bounds(self) -> tuple[Float32Array, Float32Array]:
        """The range as it is now: minimum and maximum."""
        if self.weights:
            return self.weights["minimum"], self.weights["maximum"]
        return self.tracked.minimum, self.tracked.maximum

    def start(self, x: Float32Array) -> None:
        """Take the range of some activations as the first one; from here on a learned range is a weight."""
        self.tracked = TrackedRange().moved(x)
        if self.learned:
            self.weights = {"minimum": self.tracked.minimum, "maximum": self.tracked.maximum}

    def forward(self, x: Float32Array, *, training: bool = False) -> Float32Array:
        """Move a tracked range, then round."""
        if training and not self.learned:
            self.tracked = self.tracked.moved(x, DECAY)
        self._x = x if training else None
        return fake_quant_vars(x, *self.bounds, BITS)

    def backward(self, gradient: Float32Array) -> Float32Array:
        """Let the gradient through within the range; what it stops moves the end of a learned range."""
        if not self.learned:
            return fake_quant_args_gradient(gradient, self._x, *map(float, self.bounds), BITS)
        parts = fake_quant_vars_gradient(gradient, self._x, *self.bounds, BITS)
        self.gradients = {"minimum": parts.minimum, "maximum": parts.maximum}
        return parts.inputs


def make_quantization_aware(
    folded: Network, images: Float32Array, weight_bits: int, *, learned_ranges: bool = False
) -> Network:
    """Return a copy of a folded network that rounds its weights, its images, activations and logits.

    Parameters
    ----------
    folded
        Without batch normalization.
    images
        Their activations give the ranges to begin with.
    weight_bits
        Of weights; activations have 8.
    learned_ranges
        Whether ranges are learned, or else tracked.

    """
    layers = list(_with_ranges(copy.deepcopy(folded.layers), learned=learned_ranges))
    x = images
    for layer in layers:
        if isinstance(layer, FakeQuant):
            layer.start(x)
        x = layer.forward(x)
    aware = Network(layers)
    for linear in aware.linear_layers:
        linear.stand_in = functools.partial(round_weights, bits=weight_bits)
    return aware


def _with_ranges(layers: list[Layer], *, learned: bool) -> Iterator[Layer]:
    """Yield the layers, and a range wherever the quantized network will store codes with a range of their own."""
    yield FakeQuant(learned=learned)
    for layer in layers:
        yield layer
        if isinstance(layer, Relu6) or layer is layers[-1]:
            yield FakeQuant(learned=learned)
