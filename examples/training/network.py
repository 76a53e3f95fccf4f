"""The network: a stem, blocks of a depthwise and a pointwise convolution, a mean over the image, a dense layer.

Or, where there is more room, dense layers on all pixels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from examples.training.layers import (
    BatchNorm,
    Convolution,
    Dense,
    Depthwise,
    Flatten,
    GlobalAveragePool,
    Layer,
    Linear,
    Relu6,
)
from qmath.types import Float32Array

#: Digits, hence outputs.
CLASSES = 10
#: Pixels of an image in each direction.
SIZE = 8


class Network(Layer):
    """Layers, one after the other."""

    def __init__(self, layers: Sequence[Layer]) -> None:
        super().__init__()
        self.layers = list(layers)

    def forward(self, x: Float32Array, *, training: bool = False) -> Float32Array:
        """Compute logits, shape ``(images, 10)``."""
        for layer in self.layers:
            x = layer.forward(x, training=training)
        return x

    def backward(self, gradient: Float32Array) -> Float32Array:
        """Go back from the gradient of the logits to that of the images; every layer keeps those of its weights."""
        for layer in reversed(self.layers):
            gradient = layer.backward(gradient)
        return gradient

    @property
    def linear_layers(self) -> list[Linear]:
        """The layers with filters."""
        return [layer for layer in self.layers if isinstance(layer, Linear)]


@dataclass(frozen=True)
class Architecture:
    """How large a network is.

    Attributes
    ----------
    stem
        Channels of the first convolution.
    blocks
        For each block its output channels and the stride of its depthwise convolution.
    hidden
        Units of a dense layer on all pixels of the last block; 0 for the mean of the pixels instead.

    """

    stem: int
    blocks: tuple[tuple[int, int], ...]
    hidden: int = 0

    def build(self, rng: np.random.Generator) -> Network:
        """Return a network with random weights, scaled after He: by the number of inputs that an output sums."""

        def normal(*shape: int, fan_in: int) -> Float32Array:
            return (rng.normal(size=shape) * np.sqrt(2 / fan_in)).astype(np.float32)

        def zeros(count: int) -> Float32Array:
            return np.zeros(count, np.float32)

        layers: list[Layer] = [Convolution(normal(3, 3, 1, self.stem, fan_in=9)), BatchNorm(self.stem), Relu6()]
        channels = self.stem
        for outputs, stride in self.blocks:
            layers += [Depthwise(normal(3, 3, channels, fan_in=9), stride=stride), BatchNorm(channels), Relu6()]
            layers += [Convolution(normal(1, 1, channels, outputs, fan_in=channels)), BatchNorm(outputs), Relu6()]
            channels = outputs
        layers += [GlobalAveragePool()]
        if self.hidden:
            pixels = (SIZE // math.prod(stride for _, stride in self.blocks)) ** 2
            layers[-1:] = [
                Flatten(),
                Dense(normal(pixels * channels, self.hidden, fan_in=pixels * channels), zeros(self.hidden)),
                Relu6(),
            ]
            channels = self.hidden
        return Network([*layers, Dense(normal(channels, CLASSES, fan_in=channels), zeros(CLASSES))])


#: Slim: each of its weights counts, and four bits are few for most of them.
SLIM = Architecture(stem=6, blocks=((8, 2), (12, 1), (12, 1), (12, 1)))
#: Roomy: most of its 52,000 weights are in one dense layer, and can be pruned or shared.
ROOMY = Architecture(stem=8, blocks=((16, 2), (32, 1)), hidden=96)
