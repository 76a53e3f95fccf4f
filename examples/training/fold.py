"""Batch-norm folding: after training, a normalization is a factor and an addend a channel, part of the filter and bias.

``gamma * (x @ filter - mean) / deviation + beta`` is ``x @ (filter * factor) + (beta - mean * factor)`` with
``factor = gamma / deviation``. What is deployed, and hence what has to be quantized, is the folded filter.
"""

from __future__ import annotations

import copy

import numpy as np

from examples.training.layers import BatchNorm, Layer, Linear
from examples.training.network import Network


def fold(network: Network) -> Network:
    """Return the network without batch normalization: the same function of images, up to rounding."""
    folded: list[Layer] = []
    for layer in network.layers:
        if isinstance(layer, BatchNorm):
            _fold_into(folded[-1], layer)
        else:
            folded.append(copy.deepcopy(layer))
    return Network(folded)


def _fold_into(linear: Linear, norm: BatchNorm) -> None:
    """Change a layer that has no bias yet; the filter's last axis is the channel."""
    factor = norm.weights["gamma"] / np.sqrt(norm.variance + norm.EPSILON)
    linear.weights["filter"] = linear.weights["filter"] * factor
    linear.weights["bias"] = norm.weights["beta"] - norm.mean * factor
