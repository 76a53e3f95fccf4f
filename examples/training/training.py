"""Training: a loss and its gradient, an optimizer, and a loop over shuffled batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import quantref
from examples.training.layers import Layer
from examples.training.network import Network
from qmath.types import Float32Array, Int64Array

DATA = Path(quantref.__file__).parent / "data" / "digits.npz"
#: Grey levels of the images run from 0 to this.
INK = np.float32(16)
#: Called after each step with the number of steps that are done, and of all.
AfterStep = Callable[[int, int], None]


@dataclass(frozen=True)
class Images:
    """Grey levels from 0 to 1, float32, shape ``(images, 8, 8, 1)``, and the digits they show, shape ``(images,)``."""

    pixels: Float32Array
    digits: Int64Array


@dataclass(frozen=True)
class Schedule:
    """How long to train, and how fast at first; the rate falls to 0 along a cosine.

    ``decay`` pulls filters to 0, by ``rate * decay`` of their value a step: what is not needed becomes small.
    """

    epochs: int
    rate: float
    batch: int = 32
    decay: float = 0.0


def load_images(split: str) -> Images:
    """Load the images of ``"train"`` or ``"test"``."""
    with np.load(DATA) as stored:
        pixels, digits = stored[f"{split}_images"], stored[f"{split}_labels"]
    return Images(pixels[..., np.newaxis].astype(np.float32) / INK, digits.astype(np.int64))


def cross_entropy(logits: Float32Array, digits: Int64Array) -> tuple[float, Float32Array]:
    """Return the mean of ``-log(probability of the right digit)``, and its gradient for the logits."""
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities = shifted / shifted.sum(axis=1, keepdims=True)
    right = np.arange(len(digits)), digits
    loss = -float(np.log(np.maximum(probabilities[right], np.float32(1e-30))).mean())
    probabilities[right] -= np.float32(1)
    return loss, probabilities / np.float32(len(digits))


class Adam:
    """Steps along the mean of past gradients, divided by their size: every weight moves about ``rate`` a step."""

    MEAN, SQUARE, EPSILON = 0.9, 0.999, 1e-8

    def __init__(self, layers: list[Layer]) -> None:
        self.layers = layers
        self.steps = 0
        self.mean = [{name: np.zeros_like(array) for name, array in layer.weights.items()} for layer in layers]
        self.square = [{name: np.zeros_like(array) for name, array in layer.weights.items()} for layer in layers]

    def step(self, rate: float, decay: float = 0.0) -> None:
        """Move all weights, in place; decay is apart from the gradients, so that it does not depend on their size."""
        self.steps += 1
        for layer in self.layers:
            if decay and "filter" in layer.weights:
                layer.weights["filter"] *= np.float32(1 - rate * decay)
        rate *= np.sqrt(1 - self.SQUARE**self.steps) / (1 - self.MEAN**self.steps)
        for layer, mean, square in zip(self.layers, self.mean, self.square, strict=True):
            for name, gradient in layer.gradients.items():
                mean[name] += np.float32(1 - self.MEAN) * (gradient - mean[name])
                square[name] += np.float32(1 - self.SQUARE) * (gradient * gradient - square[name])
                layer.weights[name] -= (
                    np.float32(rate) * mean[name] / (np.sqrt(square[name]) + np.float32(self.EPSILON))
                )


def fit(
    network: Network, images: Images, schedule: Schedule, rng: np.random.Generator, after_step: AfterStep | None = None
) -> list[float]:
    """Train a network in place.

    Returns
    -------
    list
        The mean loss of each epoch.

    """
    optimizer, losses = Adam(network.layers), []
    steps = schedule.epochs * (len(images.digits) // schedule.batch)
    for _ in range(schedule.epochs):
        epoch = []
        for chosen in _batches(len(images.digits), schedule.batch, rng):
            logits = network.forward(images.pixels[chosen], training=True)
            loss, gradient = cross_entropy(logits, images.digits[chosen])
            network.backward(gradient)
            rate = schedule.rate * (1 + np.cos(np.pi * optimizer.steps / steps)) / 2
            optimizer.step(rate, schedule.decay)
            epoch.append(loss)
            if after_step is not None:
                after_step(optimizer.steps, steps)
        losses.append(float(np.mean(epoch)))
    return losses


def accuracy(network: Network, images: Images) -> float:
    """Return the share of images whose digit the network reads."""
    return float((network.forward(images.pixels).argmax(axis=1) == images.digits).mean())


def _batches(count: int, size: int, rng: np.random.Generator) -> Iterator[Int64Array]:
    """Yield the indices of each batch of an epoch; what is left over sits out."""
    order = rng.permutation(count)
    for start in range(0, count - size + 1, size):
        yield order[start : start + size]
